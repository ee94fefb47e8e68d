import math

import numpy as np
import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from smplx.lbs import batch_rigid_transform

from selfsup3d.geometry.kinematics import (
    LocalPose,
    body_frame,
    bone_lengths,
    canonicalize,
    forward_kinematics,
    inverse_kinematics,
    mirror_joints,
    normalize_local_vectors,
)
from selfsup3d.geometry.limb_frames import CONE_SINE, FOLD_COSINE, FRAMES
from selfsup3d.geometry.rotation import rotate
from selfsup3d.structures.skeleton import FK_PARENTS, H36M_17, LOCAL_JOINTS, joint_index

frames_of_both_kinds = pytest.mark.parametrize("frames", FRAMES)


def random_pose(count: int, seed: int = 0, dtype: torch.dtype = torch.float64, fold: float = 0.0) -> LocalPose:
    """Any pose a network could name: limbs in all directions, `fold` of them folded back on their parents."""
    generator = torch.Generator().manual_seed(seed)
    local = torch.randn(count, 13, 3, generator=generator, dtype=dtype)
    folded = torch.rand(count, 13, generator=generator, dtype=dtype) < fold
    local = torch.where(folded[..., None], 0.2 * local - torch.tensor([1.0, 0, 0], dtype=dtype), local)
    angle = 3 * (torch.rand(count, generator=generator, dtype=dtype) - 0.5)
    lengths = 0.1 + 0.4 * torch.rand(count, 17, generator=generator, dtype=dtype)
    lengths[:, 0] = 0
    return LocalPose(
        local / local.norm(dim=-1, keepdim=True),
        torch.stack((angle.cos(), angle.sin()), -1),
        lengths,
        roma.random_rotmat(count, dtype=dtype, generator=generator),
        torch.randn(count, 3, generator=generator, dtype=dtype),
    )


def standing(dtype: torch.dtype = torch.float64) -> LocalPose:
    """Upright, arms down, every direction exactly along an axis: many singular directions at once."""
    local = torch.zeros(13, 3, dtype=dtype)
    row = {H36M_17.joint_names[joint]: i for i, joint in enumerate(LOCAL_JOINTS)}
    for side, sign in (("right", -1.0), ("left", 1.0)):
        local[row[f"{side}_knee"], 2] = sign
        local[row[f"{side}_ankle"], 0] = 1
        local[row[f"{side}_shoulder"], 2] = sign
        local[row[f"{side}_elbow"], 2] = sign
        local[row[f"{side}_wrist"], 0] = 1
    for name in ("spine", "nose", "head"):
        local[row[name], 0] = 1
    lengths = torch.full((17,), 0.25, dtype=dtype)
    lengths[0] = 0
    eye = torch.eye(3, dtype=dtype)
    return LocalPose(local, torch.tensor([1.0, 0.0], dtype=dtype), lengths, eye, torch.zeros(3, dtype=dtype))


