"""The files that `predict` writes: which they are, by person and kind, and writing them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from selfsup3d.cli import refuse_overwrite
from selfsup3d.commands.options.predict import EXPORTS
from selfsup3d.export.angles import write_angles
from selfsup3d.export.bvh import write_bvh
from selfsup3d.export.c3d import write_c3d
from selfsup3d.export.gltf import write_glb
from selfsup3d.export.rig import grounded
from selfsup3d.export.trc import write_trc
from selfsup3d.inference.ground import put_on_ground
from selfsup3d.inference.records import PoseRecord
from selfsup3d.inference.timeline import steady_motion
from selfsup3d.io.names import file_name

__all__ = ["refuse_standing", "write_animations", "write_people"]

_Y_UP = np.array([1.0, -1.0, -1.0])  # camera axes to those of animation files and back


def refuse_standing(args: argparse.Namespace, overlays: Sequence[Path]) -> None:
    """Call before any work is done: files of an earlier call are refused, or removed where --overwrite is given.

    Raises:
        InputError: something that will be written, or an earlier call's, stands there.
    """
    standing = [
        args.output / name for name in ("poses.npz", "poses.json", "angles.png", *(_name("", kind) for kind in EXPORTS))
    ]
    earlier = [
        path
        for path in args.output.glob("person_*")
        if path.suffix.lstrip(".") in ("npz", "json", *EXPORTS, "csv") or path.name.endswith("_angles.png")
    ]
    wanted = ["poses.npz", "poses.json", *(_name("", kind) for kind in EXPORTS if getattr(args, kind))]
    wanted += ["angles.png"] if args.angles else []
    refuse_overwrite([path for path in standing if path.name in wanted] + earlier + list(overlays), args.overwrite)
    for path in earlier:  # of people who may not be there this time
        path.unlink()


def write_people(args: argparse.Namespace, people: Sequence[PoseRecord]) -> list[Path]:
    """Write the files of all people; returns them."""
    written: list[Path] = []
    for record in people:
        person = record.person if len(people) > 1 else ""
        place = args.output / (f"person_{file_name(person)}.npz" if person else "poses.npz")
        record.save(place)
        record.save_json(place.with_suffix(".json"))
        kinds = [kind for kind in EXPORTS if getattr(args, kind)]
        exports = write_animations(args.output, record, kinds, args.fps, args.max_gap, args.ground, person)
        written += [place, place.with_suffix(".json"), *exports]
    return written


def _name(person: str, kind: str) -> str:
    """Of an exported file."""
    if kind == "angles":
        return f"person_{file_name(person)}_angles.csv" if person else "angles.csv"
    return f"person_{file_name(person)}.{kind}" if person else f"pose.{kind}"


def write_animations(
    folder: Path,
    record: PoseRecord,
    kinds: Sequence[str],
    fps: float | None,
    max_gap: float,
    ground: bool,
    person: str = "",
) -> list[Path]:
    """Write a record's motion at a steady rate, and print what was assumed, interpolated or held; returns the files.

    Args:
        kinds: of `EXPORTS`. fps: of a source without a rate. max_gap: seconds over which poses are interpolated.
        ground: put it on the floor. person: for the files' names, where there are several.
    """
    if not kinds:
        return []
    motion = steady_motion(record, fps, max_gap)
    called = f"person {person}: " if person else ""
    for line in motion.notes:
        print(f"{called}{line}")
    joints = motion.joints
    if ground:
        if np.isfinite(record.root).all():
            found = put_on_ground(joints, motion.fps)
            print(f"{called}{found.report()}")
            joints = found.joints * _Y_UP
        else:
            print(f"{called}on the ground, frame by frame: the model does not say where the pelvis is")
            joints = grounded(joints, each_frame=True)
    paths = []
    for kind in kinds:
        path = folder / _name(person, kind)
        if kind in ("bvh", "glb"):
            (write_bvh if kind == "bvh" else write_glb)(path, joints, motion.fps)
        elif kind == "c3d":
            write_c3d(path, joints * _Y_UP, motion.fps, motion.seen)
        elif kind == "trc":
            write_trc(path, joints * _Y_UP, motion.fps, motion.seen, motion.start)
        else:
            paths.append(write_angles(path, joints * _Y_UP, motion.fps, motion.seen, motion.start))
        paths.append(path)
    return paths
