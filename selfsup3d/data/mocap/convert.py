"""From a folder of motion-capture files of any known format to recordings; damaged files are counted, not fatal."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from selfsup3d.data.mocap.amass import BodyModel, choose_body, gender_of, load_body_model, read_amass
from selfsup3d.data.mocap.asf_amc import read_asf_amc
from selfsup3d.data.mocap.bvh import read_bvh_recording
from selfsup3d.data.mocap.c3d_points import read_c3d
from selfsup3d.data.mocap.expmap import read_expmap
from selfsup3d.data.mocap.joint_tables import load_table
from selfsup3d.data.mocap.recording import Recording
from selfsup3d.errors import InputError
from selfsup3d.io.files import visible_files
from selfsup3d.io.safe_pickle import load_npz

__all__ = ["SUFFIXES", "MocapOptions", "find_recordings", "read_recording", "subjects_of", "summary"]

SUFFIXES = (".amc", ".bvh", ".c3d", ".txt", ".npz")
"""File kinds; `.txt` is exponential maps, `.npz` is AMASS."""

_FIRST_IS_T_POSE = ("cgspeed_bvh", "daz_bvh", "expmap_txt")


@dataclass(frozen=True)
class MocapOptions:
    """What files of one collection need besides themselves.

    Attributes:
        fps: true rate where a file does not say (AMC, text: 120) or says wrong.
        table: YAML joint table for BVH of an unknown version; no other format needs one.
        skeleton: BVH whose bone lengths exponential maps take.
        body_models: gender ("male", "female", "neutral") -> model npz, for AMASS.
        actions: file name without suffix -> action.
        keep_t_pose: keep the first frame of formats that open with a T-pose.
        unit: metres of one file unit, in place of what a file or its table says; AMASS is always in metres.
        up: the axis that points up, of `choices.UP_AXES`, in place of what a file or its table says.
    """

    fps: float | None = None
    table: Path | None = None
    skeleton: Path | None = None
    body_models: Mapping[str, Path] | None = None
    actions: Mapping[str, str] | None = None
    keep_t_pose: bool = False
    unit: float | None = None
    up: str | None = None


def find_recordings(folder: str | Path) -> list[Path]:
    """Motion files under a folder, sorted; exponential-map texts are those whose first line is numbers, and AMASS's files
    of body shapes alone (shape.npz, *_stagei.npz) are passed over.

    Raises:
        InputError: no such folder, or nothing in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected motion capture ({', '.join(SUFFIXES)})")
    every = (here / name for here, names in visible_files(folder) for name in names)
    found = sorted(p for p in every if p.suffix.lower() in SUFFIXES)
    found = [p for p in found if p.suffix.lower() != ".txt" or _starts_with_numbers(p)]
    found = [p for p in found if p.name != "shape.npz" and not p.name.endswith("_stagei.npz")]
    if not found:
        raise InputError(f"{folder}: no motion capture in it (looked for {', '.join(SUFFIXES)})")
    return found


def _starts_with_numbers(path: Path) -> bool:
    with path.open("rb") as handle:
        return re.match(rb"\s*-?\d+(\.\d*)?([eE][-+]?\d+)?[\s,]", handle.read(64)) is not None


def read_recording(path: str | Path, options: MocapOptions | None = None) -> Recording:
    """One file of any known format as 17 joints; subjects of CMU's file names (`02_01`) become "cmu002".

    Raises:
        InputError: unknown suffix, or whatever its reader refuses.
    """
    path, options = Path(path), options or MocapOptions()
    text: dict[str, Any] = {"action": (options.actions or {}).get(path.stem, ""), "subject": _cmu_subject(path.stem)}
    axes: dict[str, Any] = {"fps": options.fps, "up": options.up, "unit": options.unit}
    readers: dict[str, Callable[[], Recording]] = {
        ".amc": lambda: read_asf_amc(path, **text, **axes),
        ".bvh": lambda: read_bvh_recording(path, load_table(options.table) if options.table else None, **text, **axes),
        ".c3d": lambda: read_c3d(path, **text, **axes),
        ".txt": lambda: read_expmap(path, options.skeleton, action=text["action"], **axes),
        ".npz": lambda: _read_amass(path, options, text["action"]),
    }
    if path.suffix.lower() not in readers:
        raise InputError(f"{path}: not a known motion-capture format ({', '.join(SUFFIXES)})")
    recording = readers[path.suffix.lower()]()
    if recording.kind in _FIRST_IS_T_POSE and not options.keep_t_pose and len(recording) > 1:
        recording = replace(recording, positions=recording.positions[1:])
    return recording


def _cmu_subject(stem: str) -> str:
    found = re.fullmatch(r"(\d{1,3})_\d{1,3}", stem)
    return f"cmu{int(found[1]):03d}" if found else ""


def _amass_subject(path: Path) -> str:
    """CMU's part of AMASS (05/05_01_poses.npz) has the subjects of CMU's own files, so that splits hold; else ""."""
    found = re.fullmatch(r"(\d{1,3})_\d{1,3}_(poses|stageii)", path.stem)
    return f"cmu{int(found[1]):03d}" if found and path.parent.name == found[1] else ""


_MODELS: dict[Path, BodyModel] = {}


def _read_amass(path: Path, options: MocapOptions, action: str) -> Recording:
    models = options.body_models or {}
    if not models and "trans" not in load_npz(path, keys=("trans",)):
        raise InputError(f"{path}: not an AMASS file: it has no poses and trans")
    if not models:
        raise InputError(
            f"{path}: AMASS files hold body-model parameters; give the model: --body-model neutral=/path/model.npz "
            "(from https://mano.is.tue.mpg.de or https://smpl.is.tue.mpg.de, under their licence)"
        )
    if options.unit is not None:
        raise InputError(f"{path}: AMASS is in metres; --unit does not fit it")
    stated = gender_of(load_npz(path, keys=("gender",)).get("gender", ""))
    gender, why = choose_body(stated, models, str(path))
    chosen = Path(models[gender])
    if chosen not in _MODELS:
        _MODELS[chosen] = load_body_model(chosen)
    body = f"{gender} ({chosen.name})"
    recording = read_amass(
        path,
        _MODELS[chosen],
        subject=_amass_subject(path),
        action=action,
        up=options.up,
        fps=options.fps,
        body=body,
    )
    return replace(recording, notes=(why, *recording.notes)) if why else recording


def summary(recordings: Sequence[Recording]) -> list[str]:
    """One line for each kind of file and each thing that was taken or noted of it, with the number of files."""
    counts: dict[str, list[str]] = {}
    for recording in recordings:
        counts.setdefault(f"{recording.kind}, {recording.fps:.4g} frames/s, {recording.taken}", []).append(
            recording.name
        )
        for note in recording.notes:
            counts.setdefault(f"note: {note}", []).append(recording.name)
    return [f"{line} ({names[0] if len(names) == 1 else f'{len(names)} files'})" for line, names in counts.items()]


def subjects_of(recordings: Iterable[Recording]) -> dict[str, int]:
    """Frames by subject, sorted by name."""
    counts: dict[str, int] = {}
    for recording in recordings:
        counts[recording.subject] = counts.get(recording.subject, 0) + len(recording)
    return dict(sorted(counts.items()))
