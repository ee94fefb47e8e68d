"""What commands that make images of people have in common."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
import torch

from selfsup3d.builders.systems import read_poses_by
from selfsup3d.inference.device import pick_device
from selfsup3d.inference.sources import Shown
from selfsup3d.inference.synthesizer import Synthesizer
from selfsup3d.models.part_guided.pose import BodyPose
from selfsup3d.viz.sheets import to_uint8

__all__ = ["open_synthesizer", "rendered"]

SIDE = 256
"""Least side of images, px, unless --scale says otherwise."""


def open_synthesizer(args: argparse.Namespace) -> Synthesizer:
    """The model of --checkpoint, at the size of --scale."""
    device = pick_device(args.device)
    synthesizer = Synthesizer.from_pretrained(args.checkpoint, device, side=SIDE, textures=args.textures)
    if args.poses is not None:
        read_poses_by(synthesizer.system, args.poses)
    if args.scale is not None:
        synthesizer.scale = args.scale
    return synthesizer


def rendered(synthesizer: Synthesizer, shown: Shown, body: BodyPose) -> Iterator[np.ndarray]:
    """A person in T poses, (side, side, 3) uint8 one by one; with alpha (side, side, 4) over "transparent"."""
    if not shown.transparent:
        yield from map(to_uint8, synthesizer.paint(shown.person, body, shown.background))
        return
    for colour, cover in synthesizer.layers(shown.person, body):
        yield to_uint8(torch.cat([colour / cover.clamp_min(1e-3), cover]))
