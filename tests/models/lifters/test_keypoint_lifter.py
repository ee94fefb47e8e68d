import numpy as np
import torch

from selfsup3d.config.lifters import KeypointLifterConfig
from selfsup3d.data.sampling.projected_poses import CameraRange, ProjectedPoses
from selfsup3d.data.synthetic.capture import procedural_capture
from selfsup3d.geometry.camera import project
from selfsup3d.geometry.kinematics import mirror_joints
from selfsup3d.geometry.rotation import rotate
from selfsup3d.models.lifters.keypoint_lifter import KeypointLifter
from selfsup3d.structures.batch import Batch
from selfsup3d.structures.random import RandomStreams
from selfsup3d.structures.skeleton import H36M_17


class Oracle(KeypointLifter):
    """Knows the answer, in the virtual camera."""

    def __init__(self, joints):
        super().__init__(KeypointLifterConfig(width=8, blocks=1))
        self.joints = joints

    def estimate(self, view):
        pose = rotate(view.rotation, self.joints - self.joints[:, :1])
        depth = rotate(view.rotation, self.joints[:, :1])[:, 0, 2]
        return pose, (depth * view.scale).log()


def source(**settings):
    cameras = CameraRange(distance=(2.0, 8.0), roll=(-25.0, 25.0), offset=0.35)
    return ProjectedPoses(procedural_capture(8, frames=12), cameras=cameras, **settings)


def test_poses_and_roots_come_back_to_the_real_camera():
    batch = source().frames(np.arange(16))
    output = Oracle(batch.joints_3d).predict(batch)
    torch.testing.assert_close(output.pose[:, 0], batch.joints_3d - batch.joints_3d[:, :1], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(output.root[:, 0], batch.joints_3d[:, 0], atol=2e-3, rtol=1e-3)


def test_a_missing_pelvis_is_placed_by_the_other_joints():
    batch = source().frames(np.arange(16))
    batch.joints_2d[:, 0] = torch.nan
    output = Oracle(batch.joints_3d).predict(batch)
    torch.testing.assert_close(output.root[:, 0], batch.joints_3d[:, 0], atol=2e-3, rtol=1e-3)
    assert torch.allclose(
        project(output.pose[:, 0] + output.root, batch.K), project(batch.joints_3d, batch.K), atol=0.5
    )


def test_the_mirrored_keypoints_give_the_mirrored_pose():
    batch = source().frames(np.arange(8))
    system = KeypointLifter(KeypointLifterConfig(width=16, blocks=1)).eval()
    mirrored = batch.joints_2d[:, list(H36M_17.flip_order)] * torch.tensor([-1.0, 1.0]) + torch.tensor([1000.0, 0.0])
    pose = system.predict(batch).pose[:, 0]
    other = system.predict(Batch(joints_2d=mirrored, K=batch.K)).pose[:, 0]
    torch.testing.assert_close(mirror_joints(pose, axis=0), other, atol=1e-4, rtol=1e-3)


def test_it_learns_with_and_without_a_camera():
    torch.manual_seed(0)
    data, system = source(), KeypointLifter(KeypointLifterConfig(width=64, blocks=1, dropout=0.0))
    optimizer = torch.optim.Adam(system.parameters(), lr=3e-3)
    held_out = data.frames(np.arange(60))
    truth = held_out.joints_3d - held_out.joints_3d[:, :1]

    def error(K):
        system.eval()
        pose = system.predict(Batch(joints_2d=held_out.joints_2d, K=K)).pose[:, 0]
        system.train()
        return float((pose - truth).norm(dim=-1).mean())

    before = error(held_out.K)
    for step in range(150):
        optimizer.zero_grad()
        sum(system(data.batch(RandomStreams(0, step, np.arange(128))), "lifter", 0.0).values()).backward()
        optimizer.step()
    assert error(held_out.K) < 0.4 * before
    assert error(None) < 0.6 * before
    system.eval()
    root = system.predict(held_out).root[:, 0]
    assert ((root - held_out.joints_3d[:, 0]).norm(dim=-1) / held_out.joints_3d[:, 0, 2]).median() < 0.15
    assert system.predict(Batch(joints_2d=held_out.joints_2d)).root is None
