"""A result as tables, in plain text for terminals and in Markdown for files. Flags stand beside every number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from selfsup3d.evaluation.bootstrap import Interval
from selfsup3d.evaluation.cross_modal_tables import cross_modal_tables
from selfsup3d.evaluation.records import save_frames
from selfsup3d.io.files import write_json, write_text

__all__ = [
    "baseline_title",
    "comparison",
    "difference",
    "markdown",
    "metric_title",
    "plain_table",
    "save_result",
    "text",
]

_TITLES = {
    "mpjpe": "MPJPE",
    "pa_mpjpe": "PA-MPJPE",
    "n_mpjpe": "N-MPJPE",
    "mrpe": "MRPE (root)",
    "pck_150": "PCK@150",
    "auc": "AUC",
    "flip_any": "frames with a front/back or left/right error",
    "flip_front_back": "frames with a front/back error",
    "flip_left_right": "frames with a left/right error",
    "flip_facing": "frames with both (facing the other way)",
    "miou_fg": "mIoU foreground",
    "miou_parts": "mIoU parts",
    "saliency_iou": "IoU saliency",
    "psnr": "PSNR",
    "ssim": "SSIM",
    "lpips": "LPIPS",
    "identity": "own person nearest",
    "cycle_mpjpe": "pose found again, MPJPE",
    "cycle_pa_mpjpe": "pose found again, PA-MPJPE",
}
_UNITS = {"mpjpe": "mm", "mrpe": "mm", "frechet": "mm", "psnr": "dB", "px": "px"}
_POSE = ("mpjpe", "pa_mpjpe", "n_mpjpe", "mrpe", "pck_150", "auc")
_TASKS = {
    "the frame itself, redrawn": "_same_frame",
    "reconstruction": "",
    "novel view": "_novel_view",
    "transfer": "_transfer",
}
_IMAGE_ROWS = {
    "this system": "",
    "supervised, same network": "supervised",
    "this system, its person continued over uncovered pixels": "continued",
    "copy the source": "copy_source",
    "mean colour": "mean_colour",
    "flat parts, continued": "flat_parts",
    "unlearned warp of the parts, continued": "warp",
    "the true image": "truth",
}
_ALWAYS = ("psnr", "ssim", "lpips")
"""Image metrics that have a column even where they are missing."""
_LABELS = {
    "mean_pose": "mean training pose",
    "mean_canonical_pose": "mean canonical pose of the prior",
    "bone_floor": "bone floor (true directions)",
    "nearest_neighbour": "nearest training frame",
    "flat": "zero-depth baseline (keypoints without depth)",
    "supervised": "supervised, same network",
}
_LIFTED = {
    "own_joints": "lifted from its own 2D joints",
    "given_joints": "lifted from the data's 2D joints",
}
_BY_JOINT = "By joint"

Table = tuple[str, list[str], list[list[str]]]
"""Title, header, rows."""


def text(result: Mapping[str, Any]) -> str:
    """Plain text, columns aligned; single joints are left to `markdown`."""
    lines = [_heading(result), _rules(result), ""]
    for title, header, rows in _tables(result):
        if title == _BY_JOINT:
            continue
        lines += plain_table(title, header, rows)
    return "\n".join(lines + _remarks(result)) + "\n"


def plain_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table as plain text: the title, then columns aligned, an empty line last."""
    widths = [max(len(row[c]) for row in [header, *rows]) for c in range(len(header))]
    lines = [title]
    for row in [header, *rows]:
        cells = [
            cell.ljust(w) if c == 0 else cell.rjust(w) for c, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    return [*lines, ""]


def save_result(folder: Path, result: Mapping[str, Any], frames: Mapping[str, np.ndarray]) -> None:
    """Write result.json, the tables as result.md, and the per-frame values as frames.npz."""
    write_json(folder / "result.json", result)
    write_text(folder / "result.md", markdown(result))
    save_frames(folder / "frames.npz", frames)


def markdown(result: Mapping[str, Any]) -> str:
    """Markdown, ready for a file of results."""
    lines = [f"### {_heading(result)}", "", f"`{_rules(result)}`", ""]
    for title, header, rows in _tables(result):
        lines += [f"**{title}**", "", *markdown_rows(header, rows), ""]
    return "\n".join(lines + [f"- {remark}" for remark in _remarks(result)]) + "\n"


def comparison(results: Mapping[str, Mapping[str, Any]], metrics: Sequence[str] = _POSE) -> str:
    """Markdown with one row a result, its flags in the last column; a missing number is n/a.

    Args:
        results: row title -> result.
        metrics: columns.
    """
    header = ["", *(metric_title(m) for m in metrics), "frames", "rules"]
    rows = []
    for title, result in results.items():
        numbers = [_number(result["metrics"].get(m), m) for m in metrics]
        rows.append([title, *numbers, str(result["frames"]), _rules(result)])
    return "\n".join(markdown_rows(header, rows)) + "\n"


def difference(intervals: Mapping[str, Interval], other: str) -> str:
    """Lines that compare with another result on the same frames, one a metric.

    Args:
        intervals: metric -> of this result minus the other.
        other: its name.
    """
    lines = [f"Difference to {other} (this minus that; bootstrap over people)"]
    for metric, found in intervals.items():
        sure = "" if found.significant else "  no difference"
        span = f"{found.level:.0%} interval {found.low:+.3f} to {found.high:+.3f}"
        lines.append(
            f"  {metric_title(metric):<16}{found.difference:+9.3f}  {span}  ({found.frames} frames, {found.people} people){sure}"
        )
    return "\n".join(lines) + "\n"


def markdown_rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table, numbers to the right."""
    marks = ["---", *("---:" for _ in header[1:])]
    return ["| " + " | ".join(row) + " |" for row in [header, marks, *rows]]


def _heading(result: Mapping[str, Any]) -> str:
    where = " ".join(word for word in (result["dataset"], result["split"]) if word)
    skipped = f", {result['skipped']} skipped" if result["skipped"] else ""
    return f"{where}: {result['frames']} frames{skipped}"


def _rules(result: Mapping[str, Any]) -> str:
    flags = {k: ("yes" if v else "no") if isinstance(v, bool) else v for k, v in result["flags"].items()}
    joints = result.get("notes", {}).get("joint_set", "h36m_17")
    return " ".join([f"protocol={result['protocol']}", *(f"{k}={v}" for k, v in flags.items()), f"joints={joints}"])


def _tables(result: Mapping[str, Any]) -> list[Table]:
    tables = [_pose_table(result), *_image_tables(result)]
    metrics = result["metrics"]
    shown = ("miou_fg", "miou_parts", "saliency_iou")
    if any(metrics.get(name) is not None for name in shown):
        rows = [["this system", *(_number(metrics.get(n), n) for n in shown)]]
        bound = result["baselines"].get("supervised")
        if bound is not None:
            rows.append(["supervised, same network", *(_number(bound.get(n), n) for n in shown)])
        tables.append(("Overlap (IoU)", ["", *(metric_title(name) for name in shown)], rows))
    kinds = [name for name in metrics if name.startswith(("flip_", "frechet", "joints_2d"))]
    rows = [[metric_title(name), _number(metrics[name], name)] for name in kinds if metrics[name] is not None]
    rows += [
        [metric_title(name), _number(metrics[name], name)]
        for name in metrics
        if "_best_of_" in name or "_actions" in name
    ]
    if rows:
        tables.append(("Further figures", ["", "value"], rows))
    for key, title in (("per_action", "By action"), ("per_occlusion", "By number of hidden joints")):
        if result.get(key):
            header = ["", "frames", *(metric_title(m) for m in ("mpjpe", "pa_mpjpe", "pck_150"))]
            body = [
                [name, str(row["frames"]), *(_number(row[m], m) for m in ("mpjpe", "pa_mpjpe", "pck_150"))]
                for name, row in result[key].items()
            ]
            tables.append((title, header, body))
    if "cross_modal" in result:
        tables += cross_modal_tables(result["cross_modal"])
    if result.get("per_joint"):
        body = [[n, *(_number(row[m], m) for m in ("mpjpe", "pa_mpjpe"))] for n, row in result["per_joint"].items()]
        tables.append((_BY_JOINT, ["", metric_title("mpjpe"), metric_title("pa_mpjpe")], body))
    return [table for table in tables if table[2]]


def _pose_table(result: Mapping[str, Any]) -> Table:
    def row(title: str, numbers: Mapping[str, Any]) -> list[str]:
        return [title, *(_number(numbers.get(m), m, absent="-" if m not in numbers else "n/a") for m in _POSE)]

    rows = [row("this system", result["metrics"])]
    lifted = result.get("lifted", {})
    rows += [row(label, lifted[name]["metrics"]) for name, label in _LIFTED.items() if lifted.get(name) is not None]
    rows += [row(f"{joints} joints", numbers) for joints, numbers in result.get("beside", {}).items()]
    for name, dataset in result.get("per_dataset", {}).items():
        if any(dataset["metrics"].get(m) is not None for m in _POSE):
            rows.append(row(f"on {name} ({dataset['frames']} frames)", dataset["metrics"]))
    for name, label in _LABELS.items():
        numbers = result["baselines"].get(name, {})
        if any(number is not None for number in numbers.values()):
            rows.append(row(label, numbers))
    if all(result["metrics"].get(m) is None for m in _POSE):
        rows = []
    return "Pose", ["", *(metric_title(m) for m in _POSE)], rows


def _image_tables(result: Mapping[str, Any]) -> list[Table]:
    tables: list[Table] = []
    for task, suffix in _TASKS.items():
        names = [metric + suffix for metric in ("psnr", "ssim", "lpips", "identity")]
        names += ["cycle_mpjpe", "cycle_pa_mpjpe"] if task == "transfer" else []
        names = [n for n in names if n.startswith(_ALWAYS) or result["metrics"].get(n) is not None]
        parts = {
            name: part["metrics"]
            for name, part in result.get("per_dataset", {}).items()
            if any(part["metrics"].get(n) is not None for n in names)
        }
        if all(result["metrics"].get(name) is None for name in names) and not parts:
            continue
        rows = []
        for title, key in _IMAGE_ROWS.items():
            if key and key not in ("copy_source", "mean_colour") and key not in result["baselines"]:
                continue
            numbers = result["baselines"].get(key, {}) if key else result["metrics"]
            if key in ("copy_source", "truth") and all(numbers.get(n) is None for n in names):
                continue  # a frame that is redrawn is its own copy
            missing = ["-" if key == "truth" else _absent(result, n) for n in names]
            rows.append([title, *(_number(numbers.get(n), n, m) for n, m in zip(names, missing, strict=True))])
        rows += [
            [f"on {name}", *(_number(found.get(n), n, _absent(result, n)) for n in names)]
            for name, found in parts.items()
        ]
        titles = [metric_title(name.removesuffix(suffix)) for name in names]
        tables.append((f"Images, foreground only: {task}", ["", *titles], rows))
    return tables


def _remarks(result: Mapping[str, Any]) -> list[str]:
    """Notes, and why numbers are missing: one line a reason."""
    remarks = [f"{label}: {note}" for label, note in result.get("notes", {}).items() if label != "joint_set"]
    if "lifted" in result:
        remarks.append(f"lifter: {result['lifted']['checkpoint']}, poses in unit {result['lifted']['unit']!r}")
    for name, part in result.get("per_dataset", {}).items():
        if "all" in part.get("reasons", {}):
            remarks.append(f"n/a on {name} ({part['reasons']['all']})")
    by_reason: dict[str, list[str]] = {}
    for name, reason in result["reasons"].items():
        by_reason.setdefault(reason, []).append(name.removeprefix("baselines."))
    return remarks + [f"n/a ({reason}): {', '.join(names)}" for reason, names in by_reason.items()]


def _absent(result: Mapping[str, Any], metric: str) -> str:
    return "n/a (weights absent)" if result["reasons"].get(metric) == "weights absent" else "n/a"


def metric_title(metric: str) -> str:
    """The header of a metric: its usual name, and its unit in brackets."""
    base = next((name for name in sorted(_TITLES, key=len, reverse=True) if metric.startswith(name)), "")
    rest = metric.removeprefix(base).replace("_", " ")
    unit = next((unit for key, unit in _UNITS.items() if key in metric), "")
    return f"{_TITLES.get(base, '')}{rest}" + (f" [{unit}]" if unit else "")


def baseline_title(name: str) -> str:
    """What tables call a trivial baseline."""
    return _LABELS.get(name, name.replace("_", " "))


def _number(value: float | None, metric: str, absent: str = "n/a") -> str:
    if value is None:
        return absent
    return f"{value:.1f}" if any(key in metric for key in _UNITS) and "px" not in metric else f"{value:.3f}"
