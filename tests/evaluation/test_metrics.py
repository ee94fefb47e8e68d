import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from selfsup3d.evaluation.metrics import (
    AUC_THRESHOLDS,
    aligned_errors,
    auc,
    frame_mean,
    joint_errors,
    mpjpe,
    mrpe,
    n_mpjpe,
    pa_mpjpe,
    pck,
    root_relative,
    root_relative_errors,
    valid_joints,
)
from selfsup3d.structures.skeleton import H36M_17, joint_index

MM = 1000.0


def poses(count=8, seed=0, spread=0.4):
    """Random joints; float64, far from the camera as real ones are."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=(count, 17, 3)) * spread + [0.3, -0.2, 5.0])


def kabsch_error(pred, target):
    """Mean error after the best proper similarity, by scipy's rotation solver."""
    p, t = pred - pred.mean(0), target - target.mean(0)
    rotation, _ = Rotation.align_vectors(t, p)
    turned = rotation.apply(p)
    scale = (turned * t).sum() / (p * p).sum()
    return np.linalg.norm(scale * turned - t, axis=-1).mean() * MM


def test_mpjpe_is_the_mean_distance_after_rooting_without_the_root():
    pred, target = poses(seed=1), poses(seed=2)
    p, t = pred.numpy(), target.numpy()
    expected = [np.linalg.norm((p[i] - p[i, :1]) - (t[i] - t[i, :1]), axis=-1)[1:].mean() * MM for i in range(8)]
    assert mpjpe(pred, target).numpy() == pytest.approx(expected, rel=1e-12)


def test_counting_the_root_dilutes_the_error_by_its_zero():
    pred, target = poses(seed=1), poses(seed=2)
    torch.testing.assert_close(mpjpe(pred, target, count_root=True), mpjpe(pred, target) * 16 / 17)


def test_mpjpe_ignores_where_the_person_stands_and_sees_everything_else():
    pred, target = poses(seed=1), poses(seed=2)
    torch.testing.assert_close(mpjpe(pred + 3.0, target - 1.0), mpjpe(pred, target))
    shifted = target.clone()
    shifted[:, 5, 0] += 0.16
    assert mpjpe(shifted, target).numpy() == pytest.approx(np.full(8, 160 / 16))


def test_mid_hips_root_is_the_middle_of_the_hips():
    pred, target = poses(seed=1), poses(seed=2)
    left, right = joint_index("left_hip"), joint_index("right_hip")
    by_hand = root_relative(pred, "mid_hips")
    assert torch.allclose(by_hand[:, left], -by_hand[:, right])
    moved = pred.clone()
    moved[:, 0] += 1.0  # the pelvis does not matter
    torch.testing.assert_close(mpjpe(moved, target, root="mid_hips"), mpjpe(pred, target, root="mid_hips"))


def test_pa_equals_an_independent_alignment():
    pred, target = poses(seed=3), poses(seed=4)
    expected = [kabsch_error(p, t) for p, t in zip(pred.numpy(), target.numpy(), strict=True)]
    assert pa_mpjpe(pred, target).numpy() == pytest.approx(expected, rel=1e-9)


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.05, 20.0), shift=st.floats(-10, 10))
def test_pa_is_invariant_to_similarities_of_the_prediction(seed, scale, shift):
    pred, target = poses(2, seed), poses(2, seed + 1)
    turn = torch.from_numpy(Rotation.random(random_state=seed).as_matrix())
    torch.testing.assert_close(
        pa_mpjpe(scale * pred @ turn.T + shift, target), pa_mpjpe(pred, target), rtol=1e-7, atol=1e-7
    )


def test_strict_pa_never_mirrors_and_the_loose_one_does():
    target = poses(seed=5)
    mirrored = target * torch.tensor([-1.0, 1.0, 1.0])
    assert pa_mpjpe(mirrored, target, reflection=True).max() < 1e-9
    assert pa_mpjpe(mirrored, target).min() > 50.0


def test_pa_is_the_least_of_all_similarities():
    pred, target = poses(1, 6), poses(1, 7)
    best_squares = (aligned_errors(pred, target, torch.ones(1, 17, dtype=torch.bool)) ** 2).sum()
    rng = np.random.default_rng(0)
    for seed in range(200):
        turn = torch.from_numpy(Rotation.random(random_state=seed).as_matrix())
        other = rng.uniform(0.1, 3) * pred @ turn.T
        other = other - other.mean(1, keepdim=True) + target.mean(1, keepdim=True)
        assert (joint_errors(other, target) ** 2).sum() >= best_squares - 1e-6


def test_n_mpjpe_is_invariant_to_scale_and_at_most_slightly_above_the_best():
    pred, target = poses(seed=1), poses(seed=2)
    torch.testing.assert_close(n_mpjpe(pred * 7.0, target), n_mpjpe(pred, target))
    assert n_mpjpe(target * 0.3, target).max() < 1e-9
    torch.testing.assert_close(mpjpe(pred, target, gt_scale=True), n_mpjpe(pred, target))


def test_scale_is_the_least_squares_one_and_never_negative():
    pred, target = root_relative(poses(seed=1)), root_relative(poses(seed=2))
    every = torch.ones(8, 17, dtype=torch.bool)
    squares = (root_relative_errors(pred, target, every, gt_scale=True) ** 2).sum(-1)
    for factor in np.linspace(0, 2, 41):
        assert ((joint_errors(pred * factor, target) ** 2).sum(-1) >= squares - 1e-6).all()
    inverted = root_relative_errors(-target, target, every, gt_scale=True)
    torch.testing.assert_close(inverted, joint_errors(torch.zeros_like(target), target))