class TestForward:
    @frames_of_both_kinds
    def test_a_standing_person_hangs_its_legs_and_arms(self, frames):
        joints = dict(zip(H36M_17.joint_names, standing().joints(frames).tolist(), strict=True))
        expected = {
            "pelvis": [0, 0, 0],
            "neck": [0, 0, 0.25],
            "spine": [0, 0, 0.25],
            "nose": [0, 0, 0.5],
            "head": [0, 0, 0.75],
            "left_hip": [0, 0.25, 0],
            "left_knee": [0, 0.25, -0.25],
            "left_ankle": [0, 0.25, -0.5],
            "right_hip": [0, -0.25, 0],
            "right_ankle": [0, -0.25, -0.5],
            "left_shoulder": [0, 0.25, 0.25],
            "right_shoulder": [0, -0.25, 0.25],
        }
        for name, position in expected.items():
            assert joints[name] == pytest.approx(position, abs=1e-12), name

    @frames_of_both_kinds
    def test_bones_have_their_lengths_and_the_body_its_frame(self, frames):
        pose = random_pose(200, fold=0.2)
        body = forward_kinematics(*pose[:3], frames)
        torch.testing.assert_close(bone_lengths(body), pose.bone_lengths)
        assert torch.equal(body[:, 0], torch.zeros(200, 3, dtype=torch.float64))
        rotation, translation = body_frame(body)
        upright = pose.hip_angle[:, 0] > 0.05  # beyond, left and right of the hip line trade places
        identity = torch.eye(3, dtype=torch.float64).expand(int(upright.sum()), 3, 3)
        torch.testing.assert_close(rotation[upright], identity, atol=1e-9, rtol=0)
        assert translation.abs().max() == 0

    def test_limb_and_hip_vectors_of_any_length_are_scaled(self):
        pose = random_pose(20)
        scaled = forward_kinematics(7 * pose.local_vectors, 0.3 * pose.hip_angle, pose.bone_lengths)
        torch.testing.assert_close(scaled, forward_kinematics(*pose[:3]))

    def test_one_set_of_bone_lengths_serves_a_batch_and_the_pelvis_entry_is_not_read(self):
        pose = random_pose(6)
        lengths = pose.bone_lengths[0].clone()
        lengths[0] = 5.0
        shared = forward_kinematics(pose.local_vectors.view(2, 3, 13, 3), pose.hip_angle.view(2, 3, 2), lengths)
        torch.testing.assert_close(shared[1, 2], forward_kinematics(*pose[:2], pose.bone_lengths[0])[5])

    @frames_of_both_kinds
    def test_agrees_with_smplx_fed_the_equivalent_rotations(self, frames, equivalent_rotations):
        pose = random_pose(50, dtype=torch.float32, fold=0.2)
        joints = forward_kinematics(*pose[:3], frames)
        rotations, rest = equivalent_rotations(joints)
        theirs, _ = batch_rigid_transform(rotations, rest, torch.tensor(FK_PARENTS))
        torch.testing.assert_close(joints, theirs, atol=1e-5, rtol=0)

    def test_unknown_frames_are_named(self):
        with pytest.raises(ValueError, match="parallel_transport"):
            forward_kinematics(*random_pose(1)[:3], frames="euler")


