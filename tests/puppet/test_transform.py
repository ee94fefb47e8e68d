import pytest
import torch

from selfsup3d.geometry.camera import default_intrinsics, project
from selfsup3d.puppet import transform as module
from selfsup3d.puppet.coverage import polygon_coverage_plain
from selfsup3d.puppet.transform import NEAR, limb_transform, part_geometry, part_maps
from selfsup3d.structures.skeleton import H36M_17, joint_index

PATHS = ("analytic", "sampled")


def _apply(matrix: torch.Tensor, point: torch.Tensor) -> torch.Tensor:
    return matrix[..., :2] @ point + matrix[..., 2]


@pytest.mark.parametrize("turn", range(8))
def test_limb_transform_sends_joints_to_the_canonical_ends(turn):
    angle = torch.tensor(turn * torch.pi / 4 + 0.1, dtype=torch.float64)
    direction = torch.stack((angle.cos(), angle.sin()))
    middle, width = torch.tensor([31.0, 17.0], dtype=torch.float64), torch.tensor(6.0, dtype=torch.float64)
    for length, end in ((20.0, 0.5), (6.0, 0.5), (3.0, 3.0 / (2 * 6.0)), (0.001, 0.001 / 12.0)):
        q1, q2 = middle - direction * length / 2, middle + direction * length / 2
        matrix, share = limb_transform(q1, q2, width)
        expected = torch.tensor([end, 0.0], dtype=torch.float64)
        torch.testing.assert_close(_apply(matrix, q1), -expected, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(_apply(matrix, q2), expected, rtol=1e-9, atol=1e-9)
        # +90 degrees on the screen (y down: right to down) from the limb is +u_y, half a width is 1/2
        side = torch.stack((-direction[1], direction[0])) * width / 2
        torch.testing.assert_close(_apply(matrix, middle + side)[1], torch.tensor(0.5, dtype=torch.float64))
        assert share.item() == pytest.approx(min(length / 6.0, 1.0))


def test_geometry_measures_the_projected_limbs(puppet, scene):
    joints, K = scene(3, 128, dtype=torch.float64)
    geometry = part_geometry(joints, K, puppet)
    px = project(joints, K)
    arm = puppet["right_upper_arm"].id
    shoulder, elbow = joint_index("right_shoulder"), joint_index("right_elbow")
    torch.testing.assert_close(geometry.q1[:, arm], px[:, shoulder])
    torch.testing.assert_close(geometry.q2[:, arm], px[:, elbow])
    torch.testing.assert_close(geometry.depth2[:, arm], joints[:, elbow, 2])
    torso = (joints[:, joint_index("neck")] - joints[:, joint_index("pelvis")]).norm(dim=-1)
    depth = (joints[:, shoulder, 2] + joints[:, elbow, 2]) / 2
    expected = puppet.parts[arm].width * torso * K[:, 0, 0] / depth
    torch.testing.assert_close(geometry.width[:, arm], expected)


def test_torso_is_as_wide_as_shoulders_and_hips_but_keeps_depth_in_side_view(puppet, scene):
    joints, K = scene(1, 128, dtype=torch.float64)
    torso = puppet["torso"].id
    pairs = [joint_index(f"{side}_{joint}") for joint in ("shoulder", "hip") for side in ("left", "right")]
    px = project(joints, K)[0, pairs]
    wide = ((px[0] - px[1]).norm() + (px[2] - px[3]).norm()) / 2
    geometry = part_geometry(joints, K, puppet)
    table = puppet.widths[torso] / puppet.widths[0]
    least = 0.45 * table * geometry.width[0, 0] * geometry_depth_ratio(geometry, torso)
    torch.testing.assert_close(geometry.width[0, torso], torch.maximum(wide, least))
    side = joints.clone()
    side[:, pairs[1]], side[:, pairs[3]] = side[:, pairs[0]], side[:, pairs[2]]  # left and right in one place
    geometry = part_geometry(side, K, puppet)
    least = 0.45 * table * geometry.width[0, 0] * geometry_depth_ratio(geometry, torso)
    torch.testing.assert_close(geometry.width[0, torso], least)


def geometry_depth_ratio(geometry, part):
    depth = geometry.depth1 + geometry.depth2
    return depth[0, 0] / depth[0, part]


def test_fixed_width_does_not_depend_on_depth(puppet, scene):
    joints, K = scene(2, 128)
    arm = puppet["left_forearm"].id
    near = part_geometry(joints, K, puppet, width="fixed", image_height=128)
    far = part_geometry(joints + torch.tensor([0.0, 0.0, 2.0]), K, puppet, width="fixed", image_height=128)
    assert torch.equal(near.width[:, arm], far.width[:, arm])
    assert near.width[0, arm].item() == pytest.approx(puppet.fixed_torso * 128 * puppet.widths[arm])
    with pytest.raises(ValueError, match="image_height"):
        part_geometry(joints, K, puppet, width="fixed")


@pytest.mark.parametrize("size", [(64, 64), (96, 128), (37, 53)])
def test_both_paths_agree(puppet, scene, size):
    joints, _ = scene(6, 64, seed=4)
    K = default_intrinsics(min(size)).repeat(6, 1, 1)
    K[:, 0, 2], K[:, 1, 2] = size[1] / 2, size[0] / 2
    geometry = part_geometry(joints, K, puppet)
    analytic, sampled = (part_maps(geometry, size, puppet, path=path) for path in PATHS)
    assert analytic.shape == sampled.shape == (6, 10, *size)
    assert (analytic - sampled).abs().mean() < 0.004
    both, any_ = ((analytic > 0.5) & (sampled > 0.5)).sum(), ((analytic > 0.5) | (sampled > 0.5)).sum()
    assert both / any_ > 0.96
    drawn = analytic.sum((-1, -2)) > 100
    assert ((analytic.sum((-1, -2)) / sampled.sum((-1, -2)))[drawn] - 1).abs().max() < 0.06


def test_analytic_maps_equal_plain_autograd_with_gradients(puppet, scene, monkeypatch):
    joints, K = scene(4, 64, seed=1, dtype=torch.float64)
    joints[0, joint_index("left_wrist")] = joints[0, joint_index("left_elbow")] + torch.tensor([0.01, 0.0, 0.3])
    weight = torch.randn(4, 10, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    results = []
    for plain in (False, True):
        if plain:
            monkeypatch.setattr(module, "polygon_coverage", polygon_coverage_plain)
        variable, intrinsics = joints.clone().requires_grad_(), K.clone().requires_grad_()
        geometry = part_geometry(variable, intrinsics, puppet)
        assert (geometry.share < 1).any()
        maps = part_maps(geometry, (64, 64), puppet)
        results.append((maps.detach(), *torch.autograd.grad((maps * weight).sum(), (variable, intrinsics))))
    for fast, slow in zip(*results, strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("path", PATHS)
def test_mirroring_commutes(puppet, scene, path):
    joints, K = scene(3, 64, seed=2, dtype=torch.float64)
    mirrored = joints[:, H36M_17.flip_order] * torch.tensor([-1.0, 1.0, 1.0])
    maps = part_maps(part_geometry(joints, K, puppet), (64, 64), puppet, path=path)
    other = part_maps(part_geometry(mirrored, K, puppet), (64, 64), puppet, path=path)
    torch.testing.assert_close(other, maps.flip(-1)[:, list(puppet.flip_order)], rtol=0, atol=1e-5)


@pytest.mark.parametrize("path", PATHS)
def test_moving_the_camera_one_pixel_moves_the_maps_one_pixel(puppet, scene, path):
    joints, K = scene(2, 64, seed=3, dtype=torch.float64)
    moved = K.clone()
    moved[:, 0, 2] += 1.0
    maps = part_maps(part_geometry(joints, K, puppet), (64, 64), puppet, path=path)
    other = part_maps(part_geometry(joints, moved, puppet), (64, 64), puppet, path=path)
    torch.testing.assert_close(other[..., 1:], maps[..., :-1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("path", PATHS)
def test_double_resolution_covers_the_same_shape(puppet, scene, path):
    joints, K = scene(2, 64, seed=3)
    double = K * torch.tensor([2.0, 2.0, 1.0])[:, None]
    small = part_maps(part_geometry(joints, K, puppet), (64, 64), puppet, path=path)
    large = part_maps(part_geometry(joints, double, puppet), (128, 128), puppet, path=path)
    assert (torch.nn.functional.avg_pool2d(large, 2) - small).abs().mean() < 0.003


@pytest.mark.parametrize("path", PATHS)
def test_continuous_with_bounded_gradients_where_joints_coincide(puppet, scene, path):
    base, K = scene(1, 64, dtype=torch.float64)
    elbow, wrist, forearm = joint_index("left_elbow"), joint_index("left_wrist"), puppet["left_forearm"].id
    base[:, wrist] = base[:, elbow]

    def draw(offset):  # the wrist moves by `offset` px on the screen, from exactly above the elbow
        joints = base.clone()
        metres = offset * base[0, elbow, 2] / K[0, 0, 0]
        joints[0, wrist, :2] = joints[0, wrist, :2] + metres
        return part_maps(part_geometry(joints, K, puppet), (64, 64), puppet, path=path)[0, forearm]

    here = draw(torch.zeros(2, dtype=torch.float64))
    assert here.sum() > 5
    angles = torch.arange(8, dtype=torch.float64) * torch.pi / 4 + 0.2
    for angle in angles:
        direction = torch.stack((angle.cos(), angle.sin()))
        for step in (1e-9, 1e-6, 1e-4, 2e-3, 0.1):
            jump = (draw(step * direction) - here).abs().max()
            assert jump < 2.0 * step + 1e-5
            offset = (step * direction).requires_grad_()
            (gradient,) = torch.autograd.grad(draw(offset).square().sum(), offset)
            assert gradient.abs().max() < 60  # px of outline that one px of motion can sweep
    offset = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(draw(offset).sum(), offset)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", ["behind", "at the camera", "far off", "one point", "tiny", "across the camera"])
def test_finite_for_any_pose(puppet, scene, path, dtype, case):
    joints, K = scene(2, 32, seed=6, dtype=dtype)
    if case == "behind":
        joints = joints * -1.0
    elif case == "at the camera":
        joints = joints - joints[:, :1]
    elif case == "far off":
        joints = joints + torch.tensor([1e4, -1e4, 0.0], dtype=dtype)
    elif case == "one point":
        joints = joints * 0 + torch.tensor([0.0, 0.0, 3.0], dtype=dtype)
    elif case == "tiny":
        joints = joints + torch.tensor([0.0, 0.0, 5e3], dtype=dtype)
    else:
        joints = joints - torch.tensor([0.0, 0.0, 3.2], dtype=dtype)
    variable, intrinsics = joints.clone().requires_grad_(), K.clone().requires_grad_()
    geometry = part_geometry(variable, intrinsics, puppet)
    maps = part_maps(geometry, (32, 32), puppet, path=path)
    assert maps.dtype == dtype
    assert maps.isfinite().all()
    assert maps.min() >= 0
    assert maps.max() <= 1 + 1e-6
    for gradient in torch.autograd.grad((maps.square() + maps).sum(), (variable, intrinsics)):
        assert gradient.isfinite().all()
    if case == "behind":
        assert not maps.any()


def test_parts_fade_in_before_the_camera(puppet, scene):
    joints, K = scene(1, 64)
    joints[..., 2] = 1.5 * NEAR
    geometry = part_geometry(joints, K, puppet)
    torch.testing.assert_close(geometry.visible, torch.full_like(geometry.visible, 0.5))


def test_leading_dimensions_empty_batches_and_autocast(puppet, scene):
    joints, K = scene(6, 32)
    flat = part_maps(part_geometry(joints, K, puppet), (32, 32), puppet)
    nested = part_maps(part_geometry(joints.view(2, 3, 17, 3), K[0], puppet), (32, 32), puppet)
    torch.testing.assert_close(nested.view_as(flat), flat)
    single = part_maps(part_geometry(joints[0], K[0], puppet), (32, 32), puppet)
    torch.testing.assert_close(single, flat[0])
    assert part_maps(part_geometry(joints[:0], K[:0], puppet), (32, 32), puppet).shape == (0, 10, 32, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        variable = joints.clone().requires_grad_()
        inside = part_maps(part_geometry(variable, K, puppet), (32, 32), puppet)
        inside.sum().backward()
        rounded = part_maps(part_geometry(joints.bfloat16(), K, puppet), (32, 32), puppet)
    assert inside.dtype == rounded.dtype == torch.float32
    assert torch.equal(inside, flat)


def test_unknown_choices_are_refused(puppet, scene):
    joints, K = scene(1, 32)
    geometry = part_geometry(joints, K, puppet)
    with pytest.raises(ValueError, match="path"):
        part_maps(geometry, (32, 32), puppet, path="painted")
    with pytest.raises(ValueError, match="width"):
        part_geometry(joints, K, puppet, width="wide")
    with pytest.raises(ValueError, match="17"):
        part_geometry(joints[:, :16], K, puppet)


@pytest.mark.gpu
@pytest.mark.parametrize("path", PATHS)
def test_gpu_equals_cpu(puppet, scene, path):
    joints, K = scene(4, 64)
    results = []
    for device in ("cpu", "cuda"):
        variable = joints.to(device).requires_grad_()
        maps = part_maps(part_geometry(variable, K.to(device), puppet), (64, 64), puppet, path=path)
        maps.square().sum().backward()
        results.append((maps.detach().cpu(), variable.grad.cpu()))
    for cpu, gpu in zip(*results, strict=True):
        torch.testing.assert_close(gpu, cpu, rtol=1e-3, atol=1e-3 * cpu.abs().max().item())