@pytest.mark.parametrize("flip_best", ["frame", "joint"])
def test_best_flip_forgives_a_mirrored_depth_and_strict_does_not(flip_best):
    target = poses(seed=8)
    flipped = root_relative(target) * torch.tensor([1.0, 1.0, -1.0])
    assert mpjpe(flipped, target, flip_best=flip_best).max() < 1e-9
    assert mpjpe(flipped, target).min() > 50.0


def test_per_joint_flips_are_more_lenient_than_per_frame_flips():
    pred, target = poses(64, 9), poses(64, 10)
    strict, frame, joint = (mpjpe(pred, target, flip_best=f) for f in (False, "frame", "joint"))
    assert (joint <= frame + 1e-9).all()
    assert (frame <= strict + 1e-9).all()
    assert (joint < frame - 1.0).any()
    assert (frame < strict - 1.0).any()


def test_missing_joints_change_nothing_whatever_they_hold():
    pred, target = poses(seed=1), poses(seed=2)
    valid = torch.ones(8, 17, dtype=torch.bool)
    valid[::2, 13] = False
    valid[1, 3:8] = False
    results = []
    for junk in (0.0, 1e6, float("nan"), float("inf")):
        p, t = pred.clone(), target.clone()
        p[~valid], t[~valid] = 3.0, junk
        results.append(torch.stack([mpjpe(p, t, valid), pa_mpjpe(p, t, valid), n_mpjpe(p, t, valid)]))
        results.append(torch.stack([mpjpe(pred, t, valid), pa_mpjpe(pred, t, valid), n_mpjpe(pred, t, valid)]))
    assert torch.isfinite(results[0]).all()
    for result in results[1:]:
        torch.testing.assert_close(result, results[0])


def test_a_frame_without_its_root_or_without_any_joint_is_nan():
    pred, target = poses(3, 1), poses(3, 2)
    valid = torch.ones(3, 17, dtype=torch.bool)
    valid[0, 0] = False
    valid[1] = False
    assert torch.isnan(mpjpe(pred, target, valid)).tolist() == [True, True, False]
    assert torch.isnan(pa_mpjpe(pred, target, valid)).tolist() == [False, True, False]  # alignment needs no root


def test_two_joints_cannot_be_aligned():
    valid = torch.zeros(1, 17, dtype=torch.bool)
    valid[0, :2] = True
    assert torch.isnan(pa_mpjpe(poses(1, 1), poses(1, 2), valid)).all()
    valid[0, 2] = True
    assert torch.isfinite(pa_mpjpe(poses(1, 1), poses(1, 2), valid)).all()


def test_a_prediction_that_is_not_finite_is_never_left_out():
    pred, target = poses(3, 1), poses(3, 2)
    pred[1, 4] = float("nan")
    pred[2, 4, 0] = float("inf")
    assert torch.isnan(mpjpe(pred, target))[1]
    assert not torch.isfinite(mpjpe(pred, target))[2]
    assert torch.isnan(pa_mpjpe(pred, target)).tolist() == [False, True, True]
    every = torch.ones(3, 17, dtype=torch.bool)
    near = root_relative_errors(target + 0.0, target, every)
    near[0, 5] = float("nan")
    assert pck(near, every).tolist() == pytest.approx([16 / 17, 1, 1])
    assert auc(near, every)[0] < auc(near, every)[1]


def test_valid_joints_need_finite_truth_and_confidence():
    target = poses(1)
    target[0, 3, 1] = float("nan")
    confidence = torch.ones(1, 17)
    confidence[0, 4], confidence[0, 5] = 0.0, float("nan")
    assert (~valid_joints(target, confidence)).nonzero()[:, 1].tolist() == [3, 4, 5]


def test_pck_and_auc_by_hand():
    errors = torch.tensor([[0.0, 10.0, 149.999, 150.0, 400.0]])
    every = torch.ones(1, 5, dtype=torch.bool)
    assert pck(errors, every).item() == pytest.approx(3 / 5)
    assert len(AUC_THRESHOLDS) == 31
    curve = [np.mean(errors.numpy() < t) for t in np.linspace(0, 150, 31)]
    assert auc(errors, every).item() == pytest.approx(np.mean(curve))
    assert auc(torch.zeros(1, 5), every).item() == pytest.approx(30 / 31)


def test_mrpe_is_the_distance_of_roots_in_mm():
    assert mrpe(torch.tensor([[0.0, 0.3, 4.0]]), torch.tensor([[0.0, 0.0, 4.4]])).item() == pytest.approx(500.0)


def test_hypotheses_broadcast_against_one_truth():
    pred, target = poses(6, 1).view(2, 3, 17, 3), poses(2, 2)[:, None]
    for metric in (mpjpe, pa_mpjpe, n_mpjpe):
        found = metric(pred, target)
        assert found.shape == (2, 3)
        torch.testing.assert_close(found[1, 2], metric(pred[1, 2], target[1, 0]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_empty_batches_and_dtypes(dtype):
    empty = torch.zeros(0, 17, 3, dtype=dtype)
    assert mpjpe(empty, empty).shape == (0,)
    assert pa_mpjpe(empty, empty).shape == (0,)
    pred, target = poses(seed=1).to(dtype), poses(seed=2).to(dtype)
    assert mpjpe(pred, target).dtype == dtype
    torch.testing.assert_close(
        pa_mpjpe(pred, target).double(), pa_mpjpe(poses(seed=1), poses(seed=2)), rtol=1e-5, atol=1e-3
    )


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"\(3, 17, 3\).*\(2, 17, 3\)"):
        pa_mpjpe(poses(3), poses(2))


def test_frame_mean_of_nothing_is_nan():
    assert torch.isnan(frame_mean(torch.ones(1, len(H36M_17)), torch.zeros(1, 17, dtype=torch.bool)))
