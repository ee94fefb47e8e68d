"""The numbers of `evaluation.cross_modal` as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["comparison", "cross_modal_tables"]

Table = tuple[str, list[str], list[list[str]]]

_SHORT = {"joints_2d": "2D", "joints_3d": "3D"}
_DIGITS = {"l1": 4, "psnr": 2, "mpjpe": 1, "pa_mpjpe": 1, "n_mpjpe": 1}


def cross_modal_tables(numbers: Mapping[str, Any]) -> list[Table]:
    """Title, header and rows of each table; those without rows are left out."""
    criteria = numbers["criteria"]
    tables = [
        _poses_and_images(numbers),
        _errors("Missing 2D joints", numbers["missing_joints"], "missing"),
        _factorisation(criteria["latent_factorisation"]),
        _errors("Joint coherence: pose and image of one prior draw", _errors_in(criteria["joint_coherence"]), ""),
        _errors("Cross coherence: pose read off an image", _errors_in(criteria["cross_coherence"]), ""),
        _synergy(criteria["synergy"]),
    ]
    return [table for table in tables if table[2]]


_COLUMNS = {
    "2D → 3D": ("pairs", "joints_2d->joints_3d", "pose"),
    "image → 3D": ("pairs", "image->joints_3d", "pose"),
    "both → 3D": ("pairs", "*->joints_3d", "pose"),
    "gain of both": ("criteria", "synergy", "joints_3d", "gain"),
    "1 joint missing": ("missing_joints", "1", "pose"),
    "2 missing": ("missing_joints", "2", "pose"),
    "image → image [dB]": ("pairs", "image->image", "psnr"),
    "2D → image [dB]": ("pairs", "joints_2d->image", "psnr"),
    "joint coherence": ("criteria", "joint_coherence", "distance", "pose"),
    "chance": ("criteria", "joint_coherence", "chance", "pose"),
    "cross coherence": ("criteria", "cross_coherence", "image from 2D", "pose"),
    "shared units": ("criteria", "latent_factorisation", "shared"),
}
"""Column -> where its number stands; "pose" is MPJPE, or PA-MPJPE where poses have no scale; "*" several inputs."""


def comparison(runs: Mapping[str, Mapping[str, Any]]) -> Table:
    """One row a run: its pairs and criteria, mm unless it says otherwise. Columns that no run fills are left out."""
    cells = {
        run: {column: _found(numbers, place) for column, place in _COLUMNS.items()} for run, numbers in runs.items()
    }
    kept = [column for column in _COLUMNS if any(row[column] is not None for row in cells.values())]
    rows = []
    for run, row in cells.items():
        texts = [("-" if (v := row[c]) is None else f"{v:d}" if isinstance(v, int) else f"{v:.1f}") for c in kept]
        rows.append([run, *texts])
    return "pairs and criteria, mean latent (mm)", ["", *kept], rows


def _found(numbers: Any, place: tuple[str, ...]) -> Any:
    for key in place:
        if not isinstance(numbers, Mapping):
            return None
        if key == "pose":
            numbers = numbers.get("mpjpe", numbers.get("pa_mpjpe"))
        elif key.startswith("*"):
            numbers = next((v for name, v in numbers.items() if "+" in name and name.endswith(key[1:])), None)
        else:
            numbers = numbers.get(key)
    return numbers


def _poses_and_images(numbers: Mapping[str, Any]) -> Table:
    metrics = list(dict.fromkeys(metric for row in numbers["pairs"].values() for metric in row))
    rows = [[_name(pair), *(_number(row, m) for m in metrics)] for pair, row in numbers["pairs"].items()]
    return f"Pairs ({numbers['frames']} frames, mean latent)", ["", *map(_title, metrics)], rows


def _errors(title: str, rows: Mapping[str, Mapping[str, Any]], first: str) -> Table:
    metrics = list(dict.fromkeys(metric for row in rows.values() for metric in row))
    return title, [first, *map(_title, metrics)], [[n, *(_number(r, m) for m in metrics)] for n, r in rows.items()]


def _errors_in(results: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in results.items() if isinstance(value, Mapping)}


def _factorisation(results: Mapping[str, Any]) -> Table:
    rows = [[f"active units, {_name(name)}", str(count)] for name, count in results["units"].items()]
    if "shared" in results:
        rows.append(["shared", str(results["shared"])])
        rows += [[f"private to {_name(name)}", str(count)] for name, count in results["private"].items()]
        rows += [
            [f"R² of {_name(what)}", "n/a" if value is None else f"{value:.3f}"]
            for what, value in results["explained"].items()
        ]
    return "Latent factorisation", ["", "value"], rows


def _synergy(results: Mapping[str, Any]) -> Table:
    rows = []
    for target, row in results.items():
        if isinstance(row, Mapping):
            digits = _DIGITS[row["metric"]]
            values = [row[name] for name in ("joints_2d", "image", "both", "gain")]
            texts = ["n/a" if value is None else f"{value:.{digits}f}" for value in values]
            rows.append([f"{_name(target)}, {_title(row['metric'])}", *texts])
    return "Synergy: errors from each and from both", ["", "2D", "image", "both", "gain over the better"], rows


def _name(text: str) -> str:
    for long, short in _SHORT.items():
        text = text.replace(long, short)
    return text.replace("->", " → ")


def _title(metric: str) -> str:
    return f"{metric} [{'dB' if metric == 'psnr' else '0-1' if metric == 'l1' else 'mm'}]"


def _number(row: Mapping[str, Any], metric: str) -> str:
    value = row.get(metric)
    return "-" if value is None else f"{value:.{_DIGITS[metric]}f}"
