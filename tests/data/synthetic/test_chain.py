from __future__ import annotations

import numpy as np
import pytest
import torch

from selfsup3d.data.synthetic.chain import (
    ANGLES,
    ANKLE_HEIGHT,
    BONES,
    LIMITS,
    angle_index,
    clearance,
    limited,
    pose_joints,
    retarget,
    stand_on_floor,
)
from selfsup3d.geometry.kinematics import forward_kinematics, inverse_kinematics
from selfsup3d.structures.skeleton import H36M_17, joint_index


def random_angles(count: int, seed: int = 0) -> np.ndarray:
    low, high = np.array([LIMITS[name] for name in ANGLES]).T
    return np.random.default_rng(seed).uniform(low, high, (count, len(ANGLES)))


def bones_of(joints: np.ndarray) -> np.ndarray:
    parents = np.maximum(H36M_17.parents, 0)
    return np.linalg.norm(joints - joints[:, parents], axis=-1)


def with_angles(**degrees: float) -> np.ndarray:
    angles = np.zeros((1, len(ANGLES)))
    for name, value in degrees.items():
        angles[0, angle_index(name)] = value
    return angles


def joint(joints: np.ndarray, name: str) -> np.ndarray:
    return joints[0, joint_index(name)]


def test_bones_keep_their_lengths() -> None:
    bones = BONES * np.random.default_rng(1).uniform(0.9, 1.1, 17)
    assert np.allclose(bones_of(pose_joints(random_angles(200), bones)), bones, atol=1e-9)


def test_the_pelvis_is_the_middle_of_the_hips() -> None:
    joints = pose_joints(random_angles(200))
    middle = (joints[:, joint_index("left_hip")] + joints[:, joint_index("right_hip")]) / 2
    assert np.abs(middle - joints[:, 0]).max() < 1e-12


def test_the_kinematics_accept_every_pose() -> None:
    joints = torch.from_numpy(pose_joints(random_angles(500)))
    pose = inverse_kinematics(joints)
    rebuilt = forward_kinematics(pose.local_vectors, pose.hip_angle, pose.bone_lengths)
    world = rebuilt @ pose.rotation.transpose(-1, -2) + pose.translation[..., None, :]
    assert (world - joints).abs().max() < 1e-6


def test_equal_sides_give_a_symmetric_pose() -> None:
    angles = random_angles(50)
    for name in ANGLES:
        if name.startswith("left_"):
            angles[:, angle_index(name.replace("left", "right"))] = angles[:, angle_index(name)]
        elif not name.startswith("right_") and name not in ("pelvis_pitch", "spine_bend", "head_nod"):
            angles[:, angle_index(name)] = 0.0
    joints = pose_joints(angles)
    mirrored = joints[:, list(H36M_17.flip_order)] * np.array([1.0, -1.0, 1.0])
    assert np.abs(mirrored - joints).max() < 1e-9


@pytest.mark.parametrize("side", ["left", "right"])
def test_angles_mean_what_they_are_called(side: str) -> None:
    outwards = 1.0 if side == "left" else -1.0
    flexed = pose_joints(with_angles(**{f"{side}_hip_flex": 90.0, f"{side}_knee": 90.0}))
    thigh = joint(flexed, f"{side}_knee") - joint(flexed, f"{side}_hip")
    shin = joint(flexed, f"{side}_ankle") - joint(flexed, f"{side}_knee")
    assert np.allclose(thigh / np.linalg.norm(thigh), [1, 0, 0], atol=1e-9)
    assert np.allclose(shin / np.linalg.norm(shin), [0, 0, -1], atol=1e-9)
    raised = pose_joints(with_angles(**{f"{side}_raise": 90.0, f"{side}_elbow": 90.0}))
    arm = joint(raised, f"{side}_elbow") - joint(raised, f"{side}_shoulder")
    forearm = joint(raised, f"{side}_wrist") - joint(raised, f"{side}_elbow")
    assert np.allclose(arm / np.linalg.norm(arm), [0, outwards, 0], atol=1e-9)
    assert np.allclose(forearm / np.linalg.norm(forearm), [1, 0, 0], atol=1e-9)
    forward = pose_joints(with_angles(**{f"{side}_raise": 90.0, f"{side}_plane": 90.0}))
    arm = joint(forward, f"{side}_elbow") - joint(forward, f"{side}_shoulder")
    assert np.allclose(arm / np.linalg.norm(arm), [1, 0, 0], atol=1e-9)


def test_the_face_is_in_front() -> None:
    upright = pose_joints(with_angles())
    assert joint(upright, "nose")[0] > joint(upright, "head")[0]
    assert joint(upright, "nose")[0] > joint(upright, "neck")[0]


def test_retargeting_keeps_directions_and_sets_lengths() -> None:
    joints = pose_joints(random_angles(100))
    bones = BONES * 1.07
    other = retarget(joints, bones)
    assert np.allclose(bones_of(other), bones, atol=1e-9)
    parents = np.maximum(H36M_17.parents, 0)
    before, after = joints - joints[:, parents], other - other[:, parents]
    assert np.abs(after - 1.07 * before).max() < 1e-9


def test_feet_rest_on_the_floor() -> None:
    joints = stand_on_floor(pose_joints(random_angles(100)))
    assert np.abs(clearance(joints)).max() < 1e-12
    upright = stand_on_floor(pose_joints(with_angles()))
    assert joint(upright, "left_ankle")[2] == pytest.approx(ANKLE_HEIGHT)


def test_limits_hold() -> None:
    wild = np.full((2, len(ANGLES)), 1e4)
    assert (limited(wild) == np.array([LIMITS[name][1] for name in ANGLES])).all()
    assert (limited(-wild) == np.array([LIMITS[name][0] for name in ANGLES])).all()
