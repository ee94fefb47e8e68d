"""Human3.6M joints of 3DPW from the body's surface: the 14 joints that papers evaluate on.

Needs what only the user can have: SMPL in npz form (male, female, neutral; https://smpl.is.tue.mpg.de, own licence) and
the regressor `J_regressor_h36m.npy` (17 x 6890) that SPIN's authors pass round. The regressor's rows have the left leg
first in some copies: sides are told by where its joints lie on the model at rest, which looks along +z, left at +x.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from selfsup3d.data.mocap.amass import choose_body, gender_of, one_shape
from selfsup3d.errors import InputError
from selfsup3d.io.files import atomic_path
from selfsup3d.io.limits import read_within
from selfsup3d.io.safe_pickle import load_npz, load_pickle

__all__ = ["SurfaceModel", "load_surface_model", "regress_joints", "regressor_in_our_order", "write_regressed"]

_KEYS = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table")


@dataclass(frozen=True)
class SurfaceModel:
    """SMPL as tensors, float64: V vertices, B shape parameters, 24 joints."""

    v_template: torch.Tensor
    shapedirs: torch.Tensor
    posedirs: torch.Tensor
    J_regressor: torch.Tensor
    weights: torch.Tensor
    parents: torch.Tensor


def load_surface_model(path: str | Path) -> SurfaceModel:
    """Read SMPL from npz; InputError for anything else."""
    path = Path(path)
    try:
        data = {key: np.asarray(value, dtype=np.float64) for key, value in load_npz(path, keys=_KEYS).items()}
        absent = [key for key in _KEYS if key not in data]
        if absent:
            raise ValueError(f"lacks {', '.join(absent)}")
        posedirs = data["posedirs"].reshape(-1, data["posedirs"].shape[-1]).T  # (207, 3V) as smplx multiplies it
        parents = data["kintree_table"][0].astype(np.int64)
    except (TypeError, ValueError, IndexError) as error:
        raise InputError(
            f"{path}: not SMPL in npz form ({error}); pickled models must be converted once, as smplx explains"
        ) from error
    parents[0] = -1

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array))

    return SurfaceModel(
        v_template=tensor(data["v_template"]),
        shapedirs=tensor(data["shapedirs"][..., :10]),
        posedirs=tensor(posedirs),
        J_regressor=tensor(data["J_regressor"]),
        weights=tensor(data["weights"]),
        parents=torch.from_numpy(parents),
    )


def regressor_in_our_order(regressor: np.ndarray, model: SurfaceModel, source: str) -> np.ndarray:
    """(17, V) rows in the order of our joints, whichever leg or arm the file has first.

    Raises:
        InputError: another shape, or joints that do not lie to the left and right of the body.
    """
    if regressor.shape != (17, len(model.v_template)):
        raise InputError(f"{source}: shape {regressor.shape}, expected (17, {len(model.v_template)})")
    x = (regressor @ model.v_template.numpy())[:, 0]
    order = list(range(17))
    for first, second, ours in ((range(1, 4), range(4, 7), "right"), (range(11, 14), range(14, 17), "left")):
        mean_first, mean_second = x[list(first)].mean(), x[list(second)].mean()
        if not mean_first * mean_second < 0:
            raise InputError(f"{source}: joints {list(first)} and {list(second)} lie on one side of the body")
        if (mean_first > 0) != (ours == "left"):
            for a, b in zip(first, second, strict=True):
                order[a], order[b] = b, a
    return regressor[order]


def regress_joints(
    model: SurfaceModel, regressor: np.ndarray, poses: np.ndarray, betas: np.ndarray, translation: np.ndarray
) -> np.ndarray:
    """(N, 17, 3) metres, world: the regressor applied to the posed surface.

    Args:
        regressor: (17, V) in our order.
        poses: (N, 72) axis-angle. betas: (10 or more,). translation: (N, 3) metres.
    """
    try:
        from smplx.lbs import lbs
    except ImportError:
        raise InputError(
            "posing SMPL needs the package smplx: pip install smplx (its licence is non-commercial)"
        ) from None
    rows = torch.from_numpy(regressor)
    betas = one_shape(np.asarray(betas, dtype=np.float64), "betas of a person")
    shape = torch.from_numpy(betas[: model.shapedirs.shape[-1]])[None]
    joints = []
    for start in range(0, len(poses), 256):
        part = torch.from_numpy(np.asarray(poses[start : start + 256], dtype=np.float64))
        vertices, _ = lbs(
            shape.expand(len(part), -1),
            part,
            model.v_template,
            model.shapedirs,
            model.posedirs,
            model.J_regressor,
            model.parents,
            model.weights,
        )
        joints.append(rows @ vertices)
    return torch.cat(joints).numpy() + np.asarray(translation, dtype=np.float64)[:, None]


def write_regressed(
    root: str | Path, output: str | Path, regressor: str | Path, models: Mapping[str, Path], progress: bool = True
) -> tuple[int, list[str]]:
    """Regress the joints of every sequence of a 3DPW tree into one npz for `find_threedpw(joints="h36m_14")`.

    Args:
        models: gender ("male", "female", "neutral") -> npz.

    Returns:
        Number of people written; and what a person should know: people whose gender's model was not given, sequences
        that cannot be posed and are left out. The npz holds these lines too, as `notes`.

    Raises:
        InputError: no sequences, a model or the regressor that cannot be read, no sequence that can be posed.
    """
    files = sorted(Path(root).glob("sequenceFiles/*/*.pkl"))
    if not files:
        raise InputError(f"{root}: no sequenceFiles/*/*.pkl")
    loaded = {gender: load_surface_model(path) for gender, path in models.items()}
    raw = _load_regressor(Path(regressor))
    joints: dict[str, np.ndarray] = {}
    notes: list[str] = []
    for path in tqdm(files, desc="3dpw joints", unit="file", disable=not progress):
        try:
            found = _regress_sequence(path, loaded, raw, str(regressor), notes)
        except InputError as error:
            notes.append(f"left out: {error}")
            continue
        joints |= {f"{path.stem}_{person}": values for person, values in enumerate(found)}
    if not joints:
        raise InputError(f"{root}: no sequence can be posed; the first: {notes[0]}")
    with atomic_path(output) as temporary:
        np.savez_compressed(temporary, notes=np.array(notes, dtype=str), **joints)  # type: ignore[arg-type]
    return len(joints), notes


def _regress_sequence(
    path: Path, models: Mapping[str, SurfaceModel], raw: np.ndarray, regressor: str, notes: list[str]
) -> list[np.ndarray]:
    """(N, 17, 3) of each person of a sequence file; what should be known goes to `notes`."""
    content = load_pickle(path)
    joints = []
    try:
        genders = content.get("genders", content.get("gender"))
        for person, poses in enumerate(content["poses"]):
            stated = "" if genders is None else gender_of(genders[person])
            gender, why = choose_body(stated, models, str(path))
            if why:
                notes.append(f"{path.stem}, person {person}: {why}")
            rows = regressor_in_our_order(raw, models[gender], regressor)
            values: Any = (content["betas"][person], content["trans"][person])
            joints.append(regress_joints(models[gender], rows, np.asarray(poses), *values).astype(np.float32))
    except (KeyError, TypeError, IndexError, AttributeError, RuntimeError, ValueError) as error:
        raise InputError(f"{path}: cannot be posed ({type(error).__name__}: {error})") from error
    return joints


def _load_regressor(path: Path) -> np.ndarray:
    try:
        return np.asarray(np.load(io.BytesIO(read_within(path)), allow_pickle=False), dtype=np.float64)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: not a regressor as .npy ({error})") from error
