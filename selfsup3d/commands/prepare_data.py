"""Prepare a dataset: verify its folder, build its index, look it over."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from selfsup3d.commands.motion_options import motion_options
from selfsup3d.commands.options.prepare_data import parse
from selfsup3d.data.datasets.backgrounds import Backgrounds
from selfsup3d.data.datasets.dataset_tree import Tree
from selfsup3d.data.datasets.frame_index import FrameIndex, load_index, select_split
from selfsup3d.data.datasets.h36m.layouts import find_h36m
from selfsup3d.data.datasets.index_build import Report, build_index, cached_index_path, stamped
from selfsup3d.data.datasets.index_check import Findings, check_index, statistics
from selfsup3d.data.datasets.mpi_inf_3dhp import USUAL_CAMERAS, find_mpi_inf_3dhp
from selfsup3d.data.datasets.threedpw import find_threedpw
from selfsup3d.data.datasets.threedpw_joints import write_regressed
from selfsup3d.data.mocap.convert import subjects_of, summary
from selfsup3d.data.sampling.clip_store import ClipStore
from selfsup3d.errors import InputError
from selfsup3d.inference.clip_keypoints import ClipMarker
from selfsup3d.io.files import write_json
from selfsup3d.preparation.datasets import fit_backgrounds, prepare_mocap, shard_clips, shard_index
from selfsup3d.preparation.index_sheet import check_sheet
from selfsup3d.preparation.verification import verify_stores
from selfsup3d.preparation.videos import Marker, prepare_clips

__all__ = ["main"]

_SHOWN = 20


def main(argv: list[str]) -> int:
    args = parse(argv)
    if args.dataset == "prepared" or (args.dataset == "videos" and args.verify):
        return _verify(args)
    if args.dataset == "mocap" and args.verify:
        raise InputError("--verify: of motion capture there is nothing to compare; leave it out")
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


def _verify(args: argparse.Namespace) -> int:
    """Compare stores with their checksums; 2 where something is missing, damaged or altered."""
    if not args.verify:
        raise InputError(
            "--dataset prepared: there is nothing to prepare; add --verify to compare it with its checksums"
        )
    faulty = 0
    for store in verify_stores(args.root if args.dataset == "prepared" else _output(args)):
        print(f"{store.folder}: {store.count} {store.holds}, {len(store.faults)} faults")
        if store.unknown:
            print(
                f"  {store.unknown} were prepared by a version that wrote no checksums: nothing is known of their values"
            )
        faulty += bool(store.faults)
        if store.faults:
            told = "\n".join(f"  {path}: {fault}" for path, fault in store.faults.items())
            print(f"{store.folder}: not as it was prepared\n{told}\n  {store.remedy}", file=sys.stderr)
    return 2 if faulty else 0


def _tree(args: argparse.Namespace) -> tuple[Tree, dict[str, Any]]:
    """The tree, and the settings that training and evaluation know its index by."""
    if args.dataset == "h36m":
        settings: dict[str, Any] = {"every": args.every, "cameras": args.cameras, "detections": args.detections}
        return find_h36m(args.root, cameras=args.cameras, detections=args.detections, every=args.every), settings
    if args.dataset == "mpi_inf_3dhp":
        views = args.views or list(USUAL_CAMERAS)
        settings = {"every": args.every, "annotation": args.annotation, "views": views}
        tree = find_mpi_inf_3dhp(args.root, annotation=args.annotation, cameras=views, every=args.every)
        return tree, settings
    settings = {"joints": args.joints, "regressed": str(args.regressed), "min_detected": args.min_detected}
    tree = find_threedpw(args.root, joints=args.joints, regressed=args.regressed, min_detected=args.min_detected)
    return tree, settings


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
    summary = {
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
    write_json(folder / f"{index.dataset}.json", summary)
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
    with contextlib.ExitStack() as held:
        marker = None
        if args.detector is not None:
            marker = held.enter_context(contextlib.closing(ClipMarker(args.detector, args.detector_weights)))
        store = _prepared(args, marker)
    print(f"{_output(args)}: {len(store)} clips, {store.frames} frames of {store.image_size} px")
    if marker is not None:
        marked = sum(int((np.asarray(clip.keypoints)[..., 2] > 0).any(1).sum()) for clip in store)
        print(f"{_output(args)}: {marked} of {store.frames} frames have keypoints of --detector {args.detector}")
    print(f"what was kept and dropped, and why: {_output(args) / 'report.json'}, {_output(args) / 'report.png'}")
    if args.shards is not None:
        print(f"{args.shards}: {shard_clips(store, args.shards, args.per_shard, not args.quiet)} crops")
    return 0


def _prepared(args: argparse.Namespace, marker: Marker | None) -> ClipStore:
    return prepare_clips(
        args.root,
        _output(args),
        args.size,
        crop=args.crop,
        method=args.saliency,
        max_fps=args.max_fps,
        detector=args.crop_weights,
        segmenter=args.segmenter,
        marker=marker,
        progress=not args.quiet,
    )


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
