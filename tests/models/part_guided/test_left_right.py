import torch

from selfsup3d.models.part_guided.left_right import assign_limbs, assignment_of
from selfsup3d.structures.skeleton import H36M_17, joint_index


def facing_the_camera() -> torch.Tensor:
    """The person's right is the image's left."""
    points = torch.full((1, 17, 2), 0.5)
    for j, name in enumerate(H36M_17.joint_names):
        points[:, j, 0] += -0.1 if name.startswith("right") else 0.1 if name.startswith("left") else 0.0
    return points


def test_somebody_who_faces_the_camera_is_not_swapped():
    assignment, apart = assignment_of(facing_the_camera())
    assert not assignment.any()
    torch.testing.assert_close(apart, torch.full((1, 2), 0.2))


def test_somebody_seen_from_behind_is_swapped():
    points = facing_the_camera()
    assert assignment_of(1 - points)[0].all()


def test_legs_and_arms_have_assignments_of_their_own():
    points = facing_the_camera()
    crossed = assign_limbs(points, torch.tensor([[True, False]]))
    assert assignment_of(crossed)[0].tolist() == [[True, False]]
    unmoved = [joint_index(n) for n in ("pelvis", "neck", "left_wrist", "right_shoulder")]
    torch.testing.assert_close(crossed[:, unmoved], points[:, unmoved])


def test_the_assignment_uses_seen_joints_only():
    points = facing_the_camera()
    seen = torch.ones(1, 17, dtype=torch.bool)
    for name in ("left_wrist", "left_elbow"):
        points[:, joint_index(name)] = torch.nan
        seen[:, joint_index(name)] = False
    assignment, apart = assignment_of(points, seen)
    assert not assignment.any()
    assert (apart > 0).all()
    assert assignment_of(1 - points, seen)[0].all()
    assert assignment_of(points, torch.zeros_like(seen))[1].eq(0).all()


def test_swapping_is_its_own_inverse_and_orders_the_limbs():
    torch.manual_seed(0)
    points = torch.rand(20, 17, 2)
    assignment, _ = assignment_of(points)
    ordered = assign_limbs(points, assignment)
    assert not assignment_of(ordered)[0].any()
    torch.testing.assert_close(assign_limbs(ordered, assignment), points)
