"""Drawing the part maps beside kornia's `warp_affine` and a plain `grid_sample`, forward and backward.

8 x 10 x 224²: half the poses are people, half are joints strewn over the whole frame, whose limbs cross it. All contestants
start at the same joints and end at the joints' gradients; the peers sample canonical maps by the same `limb_transform`
(kornia's matrices brought to its convention: pixel centres at whole numbers), and need not blend short limbs with a
disc. Ours is first compared with its plain definition, every outline at every pixel; the peers by what they cover.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from selfsup3d.benchmarks.harness import Benchmark, Disagreement, Result, Settings, check, measure, optional
from selfsup3d.benchmarks.machine import peak_memory_mb
from selfsup3d.data.synthetic.prior import ProceduralPrior
from selfsup3d.geometry.camera import default_intrinsics, orbit_rotation, transform, unproject
from selfsup3d.puppet.coverage import polygon_coverage_plain
from selfsup3d.puppet.labels import part_labels
from selfsup3d.puppet.puppet import default_puppet
from selfsup3d.puppet.transform import CANONICAL_EXTENT, PartGeometry, canonical_maps, part_geometry, part_maps

__all__ = ["BENCHMARK", "run", "scene"]

TOLERANCE = 1e-4  # of the coverage; distances of thousands of px are rounded to as much in float32
LEAST_IOU = 0.9  # of the peers: the edges of canonical maps are softer, at small sizes by much of a limb's width

Draw = Callable[[PartGeometry], Tensor]


def scene(count: int, size: int, strewn: bool) -> tuple[Tensor, Tensor]:
    """Joints in the camera frame (count, 17, 3) and K (count, 3, 3): people 3.2 m away, or joints all over the frame."""
    generator = torch.Generator().manual_seed(0)
    K = default_intrinsics(size).expand(count, 3, 3)
    if strewn:
        pixels = size * torch.rand(count, 17, 2, generator=generator)
        return unproject(pixels, 2.2 + 0.6 * torch.rand(count, 17, generator=generator), K), K
    poses = torch.from_numpy(ProceduralPrior(10).poses)
    body = poses[torch.randint(len(poses), (count,), generator=generator)]
    azimuth = 2 * torch.pi * torch.rand(count, generator=generator)
    return transform(body, orbit_rotation(azimuth, 0.2), torch.tensor([0.0, 0.0, 3.2]).expand(count, 3)), K


def _drawers(size: int, count: int, device: torch.device) -> dict[str, Draw]:
    """Ways to draw `count` puppets at size² px: geometry -> (count, P, size, size)."""
    puppet = default_puppet()
    resolution = size // 6, size // 2
    canonical = torch.from_numpy(canonical_maps(puppet, resolution))[: len(puppet)].to(device)
    canonical = canonical.repeat(count, 1, 1)[:, None].contiguous()  # (count · P, 1, h, w)
    extent = torch.tensor(CANONICAL_EXTENT, device=device)
    half = size / 2
    to_pixels = torch.tensor([[half, 0.0, half], [0.0, half, half], [0.0, 0.0, 1.0]], device=device)

    def sampled(geometry: PartGeometry) -> Tensor:
        theta = geometry.matrix.flatten(0, 1) / extent[:, None] @ to_pixels
        grid = affine_grid(theta, [len(theta), 1, size, size], align_corners=False)
        return grid_sample(canonical, grid, align_corners=False).view(count, -1, size, size)

    drawers: dict[str, Draw] = {
        "ours": lambda geometry: part_maps(geometry, (size, size), puppet),
        "grid_sample": sampled,
    }
    kornia = optional("kornia.geometry.transform")
    if kornia is not None:
        (h, w), (x, y) = resolution, CANONICAL_EXTENT
        scale = [[w / 2 / x, 0.0, w / 2], [0.0, h / 2 / y, h / 2], [0.0, 0.0, 1.0]]
        to_canonical = torch.tensor(scale, device=device)
        centres = torch.tensor([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]], device=device)
        last = torch.tensor([[[0.0, 0.0, 1.0]]], device=device).expand(len(canonical), 1, 3)

        def warped(geometry: PartGeometry) -> Tensor:
            image_to_map = to_canonical @ torch.cat((geometry.matrix.flatten(0, 1), last), 1)
            forth = torch.linalg.inv(torch.linalg.solve(centres, image_to_map @ centres))[:, :2]
            return kornia.warp_affine(canonical, forth, (size, size), align_corners=True).view(count, -1, size, size)

        drawers["kornia"] = warped
    return drawers


def _iou(first: Tensor, second: Tensor) -> float:
    a, b = first > 0.5, second > 0.5
    return float((a & b).sum() / (a | b).sum())


def _both_ways(draw: Draw, joints: Tensor, K: Tensor, flow: Tensor) -> Callable[[], tuple[Tensor, Tensor]]:
    def call() -> tuple[Tensor, Tensor]:
        variable = joints.clone().requires_grad_()
        maps = draw(part_geometry(variable, K, default_puppet()))
        return maps.detach(), torch.autograd.grad(maps, variable, flow)[0]

    return call


def _contestants(
    count: int, size: int, joints: Tensor, K: Tensor
) -> tuple[dict[str, Callable[[], tuple[Tensor, Tensor]]], float]:
    """Forward and backward of every drawer after the comparison of their results; and the largest error."""
    generator = torch.Generator().manual_seed(1)
    flow = torch.randn(count, len(default_puppet()), size, size, generator=generator).to(joints.device)
    drawers = _drawers(size, count, joints.device)
    calls = {name: _both_ways(draw, joints, K, flow) for name, draw in drawers.items()}

    # The plain definition in float64, of all parts but those blended with a disc, which the peers do not know.
    ours = calls["ours"]()[0]
    geometry = part_geometry(joints, K, default_puppet())
    blended = (geometry.share * geometry.visible < 1).flatten()
    planes = geometry.planes.flatten(0, 1).double()
    error = 0.0
    for row in (~blended).nonzero().flatten().split(8):  # a few at a time: the plain version is hungry
        own = torch.arange(len(row), device=row.device)
        plain = polygon_coverage_plain(planes[row], planes.new_zeros(0), own, len(row), (size, size))
        error = max(error, check(ours.flatten(0, 1)[row], plain, TOLERANCE, "part maps and their plain definition"))
    for name in drawers.keys() - {"ours"}:
        overlap = _iou(calls[name]()[0].flatten(0, 1)[~blended], ours.flatten(0, 1)[~blended])
        if not overlap >= LEAST_IOU:
            raise Disagreement(f"part maps and {name} cover different pixels: IoU {overlap:.3f}")
    return calls, error


def _compiled(joints: Tensor, K: Tensor, size: int, settings: Settings) -> dict[str, float | str]:
    """Ours and grid_sample under `torch.compile`: milliseconds, and seconds that the first call takes to compile."""
    if joints.device.type == "cpu" and shutil.which("g++") is None:
        return {"compiled": "no C++ compiler"}
    drawers = _drawers(size, len(joints), joints.device)
    flow = torch.randn(len(joints), len(default_puppet()), size, size, generator=torch.Generator().manual_seed(1))
    flow = flow.to(joints.device)
    notes: dict[str, float | str] = {}
    for name in ("ours", "grid_sample"):
        call = _both_ways(torch.compile(drawers[name]), joints, K, flow)
        began = time.perf_counter()
        drawn = call()[0]
        notes[f"{name}_compiling_s"] = time.perf_counter() - began
        check(drawn, _both_ways(drawers[name], joints, K, flow)()[0], TOLERANCE, f"{name} compiled and as written")
        notes[f"{name}_compiled_ms"] = measure({name: call}, settings)[name].median_ms
    return notes


def run(settings: Settings) -> Result:
    """See the module."""
    count, size = (2, 48) if settings.quick else (8, 224)
    scenes = [scene(count // 2, size, strewn) for strewn in (False, True)]
    joints, K = (torch.cat(pair).to(settings.device) for pair in zip(*scenes, strict=True))
    calls, error = _contestants(count, size, joints, K)
    times = {name: timing.median_ms for name, timing in measure(calls, settings).items()}
    peers = {name: value for name, value in times.items() if name != "ours"}
    fastest = min(peers, key=lambda name: peers[name])
    notes: dict[str, float | str] = {f"{name}_ms": value for name, value in peers.items()}
    if not settings.quick:  # compiling takes minutes
        notes |= _compiled(joints, K, size, settings)

    small, pixels = (2, 32) if settings.quick else (32, 64)  # the shape in which the puppet is trained
    joints, K = (part.to(settings.device) for part in scene(small, pixels, strewn=False))
    small_calls, small_error = _contestants(small, pixels, joints, K)
    geometry = part_geometry(joints, K, default_puppet())
    maps = part_maps(geometry, (pixels, pixels), default_puppet())
    labels = {"labels": lambda: part_labels(maps, geometry, (pixels, pixels), default_puppet())}
    small_times = measure({**small_calls, **labels}, settings)
    notes |= {f"{small}x{pixels}px_{name}_ms": timing.median_ms for name, timing in small_times.items()}
    return Result(
        ours_ms=times["ours"],
        peer_ms=peers[fastest],
        peer={"kornia": "kornia.geometry.transform.warp_affine"}.get(fastest, fastest),
        dtype="float32",
        max_error=max(error, small_error),
        peak_mb=peak_memory_mb(calls["ours"], settings),
        reason=None if "kornia" in peers else "kornia is not installed: pip install kornia",
        notes=notes,
    )


BENCHMARK = Benchmark(
    run, "part maps 8 x 10 x 224², forward and backward, beside kornia and grid_sample", ">= 3", beside_others=True
)
