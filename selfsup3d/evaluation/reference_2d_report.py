"""Tables of accuracy on real videos against a 2D reference; the reading stands beside every number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selfsup3d.errors import InputError
from selfsup3d.evaluation.report import markdown_rows, plain_table
from selfsup3d.io.files import write_json, write_text
from selfsup3d.io.json_yaml import parse_json

__all__ = ["add_to_page", "reading_line", "real_clips_text"]

_ROWS = {
    "keypoints": "keypoints (soft-argmax)",
    "joints": "projected joints (through kinematics)",
    "mean_pose_in_saliency_box": "mean pose, facing, in the box of the label-free saliency",
    "mean_pose_in_reference_box": "mean pose, facing, in the reference's box",
}
_CHECKS = {
    "keypoints_sides_by_clip": "keypoints, left and right as the reference asks, one choice for each clip",
    "keypoints_sides_by_frame": "keypoints, left and right as the reference asks, in each frame",
    "joints_sides_by_clip": "projected joints, left and right as the reference asks, one choice for each clip",
    "joints_sides_by_frame": "projected joints, left and right as the reference asks, in each frame",
    "joints_surer_half": "projected joints, the half with the higher confidence",
    "joints_other_half": "projected joints, the other half",
}
"""Rows that nobody could have without the reference, or that are parts of others."""
_HEADER = [
    "", "PCK@0.2", "PCK@0.5", "error [torso]", "left/right, frames", "left/right, legs", "left/right, arms", "decidable",
]  # fmt: skip


def reading_line(result: Mapping[str, Any]) -> str:
    """One line that says how the frames were read and by which rules they were measured."""
    reading = {key: value for key, value in result["reading"].items() if value is not None}
    rules = result["rules"]
    return " ".join(
        [
            *(f"{key}={value}" for key, value in reading.items()),
            f"visible>={rules['visible']}",
            f"apart>={rules['apart']}",
        ]
    )


def real_clips_text(result: Mapping[str, Any]) -> str:
    """Plain text with columns aligned: the groups, then each clip's projected joints."""
    lines = [_heading(result), reading_line(result), ""]
    for title, header, rows in _tables(result):
        lines += plain_table(title, header, rows)
    return "\n".join(lines + _remarks(result)) + "\n"


def add_to_page(page: Path, result: Mapping[str, Any]) -> list[Path]:
    """Add a result to a page of results; one of the same model, clips and reading is replaced. Returns the files.

    Raises:
        InputError: the page's JSON is damaged.
    """
    store = page.with_suffix(".json")
    results: list[Mapping[str, Any]] = []
    if store.is_file():
        try:
            results = list(parse_json(store.read_text(encoding="utf-8"))["results"])
            results = [old for old in results if _identity(old) != _identity(result)]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{store}: not the data of a page of results ({error}); give another --page") from None
    results.append(result)
    write_json(store, {"results": results})
    write_text(page, _page(results))
    return [page, store]


def _identity(result: Mapping[str, Any]) -> tuple[str, list[str], str]:
    return str(result["checkpoint"]), sorted(result["clips"]), reading_line(result)


def _page(results: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        "# Real clips",
        "",
        "Accuracy in 2D against a reference that no label-free model ever trains on. Whole-body clips are the main figure.",
        "",
        "    selfsup3d evaluate --checkpoint MODEL --dataset videos --data.root CLIPS --reference REFERENCE.npz "
        "[--crop ... --crop-factor ...] --page PAGE.md",
        "",
    ]
    header = ["whole body, projected joints", *_HEADER[1:], "keypoints PCK@0.2", "reading"]
    rows = []
    for result in results:
        group = result["groups"].get("whole body") or result["groups"]["all"]
        near = group["rows"]["keypoints"]["pck_0.2"]
        cells = [*_cells(group["rows"]["joints"]), _share(near)]
        rows.append([f"`{result['checkpoint']}` ({group['clips']} clips)", *cells, f"`{reading_line(result)}`"])
    lines += [*markdown_rows(header, rows), ""]
    for result in results:
        lines += [f"## {_heading(result)}", "", f"`{reading_line(result)}`", ""]
        for title, columns, body in _tables(result):
            lines += [f"**{title}**", "", *markdown_rows(columns, body), ""]
        lines += [*(f"- {remark}" for remark in _remarks(result)), ""]
    return "\n".join(lines)


def _heading(result: Mapping[str, Any]) -> str:
    return f"Real clips: {result.get('checkpoint', '')}, {len(result['clips'])} clips, {result['frames']} frames"


def _tables(result: Mapping[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    tables = []
    for title, group in result["groups"].items():
        rows = [[(_ROWS | _CHECKS).get(name, name), *_cells(row)] for name, row in group["rows"].items()]
        tables.append((f"{title.capitalize()}: {group['clips']} clips", _HEADER, rows))
    for system in ("joints", "keypoints"):
        rows = [[name, *_cells(clip["rows"][system])] for name, clip in result["clips"].items()]
        tables.append((f"By clip: {_ROWS[system]}", _HEADER, rows))
    return tables


def _cells(row: Mapping[str, Any]) -> list[str]:
    values = [row[f"{name}"] for name in ("pck_0.2", "pck_0.5", "error")]
    values += [row[f"left_right_{name}"] for name in ("frames", "legs", "arms")]
    return [*map(_share, values), str(row["decidable_frames"])]


def _share(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def _remarks(result: Mapping[str, Any]) -> list[str]:
    skipped = result["skipped"]
    remarks = [
        "The reference validates; it is not ground truth, and nothing label-free trains on it.",
        "Left/right: share of the frames (limb pairs) in which exchanging left and right comes nearer to the reference; "
        "`decidable` counts the frames whose reference has them apart.",
        f"Frames without a usable reference: {skipped['frames_without_reference']}; "
        f"without a person found: {skipped['frames_without_person']}.",
    ]
    everyone = result["groups"]["all"]["rows"]
    if "joints_sides_by_frame" in everyone:
        remarks.append(
            "As the reference asks: left and right of legs and of arms exchanged where that is nearer to the reference; what a "
            "perfect choice among the four orders would leave."
        )
    if "joints_surer_half" in everyone:
        remarks.append("Halves: of the group's counted joints, by the model's own calibrated confidence.")
    for key, title in (
        ("clips_without_reference", "Clips without a reference"),
        ("references_without_clip", "References without a clip"),
    ):
        if skipped[key]:
            remarks.append(f"{title}: {', '.join(skipped[key])}.")
    remarks += [f"{name}: {clip['note']}." for name, clip in result["clips"].items() if clip.get("note")]
    missing = {name: row["missing"] for name, row in everyone.items() if name not in _CHECKS and row["missing"]}
    remarks += [
        f"{_ROWS.get(name, name)}: {count} joints not predicted, counted as wrong." for name, count in missing.items()
    ]
    return remarks
