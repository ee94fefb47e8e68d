import pytest
import torch

from selfsup3d.errors import InputError
from selfsup3d.geometry.camera import mirror_camera
from selfsup3d.geometry.kinematics import mirror_joints
from selfsup3d.models.part_guided.pseudo_labels import flip_averaged_joints


@pytest.fixture
def teacher(make_system, batch):
    system = make_system().eval()
    system.fit([batch])
    return system


def test_a_mirrored_image_gives_the_mirrored_pose(teacher, batch):
    still = torch.eye(3).expand(4, 3, 3)
    mirrored = mirror_camera(still, torch.zeros(4, 3), batch.K, batch.target.shape[-1])[2]
    plain, other = (
        flip_averaged_joints(teacher, batch.target, batch.K),
        flip_averaged_joints(teacher, batch.target.flip(-1), mirrored),
    )
    torch.testing.assert_close(other, mirror_joints(plain, axis=0), atol=1e-5, rtol=1e-5)
    once = teacher.pose(teacher.encode(batch.target, batch.K)).joints
    assert (plain - once).norm(dim=-1).max() > 1e-3  # one look is not enough for that


def test_poses_are_averaged_within_the_assignment_that_both_logits_ask_for(teacher, batch):
    torch.manual_seed(2)
    images, K = torch.rand(16, 3, 32, 32), batch.K[:1].expand(16, 3, 3)
    both = torch.cat([images, images.flip(-1)]), torch.cat([K, K])  # the pinhole lies in the middle
    with torch.no_grad():  # an untrained network is of one mind: move it to where it is undecided
        teacher.encoder.left_right.leave[-1].bias -= teacher.encode(*both).assignment_logits.median(0).values
        logits = teacher.encode(*both).assignment_logits
        asked = (logits[:16] + logits[16:]) > 0
        poses = teacher.pose(teacher.encoder(*both, assignment=torch.cat([asked, asked]))).joints
    assert 0 < ((logits[:16] > 0) == (logits[16:] > 0)).all(1).sum() < 16
    expected = (poses[:16] + mirror_joints(poses[16:], axis=0)) / 2
    torch.testing.assert_close(flip_averaged_joints(teacher, images, K), expected, atol=1e-5, rtol=1e-4)


def test_the_teacher_is_no_part_of_the_system(make_system, batch):
    system = make_system(supervision="teacher")
    system.fit([batch])
    before = {name: value.clone() for name, value in system.teacher.state_dict().items()}
    assert not any("teacher" in name for name in system.state_dict())
    own = {id(parameter) for parameter in system.parameters()}
    assert not own & {id(parameter) for parameter in system.teacher.parameters()}
    terms = system(batch, "pretrain", 0.0)
    assert {"known_pose/pseudo_labels_posed", "known_pose/posed"} <= set(terms)
    torch.stack(list(terms.values())).sum().backward()
    assert all(parameter.grad is None for parameter in system.teacher.parameters())
    assert all(torch.equal(before[name], value) for name, value in system.teacher.state_dict().items())
    assert next(system.double().teacher.parameters()).dtype == torch.float64  # it moves along


def test_no_label_reaches_a_self_trained_system(make_system, batch):
    system = make_system(supervision="teacher")
    system.fit([batch])
    first = system(batch, "pretrain", 0.0)
    second = system(type(batch)(**{**vars(batch), "joints_3d": None, "joints_2d": None}), "pretrain", 0.0)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_missing_teacher_raises(make_system, batch):
    system = make_system(supervision="teacher")
    system._teachers = ()
    with pytest.raises(InputError, match=r"--system\.teacher"):
        system(batch, "pretrain", 0.0)


def test_stored_pseudo_labels_need_no_teacher_and_dropped_frames_teach_nothing(make_system, batch):
    system = make_system(supervision="teacher")
    system._teachers = ()
    system.fit([batch])
    stored = type(batch)(**{**vars(batch), "pseudo_joints_3d": batch.joints_3d, "pseudo_weight": torch.zeros(4)})
    terms = system(stored, "pretrain", 0.0)
    assert all(value == 0 for name, value in terms.items() if "pseudo_labels" in name)
    weighted = type(batch)(**{**vars(stored), "pseudo_weight": torch.ones(4)})
    terms = system(weighted, "pretrain", 0.0)
    assert all(value > 0 for name, value in terms.items() if "pseudo_labels" in name)
