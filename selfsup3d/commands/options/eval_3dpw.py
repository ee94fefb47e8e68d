"""The 3DPW generalization protocol: a system trained elsewhere, on people in the wild.

    selfsup3d eval-3dpw --checkpoint runs/v1 --data.root 3DPW
    selfsup3d eval-3dpw --checkpoint runs/martinez --data.root 3DPW --keypoints detected --report report/
    selfsup3d eval-3dpw --checkpoint runs/v1 --data.root 3DPW --joints h36m_14 --regressed h36m14.npz

Never trained on; split test, or all three together with --split all. Root: the middle of the hips. The 12 limb joints
are the main figure, LSP's 14 stand beside it (SMPL's neck and head are other points; --joints h36m_14 has the usual ones,
see selfsup3d prepare-data --regressor). Frames with an invalid camera are left out and counted. Image models see crops
around the ground-truth joints, lifters the joints as projected from the truth or as detected (poses2d).

Printed: the table. Written into --report: result.json, result.md, frames.npz, and sheet.png with best, median and worst
frames; --json writes the result alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from selfsup3d.cli import Parser
from selfsup3d.commands.options.evaluate import add_measuring, parse_measuring
from selfsup3d.config.choices import EVALUATED, JointSource, Keypoints

__all__ = ["parse"]


def parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(__doc__)
    add_measuring(parser)
    parser.add_argument(
        "--data.root", dest="root", type=Path, required=True, help="the 3DPW folder, or a prepared index"
    )
    parser.add_argument("--split", choices=EVALUATED["3dpw"], default="test")
    parser.add_argument("--joints", choices=get_args(JointSource), default="smpl_24", help="where 3D joints come from")
    parser.add_argument("--regressed", type=Path, help="npz of the h36m_14 joints")
    parser.add_argument("--keypoints", choices=get_args(Keypoints), default="projected", help="2D joints for lifters")
    parser.add_argument("--report", type=Path, help="write result, per-frame values and the sheet into this folder")
    parser.number("--rows", int, least=1, default=4, help="frames of each kind on the sheet (default: 4)")
    # What `selfsup3d evaluate` has besides.
    parser.set_defaults(
        dataset="3dpw", preset=None, every=1, annotation="metric", sheet=True, per_frame=None, compare=None,
        upper_bound=None, lifter=None, lpips=None, averaging="none", second_crop=None, poses=None, calibrate=False,
    )  # fmt: skip
    return parse_measuring(parser, argv)
