from dataclasses import replace

import numpy as np
import pytest
import torch

from selfsup3d.errors import InputError
from selfsup3d.evaluation.measure import measure
from selfsup3d.evaluation.protocols import JOINT_SETS, PRESETS, Flags, Protocol, dataset_protocol
from selfsup3d.structures.joint_formats import FOREIGN
from selfsup3d.structures.skeleton import H36M_17

PAPERS = {
    "martinez17", "videopose3d", "kudo", "repnet", "chen", "ites", "c3dpo", "deep_nrsfm", "elepose", "hpe3d",
}  # fmt: skip
EVERY = torch.ones(32, 17, dtype=torch.bool)


def poses(seed):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(32, 17, 3)) * 0.3)


def mean(pred, target, preset, metric):
    return measure(pred, target, EVERY, PRESETS[preset]).frame[metric].mean().item()


def test_every_paper_of_the_specification_has_a_preset_and_strict_is_the_default():
    assert set(PRESETS) == PAPERS | {"strict"}
    assert PRESETS["strict"] == Flags() == Protocol().flags
    assert Flags().as_dict() == {"reflection": False, "flip_best": False, "gt_scale": False, "count_root": False}


@pytest.mark.parametrize("preset", sorted(PAPERS))
def test_only_the_papers_that_allow_mirroring_accept_a_mirror_image(preset):
    target = poses(0)
    mirrored = target * torch.tensor([-1.0, 1, 1])
    allowed = preset in {"hpe3d", "repnet", "elepose", "deep_nrsfm"}
    assert (mean(mirrored, target, preset, "pa_mpjpe") < 1e-6) == allowed


@pytest.mark.parametrize("preset", sorted(PAPERS))
def test_only_the_papers_that_take_the_scale_from_the_truth_forgive_one(preset):
    target = poses(0)
    forgiven = mean(3.0 * target, target, preset, "mpjpe") < 1e-6
    assert forgiven == (preset in {"kudo", "ites", "elepose"})


@pytest.mark.parametrize("preset", sorted(PAPERS))
def test_only_the_papers_that_keep_the_better_depth_sign_forgive_a_flip(preset):
    target = poses(0) - poses(0)[:, :1]
    forgiven = mean(target * torch.tensor([1.0, 1, -1]), target, preset, "mpjpe") < 1e-6
    assert forgiven == (preset in {"c3dpo", "ites"})


def test_counting_the_root_is_martinez_and_videopose3d():
    pred, target = poses(1), poses(2)
    strict = mean(pred, target, "strict", "mpjpe")
    for preset in ("martinez17", "videopose3d"):
        assert mean(pred, target, preset, "mpjpe") == pytest.approx(strict * 16 / 17)
    assert mean(pred, target, "chen", "mpjpe") == strict


def test_no_preset_is_stricter_than_strict():
    pred, target = poses(1), poses(2)
    for preset in PAPERS:
        for metric in ("mpjpe", "pa_mpjpe"):
            # Scaling by least squares lowers the squared error, which the mean error follows on average.
            assert mean(pred, target, preset, metric) <= mean(pred, target, "strict", metric) + 1e-9


def test_flags_are_printed_whole():
    assert str(Flags()) == "reflection=no flip_best=no gt_scale=no count_root=no"
    loose = replace(PRESETS["ites"], root="mid_hips", crop_ray=True)
    assert str(loose) == "reflection=no flip_best=joint gt_scale=yes count_root=no root=mid_hips crop_ray=yes"


def test_joint_sets_are_those_of_the_datasets():
    names = {key: {H36M_17.joint_names[i] for i in joints} for key, joints in JOINT_SETS.items()}
    assert len(names["h36m_17"]) == 17
    assert names["limbs_12"] == {n for n in H36M_17.joint_names if n.startswith(("left", "right"))}
    assert names["lsp_14"] - names["limbs_12"] == {"neck", "head"}
    assert names["lsp_14"] <= set(FOREIGN["lsp_14"].table)
    with pytest.raises(ValueError, match="no joint set"):
        Protocol(joints="all")


def test_a_dataset_keeps_its_joints_and_root_under_every_preset():
    for preset in PRESETS:
        protocol = dataset_protocol("3dpw", preset)
        assert (protocol.joints, protocol.flags.root, protocol.name) == ("limbs_12", "mid_hips", preset)
        assert protocol.flags.reflection == PRESETS[preset].reflection
    assert dataset_protocol("my own").joints == "h36m_17"


def test_an_unknown_preset_gets_the_nearest_name():
    with pytest.raises(InputError, match="did you mean 'martinez17'"):
        dataset_protocol("h36m", "martinez")


def test_a_subset_of_joints_is_aligned_by_itself():
    pred, target = poses(1), poses(2)
    limbs = list(JOINT_SETS["limbs_12"])
    other = pred.clone()
    other[:, 9] += 5.0  # the nose does not belong to the limbs
    a, b = (measure(p, target, EVERY, Flags(), "limbs_12").frame["pa_mpjpe"] for p in (pred, other))
    torch.testing.assert_close(a, b)
    assert a.mean() < measure(pred, target, EVERY, Flags()).frame["pa_mpjpe"].mean()
    joints = measure(pred, target, EVERY, Flags(), "limbs_12").joint["mpjpe"]
    assert torch.isfinite(joints[:, limbs]).all()
    assert torch.isnan(joints[:, 9]).all()
