import numpy as np
import pytest
import roma
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import procrustes as scipy_procrustes

from selfsup3d.geometry.align import align, aligned_distances, procrustes, reprojecting_root, robust_root
from selfsup3d.geometry.rotation import random_rotation

MIRROR = torch.tensor([-1.0, 1.0, 1.0])


def bodies(count: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """(count, 17, 3) clouds as wide, deep and high as people, metres."""
    extent = torch.tensor([0.15, 0.25, 0.5], dtype=dtype)
    return extent * torch.randn(count, 17, 3, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def by_numpy(source, target, weights=None, scale=True, reflection=False):
    """Umeyama 1991, one set at a time, as in a textbook."""
    out = []
    for i, (x, y) in enumerate(zip(np.asarray(source, np.float64), np.asarray(target, np.float64), strict=True)):
        w = np.ones(len(x)) if weights is None else np.asarray(weights[i], np.float64)
        w = w / w.sum()
        mx, my = w @ x, w @ y
        u, d, vt = np.linalg.svd((w[:, None] * (y - my)).T @ (x - mx))
        s = np.array([1, 1, 1 if reflection else np.sign(np.linalg.det(u @ vt))])
        rotation = u @ np.diag(s) @ vt
        size = (d * s).sum() / (w @ ((x - mx) ** 2).sum(1)) if scale else 1.0
        out.append(size * (x - mx) @ rotation.T + my)
    return torch.from_numpy(np.stack(out))


def rotations(count: int, seed: int = 0) -> torch.Tensor:
    return random_rotation(torch.rand(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("reflection", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("kind", ["unrelated", "near", "mirrored", "coplanar"])
def test_agrees_with_a_textbook_svd(scale, reflection, weighted, kind):
    source, target = bodies(100), bodies(100, 1)
    if kind != "unrelated":
        target = source + 0.05 * target
    if kind == "mirrored":
        target = target * MIRROR
    if kind == "coplanar":
        source = source * torch.tensor([1.0, 1, 0])
    weights = torch.rand(100, 17, dtype=torch.float64) if weighted else None
    expected = by_numpy(source, target, weights, scale, reflection)
    found = align(source, target, weights, scale, reflection)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(procrustes(source, target, weights, scale, reflection).apply(source), found)
    distances = aligned_distances(source, target, weights, scale, reflection)
    torch.testing.assert_close(distances, (found - target).norm(dim=-1))


def test_agrees_with_roma():
    source, target = bodies(500).view(5, 100, 17, 3), bodies(500, 1).view(5, 100, 17, 3)
    found = procrustes(source, target)
    rotation, translation, scale = roma.rigid_points_registration(source, target, compute_scaling=True)
    torch.testing.assert_close(found.rotation, rotation, atol=1e-6, rtol=0)
    torch.testing.assert_close(found.translation, translation, atol=1e-6, rtol=0)
    torch.testing.assert_close(found.scale, scale, atol=1e-6, rtol=0)


def test_residual_is_that_of_scipy():
    source, target = bodies(1)[0], bodies(1, 1)[0]
    first, _, disparity = scipy_procrustes(target.numpy(), source.numpy())  # allows reflections, normalises the target
    spread = float(((target - target.mean(0)) ** 2).sum())
    ours = float(((align(source, target, reflection=True) - target) ** 2).sum()) / spread
    assert ours == pytest.approx(disparity)
    assert len(first) == 17


@given(st.integers(0, 10_000), st.floats(0.1, 10.0))
def test_undoes_any_similarity(seed, size):
    source = bodies(4, seed)
    rotation = rotations(4, seed)
    translation = torch.randn(4, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    target = size * source @ rotation.mT + translation[:, None]
    found = procrustes(source, target)
    torch.testing.assert_close(found.rotation, rotation, atol=1e-8, rtol=0)
    torch.testing.assert_close(found.scale, torch.full((4,), size, dtype=torch.float64))
    torch.testing.assert_close(found.translation, translation, atol=1e-8, rtol=0)


def test_a_mirrored_person_is_not_forgiven_unless_asked():
    source = bodies(50)
    strict = (align(source, source * MIRROR) - source * MIRROR).norm(dim=-1).mean()
    lenient = (align(source, source * MIRROR, reflection=True) - source * MIRROR).norm(dim=-1).mean()
    assert strict > 0.05
    assert lenient < 1e-9
    assert (torch.linalg.det(procrustes(source, source * MIRROR).rotation) > 0).all()


def test_nothing_near_the_result_is_better():
    source, target = bodies(20), bodies(20, 1)
    best = ((align(source, target) - target) ** 2).sum((-1, -2))
    fit = procrustes(source, target)
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        twist = roma.rotvec_to_rotmat(1e-3 * torch.randn(20, 3, generator=generator, dtype=torch.float64))
        other = fit._replace(
            rotation=twist @ fit.rotation,
            scale=fit.scale * (1 + 1e-3 * torch.randn(20, generator=generator, dtype=torch.float64)),
            translation=fit.translation + 1e-3 * torch.randn(20, 3, generator=generator, dtype=torch.float64),
        )
        assert (((other.apply(source) - target) ** 2).sum((-1, -2)) >= best).all()


def test_points_of_weight_zero_do_not_matter():
    source, target = bodies(10), bodies(10, 1)
    weights = torch.ones(17, dtype=torch.float64)
    weights[[3, 7]] = 0
    keep = weights > 0
    found = procrustes(source, target, weights)
    expected = procrustes(source[:, keep], target[:, keep])
    spoiled = source.clone()
    spoiled[:, ~keep] = 1e6
    for ours, theirs, again in zip(found, expected, procrustes(spoiled, target, weights), strict=True):
        torch.testing.assert_close(ours, theirs)
        torch.testing.assert_close(ours, again)


class TestPrecision:
    """float32, on every frame, to 1e-5 m of a float64 SVD."""

    @pytest.mark.parametrize("kind", ["near", "mirrored", "coplanar", "unrelated", "far away"])
    def test_on_real_poses(self, mocap, kind):
        target = mocap[::16] - mocap[::16, :1]
        generator = torch.Generator().manual_seed(0)
        source = target + 0.05 * torch.randn(target.shape, generator=generator)
        if kind == "mirrored":
            source = target * MIRROR
        elif kind == "coplanar":
            source = target * torch.tensor([1.0, 1, 0])
        elif kind == "unrelated":
            source = target[torch.randperm(len(target), generator=generator)]
        elif kind == "far away":
            source, target = source + 4, target + 4
        expected = by_numpy(source, target)
        assert (align(source, target).double() - expected).norm(dim=-1).max() < 1e-5
        expected_error = (expected - target).norm(dim=-1).mean(-1)
        error = (procrustes(source, target).apply(source).double() - target).norm(dim=-1).mean(-1)
        assert (error - expected_error).abs().max() < 1e-5

    def test_points_on_a_line_or_at_one_place(self):
        line = torch.randn(20, 17, 1, dtype=torch.float64) * torch.randn(20, 1, 3, dtype=torch.float64)
        cloud = bodies(20)
        for source, target in ((line, line + 1), (line, cloud), (cloud, line)):
            best = ((by_numpy(source, target) - target) ** 2).sum((-1, -2))
            ours = ((align(source, target) - target) ** 2).sum((-1, -2))
            torch.testing.assert_close(ours, best, atol=1e-9, rtol=1e-6)
        point = torch.zeros(20, 17, 3, dtype=torch.float64)
        assert procrustes(point, cloud).scale.abs().max() == 0
        torch.testing.assert_close(align(point, cloud), cloud.mean(1, keepdim=True).expand_as(cloud))
        torch.testing.assert_close(align(cloud, point), point, atol=1e-12, rtol=0)


class TestGradients:
    @pytest.mark.parametrize("scale", [True, False])
    @pytest.mark.parametrize("kind", ["unrelated", "near", "mirrored", "coplanar"])
    def test_are_right(self, scale, kind):
        source, target = bodies(2)[:, :6], bodies(2, 1)[:, :6]
        if kind != "unrelated":
            target = source + 0.1 * target
        if kind == "mirrored":
            target = target * MIRROR
        if kind == "coplanar":
            source = source * torch.tensor([1.0, 1, 0])
        weights = 0.5 + torch.rand(2, 6, dtype=torch.float64)
        arguments = tuple(part.clone().requires_grad_() for part in (source, target, weights))
        assert torch.autograd.gradcheck(lambda s, t, w: align(s, t, w, scale), arguments, atol=1e-4)
        assert torch.autograd.gradcheck(lambda s, t, w: procrustes(s, t, w, scale), arguments, atol=1e-4)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("kind", ["identical", "mirror of a plane", "line", "point", "two points", "zero weights"])
    def test_stay_finite_where_the_rotation_is_not_unique(self, kind, dtype):
        source, weights = bodies(8, dtype=dtype), torch.ones(17, dtype=dtype)
        target = source.clone()
        if kind == "mirror of a plane":
            source = source * torch.tensor([1.0, 1, 0], dtype=dtype)
            target = source * MIRROR.to(dtype)
        elif kind == "line":
            source = source * torch.tensor([1.0, 0, 0], dtype=dtype)
        elif kind == "point":
            source = torch.zeros_like(source)
        elif kind == "two points":
            source, target, weights = source[:, :2], target[:, :2], weights[:2]
        elif kind == "zero weights":
            weights = torch.zeros_like(weights)
        source, target = source.requires_grad_(), target.requires_grad_()
        aligned = align(source, target, weights)
        assert torch.isfinite(aligned).all()
        aligned.square().sum().backward()
        for tensor in (source, target):
            assert torch.isfinite(tensor.grad).all()
            assert tensor.grad.abs().max() < 1e6

    def test_descend_towards_a_smaller_aligned_error(self):
        source, target = bodies(5).requires_grad_(), bodies(5, 1)
        for _ in range(200):
            (gradient,) = torch.autograd.grad((align(source, target) - target).square().sum(), source)
            source = (source - 0.1 * gradient).detach().requires_grad_()
        assert (align(source, target) - target).norm(dim=-1).mean() < 0.01


def test_a_robust_root_is_found_in_spite_of_joints_far_off_and_kept_where_none_is():
    pose = bodies(5)
    root = torch.tensor([0.2, -0.1, 3.0], dtype=torch.float64) + 0.3 * bodies(5, seed=1)[:, 0]
    placed = pose + root[:, None]
    plane = placed[..., :2] / placed[..., 2:]
    weight = torch.ones(5, 17, dtype=torch.float64)
    torch.testing.assert_close(reprojecting_root(pose, plane, weight), root, atol=1e-6, rtol=0)
    noisy = plane + 0.002 * bodies(5, seed=2)[..., :2]
    noisy[:, :2] += torch.tensor([[0.1, -0.05], [0.0, 0.15]], dtype=torch.float64)  # two seen somewhere else
    start = root + 1.0
    plain, robust = reprojecting_root(pose, noisy, weight), robust_root(pose, noisy, weight, start)
    assert ((robust - root).norm(dim=-1) < 0.5 * (plain - root).norm(dim=-1)).all()
    weight[:, :2] = 0.0  # nobody asks those
    torch.testing.assert_close(reprojecting_root(pose, noisy, weight), root, atol=0.05, rtol=0)
    assert torch.equal(robust_root(pose, noisy, weight, start, nearest=100.0), start)
