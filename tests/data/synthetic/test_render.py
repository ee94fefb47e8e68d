from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from selfsup3d.data.synthetic import render as module
from selfsup3d.data.synthetic.reference import render_plain
from selfsup3d.data.synthetic.render import Cameras, render
from selfsup3d.puppet.labels import part_labels
from selfsup3d.puppet.puppet import default_puppet
from selfsup3d.puppet.transform import part_geometry, part_maps
from selfsup3d.structures.skeleton import joint_index


def test_the_batched_renderer_equals_the_plain_loop(inputs: dict[str, Any]) -> None:
    fast, plain = render(**inputs), render_plain(**inputs)
    assert np.abs(fast.image.astype(int) - plain.image).max() <= 1
    assert np.array_equal(fast.labels, plain.labels)
    assert np.allclose(fast.depth, plain.depth, atol=1e-4)


def test_a_image_does_not_depend_on_its_neighbours(inputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = render(**inputs)
    monkeypatch.setattr(module, "CHUNK_SAMPLES", 1)  # one image at a time
    single = render(**inputs)
    assert np.array_equal(whole.image, single.image)
    assert np.array_equal(whole.labels, single.labels)
    assert np.array_equal(whole.depth, single.depth)


def test_memory_is_flat(make_inputs: Callable[..., dict[str, Any]]) -> None:
    small = make_inputs(32, frames=20)

    def peak(times: int) -> int:
        rows = np.tile(np.arange(len(small["person"])), times)
        c = small["cameras"]
        more = {
            **small,
            "person": small["person"][rows],
            "joints": small["joints"][rows],
            "view": small["view"][rows],
            "cameras": Cameras(c.K[rows], c.rotation[rows], c.translation[rows]),
        }
        tracemalloc.start()
        drawn = render(**more, labels=False)
        high = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return high - 2 * drawn.image.nbytes  # the result itself, and its pieces

    peak(2)
    assert peak(16) < 1.3 * peak(4)


def test_no_images_give_empty_results(inputs: dict[str, Any]) -> None:
    none = np.zeros(0, dtype=np.int64)
    empty = {
        **inputs,
        "person": none,
        "joints": np.zeros((0, 17, 3)),
        "view": none,
        "cameras": inputs["cameras"][none],
    }
    drawn = render(**empty)
    assert drawn.image.shape == (0, 32, 32, 3)
    assert drawn.labels is not None
    assert drawn.labels.shape == (0, 32, 32)


def test_labels_and_depth_agree_with_the_joints(make_inputs: Callable[..., dict[str, Any]]) -> None:
    """Where a knee, elbow or wrist projects, its own part or a nearer one is seen, at a depth before the joint."""
    inputs = make_inputs(128, clips=6, frames=6)
    drawn = render(**inputs)
    assert drawn.labels is not None
    assert drawn.depth is not None
    puppet, cameras = default_puppet(), inputs["cameras"]
    seen = cameras.view(inputs["joints"])
    pixel = np.floor(cameras.project(seen)).astype(int)
    own = {"knee": ("thigh", "shin"), "elbow": ("upper_arm", "forearm"), "wrist": ("forearm",)}
    for side in ("left", "right"):
        for name, parts in own.items():
            joint = joint_index(f"{side}_{name}")
            ids = [puppet[f"{side}_{part}"].id for part in parts]
            for n, (x, y) in enumerate(pixel[:, joint]):
                if 0 <= x < 128 and 0 <= y < 128:
                    at, depth = drawn.labels[n, y, x], drawn.depth[n, y, x]
                    assert at != puppet.background
                    assert depth < seen[n, joint, 2] + 0.03
                    assert at in ids or depth < seen[n, joint, 2]


def test_edges_are_smooth(inputs: dict[str, Any]) -> None:
    """A white person on black has in-between greys along its outline, and only there."""
    people = replace(inputs["people"], colours=np.ones_like(inputs["people"].colours))
    black = [replace(view, image=np.zeros_like(view.image)) for view in inputs["views"]]
    light = [replace(light, lamp=0.0, sky=1.0, colour=np.ones(3)) for light in inputs["lights"]]
    drawn = render(**{**inputs, "people": people, "views": black, "lights": light})
    assert drawn.labels is not None
    body = drawn.labels != default_puppet().background
    grey = drawn.image.max(-1)
    assert ((grey > 10) & (grey < 120))[~body].any()
    assert grey[body].mean() > 120


def test_mannequins_are_not_the_puppet(make_inputs: Callable[..., dict[str, Any]]) -> None:
    """Silhouettes of one pose differ: IoU < 0.9, so that the benchmark keeps a domain gap to the puppet warm-up."""
    inputs = make_inputs(128, clips=8, frames=3)
    drawn, puppet = render(**inputs), default_puppet()
    assert drawn.labels is not None
    joints = torch.from_numpy(inputs["cameras"].view(inputs["joints"])).float()
    geometry = part_geometry(joints, torch.from_numpy(inputs["cameras"].K).float(), puppet)
    maps = part_maps(geometry, (128, 128), puppet)
    theirs = part_labels(maps, geometry, (128, 128), puppet).parts.numpy() != puppet.background
    ours = drawn.labels != puppet.background
    iou = (ours & theirs).sum((1, 2)) / (ours | theirs).sum((1, 2))
    assert (iou < 0.9).all()
    assert iou.mean() > 0.4  # of one pose all the same


def test_the_puppet_shares_no_drawing_code() -> None:
    """Of the method's parts the renderer reads names and ids only."""
    import ast
    import inspect
    import pkgutil
    from importlib import import_module

    import selfsup3d.data.synthetic as package

    used = set()
    for name in (info.name for info in pkgutil.iter_modules(package.__path__)):
        tree = ast.parse(inspect.getsource(import_module(f"{package.__name__}.{name}")))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("selfsup3d.puppet"):
                used |= {(node.module, alias.name) for alias in node.names}
    assert used == {("selfsup3d.puppet.puppet", "default_puppet")}
