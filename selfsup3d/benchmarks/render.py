"""Rendering synth-v1 beside a plain loop over images and solids, at 64 and 128 px, one core.

Images, depths and labels of 48 frames of 6 clips; backgrounds are drawn once per clip, before. Both give the same images,
which is checked first. The row is of 64 px; 128 px, images per second and the growth of memory stand in the notes.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch

from selfsup3d.benchmarks.harness import Benchmark, Result, Settings, check, measure
from selfsup3d.benchmarks.machine import peak_memory_mb
from selfsup3d.data.synthetic.background import render_background
from selfsup3d.data.synthetic.body import People
from selfsup3d.data.synthetic.reference import render_plain
from selfsup3d.data.synthetic.render import Cameras, render
from selfsup3d.data.synthetic.scene import make_scene
from selfsup3d.data.synthetic.spec import preset_named

__all__ = ["BENCHMARK", "run"]

CLIPS, FRAMES = 6, 8
GREY_LEVELS = 1.0  # images may differ by rounding


def _arguments(size: int, clips: int, frames: int) -> dict[str, Any]:
    """Of `render`: evenly spread frames of the first training clips."""
    scenes = [make_scene(preset_named("v1"), "train", clip, size) for clip in range(clips)]
    rows = [np.linspace(0, len(scene) - 1, frames).astype(int) for scene in scenes]
    cameras = [scene.camera[row] for scene, row in zip(scenes, rows, strict=True)]
    person = np.repeat(np.arange(clips), frames)
    return {
        "people": People.of([scene.person for scene in scenes]),
        "person": person,
        "joints": np.concatenate([scene.joints[row] for scene, row in zip(scenes, rows, strict=True)]),
        "cameras": Cameras(
            *(np.concatenate([getattr(c, part) for c in cameras]) for part in ("K", "rotation", "translation"))
        ),
        "views": [
            render_background(s.background, s.camera.K[0], s.camera.rotation[0], s.camera.translation[0], size)
            for s in scenes
        ],
        "view": person,
        "lights": [scene.background.light for scene in scenes],
        "shadows": [scene.background.shadow for scene in scenes],
    }


def _more(arguments: dict[str, Any], times: int) -> dict[str, Any]:
    """The same images several times over."""
    rows = np.tile(np.arange(len(arguments["person"])), times)
    parts = {name: arguments[name][rows] for name in ("person", "joints", "cameras", "view")}
    return arguments | parts


def _compare(arguments: dict[str, Any]) -> float:
    """Largest difference of the images, in grey levels; labels must agree wholly."""
    fast, plain = render(**arguments), render_plain(**arguments)
    assert fast.labels is not None
    assert plain.labels is not None
    check(torch.from_numpy(fast.labels).int(), torch.from_numpy(plain.labels).int(), 0.0, "labels")
    return check(torch.from_numpy(fast.image).int(), torch.from_numpy(plain.image).int(), GREY_LEVELS, "images")


def run(settings: Settings) -> Result:
    """See the module."""
    clips, frames = (2, 2) if settings.quick else (CLIPS, FRAMES)
    count = clips * frames
    notes: dict[str, float | str] = {}
    figures: dict[int, tuple[float, float, float]] = {}
    for size in (64, 128):
        arguments = _arguments(size, clips, frames)
        error = _compare(arguments)
        contestants = {"ours": partial(render, **arguments), "plain": partial(render_plain, **arguments)}
        times = measure(contestants, settings, warmup=1)
        ours, plain = times["ours"].median_ms, times["plain"].median_ms
        figures[size] = (ours, plain, error)
        notes[f"images_per_s_{size}"] = 1e3 * count / ours
        notes[f"plain_images_per_s_{size}"] = 1e3 * count / plain
    notes["ratio_128"] = figures[128][1] / figures[128][0]
    arguments = _arguments(64, clips, frames)
    peaks = {n: peak_memory_mb(partial(render, **_more(arguments, n)), settings) for n in (1, 8)}
    result_mb = 8 * count * 64 * 64 * (3 + 4 + 1) / 1e6  # images, depths and labels themselves
    if peaks[8] is not None:
        notes["peak_mb_8_times_the_images"] = peaks[8]
        notes["result_mb_8_times_the_images"] = result_mb
    return Result(
        ours_ms=figures[64][0],
        peer_ms=figures[64][1],
        peer="plain loop over images and solids",
        dtype="float32",
        max_error=max(figures[64][2], figures[128][2]),
        peak_mb=peaks[1],
        notes=notes,
    )


BENCHMARK = Benchmark(run, f"{CLIPS * FRAMES} images of synth-v1 at 64 px, beside a plain loop", ">= 3")
