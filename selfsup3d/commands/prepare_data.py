"""Prepare a dataset: verify its folder, build its index, look it over.

    python launch/prepare_data.py --dataset h36m --root H36M --every 5 --output h36m.npz --check sheets/
    python launch/prepare_data.py --dataset mpi_inf_3dhp --root 3DHP --annotation universal --workers 4
    python launch/prepare_data.py --dataset 3dpw --root 3DPW --check sheets/
    python launch/prepare_data.py --dataset 3dpw --root 3DPW --regressor J_regressor_h36m.npy --body-model male=m.npz \\
        --body-model female=f.npz --output h36m14.npz
    python launch/prepare_data.py --dataset mocap --root CMU --output mocap.npz
    python launch/prepare_data.py --dataset videos --root VIDEOS --output clips/ --size 128
    python launch/prepare_data.py --dataset h36m --root H36M --backgrounds --shards shards/ --size 256

No image is copied, except into --shards. An interrupted run goes on where it stopped. --verify only lists what is
missing, where people get it and under which licence.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from selfsup3d.cli import Parser, add_motion_flags, motion_options
from selfsup3d.data.datasets.backgrounds import Backgrounds
from selfsup3d.data.datasets.dataset_tree import Tree
from selfsup3d.data.datasets.frame_index import FrameIndex, load_index, select_split
from selfsup3d.data.datasets.h36m.layouts import find_h36m
from selfsup3d.data.datasets.index_build import Report, build_index, cached_index_path, stamped
from selfsup3d.data.datasets.index_check import Findings, check_index, statistics
from selfsup3d.data.datasets.mpi_inf_3dhp import USUAL_CAMERAS, Annotation, find_mpi_inf_3dhp
from selfsup3d.data.datasets.threedpw import JointSource, find_threedpw
from selfsup3d.data.datasets.threedpw_joints import write_regressed
from selfsup3d.data.mocap.convert import subjects_of, summary
from selfsup3d.data.saliency.saliency import SaliencyMethod
from selfsup3d.errors import InputError
from selfsup3d.io.files import write_json
from selfsup3d.preparation.datasets import fit_backgrounds, prepare_mocap, shard_clips, shard_index
from selfsup3d.preparation.index_sheet import check_sheet
from selfsup3d.preparation.person_clips import CropMode
from selfsup3d.preparation.videos import prepare_clips

__all__ = ["main"]

_SHOWN = 20


def parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(__doc__)
    names = ("h36m", "mpi_inf_3dhp", "3dpw", "mocap", "videos")
    parser.add_argument("--dataset", choices=names, required=True)
    parser.add_argument("--root", type=Path, required=True, help="the dataset's folder")
    parser.add_argument("--output", type=Path, help="index (npz); mocap: the npz; videos: the folder of clips (needed)")
    parser.add_argument("--verify", action="store_true", help="only list what is missing and where to get it")
    parser.add_argument("--check", type=Path, help="write counts, statistics and a sheet with projected joints there")
    parser.add_argument("--rows", type=int, default=12, help="of the sheet (default: 12)")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0 = this one")
    parser.add_argument("--max-failed", type=int, default=20, help="unreadable files that are left out (default: 20)")
    parser.add_argument("--every", type=int, default=1, help="keep every n-th frame of a recording")
    parser.add_argument("--backgrounds", action="store_true", help="fit the backgrounds of still cameras now")
    parser.add_argument("--shards", type=Path, help="copy crops into WebDataset shards there")
    parser.add_argument("--size", type=int, default=128, help="of crops in shards and clips, px (default: 128)")
    parser.add_argument("--per-shard", type=int, default=2000, help="crops in a shard (default: 2000)")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    group = parser.add_argument_group("Human3.6M")
    group.add_argument("--cameras", type=Path, help="metadata.xml, cameras.h5, h36m_dataset.py or cameras.json")
    group.add_argument("--detections", type=Path, help="data_2d_h36m_*.npz")
    group = parser.add_argument_group("MPI-INF-3DHP")
    group.add_argument("--annotation", choices=get_args(Annotation), default="metric")
    group.add_argument("--views", type=int, nargs="+", default=list(USUAL_CAMERAS), help="training cameras")
    group = parser.add_argument_group("3DPW")
    group.add_argument("--joints", choices=get_args(JointSource), default="smpl_24")
    group.add_argument("--regressed", type=Path, help="npz of the h36m_14 joints")
    group.add_argument("--min-detected", type=int, default=0, help="leave out frames with fewer detected 2D joints")
    group.add_argument("--regressor", type=Path, help="write the h36m_14 joints: J_regressor_h36m.npy")
    group = parser.add_argument_group("videos")
    group.add_argument("--crop", choices=get_args(CropMode), default="auto", help="how people are found")
    group.add_argument("--saliency", choices=get_args(SaliencyMethod), default="auto", help="how masks are found")
    group.add_argument("--detector", help="torchvision weights for --crop detector")
    group.add_argument("--segmenter", help="torchvision weights for --saliency network")
    group.add_argument("--max-fps", type=float, default=15.0, help="frames are skipped down to this rate (default: 15)")
    group = parser.add_argument_group("motion capture")
    group.add_argument("--fps", type=float, default=20.0, help="of the npz (default: 20)")
    add_motion_flags(group)
    group.add_argument("--skeleton", type=Path, help="BVH whose bone lengths exponential maps take")
    group.add_argument("--retarget", type=Path, help="npz whose mean bone lengths every recording takes")
    group.add_argument("--body-model", action="append", default=[], metavar="GENDER=FILE", help="SMPL family, npz")
    args = parser.parse_args(argv)
    for name in ("every", "rows", "size", "per_shard"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} {getattr(args, name)}: must be at least 1")
    for name in ("workers", "max_failed", "min_detected"):
        if getattr(args, name) < 0:
            parser.error(f"--{name.replace('_', '-')} {getattr(args, name)}: must not be negative")
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse(sys.argv[1:] if argv is None else argv)
    if args.dataset == "mocap":
        return _mocap(args)
    if args.dataset == "videos":
        return _videos(args)
    if args.regressor is not None:
        count, notes = write_regressed(args.root, _output(args), args.regressor, _models(args), not args.quiet)
        _print_some("notes", notes)
        print(f"{_output(args)}: joints of {count} people")
        return 0
    tree, settings = _tree(args)
    _print_missing(tree, len(tree.missing) if args.verify else _SHOWN)
    if args.verify:
        return 0 if tree.parts and not any(m.needed for m in tree.missing) else 2
    output = (args.output or cached_index_path(tree.dataset, tree.root, settings)).with_suffix(".npz")
    report = build_index(
        tree,
        output,
        settings=stamped(tree, settings),
        workers=args.workers,
        max_failed=args.max_failed,
        progress=not args.quiet,
    )
    _print_report(report, output)
    folder = output.with_suffix(".backgrounds")
    if args.backgrounds:
        count, failed = fit_backgrounds(output, folder, args.workers, not args.quiet)
        print(f"{folder}: {count} backgrounds")
        _print_some("backgrounds that could not be fitted", list(failed.values()))
    index = load_index(output)
    backgrounds = Backgrounds(folder, index) if args.backgrounds else None
    if args.check is not None:
        _check(args.check, index, args.rows, backgrounds)
    if args.shards is not None:
        for split, count in shard_index(
            index, args.shards, args.size, backgrounds, args.per_shard, not args.quiet
        ).items():
            print(f"{args.shards / split}: {count} crops")
    return 0


def _tree(args: argparse.Namespace) -> tuple[Tree, dict[str, Any]]:
    """The tree, and the settings that training and evaluation know its index by."""
    if args.dataset == "h36m":
        told: dict[str, Any] = {"every": args.every, "cameras": args.cameras, "detections": args.detections}
        return find_h36m(args.root, cameras=args.cameras, detections=args.detections, every=args.every), told
    if args.dataset == "mpi_inf_3dhp":
        told = {"every": args.every, "annotation": args.annotation, "views": args.views}
        tree = find_mpi_inf_3dhp(args.root, annotation=args.annotation, cameras=args.views, every=args.every)
        return tree, told
    told = {"joints": args.joints, "regressed": str(args.regressed), "min_detected": args.min_detected}
    tree = find_threedpw(args.root, joints=args.joints, regressed=args.regressed, min_detected=args.min_detected)
    return tree, told


def _print_missing(tree: Tree, shown: int) -> None:
    print(f"{tree.root}: {tree.source.title}, layout {tree.layout or 'unknown'}, {len(tree.parts)} files")
    if tree.missing:
        _print_some("missing", [f"{m.path}  ({m.what})" for m in tree.missing], shown=shown)
        print(f"  get it from {tree.source.url}\n  licence: {tree.source.licence}\n  cite: {tree.source.cite}")


def _print_some(title: str, lines: Sequence[str], count: int | None = None, shown: int = _SHOWN) -> None:
    """The title with the number of lines, or with `count` of what they add up to, and the first lines."""
    if lines:
        print(f"{title}: {len(lines) if count is None else count}")
        print("\n".join(f"  {line}" for line in lines[:shown]))
        if len(lines) > shown:
            print(f"  ... and {len(lines) - shown} more")


def _print_report(report: Report, output: Path) -> None:
    again = f" ({report.reused} files stood already)" if report.reused else ""
    print(f"{output}: {len(report.index)} rows of {len(report.index.takes)} takes{again}")
    skipped = report.index.skipped
    _print_some("left out", [f"{count} {reason}" for reason, count in skipped.items()], sum(skipped.values()))
    _print_some("unreadable", [f"{name}: {reason}" for name, reason in report.failed.items()])


def _check(folder: Path, index: FrameIndex, rows: int, backgrounds: Backgrounds | None) -> None:
    findings = check_index(index)
    print(_table(findings))
    splits = {t.split for t in index.takes}
    told = {
        "rows": findings.rows,
        "splits": {"/".join(key): count for key, count in findings.splits.items()},
        "counts": {"/".join(key): count for key, count in findings.counts.items()},
        "reprojection_px": {"median": _number(findings.reprojection[0]), "p95": _number(findings.reprojection[1])},
        "knees_forward": _number(findings.knees),
        "leg_m": findings.leg,
        "warnings": findings.warnings,
        "notes": index.notes,
        "skipped": index.skipped,
        "statistics": statistics(select_split(index, "train")) if "train" in splits else None,
    }
    write_json(folder / f"{index.dataset}.json", told)
    sheet = check_sheet(folder / f"{index.dataset}.png", index, rows, backgrounds)
    print(f"{sheet}\n{folder / f'{index.dataset}.json'}")
    for warning in findings.warnings:
        print(f"WARNING: {warning}", file=sys.stderr)


def _number(value: float) -> float | None:
    return None if value != value else value


def _table(findings: Findings) -> str:
    width = max(len(" ".join(key)) for key in findings.counts)
    lines = [f"  {' '.join(key):{width}}  {count:>9,}" for key, count in findings.counts.items()]
    median, high = findings.reprojection
    projected = "3D joints are scaled to one height and do not project onto the image"
    if _number(median) is not None:
        projected = f"projected 3D joints lie {median:.2f} px off the 2D joints (median; 95 %: {high:.2f} px)"
    return "\n".join(
        [
            *lines,
            projected,
            f"bent knees that bend forwards: {findings.knees:.0%}; thigh + shin {findings.leg[0]:.2f}-{findings.leg[1]:.2f} m",
        ]
    )


def _mocap(args: argparse.Namespace) -> int:
    options = motion_options(args, skeleton=args.skeleton, body_models=_models(args) or None)
    recordings, failed = prepare_mocap(
        args.root, _output(args), options, args.fps, args.max_failed, args.workers, not args.quiet, args.retarget
    )
    counts = subjects_of(recordings)
    print("\n".join(f"  {subject:12}  {count:>9,} frames" for subject, count in counts.items()))
    _print_some("what the files say, and what was taken for them", summary(recordings))
    used = {"--table": "_bvh", "--skeleton": "expmap_txt", "--body-model": "amass"}
    for flag, kind in used.items():
        if getattr(args, flag[2:].replace("-", "_")) and not any(r.kind.endswith(kind) for r in recordings):
            print(f"WARNING: {flag} was not used: no file of its kind was read", file=sys.stderr)
    _print_some("left out", list(failed.values()))
    print(f"{_output(args)}: {len(recordings)} recordings of {len(counts)} subjects at {args.fps:g} frames/s")
    return 0


def _videos(args: argparse.Namespace) -> int:
    store = prepare_clips(
        args.root,
        _output(args),
        args.size,
        crop=args.crop,
        method=args.saliency,
        max_fps=args.max_fps,
        detector=args.detector,
        segmenter=args.segmenter,
        progress=not args.quiet,
    )
    print(f"{_output(args)}: {len(store)} clips, {store.frames} frames of {store.image_size} px; what was kept and")
    print(f"dropped, and why: {_output(args) / 'report.json'}, {_output(args) / 'report.png'}")
    if args.shards is not None:
        print(f"{args.shards}: {shard_clips(store, args.shards, args.per_shard, not args.quiet)} crops")
    return 0


def _output(args: argparse.Namespace) -> Path:
    if args.output is None:
        raise InputError(f"--output is missing: where the result of --dataset {args.dataset} is to go")
    return Path(args.output)


def _models(args: argparse.Namespace) -> dict[str, Path]:
    models = {}
    for entry in args.body_model:
        gender, given, file = entry.partition("=")
        if not given or gender not in ("male", "female", "neutral"):
            raise InputError(f"--body-model {entry}: expected male=FILE, female=FILE or neutral=FILE")
        models[gender] = Path(file)
    return models
