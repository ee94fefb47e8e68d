import numpy as np
import torch

from selfsup3d.data.sampling.detector_noise import DETECTOR_CONDITIONS, DetectorModel
from selfsup3d.data.sampling.projected_poses import ProjectedPoses
from selfsup3d.data.synthetic.capture import procedural_capture
from selfsup3d.geometry.camera import project
from selfsup3d.structures.device_random import DeviceDraws
from selfsup3d.structures.joint_formats import FOREIGN
from selfsup3d.structures.random import RandomStreams
from selfsup3d.structures.skeleton import H36M_17, joint_index

LIMBS = [
    joint_index(f"{s}_{n}") for s in ("left", "right") for n in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
]


def draws(count, first=0):
    return DeviceDraws(RandomStreams(3, 0, np.arange(first, first + count)))


def observed(model, joints, first=0):
    count = len(joints)
    return model(joints, torch.ones(count, dtype=torch.bool), torch.full((count,), 100.0), draws(count, first))


def test_error_is_the_mean_distance_in_torso_lengths():
    found, confidence = observed(DetectorModel(error=0.12), torch.zeros(4000, 1, 17, 2))
    distance = found[:, 0, LIMBS].norm(dim=-1) / 100.0
    assert abs(distance.mean() - 0.12) < 0.005
    assert confidence[:, 0, LIMBS].min() == 1
    share = (distance < 0.2).float().mean()  # heavy tails: a Gaussian of this mean error would have 0.89
    assert 0.84 < share < 0.93
    assert distance.quantile(0.99) > 4 * distance.median()


def test_errors_last_over_a_sequence_and_jitter_besides():
    found, _ = observed(DetectorModel(error=0.12), torch.zeros(2000, 9, 17, 2))
    x = found[:, :, LIMBS, 0] / 100.0
    across, jitter = x.mean(1).square().mean(), (x - x.mean(1, keepdim=True)).square().mean()
    assert across > 2 * jitter > 0


def test_a_detector_s_skeleton_has_the_joints_of_its_table():
    source = ProjectedPoses(procedural_capture(6, frames=8), keypoints=DETECTOR_CONDITIONS["detector_joints"])
    batch = source.frames(np.arange(20))
    marked = {joint_index(name) for name in FOREIGN["coco_17"].table}
    assert set(batch.confidence.bool().all(0).nonzero()[:, 0].tolist()) == marked
    assert batch.confidence[:, list(set(range(17)) - marked)].sum() == 0
    joints = batch.joints_2d
    for middle, pair in (("pelvis", "hip"), ("neck", "shoulder")):
        between = 0.5 * (joints[:, joint_index(f"left_{pair}")] + joints[:, joint_index(f"right_{pair}")])
        torch.testing.assert_close(joints[:, joint_index(middle)], between)
    seen = project(batch.joints_3d, batch.K)[:, LIMBS]
    torch.testing.assert_close(joints[:, LIMBS], seen, atol=1e-2, rtol=1e-4)


def test_the_nose_is_marked_on_the_face():
    joints = torch.zeros(200, 1, 17, 3)
    joints[:, :, joint_index("head"), 2] = 0.1  # upright, facing +x with the left shoulder at +y
    joints[:, :, joint_index("left_shoulder"), 1], joints[:, :, joint_index("right_shoulder"), 1] = 0.2, -0.2
    moved, detected = DetectorModel().marked(joints, draws(200))
    assert detected.all()
    nose = moved[:, 0, joint_index("nose")]
    torch.testing.assert_close(nose[:, :2].norm(dim=-1), torch.full((200,), 0.11))
    assert (nose[:, 0] > 0).float().mean() > 0.95
    others = [j for j in range(17) if H36M_17.joint_names[j] not in ("nose", "neck")]
    torch.testing.assert_close(moved[:, :, others], joints[:, :, others])


def test_swaps_exchange_left_and_right_limbs():
    joints = torch.arange(17.0)[None, None, :, None].expand(500, 9, 17, 2).clone()
    found, _ = observed(DetectorModel(swaps=0.5), joints)
    knees = found[:, :, [joint_index("left_knee"), joint_index("right_knee")], 0]
    left, right = joint_index("left_knee"), joint_index("right_knee")
    swapped = (knees == torch.tensor([float(right), float(left)])).all(-1)
    assert (swapped | (knees == torch.tensor([float(left), float(right)])).all(-1)).all()
    assert 0.4 < swapped.any(1).float().mean() < 0.6
    assert (swapped.any(1) & ~swapped.all(1)).float().mean() > 0


def test_a_missing_hip_leaves_no_pelvis():
    found, confidence = observed(DetectorModel(missing=0.3), torch.zeros(300, 1, 17, 2))
    hips = confidence[:, 0, [joint_index("left_hip"), joint_index("right_hip")]].amin(1)
    assert (confidence[:, 0, joint_index("pelvis")] <= hips).all()
    assert torch.equal(torch.isnan(found).all(-1), confidence == 0)


def test_a_sample_depends_on_its_number_alone():
    model, joints = DetectorModel(error=0.1, clean=0.3, missing=0.1, limbs=0.2, swaps=0.2), torch.zeros(8, 3, 17, 2)
    whole, part = observed(model, joints), observed(model, joints[4:], first=4)
    torch.testing.assert_close(part[0], whole[0][4:], equal_nan=True)
