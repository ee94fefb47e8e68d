"""What defines each method."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from selfsup3d.config.lifters import (
    C3DPOConfig,
    DeepNRSfMConfig,
    ImageRootConfig,
    MartinezConfig,
    RepNetConfig,
    RootDepthConfig,
    StudentConfig,
    TeacherConfig,
)
from selfsup3d.data.sampling.projected_poses import ProjectedPoses
from selfsup3d.errors import InputError
from selfsup3d.geometry.rotation import random_axis_rotation, random_rotation, random_view, rotate
from selfsup3d.models.lifters.c3dpo import C3DPO, pseudo_huber
from selfsup3d.models.lifters.deep_nrsfm import DeepNRSfM, orthonormal_columns
from selfsup3d.models.lifters.ites_student import EquivariantStudent
from selfsup3d.models.lifters.ites_teacher import InvariantTeacher
from selfsup3d.models.lifters.martinez import Martinez
from selfsup3d.models.lifters.repnet import RepNet, camera_loss, reproject, view_axes
from selfsup3d.models.lifters.root_depth import ImageRoot, KeypointRoot, canonical_depth
from selfsup3d.models.lifters.temporal import TemporalConvolution
from selfsup3d.models.modules.poses import PoseScaler
from selfsup3d.structures.random import RandomStreams, uniform_noise
from tests.models.lifters.catalogue import CASES, TEACHER, capture

BY_NAME = {case.name: case for case in CASES}
MIRROR = torch.tensor([1.0, 1.0, -1.0])


# ---------------------------------------------------------------------------------------------------------- supervised


def test_martinez_has_the_papers_sizes():
    system = Martinez(MartinezConfig())
    assert system.network.enter[0].weight.shape == (1024, 32)
    assert system.network.leave.weight.shape == (48, 1024)
    assert sum(p.numel() for p in system.parameters()) == pytest.approx(4.29e6, rel=0.01)


def test_pose_scaler_standardises_and_comes_back():
    joints = torch.randn(50, 17, 3) * 3 + 1
    scaler = PoseScaler()
    scaler.fit(joints)
    values = scaler(joints)
    torch.testing.assert_close(values.mean(0), torch.zeros(48), atol=1e-5, rtol=0)
    torch.testing.assert_close(values.std(0), torch.ones(48), atol=1e-4, rtol=0)
    torch.testing.assert_close(scaler.inverse(values), joints - joints[:, :1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("widths", [(3,), (3, 3), (3, 5, 3)])
def test_strided_and_dilated_convolutions_are_the_same_function(widths):
    torch.manual_seed(0)
    network = TemporalConvolution(4, 6, widths, channels=8).eval()
    x = torch.randn(2, 4, network.frames + 5)
    everywhere = network(x)
    assert everywhere.shape == (2, 6, 6)
    for start in range(6):
        window = x[..., start : start + network.frames]
        torch.testing.assert_close(network(window)[..., 0], everywhere[..., start], atol=1e-5, rtol=1e-4)


def test_temporal_sees_its_whole_window_and_holds_short_sequences_at_their_ends():
    case = BY_NAME["temporal"]
    system = case.fitted().eval()
    batch = case.batch()
    moved = replace(batch, joints_2d=batch.joints_2d.clone())
    moved.joints_2d[:, 0] += 30.0
    assert not torch.allclose(system.predict(batch).pose, system.predict(moved).pose)
    single = replace(batch, joints_2d=batch.joints_2d[:, 4], confidence=batch.confidence[:, 4])
    held = replace(batch, joints_2d=batch.joints_2d[:, 4:5].expand(-1, 9, -1, -1), confidence=None)
    torch.testing.assert_close(system.predict(single).pose, system.predict(held).pose)


def test_temporal_flip_test_makes_the_prediction_symmetric():
    case = BY_NAME["temporal"]
    system = case.fitted().eval()
    from selfsup3d.geometry.kinematics import mirror_joints

    batch = case.batch()
    width = 2 * batch.K[:, 0, 2].mean()
    flipped = mirror_joints(batch.joints_2d, axis=0) + torch.tensor([width, 0.0])
    mirrored = system.predict(replace(batch, joints_2d=flipped)).pose[:, 0]
    torch.testing.assert_close(mirror_joints(mirrored, axis=0), system.predict(batch).pose[:, 0], atol=1e-4, rtol=1e-3)


def test_semi_supervised_samples_train_without_labels():
    case = BY_NAME["temporal semi-supervised"]
    system = case.fitted().train()
    batch = replace(case.batch(), joints_3d=torch.full((16, 17, 3), float("nan")))
    terms = system(batch, "lifter", 0.0)
    assert terms["mpjpe"] == 0
    assert terms["root"] == 0
    assert terms["reprojection"] > 0
    assert system.predict(case.batch()).root.shape == (16, 1, 3)


def test_canonical_depth_does_not_change_with_the_focal_length():
    batch = BY_NAME["root_depth"].batch()
    wide = replace(batch, K=batch.K * torch.tensor([2.0, 2.0, 1.0])[:, None])
    torch.testing.assert_close(canonical_depth(wide) * 2, canonical_depth(batch))


def test_root_depth_learns_where_people_are():
    torch.manual_seed(0)
    system = KeypointRoot(RootDepthConfig(width=64, blocks=1, dropout=0.0))
    source = ProjectedPoses(capture(), name="procedural")
    system.fit(source.batch(RandomStreams(1, s, np.arange(64))) for s in range(4))
    optimizer = torch.optim.Adam(system.parameters(), lr=3e-3)
    for step in range(120):
        optimizer.zero_grad()
        sum(system.train()(source.batch(RandomStreams(0, step, np.arange(64))), "lifter", 0.0).values()).backward()
        optimizer.step()
    batch = source.frames(np.arange(100))
    root = system.eval().predict(batch).root[:, 0]
    error = (root - batch.joints_3d[:, 0]).norm(dim=-1).mean()
    guess = (batch.joints_3d[:, 0] - batch.joints_3d[:, 0].mean(0)).norm(dim=-1).mean()
    assert error < 0.6 * guess


def test_image_root_turns_gamma_into_depth():
    torch.manual_seed(0)
    system = ImageRoot(ImageRootConfig(backbone="resnet10t")).eval()
    K = torch.tensor([[[100.0, 0, 32], [0, 100.0, 32], [0, 0, 1]]]).expand(2, 3, 3)
    _, root, k = system.estimate(torch.rand(2, 3, 64, 64), K)
    torch.testing.assert_close(k, torch.full((2,), 100.0 * 2.0 / 64))
    torch.testing.assert_close(root[:, 2], k)  # gamma starts at 1, in the middle of the crop
    torch.testing.assert_close(root[:, :2], torch.zeros(2, 2), atol=1e-5, rtol=0)


# ------------------------------------------------------------------------------------------------------------- RepNet


def test_orthonormal_cameras_cost_nothing_whatever_their_scale():
    rotation = random_rotation(torch.rand(5, 3))
    for scale in (0.1, 1.0, 30.0):
        torch.testing.assert_close(camera_loss(scale * rotation[:, :2]), torch.zeros(5), atol=1e-4, rtol=0)
    skewed = rotation[:, :2] * torch.tensor([1.0, 2.0])[:, None]
    assert (camera_loss(skewed) > 0.5).all()


def test_camera_axes_are_those_of_the_reprojection():
    rotation, joints = random_rotation(torch.rand(5, 3)), torch.randn(5, 17, 3)
    camera = 0.7 * rotation[:, :2]
    torch.testing.assert_close(view_axes(camera), rotation, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(reproject(camera, joints), 0.7 * rotate(rotation, joints)[..., :2], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["repnet", "repnet body"])
def test_repnet_s_unit_is_that_of_the_poses_its_critic_sees(name):
    case = BY_NAME[name]
    system, batch = case.fitted(), case.batch()
    real = system._real(batch) * system.pose_scale
    torch.testing.assert_close(real.norm(dim=-1), batch.unpaired.norm(dim=-1), atol=1e-5, rtol=1e-4)
    assert system.unit == "m"


def test_critic_updates_come_before_the_lifter_s():
    assert [update.name for update in RepNet(RepNetConfig(width=20, critic_updates=2)).updates(0, 0.0)] == [
        "critic/0",
        "critic/1",
        "lifter",
    ]


# ------------------------------------------------------------------------------------------------------ adversarial


def test_a_resting_player_has_no_gradient():
    case = BY_NAME["adversarial_depth"]
    system = case.fitted().train()
    with torch.no_grad():
        system.critic.network.leave.bias.fill_(0.0)
    system.settings = system.settings.model_copy(
        update={"accuracy_range": (0.0, -1.0)}
    )  # every accuracy is too high: the critic rests
    terms = system(case.batch(), "critic", 0.0)
    assert terms["adversarial"] == 0
    terms["adversarial"].backward()
    assert all(p.grad is None or not p.grad.any() for p in system.parameters())
    system.settings = system.settings.model_copy(update={"accuracy_range": (2.0, 1.0)})  # too low: the lifter rests
    assert system(case.batch(), "lifter", 0.0)["adversarial"] == 0


@pytest.mark.parametrize("name", ["geometric", "elepose", "ites_student"])
def test_back_projected_poses_reproject_exactly(name):
    case = BY_NAME[name]
    system = case.fitted().eval()
    observed = system.observe(case.batch())
    for pose in (system.lift(observed), system.lifted(observed.values)):
        torch.testing.assert_close(system.project(pose), observed.values, atol=1e-6, rtol=1e-5)


def test_geometric_unit_is_the_head():
    assert BY_NAME["geometric"].build().unit == "head=1"


def test_the_temporal_critic_needs_sequences():
    case = BY_NAME["geometric temporal and adapter"]
    system = case.fitted()
    single = replace(case.batch(), joints_2d=case.batch().joints_2d[:, 1], confidence=None)
    with pytest.raises(InputError, match=r"data\.frames"):
        system(single, "critic", 0.0)


def test_the_adapter_starts_as_the_identity_and_learns_the_other_convention():
    case = BY_NAME["geometric temporal and adapter"]
    system = case.fitted(size=64).train()
    batch = case.batch(size=64)
    other = system._source(batch)
    torch.testing.assert_close(system._adapted(other), other)
    terms = system(batch, "lifter", 0.0)
    assert {"adapt", "adapt_size", "adversarial_adapted", "temporal"} <= set(terms)
    assert {"domain", "motion", "adapted_views"} <= set(system(batch, "critic", 0.0))


# --------------------------------------------------------------------------------------------------------------- ITES


def test_the_teacher_learns_one_canonical_pose_from_all_sides():
    """Trained for invariance on a few poses, the canonical pose moves less with the view than between people."""
    torch.manual_seed(0)
    system = InvariantTeacher(TeacherConfig(width=64, bottleneck=32, blocks=1, atoms=4))
    source = ProjectedPoses(capture(), name="procedural")
    system.fit(source.batch(RandomStreams(1, s, np.arange(64))) for s in range(4))
    batch = source.batch(RandomStreams(0, 0, np.arange(64)))
    points = system.observe(batch).values

    def drift():
        with torch.no_grad():
            pose = system.lifted(points)
            rotations = random_rotation(torch.rand(64, 3, generator=torch.Generator().manual_seed(1)))
            first, _ = system.estimate(points)
            again, _ = system.estimate(system.project(rotate(rotations, pose)))
        spread = (first - first.mean(0)).norm(dim=-1).mean()
        return ((again - first).norm(dim=-1).mean() / spread).item()

    optimizer = torch.optim.Adam(system.parameters(), lr=3e-3)
    before = drift()
    for _ in range(200):
        optimizer.zero_grad()
        sum(system(batch, "lifter", 0.0).values()).backward()
        optimizer.step()
    assert drift() < 0.7 * before


@pytest.mark.parametrize(("drift", "term"), [(0.0, 0.0), (0.1, 0.5)])
def test_the_invariance_term_is_how_far_the_canonical_pose_follows_the_view(drift, term, monkeypatch):
    weights = {"reprojection": 0.0, "invariance": 1.0}
    system, batch = replace(TEACHER, system=TEACHER.system | {"weights": weights}).fitted().eval(), TEACHER.batch()
    canonical, update = torch.randn(16, 17, 3), random_rotation(torch.rand(16, 3))
    asked = []

    def estimate(points):  # of the batch first, then of each sample's views
        asked.append(len(points))
        away = drift * torch.tensor([0.0, 3.0, 4.0]) * (len(asked) > 1)
        views = len(points) // 16
        return canonical.repeat_interleave(views, 0) + away, update.repeat_interleave(views, 0)

    monkeypatch.setattr(system, "estimate", estimate)
    assert system(batch, "lifter", 0.0)["invariance"].item() == pytest.approx(term, abs=1e-5)
    assert asked == [16, 16 * system.settings.views]


@pytest.mark.parametrize("name", ["ites_teacher", "c3dpo"])
def test_rotations_of_shape_bases_are_rotations(name):
    system, batch = BY_NAME[name].fitted().eval(), BY_NAME[name].batch()
    observed = system.observe(batch)
    seen = (observed.values,) if name == "ites_teacher" else (observed.values, observed.visible)
    _, rotation = system.estimate(*seen)
    assert rotation.std(0).max() > 1e-4, "one camera for all"
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3).expand(16, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(16), atol=1e-5, rtol=0)


@pytest.mark.parametrize("atoms", [4, 12, 32])
def test_the_dictionary_has_k_atoms_and_a_mean(atoms):
    system = InvariantTeacher(TeacherConfig(width=16, bottleneck=8, blocks=1, atoms=atoms))
    assert system.basis.atoms.shape == (atoms, 17, 3)
    assert system.network.leave.out_features == atoms + 3


def test_the_teacher_s_switches_change_its_terms():
    def terms(**weights):
        case = replace(TEACHER, system=TEACHER.system | {"weights": weights})
        return set(case.fitted()(case.batch(), "lifter", 0.0))

    assert terms() == {"reprojection", "invariance"}
    assert terms(invariance=0.0) == {"reprojection"}
    assert terms(cycle=1.0) == {"reprojection", "invariance", "cycle"}


def test_view_rotations_of_the_teacher_tilt_people_by_at_most_20_degrees():
    seeds = TEACHER.batch(size=512).seeds
    up = torch.tensor([0.0, 1.0, 0.0])
    tilt = {}
    for kind in ("sphere", "views"):
        rotated = (
            InvariantTeacher(TeacherConfig(width=16, bottleneck=8, blocks=1, view_rotations=kind)).random_rotations(
                seeds
            )
            @ up
        )
        tilt[kind] = torch.rad2deg(torch.acos(rotated[..., 1].clamp(-1, 1)))
    assert tilt["views"].max() < 20.1
    assert tilt["sphere"].max() > 150


@pytest.mark.parametrize("method", ["teacher", "c3dpo"])
@pytest.mark.parametrize(("rotation", "outputs"), [("so3", 3), ("6d", 6)])
def test_rotations_start_at_the_identity(method, rotation, outputs):
    sizes = {"width": 16, "bottleneck": 8, "blocks": 1, "rotation": rotation}
    system = (
        InvariantTeacher(TeacherConfig(atoms=4, **sizes))
        if method == "teacher"
        else C3DPO(C3DPOConfig(bases=4, **sizes))
    )
    assert system.network.leave.out_features == 4 + outputs
    torch.nn.init.zeros_(system.network.leave.weight)
    torch.nn.init.zeros_(system.network.leave.bias)
    points = torch.randn(8, 17, 2)
    _, found = system.estimate(points) if method == "teacher" else system.estimate(points, torch.ones(8, 17))
    torch.testing.assert_close(found, torch.eye(3).expand(8, 3, 3))


def test_compactness_is_the_distance_of_joints_from_the_mean_pose(monkeypatch):
    case = replace(TEACHER, system=TEACHER.system | {"weights": {"invariance": 0.0, "compactness": 2.0}})
    system, batch = case.fitted(), case.batch()
    mean = system.basis.mean - system.basis.mean[:1]
    away = torch.tensor([0.3, 0.0, 0.4])
    monkeypatch.setattr(
        system, "estimate", lambda points: ((mean + away).expand(16, 17, 3), torch.eye(3).expand(16, 3, 3))
    )
    assert system(batch, "lifter", 0.0)["compactness"].item() == pytest.approx(1.0)


def test_the_student_learns_depths_from_its_teacher_which_stays_as_it_is():
    case = BY_NAME["ites_student"]
    system, batch = case.fitted().train(), case.batch()
    teacher = system.teacher
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    assert not any("teacher" in name for name in system.state_dict())
    optimizer = torch.optim.Adam(system.parameters(), lr=1e-2)
    errors = []
    for _ in range(30):
        optimizer.zero_grad()
        terms = system(batch, "lifter", 0.0)
        sum(terms.values()).backward()
        optimizer.step()
        errors.append(terms["distillation"].item())
    assert errors[-1] < 0.7 * errors[0]
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert not teacher.training


def test_a_student_without_a_teacher_says_what_to_do():
    case = BY_NAME["ites_student"]
    with pytest.raises(InputError, match=r"ites_teacher\.yaml"):
        case.build()(case.batch(), "lifter", 0.0)
    alone = replace(case, system=case.system | {"weights": {"distillation": 0.0}})
    assert set(alone.fitted()(case.batch(), "lifter", 0.0)) == {"equivariance"}
    with pytest.raises(InputError, match="distance"):
        EquivariantStudent(StudentConfig(distance=7.0, channels=8, blocks=1)).learn_from(TEACHER.fitted())


@pytest.mark.parametrize(("sign", "zero"), [(1.0, True), (-1.0, False)])
def test_equivariance_is_zero_for_a_student_that_rotates_with_the_pose(sign, zero, monkeypatch):
    """A student that knows the true depths of every view it is shown, and one that has them mirrored there."""
    case = BY_NAME["ites_student"]
    alone = replace(case, system=case.system | {"weights": {"equivariance": 1.0, "distillation": 0.0}})
    system, batch = alone.fitted(), case.batch()
    depth = torch.randn(16, 17) * 0.2
    depth[:, 0] = 0
    pose = system.placed(system.observe(batch).values, depth)
    rotations = random_axis_rotation(uniform_noise(batch.seeds, (system.settings.views,)), "y", 0.0, 2 * torch.pi)
    shown = rotate(rotations, pose[:, None])  # (16, views, 17, 3): the views that the loss makes of it
    depths = [depth, sign * shown[..., 2].flatten(0, 1)]
    monkeypatch.setattr(system, "offsets", lambda points: depths.pop(0))
    equivariance = system(batch, "lifter", 0.0)["equivariance"]
    assert (equivariance < 1e-4) == zero
    assert not depths


# --------------------------------------------------------------------------------------------------------------- NRSfM


def test_pseudo_huber_is_quadratic_near_and_linear_far():
    near, far = torch.tensor(1e-6), torch.tensor(100.0)
    assert pseudo_huber(near).item() == pytest.approx(1e-6 / 0.02, rel=1e-2)
    assert pseudo_huber(far).item() == pytest.approx(10.0 - 0.01, rel=1e-4)


def test_c3dpo_tells_hidden_keypoints_from_those_at_the_root():
    torch.manual_seed(0)
    system = C3DPO(C3DPOConfig(width=16, bottleneck=8, blocks=1)).eval()
    points, visible = torch.zeros(2, 17, 2), torch.ones(2, 17)
    visible[1, 5] = 0
    canonical, _ = system.estimate(points, visible)
    assert not torch.allclose(canonical[0], canonical[1])


def test_c3dpo_augmentation_rotates_input_and_target_alike():
    """The re-projection term of an untrained network is not zero, and augmentation changes what is asked of it."""
    case = BY_NAME["c3dpo"]
    with_, without = case.fitted().eval(), case.fitted().eval()
    without.settings = without.settings.model_copy(update={"augment": False})
    batch = case.batch()
    assert with_(batch, "lifter", 0.0)["reprojection"] != without(batch, "lifter", 0.0)["reprojection"]


@pytest.mark.parametrize("augment", [False, True])
def test_c3dpo_sees_people_rotated_about_their_vertical_axis(augment, monkeypatch):
    """What asks for one canonical pose and a way back is zero for an estimator that has them, whichever way up the
    image is, and not for one that bends people instead of turning them."""
    weights = {"facing": 0.0, "invariance": 1.0, "cycle": 1.0}
    case = replace(BY_NAME["c3dpo"], system=BY_NAME["c3dpo"].system | {"augment": augment, "weights": weights})
    system, batch = case.fitted(), case.batch()
    assert set(system(batch, "lifter", 0.0)) == {"reprojection", "canonicalisation", "invariance", "cycle"}
    asked, person = [], torch.randn(17, 3) * 0.3
    person[0] = 0

    def estimate(points, visible):  # the rotation that makes the person the image, by least squares
        asked.append(points)
        up = torch.linalg.lstsq(person.expand(len(points), 17, 3), points).solution.mT  # (N, 2, 3)
        return person.expand(len(points), 17, 3), torch.cat((up, torch.linalg.cross(up[:, :1], up[:, 1:])), 1)

    first = random_view(torch.rand(16, 2))
    truth = rotate(first, person.expand(16, 17, 3))
    observed = replace(system.observe(batch), values=truth[..., :2])
    monkeypatch.setattr(system, "observe", lambda batch: observed)
    monkeypatch.setattr(system, "estimate", estimate)
    terms = system(batch, "lifter", 0.0)
    assert max(terms[name] for name in ("reprojection", "invariance", "cycle")) < 1e-4
    image, view = asked
    assert not torch.allclose(view, image, atol=0.1)
    down = (first.mT @ torch.tensor([0.0, 1.0, 0.0]))[..., None]
    before, after = (estimate(points, None)[1][:, :2] @ down for points in (image, view))
    assert (F.cosine_similarity(before, after, dim=1) > 0.9).all()  # as upright as before
    monkeypatch.setattr(
        system, "estimate", lambda points, visible: (F.pad(points, (0, 1)), torch.eye(3).expand(16, 3, 3))
    )
    terms = system(batch, "lifter", 0.0)
    assert terms["reprojection"] < 1e-4
    assert terms["invariance"] > 0.05
    assert terms["cycle"] > 0.05


def test_orthonormal_columns_are_those_of_the_svd():
    torch.manual_seed(0)
    matrix = torch.randn(20, 3, 2)
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    found = orthonormal_columns(matrix)
    torch.testing.assert_close(found, u @ vh, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(found.mT @ found, torch.eye(2).expand(20, 2, 2), atol=1e-4, rtol=0)


def test_orthonormal_columns_have_finite_gradients_everywhere():
    for matrix in (torch.zeros(3, 2), torch.ones(3, 2), torch.eye(3)[:, :2], 1e-6 * torch.eye(3)[:, :2]):
        matrix = matrix.clone().requires_grad_(True)
        orthonormal_columns(matrix).sum().backward()
        assert torch.isfinite(matrix.grad).all()


def test_dictionaries_of_encoder_and_decoder_are_tied():
    system = DeepNRSfM(DeepNRSfMConfig(sizes=(20, 12, 6)))
    system.zero_grad()
    shape, camera = system.estimate(torch.randn(4, 17, 2))
    torch.testing.assert_close(camera.mT @ camera, torch.eye(2).expand(4, 2, 2), atol=1e-3, rtol=0)
    assert not shape[:, 0].any()
    assert len(list(system.dictionaries)) == 2  # no second set for the decoder


def test_rotating_the_image_rotates_the_camera():
    torch.manual_seed(0)
    system = DeepNRSfM(DeepNRSfMConfig(sizes=(20, 12, 6)))
    update = random_axis_rotation(torch.tensor([0.2]), "z")[:, :2, :2]
    points = torch.randn(4, 17, 2)
    _, camera = system.estimate(points)
    _, rotated = system.estimate(points @ update)
    torch.testing.assert_close(rotated, camera @ update, atol=1e-4, rtol=1e-3)
    assert camera.std(0).mean() > 0.1, "another pose, another camera: it must not start frozen"


def test_block_thresholds_leave_the_camera_in_the_blocks():
    """Turning the image rotations every block of a block-sparse code, and nothing else."""
    torch.manual_seed(0)
    system = DeepNRSfM(DeepNRSfMConfig(sizes=(20, 12, 6), threshold="block"))
    update = random_axis_rotation(torch.tensor([0.2]), "z")[:, :2, :2]
    blocks = torch.randn(1, 20, 3, 2)
    thresholds = torch.rand(20)
    torch.testing.assert_close(system._shrunk(blocks @ update, thresholds), system._shrunk(blocks, thresholds) @ update)


# -------------------------------------------------------------------------------------------------------------- others


def test_elepose_trains_its_flow_first_and_freezes_it():
    system = BY_NAME["elepose"].build()
    assert [t.name for t in system.updates(0, 0.0)] == ["flow"]
    assert [t.name for t in system.updates(0, 0.3)] == ["lifter"]
    groups = {name: {id(p) for p in parameters} for name, parameters in system.parameter_groups().items()}
    assert not groups["flow"] & groups["lifter"]


def test_elepose_levels_the_camera_by_the_angle_it_finds():
    case = BY_NAME["elepose"]
    system = case.fitted()
    system.elevation.copy_(torch.tensor([0.0, 0.0]))  # no spread: views are level
    angle = torch.full((16,), 0.3)
    tilted_up = torch.tensor([0.0, -torch.tensor(0.3).cos(), -torch.tensor(0.3).sin()])  # an upright body as it is seen
    rotated = rotate(system._rotations(angle, case.batch().seeds), tilted_up.expand(16, 1, 3))[:, 0]
    torch.testing.assert_close(rotated, torch.tensor([0.0, -1.0, 0.0]).expand(16, 3), atol=1e-5, rtol=0)


def test_a_model_that_turned_out_mirrored_predicts_the_mirror_image():
    for name in ("geometric", "ites_teacher", "c3dpo", "deep_nrsfm", "elepose", "ites_student"):
        system = BY_NAME[name].fitted().eval()
        batch = BY_NAME[name].batch()
        system.handedness.score.fill_(1.0)
        plain = system.predict(batch).pose
        system.handedness.score.fill_(-1.0)
        mirrored = system.predict(batch).pose
        torch.testing.assert_close(mirrored[..., 2], -plain[..., 2], atol=1e-5, rtol=1e-4)
