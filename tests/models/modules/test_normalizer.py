import numpy as np
import pytest
import torch

from selfsup3d.data.sampling.projected_poses import ProjectedPoses
from selfsup3d.data.synthetic.capture import procedural_capture
from selfsup3d.geometry.camera import project
from selfsup3d.geometry.rotation import random_axis_rotation, rotate
from selfsup3d.models.modules.normalizer import Normalizer, fill_missing
from selfsup3d.structures.joint_formats import FOREIGN
from selfsup3d.structures.random import RandomStreams
from selfsup3d.structures.skeleton import joint_index

MODES = ["zscore", "screen", "head", "centred", "moments"]
HEAD = joint_index("head")


@pytest.fixture(scope="module")
def batch():
    source = ProjectedPoses(procedural_capture(20, frames=8), name="procedural")
    return source.batch(RandomStreams(0, 0, np.arange(400)))


def fitted(mode, batch, **kwargs):
    normalizer = Normalizer(mode, **kwargs)
    normalizer.fit(batch.joints_2d, batch.confidence, batch.K)
    return normalizer


@pytest.mark.parametrize("mode", MODES)
def test_inverse_returns_pixels(mode, batch):
    normalizer = fitted(mode, batch)
    found = normalizer(batch.joints_2d, batch.confidence, batch.K)
    torch.testing.assert_close(normalizer.inverse(found.values, found), batch.joints_2d, atol=2e-2, rtol=1e-5)
    assert normalizer.unit


def test_what_each_mode_promises(batch):
    z = fitted("zscore", batch)(batch.joints_2d, None, batch.K).values
    torch.testing.assert_close(z.mean(0), torch.zeros(17, 2), atol=1e-3, rtol=0)
    torch.testing.assert_close(z.std(0), torch.ones(17, 2), atol=1e-3, rtol=0)
    screen = fitted("screen", batch)(batch.joints_2d, None, batch.K).values
    expected = batch.joints_2d / 500.0 - 1.0
    assert (screen - expected).abs().max() < 0.01  # focal lengths vary by half a percent
    head = fitted("head", batch, distance=10.0)(batch.joints_2d, None, batch.K).values
    assert not head[:, 0].any()
    assert head[:, HEAD].norm(dim=-1).mean().item() == pytest.approx(0.1, rel=0.05)
    centred = fitted("centred", batch)(batch.joints_2d, None, batch.K).values
    torch.testing.assert_close(centred.square().mean((1, 2)), torch.ones(400), atol=1e-4, rtol=0)
    moments = fitted("moments", batch)(batch.joints_2d, None, batch.K)
    assert moments.features.shape == (400, 37)
    torch.testing.assert_close(moments.values.mean(1), torch.zeros(400, 2), atol=1e-4, rtol=0)
    torch.testing.assert_close(moments.extra.mean(0), torch.zeros(3), atol=1e-3, rtol=0)


def test_the_limb_scale_hardly_depends_on_the_side_a_person_is_seen_from(batch):
    normalizer = fitted("head", batch)
    relative = batch.joints_3d - batch.joints_3d[:, :1]
    spread = []
    for angle in np.linspace(0, np.pi, 7):
        turn = random_axis_rotation(torch.full((400,), angle / (2 * np.pi)), "y")
        seen = project(rotate(turn, relative) + torch.tensor([0.0, 0.0, 5.0]), batch.K)
        spread.append(normalizer(seen, None, batch.K).scale)
    scales = torch.stack(spread)
    assert (scales.std(0) / scales.mean(0)).median() < 0.05


@pytest.mark.parametrize("mode", MODES)
def test_a_missing_joint_holds_anything_and_changes_nothing(mode, batch):
    normalizer = fitted(mode, batch)
    confidence = torch.ones(400, 17)
    confidence[:, 13] = 0
    confidence[:200, 0] = 0
    variants = []
    for value in (0.0, 1e6, float("nan"), float("inf")):
        joints = batch.joints_2d.clone()
        joints[confidence == 0] = value
        variants.append(normalizer(joints, confidence, batch.K))
    for other in variants[1:]:
        torch.testing.assert_close(other.values, variants[0].values)
        torch.testing.assert_close(other.visible, variants[0].visible)
    assert torch.isfinite(variants[0].values).all()


def test_missing_joints_are_filled_near_where_they_are(batch):
    normalizer = fitted("head", batch)
    confidence = torch.ones(400, 17)
    confidence[:, HEAD] = 0
    filled = normalizer.inverse((found := normalizer(batch.joints_2d, confidence, batch.K)).values, found)
    height = (batch.joints_2d[..., 1].amax(1) - batch.joints_2d[..., 1].amin(1)).mean()
    assert (filled[:, HEAD] - batch.joints_2d[:, HEAD]).norm(dim=-1).mean() < 0.05 * height
    torch.testing.assert_close(filled[:, :HEAD], batch.joints_2d[:, :HEAD], atol=2e-2, rtol=1e-4)


def test_filling_is_the_conditional_mean():
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    covariance, mean = root @ root.T + torch.eye(6), torch.randn(6, generator=generator, dtype=torch.float64)
    values = torch.randn(1, 3, 2, generator=generator, dtype=torch.float64)
    seen = torch.tensor([[1.0, 0.0, 1.0]]).double()
    known, hidden = [0, 1, 4, 5], [2, 3]
    noise = 1e-4 * torch.eye(4)
    expected = mean[hidden] + covariance[hidden][:, known] @ torch.linalg.solve(
        covariance[known][:, known] + noise, values.flatten()[known] - mean[known]
    )
    filled = fill_missing(values, seen, mean, covariance)
    torch.testing.assert_close(filled[0, 1], expected)
    torch.testing.assert_close(filled[0, [0, 2]], values[0, [0, 2]])


def test_detectors_without_head_and_spine_can_be_trained_on(batch):
    coco = FOREIGN["coco_17"]
    absent = [j for j, row in enumerate(coco.weights) if not row.any()]
    assert HEAD in absent
    confidence = torch.ones(400, 17)
    confidence[:, absent] = 0
    normalizer = Normalizer("head")
    normalizer.fit(batch.joints_2d, confidence, batch.K)
    assert torch.isfinite(normalizer(batch.joints_2d, confidence, batch.K).values).all()


def test_without_K_the_training_data_s_is_used(batch):
    normalizer = fitted("zscore", batch)
    torch.testing.assert_close(normalizer.K, batch.K.mean(0))
    torch.testing.assert_close(
        normalizer(batch.joints_2d).values, normalizer(batch.joints_2d, None, batch.K.mean(0)).values
    )


def test_statistics_are_in_the_state(batch):
    normalizer = fitted("zscore", batch)
    other = Normalizer("zscore")
    other.load_state_dict(normalizer.state_dict())
    torch.testing.assert_close(
        other(batch.joints_2d, None, batch.K).values, normalizer(batch.joints_2d, None, batch.K).values
    )


def test_sequences_share_their_camera(batch):
    normalizer = fitted("zscore", batch)
    window = batch.joints_2d.view(80, 5, 17, 2)
    K = batch.K[:80]
    found = normalizer(window, None, K)
    torch.testing.assert_close(found.values[:, 2], normalizer(window[:, 2], None, K).values)


def test_nothing_to_measure_is_an_error():
    with pytest.raises(ValueError, match="no training pose"):
        Normalizer("head").fit(torch.zeros(4, 17, 2), torch.zeros(4, 17))
    with pytest.raises(ValueError, match="zscore"):
        Normalizer("other")
