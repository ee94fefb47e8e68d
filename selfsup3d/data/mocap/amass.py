"""AMASS npz (`poses`, `trans`, `betas`, ...): SMPL+H parameters; joints follow from the user's own body model.

Joint positions need no mesh: rest joints are J_regressor (v_template + shapedirs betas), posed by the axis-angles of the
first 22 joints; pose-dependent shape moves the skin, not the joints (Loper et al. 2015, eq. 10). The model file (npz,
from https://mano.is.tue.mpg.de or https://smpl.is.tue.mpg.de, own licence) is read as plain arrays.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from selfsup3d.data.mocap.hierarchy import Hierarchy
from selfsup3d.data.mocap.recording import Recording, to_y_up
from selfsup3d.errors import InputError
from selfsup3d.geometry.rotation import axis_angle_to_matrix
from selfsup3d.io.safe_pickle import load_npz
from selfsup3d.structures.joint_formats import FOREIGN
from selfsup3d.structures.skeleton import joint_index

__all__ = ["BodyModel", "choose_body", "gender_of", "load_body_model", "one_shape", "read_amass"]

_RATES = ("mocap_framerate", "mocap_frame_rate")
GENDERS = ("male", "female", "neutral")
_KINDS = {24: "smpl", 52: "smplh", 55: "smplx"}
_BODY_JOINTS = 22  # the first of SMPL, SMPL+H and SMPL-X alike; then come hands


@dataclass(frozen=True)
class BodyModel:
    """What of a body model the joints depend on.

    Attributes:
        rest: (22, 3) joints of the mean body, metres.
        shape: (22, 3, B) their change with each of the B shape parameters.
        parents: (22,).
        kind: "smpl", "smplh" or "smplx" by the number of its joints, "" for any other.
    """

    rest: np.ndarray
    shape: np.ndarray
    parents: tuple[int, ...]
    kind: str = ""


def load_body_model(path: str | Path) -> BodyModel:
    """Read the joints of an SMPL-family model in npz form.

    Raises:
        InputError: absent, without the needed arrays, or pickled (then convert it to npz once, as its site explains).
    """
    path = Path(path)
    try:
        data = load_npz(path, keys=("J_regressor", "v_template", "shapedirs", "kintree_table"))
        regressor = np.asarray(data["J_regressor"], dtype=np.float64)
        kind = _KINDS.get(len(regressor), "")
        regressor = regressor[:_BODY_JOINTS]
        template = np.asarray(data["v_template"], dtype=np.float64)
        shapes = np.asarray(data["shapedirs"], dtype=np.float64)
        parents = np.asarray(data["kintree_table"])[0, :_BODY_JOINTS].astype(np.int64)
        rest, shape = regressor @ template, np.einsum("jv,vcb->jcb", regressor, shapes)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(
            f"{path}: not a body model in npz form ({error}); expected J_regressor, v_template, shapedirs and "
            "kintree_table as plain arrays (SMPL+H: https://mano.is.tue.mpg.de, 'Extended SMPL+H model', model.npz)"
        ) from error
    return BodyModel(rest, shape, (-1, *(int(p) for p in parents[1:])), kind)


def gender_of(value: Any) -> str:
    """ "male", "female", "neutral", or "" for what says nothing of the kind; capitals, initials, arrays of one entry and
    bytes (also as text, "b'female'") are read."""
    value = value.item() if isinstance(value, np.ndarray) and value.size == 1 else value
    text = value.decode("latin1") if isinstance(value, bytes) else str(value)
    word = text.strip().removeprefix("b'").strip("'\" ").lower()
    return {"m": "male", "f": "female", "n": "neutral"}.get(word, word if word in GENDERS else "")


def choose_body(gender: str, given: Collection[str], source: str) -> tuple[str, str]:
    """Which of the given models a person gets, and why, where that is not the one of the person's gender.

    Args:
        gender: see `gender_of`. given: genders of the models that are there. source: named in errors.

    Raises:
        InputError: neither the gender's nor the neutral model is given.
    """
    if gender in given:
        return gender, ""
    lack = f"no {gender} model was given" if gender else "the file names no gender"
    if "neutral" in given:
        return "neutral", f"{lack}: the neutral body is taken"
    raise InputError(
        f"{source}: {lack}, and no neutral one (given: {', '.join(sorted(given)) or 'none'}); give it: "
        f"--body-model {gender or 'neutral'}=/path/model.npz; --body-model neutral=FILE stands in for any (other "
        "bodies put joints centimetres elsewhere)"
    )


def read_amass(
    path: str | Path,
    model: BodyModel,
    *,
    subject: str = "",
    action: str = "",
    up: str | None = None,
    fps: float | None = None,
    body: str = "given",
) -> Recording:
    """One AMASS file as 17 joints. SMPL's neck and head are other points than ours, and it has no nose: see below.

    The nose slot holds the middle between SMPL's neck and head [ours], so that every pose has 17 joints.

    Args:
        model: of the file's gender. body: what that is called in `Recording.taken`.
        subject, action: text; an empty subject is the name of the file's folder.
        up: the axis that points up; None = z, as in all of AMASS.
        fps: true rate; None = the file's.

    Raises:
        InputError: absent, damaged, or without `poses` and `trans`; `betas` that change over time.
    """
    path = Path(path)
    try:
        data = load_npz(path, keys=("poses", "trans", "betas", "surface_model_type", *_RATES))
        poses = np.asarray(data["poses"], dtype=np.float64)[:, : 3 * _BODY_JOINTS]
        translation = np.asarray(data["trans"], dtype=np.float64)
        betas = np.asarray(data.get("betas", np.zeros(0)), dtype=np.float64)
        rate = fps or next((float(data[key]) for key in _RATES if key in data), 0.0)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(
            f"{path}: not a readable AMASS file ({error}); expected plain arrays poses and trans"
        ) from error
    if poses.shape[1] != 3 * _BODY_JOINTS or translation.shape != (len(poses), 3) or not rate > 0:
        raise InputError(
            f"{path}: poses {poses.shape}, trans {translation.shape}, {rate:g} frames/s; expected (T, 66 or more), (T, 3) "
            "and mocap_framerate (or --source-fps)"
        )
    for name, values in (("poses", poses), ("trans", translation), ("betas", betas)):
        if not np.isfinite(values).all():  # a rotation would pass over it
            raise InputError(f"{path}: {name} holds numbers that are not finite; the file is damaged")
    betas = one_shape(betas, str(path))
    count = min(len(betas), model.shape.shape[-1])
    rest = model.rest + model.shape[..., :count] @ betas[:count]
    offsets = np.concatenate([rest[:1], rest[1:] - rest[list(model.parents[1:])]])
    hierarchy = Hierarchy(tuple(str(j) for j in range(_BODY_JOINTS)), model.parents, offsets)
    maps = torch.from_numpy(poses.reshape(len(poses), _BODY_JOINTS, 3))
    joints, _ = hierarchy.forward(axis_angle_to_matrix(maps).numpy(), translation)
    hands = joints[:, 20:22]  # the two hand joints that SMPL-24 has beyond these 22; no joint of ours
    ours, _ = FOREIGN["smpl_24"].convert(np.concatenate([joints, hands], 1))
    ours[:, joint_index("nose")] = 0.5 * (ours[:, joint_index("neck")] + ours[:, joint_index("head")])
    notes = [] if len(betas) <= count else [f"{len(betas) - count} of its {len(betas)} betas are beyond the model's"]
    wanted = str(data.get("surface_model_type", ""))
    if wanted and model.kind and wanted != model.kind:
        notes.append(f"it was made with {wanted}, the body model is {model.kind}: joints differ")
    return Recording(
        positions=to_y_up(ours, up or "z").astype(np.float32),
        fps=rate,
        name=f"{path.parent.name}_{path.stem}",
        subject=subject or path.parent.name,
        action=action,
        kind="amass",
        taken=f"body model {body}, {up or 'z'} up ({'given' if up else 'as in AMASS'}), metres",
        notes=tuple(notes),
    )


def one_shape(betas: np.ndarray, path: str) -> np.ndarray:
    """(B,) of betas (B,), (1, B), or (T, B) that do not change; InputError for others, named by `path`."""
    if betas.ndim == 1:
        return betas
    if betas.ndim != 2 or len(betas) == 0:
        raise InputError(f"{path}: betas {betas.shape}; expected (B,), (1, B) or (T, B)")
    if not np.allclose(betas, betas[:1], atol=1e-6):
        raise InputError(f"{path}: its betas {betas.shape} change over time; one body a take is read")
    return betas[0]
