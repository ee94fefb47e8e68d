"""Evaluate a trained system: tables on stdout, the result as JSON.

    selfsup3d evaluate --checkpoint runs/quickstart
    selfsup3d evaluate --checkpoint runs/v1/model --dataset synthetic --split test --json result.json
    selfsup3d evaluate --checkpoint runs/v1 --dataset synth-mocap --data.root mocap.npz --report report/
    selfsup3d evaluate --checkpoint runs/people --dataset people --data.root mocap.npz --calibrate
    torchrun --nproc_per_node 2 selfsup3d evaluate --checkpoint runs/v1 --dataset videos --data.root my_videos/

Two systems on the same frames: --per-frame a.npz for the first, --compare a.npz for the second, which prints the
95 % interval of the difference (a bootstrap over people).

    selfsup3d evaluate --checkpoint runs/v1 --lifter runs/martinez --split test

Image -> 2D -> 3D: the 2D joints that an image model finds are lifted too, frame by frame, by the same rules. Two rows
beside the model's own 3D poses: lifted from its own 2D joints, and lifted from the data's (what better 2D joints could
bring); and the interval of the difference that lifting makes.

    selfsup3d evaluate --checkpoint MODEL --dataset videos --data.root CLIPS --reference reference_2d.npz

Real videos against a 2D reference: keypoints and projected joints, for each clip and group, beside trivial baselines;
--page FILE.md adds the result to a page of results, or takes the place of the one that was read alike. Further rows say what
a perfect choice of left and right would leave, and whether joints with a higher confidence are better.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from selfsup3d.cli import Parser
from selfsup3d.config.choices import EVALUATED, Annotation, Averaging, ClipCrop, JointSource, Keypoints
from selfsup3d.config.load import nearest
from selfsup3d.errors import InputError
from selfsup3d.evaluation.protocols import PRESETS, dataset_protocol

__all__ = ["add_measuring", "parse", "parse_measuring"]

CLIP_FLAGS = (
    "clips", "crop", "crop_factor", "page", "no_baselines", "over_time", "pictures", "pictures_before",
    "curve", "images_seen", "curve_run",
)  # fmt: skip
"""Options that need `--reference`."""


def parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(__doc__)
    add_measuring(parser)
    parser.add_argument("--dataset", help=f"{', '.join(EVALUATED)}; default: what it was trained on, of a mixture each")
    parser.add_argument("--split", help="of the dataset; default: its usual one")
    parser.add_argument("--data.root", "--root", dest="root", type=Path, help="where the dataset lies")
    parser.add_argument("--data.preset", dest="preset", help="of the synthetic dataset: quickstart, v1 ...")
    parser.number("--data.every", int, dest="every", least=1, default=1, help="real datasets: every n-th frame")
    parser.add_argument("--data.annotation", dest="annotation", choices=get_args(Annotation), default="metric")
    parser.add_argument(
        "--data.joints", dest="joints", choices=get_args(JointSource), default="smpl_24", help="of 3DPW"
    )
    parser.add_argument("--data.regressed", dest="regressed", type=Path, help="npz of 3DPW's h36m_14 joints")
    parser.add_argument("--data.keypoints", dest="keypoints", choices=get_args(Keypoints), default="projected")
    parser.add_argument("--report", type=Path, help="write tables, images and per-frame values into this folder")
    parser.add_argument("--per-frame", type=Path, help="write per-frame values there (.npz)")
    parser.add_argument("--compare", type=Path, help="per-frame values of another system on the same frames (.npz)")
    parser.add_argument("--upper-bound", type=Path, help="result of the same network trained with labels (or its run)")
    parser.add_argument("--lifter", type=Path, help="checkpoint of a lifter, for the 2D joints of an image model")
    parser.add_argument(
        "--sheet", action="store_true", help="one sheet of best, median and worst frames in the report's place of two"
    )
    parser.add_argument("--lpips", type=Path, help="weights of torchvision's AlexNet; default: torch's cache, if there")
    parser.add_argument(
        "--averaging", choices=get_args(Averaging), default="none",
        help="of part-guided predictions: with the mirrored image's; with three crops of both; with the mirrored image's, left "
        "and right told by a finer look at both",
    )  # fmt: skip
    parser.add_argument(
        "--second-crop", action=argparse.BooleanOptionalAction, default=None,
        help="of part-guided predictions: read the crop around the keypoints of a first look (default: as the model says)",
    )  # fmt: skip
    parser.add_argument("--poses", type=Path, help="another part-guided model, whose poses the images are drawn in")
    parser.add_argument(
        "--calibrate", action="store_true",
        help="fit the joints' confidences on these frames (synthetic val, people) and store them with the model",
    )  # fmt: skip
    for_clips = parser.add_argument_group("real videos against a 2D reference")
    for_clips.add_argument("--reference", type=Path, help="2D reference (npz): NAME/pixels, NAME/visibility")
    for_clips.add_argument("--clips", help="names of clips, joined by commas; default: all")
    for_clips.add_argument("--crop", choices=get_args(ClipCrop), help="what of each frame is read; default: whole")
    parser.number(
        "--crop-factor",
        float,
        least=0.5,
        most=10,
        group=for_clips,
        help="of --crop reference: the square's side over the joints' box",
    )
    for_clips.add_argument(
        "--over-time", action=argparse.BooleanOptionalAction, default=None,
        help="left and right follow the likeliest path through each clip (default: on)",
    )  # fmt: skip
    for_clips.add_argument("--page", type=Path, help="page of results (.md), with a .json beside it")
    for_clips.add_argument(
        "--pictures", type=Path, metavar="FILE.jpg", help="draw eight frames of each clip with their projected joints"
    )
    for_clips.add_argument(
        "--pictures-before", type=Path, metavar="MODEL", help="another model, read alike, for a row above each clip's"
    )
    for_clips.add_argument(
        "--curve", type=Path, metavar="FILE.json", help="add a point to a learning curve, drawn beside the file (.png)"
    )
    parser.number("--images-seen", int, least=0, group=for_clips, help="of --curve: training images up to this model")
    for_clips.add_argument(
        "--curve-run", help="of --curve: which run the point belongs to; default: the model's folder"
    )
    for_clips.add_argument("--no-baselines", action="store_true", default=None, help="leave out the trivial baselines")
    parser.number("--rows", int, least=1, default=8, help="rows of the report's images")
    args = parse_measuring(parser, argv)
    for name in CLIP_FLAGS:
        if args.reference is None and getattr(args, name) is not None:
            parser.error(f"--{name.replace('_', '-')} needs --reference FILE.npz")
    if args.dataset is not None and args.dataset not in EVALUATED:
        known = ", ".join(EVALUATED)
        raise InputError(
            f"--dataset {args.dataset}: no such dataset{nearest(args.dataset, EVALUATED)} (known: {known})"
        )
    return args


def add_measuring(parser: Parser) -> None:
    """What evaluate and eval-3dpw have in common."""
    parser.checkpoint()
    parser.add_argument("--protocol", default="strict", help=f"rules of papers: {', '.join(PRESETS)} (default: strict)")
    parser.number("--samples", int, least=1, default=1, help="hypotheses of a probabilistic system")
    parser.number("--limit", int, least=1, help="at most so many frames, evenly spaced")
    parser.number("--batch-size", int, least=1, default=64, help="frames at a time")
    parser.add_argument("--json", type=Path, help="write the result there")
    parser.add_argument("--markdown", type=Path, help="write its tables there")
    parser.device("auto", "cpu")


def parse_measuring(parser: Parser, argv: list[str]) -> argparse.Namespace:
    """The options; a protocol that does not exist is told at once."""
    args: argparse.Namespace = parser.parse_args(argv)
    dataset_protocol("", args.protocol)
    return args
