"""A person seen from other sides, from images or a video of them."""

from __future__ import annotations

import argparse

import numpy as np

from selfsup3d.cli import refuse_overwrite
from selfsup3d.commands.options.novel_view import parse
from selfsup3d.commands.synthesis_outputs import open_synthesizer, rendered
from selfsup3d.inference.sources import Shown, shown_person
from selfsup3d.inference.synthesizer import Orbit, Synthesizer
from selfsup3d.inference.windows import WindowOptions
from selfsup3d.viz.animation import write_animation
from selfsup3d.viz.sheets import labelled, tile, write_png
from selfsup3d.viz.view3d import draw_pose_3d

__all__ = ["main"]


def main(argv: list[str]) -> int:
    args = parse(argv)
    sheet, animation = args.output / "views.png", args.output / f"views.{args.video}"
    files = [sheet] if args.video == "none" else [sheet, animation]
    refuse_overwrite(files, args.overwrite)
    synthesizer = open_synthesizer(args)
    options = WindowOptions("boxes" if args.boxes else args.crop, args.boxes)
    shown = shown_person(synthesizer, args.image, options, args.background)
    write_png(sheet, _sheet(synthesizer, shown, args))
    if args.video != "none":
        there = _views(synthesizer, shown, _orbits(args, args.frames, args.elevation[0]))
        write_animation(animation, [*there, *there[-2:0:-1]])  # and back, so that it loops
    for path in files:
        print(path)
    return 0


def _sheet(synthesizer: Synthesizer, shown: Shown, args: argparse.Namespace) -> np.ndarray:
    """One row an elevation; the image, the pose and its views."""
    pose = draw_pose_3d(shown.person.body.posed[0].cpu().numpy(), size=synthesizer.side)
    known = [labelled(shown.crop, "image"), labelled(pose, "pose")]
    rows = []
    for elevation in args.elevation:
        orbits = _orbits(args, args.count, elevation)
        views = _views(synthesizer, shown, orbits)
        names = [f"azimuth {orbit.azimuth:g}, elevation {orbit.elevation:g} degrees" for orbit in orbits]
        rows.append([*known, *map(labelled, views, names)])
    return tile(rows)


def _views(synthesizer: Synthesizer, shown: Shown, orbits: list[Orbit]) -> list[np.ndarray]:
    return list(rendered(synthesizer, shown, synthesizer.seen_by(shown.person.body, orbits)))


def _orbits(args: argparse.Namespace, count: int, elevation: float) -> list[Orbit]:
    """`count` cameras of the sweep at one elevation."""
    first, last = args.azimuth
    azimuths = [float(azimuth) for azimuth in np.linspace(first, last, count)]
    return [Orbit(azimuth, elevation, args.distance, args.origin) for azimuth in azimuths]