@pytest.fixture
def equivalent_rotations():
    """Rest joints along +Z, and relative rotations that bring them to given positions (for smplx)."""

    def build(joints: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        offsets = joints[:, 1:] - joints[:, list(FK_PARENTS[1:])]
        lengths = offsets.norm(dim=-1)
        up = torch.tensor([0.0, 0.0, 1.0]).expand_as(offsets)
        axis = torch.linalg.cross(up, offsets / lengths[..., None])
        angle = torch.atan2(axis.norm(dim=-1), offsets[..., 2] / lengths)
        world = roma.rotvec_to_rotmat(axis / axis.norm(dim=-1, keepdim=True).clamp(min=1e-9) * angle[..., None])
        # smplx turns a joint's children, ours a limb: with one child per joint both agree, so each joint of the rest
        # pose carries the rotation of the limb *below* it; branching joints carry none, and rest limbs point there.
        rest = torch.zeros_like(joints)
        absolute = torch.eye(3).repeat(len(joints), 17, 1, 1)
        for joint in range(1, 17):
            parent = FK_PARENTS[joint]
            alone = FK_PARENTS.count(parent) == 1
            if alone:
                absolute[:, parent] = world[:, joint - 1]
                step = torch.tensor([0.0, 0, 1]) * lengths[:, joint - 1, None]
            else:
                step = offsets[:, joint - 1]
            rest[:, joint] = rest[:, parent] + step
        relative = absolute.clone()
        for joint in range(1, 17):
            relative[:, joint] = absolute[:, FK_PARENTS[joint]].mT @ absolute[:, joint]
        return relative, rest

    return build


class TestInverse:
    @frames_of_both_kinds
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_brings_back_any_pose(self, frames, dtype):
        pose = random_pose(2000, dtype=dtype, fold=0.3)
        joints = pose.joints(frames)
        limit = 1e-5 if dtype == torch.float32 else 1e-12
        assert (inverse_kinematics(joints, frames).joints(frames) - joints).norm(dim=-1).max() < limit

    @frames_of_both_kinds
    def test_brings_back_the_vectors_themselves(self, frames):
        pose = random_pose(500, fold=0.2)
        pose = LocalPose(*(part[pose.hip_angle[:, 0] > 0.05] for part in pose))
        found = inverse_kinematics(pose.joints(frames), frames)
        for ours, theirs in zip(found, pose, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-8, rtol=0)

    @frames_of_both_kinds
    @given(cosine=st.floats(-1, -0.9), longitude=st.floats(-4, 4), seed=st.integers(0, 1000))
    @settings(max_examples=60)
    def test_exact_around_the_switch_in_float32(self, frames, cosine, longitude, seed):
        """The decision is taken on the same numbers in both directions, however close to the threshold."""
        pose = random_pose(1, seed, torch.float32)
        sine = math.sqrt(1 - cosine**2)
        limb = torch.tensor([cosine, sine * math.cos(longitude), sine * math.sin(longitude)])
        local = pose.local_vectors.clone()
        local[:, [0, 2, 5, 7, 8, 10, 11]] = limb
        joints = pose._replace(local_vectors=local).joints(frames)
        assert (inverse_kinematics(joints, frames).joints(frames) - joints).norm(dim=-1).max() < 1e-5

    @frames_of_both_kinds
    @pytest.mark.parametrize("ulps", range(-3, 4))
    def test_exact_at_the_switch_itself(self, frames, ulps):
        cosine = np.float32(FOLD_COSINE)
        for _ in range(abs(ulps)):
            cosine = np.nextafter(cosine, np.float32(math.copysign(2, ulps)))
        pose = random_pose(200, 5, torch.float32)
        local = pose.local_vectors.clone()
        local[..., 0] = float(cosine)
        local[..., 1:] *= (math.sqrt(1 - float(cosine) ** 2) / local[..., 1:].norm(dim=-1))[..., None]
        joints = pose._replace(local_vectors=local).joints(frames)
        assert (inverse_kinematics(joints, frames).joints(frames) - joints).norm(dim=-1).max() < 1e-5

    @frames_of_both_kinds
    def test_every_pose_of_the_motion_capture(self, frames, mocap):
        joints = mocap - mocap[:, :1]
        pose = inverse_kinematics(joints, frames)
        assert len(joints) == 66_484
        assert (pose.joints(frames) - joints).norm(dim=-1).max() < 1e-5
        body = canonicalize(mocap)
        assert body[:, 0].abs().max() < 1e-6
        assert body[:, joint_index("neck"), :2].abs().max() < 1e-5
        hips = body[:, joint_index("left_hip")] - body[:, joint_index("right_hip")]
        assert hips[:, 0].abs().max() < 1e-5
        assert hips[:, 1].min() > 0

    def test_gradients_are_right(self):
        joints = random_pose(2).joints()

        def rebuild(offsets):  # moves that keep the pelvis between the hips
            moved = joints + offsets
            middle = (moved[:, 1] + moved[:, 4]) / 2
            return inverse_kinematics(torch.cat((middle[:, None], moved[:, 1:]), 1), recentre=True)[:3]

        offsets = torch.zeros_like(joints).requires_grad_()
        assert torch.autograd.gradcheck(rebuild, (offsets,), atol=1e-5)


class TestConditions:
    def test_a_pelvis_off_the_hip_line_is_refused_unless_recentred(self):
        joints = random_pose(3).joints()
        rotation, _ = body_frame(joints)
        joints[1, 0] += 0.0011 * rotation[1, :, 0]
        with pytest.raises(ValueError, match=r"1 of 3 poses .* first at 1.*1\.1 mm.*recentre=True"):
            inverse_kinematics(joints)
        with pytest.raises(ValueError, match="recentre"):
            canonicalize(joints)
        pose = inverse_kinematics(joints, recentre=True)
        middle = (joints[:, 1] + joints[:, 4]) / 2
        torch.testing.assert_close(pose.joints()[:, 0], middle)
        torch.testing.assert_close(pose.joints()[:, 1:], joints[:, 1:])

    def test_a_pelvis_within_a_millimetre_costs_at_most_as_much(self):
        joints = random_pose(3).joints()
        rotation, _ = body_frame(joints)
        moved = joints.clone()
        moved[:, 0] += 0.0009 * rotation[..., 0]
        error = (inverse_kinematics(moved).joints() - moved).norm(dim=-1)
        assert error.max() < 0.003

    def test_a_pelvis_beyond_a_hip_is_refused(self):
        joints = random_pose(1).joints()
        joints[:, 0] = joints[:, 1] + 0.1 * (joints[:, 1] - joints[:, 4])
        with pytest.raises(ValueError, match="pelvis"):
            inverse_kinematics(joints)

    @pytest.mark.parametrize(
        ("joint", "onto", "message"),
        [
            ("left_ankle", "left_knee", "no length"),
            ("neck", "pelvis", "coincide"),
            ("left_hip", "right_hip", "parallel"),
        ],
    )
    def test_bones_without_length_are_refused(self, joint, onto, message):
        joints = random_pose(4).joints()
        joints[2, joint_index(joint)] = joints[2, joint_index(onto)]
        with pytest.raises(ValueError, match=rf"1 of 4 poses .* first at 2: .*{message}"):
            inverse_kinematics(joints, recentre=joint == "left_hip")

    def test_a_hip_line_along_the_trunk_is_refused(self):
        pose = random_pose(1)
        with pytest.raises(ValueError, match="parallel"):
            inverse_kinematics(pose._replace(hip_angle=torch.tensor([[0.0, 1.0]], dtype=torch.float64)).joints())

    @pytest.mark.parametrize("joint", ["pelvis", "neck", "left_hip", "nose", "right_wrist"])
    def test_joints_that_are_not_numbers_are_refused(self, joint):
        joints = random_pose(2).joints()
        joints[1, joint_index(joint), 1] = torch.nan
        with pytest.raises(ValueError, match="first at 1"):
            inverse_kinematics(joints)


class TestMirroring:
    @frames_of_both_kinds
    @given(seed=st.integers(0, 10_000))
    @settings(max_examples=40)
    def test_commutes_with_kinematics(self, frames, seed):
        """The mirrored person's limb vectors are mirrored across the body's own symmetry plane (y -> -y)."""
        joints = random_pose(8, seed, fold=0.3).joints(frames)
        mirrored = inverse_kinematics(mirror_joints(joints, axis=0), frames)
        torch.testing.assert_close(mirrored.joints(frames), mirror_joints(joints, axis=0))
        body = forward_kinematics(*inverse_kinematics(joints, frames)[:3], frames)
        torch.testing.assert_close(forward_kinematics(*mirrored[:3], frames), mirror_joints(body, axis=1))

    def test_twice_is_nothing(self):
        joints = random_pose(5).joints()
        assert torch.equal(mirror_joints(mirror_joints(joints, axis=0), axis=0), joints)


class TestGradients:
    @frames_of_both_kinds
    def test_are_right(self, frames):
        pose = random_pose(2, 3)
        arguments = tuple(part.clone().requires_grad_() for part in pose[:3])
        assert torch.autograd.gradcheck(lambda *a: forward_kinematics(*a, frames), arguments)

    @frames_of_both_kinds
    @pytest.mark.parametrize("cosine", [-1.0, FOLD_COSINE - 1e-6, FOLD_COSINE + 1e-6, -0.995, 0.995, 1.0])
    def test_are_bounded_on_both_sides_of_the_switches(self, frames, cosine):
        """All limbs at a given angle to their parents, and all along an axis of the body."""
        pose = random_pose(30, 4)
        local = pose.local_vectors.clone()
        local[..., 0] = cosine
        local[..., 1:] *= (math.sqrt(1 - cosine**2) / local[..., 1:].norm(dim=-1))[..., None]
        assert self._steepest(pose._replace(local_vectors=local), frames) < 10
        assert self._steepest(LocalPose(*(part[None] for part in standing())), frames) < 10

    @frames_of_both_kinds
    @pytest.mark.parametrize("sine", [0.0, 1e-7, CONE_SINE - 1e-6, CONE_SINE + 1e-6])
    def test_are_bounded_where_limbs_point_straight_ahead_or_back(self, frames, sine):
        """The cone in which Gram-Schmidt takes its other reference: thighs, upper arms and neck within it or beside."""
        joints = random_pose(40, 6).joints()
        joints = canonicalize(joints)
        longitude = torch.linspace(-3, 3, 40, dtype=torch.float64)
        limb = torch.stack(
            (torch.full_like(longitude, math.sqrt(1 - sine**2)), sine * longitude.cos(), sine * longitude.sin()), -1
        )
        limb[::2, 0] *= -1
        for name, child in (("knee", "ankle"), ("elbow", "wrist")):
            for side in ("left", "right"):
                middle, end = joint_index(f"{side}_{name}"), joint_index(f"{side}_{child}")
                rest = joints[:, end] - joints[:, middle]
                joints[:, middle] = joints[:, FK_PARENTS[middle]] + 0.3 * limb
                joints[:, end] = joints[:, middle] + rest
        pose = inverse_kinematics(joints, frames)
        torch.testing.assert_close(pose.joints(frames), joints)
        assert self._steepest(pose, frames) < 20

    @staticmethod
    def _steepest(pose: LocalPose, frames: str) -> float:
        """Largest Frobenius norm of d joints / d local vectors over the poses, for bones below 0.5 m."""
        local = pose.local_vectors.clone().requires_grad_()
        joints = forward_kinematics(local, pose.hip_angle, pose.bone_lengths, frames).flatten(1)
        rows = [torch.autograd.grad(joints[:, k].sum(), local, retain_graph=True)[0] for k in range(51)]
        jacobian = torch.stack(rows, 1).flatten(2)  # (B, 51, 39): samples do not mix
        assert torch.isfinite(jacobian).all()
        return float(jacobian.square().sum((1, 2)).sqrt().max())

    @frames_of_both_kinds
    def test_an_all_zero_output_of_a_network_has_finite_live_gradients(self, frames):
        raw = torch.zeros(2, 13, 3, requires_grad=True)
        hip = torch.zeros(2, 2, requires_grad=True)
        lengths = torch.full((17,), 0.3, requires_grad=True)
        joints = forward_kinematics(normalize_local_vectors(raw), hip, lengths, frames)
        assert torch.isfinite(joints).all()
        (joints * torch.randn(2, 17, 3)).sum().backward()
        for tensor in (raw, hip, lengths):
            assert torch.isfinite(tensor.grad).all()
            assert tensor.grad.abs().max() > 0
        assert raw.grad.abs().max() < 1e4

    def test_normalized_vectors_are_tanh_then_unit_length(self):
        raw = 3 * torch.randn(4, 13, 3, dtype=torch.float64)
        expected = torch.tanh(raw)
        torch.testing.assert_close(normalize_local_vectors(raw), expected / expected.norm(dim=-1, keepdim=True))

    def test_bone_lengths_have_a_zero_gradient_at_zero_length(self):
        joints = torch.zeros(17, 3, requires_grad=True)
        bone_lengths(joints).sum().backward()
        assert joints.grad.abs().max() == 0


def test_rotated_and_moved_poses_have_one_body_pose():
    pose = random_pose(30)
    body = canonicalize(pose.joints())
    moved = rotate(roma.random_rotmat(30, dtype=torch.float64), body) + torch.randn(30, 1, 3, dtype=torch.float64)
    torch.testing.assert_close(canonicalize(moved), body, atol=1e-9, rtol=0)
