from dataclasses import replace

import numpy as np
import pytest
import torch

from selfsup3d.data.mocap.recording import Recording, write_mocap
from selfsup3d.errors import InputError
from selfsup3d.export.bvh import write_bvh
from selfsup3d.geometry.camera import orbit_rotation
from selfsup3d.geometry.kinematics import bone_lengths
from selfsup3d.inference.motion import load_motion, motion_of_record, motion_of_world, with_bones
from selfsup3d.inference.records import PoseRecord


def record_of(joints, root=None, unit="m"):
    count = len(joints)
    return PoseRecord(
        joints, np.zeros((count, 17, 2)), np.full((count, 3), np.nan) if root is None else root, np.arange(count),
        np.zeros((count, 3), int), 10.0, unit,
    )  # fmt: skip


def test_predicted_poses_are_seen_as_they_were(tmp_path, poses):
    turn = orbit_rotation(torch.tensor(0.7), torch.tensor(0.2))
    posed = (poses @ turn.T).numpy()
    root = np.tile([[0.1, 0.0, 4.0]], (len(poses), 1)).astype(np.float32)
    record_of(posed, root).save(tmp_path / "p.npz")
    motion = load_motion(tmp_path / "p.npz")
    torch.testing.assert_close(motion.canonical, poses, atol=1e-4, rtol=0)
    torch.testing.assert_close(motion.rotation, turn.expand(len(poses), 3, 3), atol=1e-4, rtol=0)
    torch.testing.assert_close(motion.translation, torch.from_numpy(root))
    assert motion.fps == pytest.approx(10.0)
    assert motion_of_record(record_of(posed, unit="relative")).translation is None


def test_predicted_poses_drive_by_their_own_times(poses):
    given = record_of(poses[:4].numpy(), np.tile([[0.1, 0.0, 4.0]], (4, 1)).astype(np.float32))
    motion = motion_of_record(replace(given, frames=np.array([0, 1, 4, 5]), times=np.array([0.0, 0.1, 0.4, 0.5])))
    assert (len(motion), motion.fps) == (6, pytest.approx(10.0))
    torch.testing.assert_close(motion.canonical[[0, 1, 4, 5]], poses[:4], atol=1e-4, rtol=0)
    assert "2 frames in gaps" in motion.taken[0]


def test_a_person_of_motion_capture_faces_the_camera_at_first(poses):
    heading = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    world = poses[:1] @ heading.T + torch.tensor([3.0, 2.0, 1.0])
    falling = torch.cat([world, world - torch.tensor([0.0, 0.5, 0.4])]).numpy()
    motion = motion_of_world(falling, 20.0)
    torch.testing.assert_close(motion.rotation[0], orbit_rotation(0.0, 0.0), atol=1e-4, rtol=0)
    # 0.4 m down in the world is 0.4 m down in the image; the camera follows sideways
    assert motion.drift[1, 1] - motion.drift[0, 1] == pytest.approx(0.4, abs=1e-4)
    assert motion.drift[:, (0, 2)].abs().max() < 1e-5
    side = motion_of_world(falling, 20.0, azimuth=90.0)
    torch.testing.assert_close(side.rotation[0], orbit_rotation(torch.pi / 2, 0.0), atol=1e-4, rtol=0)


def test_npz_and_bvh_of_one_motion_agree(tmp_path, poses):
    from selfsup3d.geometry.kinematics import forward_kinematics, inverse_kinematics

    local = inverse_kinematics(poses, recentre=True)
    same = forward_kinematics(local.local_vectors, local.hip_angle, local.bone_lengths[:1].expand(len(poses), -1))
    y_up = same.numpy()[:, :, [1, 2, 0]]
    write_mocap(tmp_path / "m.npz", [Recording(y_up, 20.0, "walk", "a"), Recording(y_up[::-1], 20.0, "back", "a")])
    write_bvh(tmp_path / "m.bvh", y_up * [1, -1, -1], 20.0)
    a, b = load_motion(tmp_path / "m.npz"), load_motion(tmp_path / "m.bvh")
    torch.testing.assert_close(a.canonical, b.canonical, atol=2e-3, rtol=0)
    torch.testing.assert_close(a.rotation, b.rotation, atol=5e-3, rtol=0)
    assert len(load_motion(tmp_path / "m.npz", "back")) == len(poses)
    with pytest.raises(InputError, match="no sequence 'jump'; it has walk, back"):
        load_motion(tmp_path / "m.npz", "jump")


def test_another_body_moves_alike(poses):
    lengths = bone_lengths(poses[0]) * torch.linspace(0.8, 1.2, 17)
    moved = with_bones(poses, lengths)
    torch.testing.assert_close(bone_lengths(moved), lengths.expand(len(poses), -1), atol=1e-5, rtol=1e-4)
    way = lambda p: torch.nn.functional.normalize(p[:, 6] - p[:, 5], dim=-1)  # noqa: E731
    torch.testing.assert_close(way(moved), way(poses), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["a.npz", "a.bvh", "a.xyz"])
def test_files_that_hold_no_motion_are_told(tmp_path, name):
    with pytest.raises(InputError, match=r"no such file|not a file of poses|cannot be read"):
        load_motion(tmp_path / name)
    (tmp_path / name).write_bytes(b"nothing")
    with pytest.raises(InputError, match=name):
        load_motion(tmp_path / name)


def test_poses_without_a_body_are_told():
    with pytest.raises(InputError, match="no up direction"):
        motion_of_record(record_of(np.zeros((2, 17, 3), np.float32)))
