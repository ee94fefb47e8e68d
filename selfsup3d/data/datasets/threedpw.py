"""3DPW: people in the wild filmed by a hand-held phone; evaluation only, nothing here is ever trained on.

    sequenceFiles/{train,validation,test}/SEQUENCE.pkl    pickles of Python 2, read as data (`safe_pickle`)
    imageFiles/SEQUENCE/image_00000.jpg                   counted from 0

3D joints: "smpl_24", the file's own `jointPositions`; or "h36m_14", regressed from the body model's surface (the usual
14 joints of papers), which an npz holds: `SEQUENCE_PERSON` -> (N, 14 or 17, 3) metres in the world (`threedpw_joints`
makes it from the user's own model files).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from selfsup3d.config.choices import JointSource
from selfsup3d.data.datasets.dataset_tree import Missing, Part, Source, Tree, labelled_size, make_rows
from selfsup3d.data.datasets.frame_index import Rows, Take, boxes_of_joints
from selfsup3d.errors import InputError
from selfsup3d.io.crops import read_image
from selfsup3d.io.safe_pickle import load_npz, load_pickle
from selfsup3d.structures.joint_formats import FOREIGN
from selfsup3d.structures.skeleton import joint_index

__all__ = ["SOURCE", "SPLITS", "find_threedpw", "read_sequence_file"]

SOURCE = Source(
    title="3DPW",
    url="https://virtualhumans.mpi-inf.mpg.de/3DPW",
    licence="research only, non-commercial",
    cite="von Marcard et al.: Recovering Accurate 3D Human Pose in The Wild, ECCV 2018",
)

SPLITS = {"train": "train", "validation": "val", "test": "test"}
"""Folder name -> our name of the split."""


_SIZES = ((1080, 1920), (1920, 1080))
_SMPL = FOREIGN["smpl_24"]
_COCO = FOREIGN["coco_18"]
_REGRESSED = {14: FOREIGN["lsp_14"], 17: FOREIGN["h36m_17"]}


@dataclass(frozen=True)
class _File:
    """What a reader needs to know."""

    root: Path
    path: Path
    split: str
    regressed: Path | None
    min_detected: int


def find_threedpw(
    root: str | Path,
    *,
    joints: JointSource = "smpl_24",
    regressed: str | Path | None = None,
    splits: Sequence[str] = tuple(SPLITS),
    min_detected: int = 0,
) -> Tree:
    """Find out what a 3DPW folder offers.

    Args:
        root: with sequenceFiles and imageFiles.
        joints: which 3D joints.
        regressed: npz of the 14 joints, for "h36m_14".
        splits: folders of sequenceFiles.
        min_detected: leave out frames with fewer detected 2D joints than this (papers that count about 35,500 test
            frames take 6); 0 keeps them all.

    Raises:
        InputError: no such folder, or "h36m_14" without its file.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected {SOURCE.title} (from {SOURCE.url})")
    if joints not in ("smpl_24", "h36m_14"):
        raise InputError(f"joints {joints!r} is unknown; expected smpl_24 or h36m_14")
    if joints == "h36m_14" and (regressed is None or not Path(regressed).is_file()):
        raise InputError(
            f"joints h36m_14 need the regressed joints: an npz (got {regressed}); make it with "
            "`selfsup3d prepare-data --dataset 3dpw --regressor J_regressor_h36m.npy --body-model ...`"
        )
    parts: list[Part] = []
    missing: list[Missing] = []
    for folder in splits:
        files = sorted((root / "sequenceFiles" / folder).glob("*.pkl"))
        if not files:
            missing.append(Missing(f"sequenceFiles/{folder}/*.pkl", "annotations"))
        for path in files:
            if not (root / "imageFiles" / path.stem).is_dir():
                missing.append(Missing(f"imageFiles/{path.stem}", "images of the sequence"))
            file = Path(regressed) if joints == "h36m_14" and regressed is not None else None
            task = _File(root, path, SPLITS.get(folder, folder), file, min_detected)
            parts.append(Part(f"{folder}/{path.stem}", partial(read_sequence_file, task), path))
    notes = {
        "joints": "jointPositions (SMPL, 24)" if joints == "smpl_24" else "14 joints regressed from the body surface",
        "boxes": "around the projected ground-truth joints",
    }
    if min_detected:
        notes["frames"] = f"at least {min_detected} detected 2D joints"
    return Tree("3dpw", root, "official", parts, missing, SOURCE, notes)


def read_sequence_file(task: _File) -> list[Rows]:
    """One take for each person of a sequence file.

    Raises:
        InputError: damaged, or without a needed entry; the message names it.
    """
    content = _content(task.path)
    sequence = task.path.stem
    cameras = _array(content, "cam_poses", task.path, (None, 4, 4))
    K = _array(content, "cam_intrinsics", task.path, (3, 3))
    people = _lists(content, "jointPositions", task.path)
    valid = _lists(content, "campose_valid", task.path)
    detections = content.get("poses2d", content.get("poses2D"))
    if len(valid) != len(people):
        raise InputError(f"{task.path}: campose_valid has {len(valid)} people, jointPositions {len(people)}")
    image = f"imageFiles/{sequence}/image_{{:05d}}.jpg"
    width, height = _size(task.root, image, K)
    rows = []
    for person, positions in enumerate(people):
        take = Take(
            name=f"{sequence}/{person}",
            subject=f"{sequence}_{person}",
            action=sequence.rsplit("_", 1)[0],
            person=f"{sequence}_{person}",
            camera="phone",
            split=task.split,
            image=image if (task.root / "imageFiles" / sequence).is_dir() else "",
            fps=30.0,
            width=width,
            height=height,
            static_camera=False,
            K=tuple(float(v) for v in K.ravel()),
            source="jointPositions" if task.regressed is None else "h36m_14",
        )
        found = None if detections is None or person >= len(detections) else detections[person]
        rows.append(_person(task, take, positions, cameras, K, np.asarray(valid[person]).ravel() > 0.5, found))
    return rows


def _person(
    task: _File, take: Take, positions: Any, cameras: np.ndarray, K: np.ndarray, valid: np.ndarray, detections: Any
) -> Rows:
    smpl = np.asarray(positions, dtype=np.float64)
    if smpl.ndim != 2 or smpl.shape[1] != 72:
        raise InputError(f"{task.path}: jointPositions of a person has shape {smpl.shape}, expected (N, 72)")
    smpl = smpl.reshape(-1, 24, 3)
    count = min(len(smpl), len(cameras), len(valid))
    if count == 0 or max(len(smpl), len(cameras), len(valid)) - count > 2:
        raise InputError(
            f"{task.path}: {len(smpl)} poses, {len(cameras)} cameras and {len(valid)} validity marks do not fit together"
        )
    R, t = cameras[:count, :3, :3], cameras[:count, :3, 3]
    seen_by = np.einsum("nij,nkj->nki", R, smpl[:count]) + t[:, None]  # X_c = R X_w + t
    ours, confidence = _SMPL.convert(seen_by)
    if task.regressed is not None:
        ours, confidence = _regressed(task.regressed, take.name.replace("/", "_"), R, t)
    joints = np.where(confidence[..., None] > 0, ours, np.nan)
    detected = _detected(detections, count, task.path)
    skipped: dict[str, int] = {}
    keep = valid[:count]
    if not keep.all():
        skipped["frames with an invalid camera pose"] = int((~keep).sum())
    if task.min_detected and detected is not None:
        few = (np.asarray(detections)[:count, 2] > 0).sum(-1) < task.min_detected
        if (keep & few).any():
            skipped[f"frames with fewer than {task.min_detected} detected joints"] = int((keep & few).sum())
        keep = keep & ~few
    required = [j for j in range(joints.shape[1]) if confidence[:, j].any()]
    whole = _project(seen_by, K)  # hands and feet too
    return make_rows(
        take,
        np.arange(count)[keep],
        joints[keep],
        _project(joints, K)[keep],
        confidence[keep],
        detected=None if detected is None else detected[keep],
        box=boxes_of_joints(whole, np.isfinite(whole).all(-1))[keep],
        skipped=skipped,
        required=required,
    )


def _project(points: np.ndarray, K: np.ndarray) -> np.ndarray:
    """(..., 3) -> (..., 2) px; NaN where there is no depth."""
    depth = np.where(points[..., 2:] > 1e-6, points[..., 2:], np.nan)
    return points[..., :2] / depth * K[[0, 1], [0, 1]] + K[:2, 2]


def _regressed(path: Path, key: str, R: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, 17, 3) camera frame and confidence, from the npz of regressed joints."""
    arrays = load_npz(path, keys=(key,))
    if key not in arrays:
        raise InputError(f"{path}: lacks {key}; it must hold (N, 14, 3) joints for each SEQUENCE_PERSON")
    world = np.asarray(arrays[key], dtype=np.float64)
    if world.ndim != 3 or world.shape[1] not in _REGRESSED or world.shape[2] != 3 or len(world) < len(R):
        raise InputError(f"{path}: {key} has shape {world.shape}, expected ({len(R)}, 14 or 17, 3)")
    seen_by = np.einsum("nij,nkj->nki", R, world[: len(R)]) + t[:, None]
    joints, confidence = _REGRESSED[world.shape[1]].convert(seen_by)
    for name in ("spine", "nose"):  # the protocol's 14 joints have neither; 17 regressed ones are cut to them
        confidence[:, joint_index(name)] = 0.0
    hips = [joint_index("left_hip"), joint_index("right_hip")]
    joints[:, joint_index("pelvis")] = joints[:, hips].mean(1)
    return joints, confidence


def _detected(detections: Any, count: int, path: Path) -> np.ndarray | None:
    """(N, 17, 3) of the COCO-18 detections; joints with confidence 0 are missing."""
    if detections is None:
        return None
    raw = np.asarray(detections, dtype=np.float64)
    if raw.ndim != 3 or raw.shape[1:] != (3, 18) or len(raw) < count:
        raise InputError(f"{path}: poses2d of a person has shape {raw.shape}, expected ({count}, 3, 18)")
    joints, confidence = _COCO.convert(raw[:count, :2].transpose(0, 2, 1), raw[:count, 2])
    return np.concatenate([joints, confidence[..., None]], -1)


def _size(root: Path, image: str, K: np.ndarray) -> tuple[int, int]:
    """Width and height of the images that labels refer to; from the principal point where there is none."""
    first = root / image.format(0)
    if not first.is_file():
        return round(2 * K[0, 2]), round(2 * K[1, 2])
    height, width = read_image(first, reduction=1.0).image.shape[:2]
    return labelled_size((width, height), K, _SIZES)


def _content(path: Path) -> dict[str, Any]:
    content = load_pickle(path)
    needed = ("cam_poses", "cam_intrinsics", "jointPositions", "campose_valid")
    absent = [key for key in needed if not isinstance(content, dict) or key not in content]
    if absent:
        raise InputError(f"{path}: not a 3DPW sequence file: lacks {', '.join(absent)}")
    return content


def _array(content: dict[str, Any], key: str, path: Path, shape: tuple[int | None, ...]) -> np.ndarray:
    try:
        array = np.asarray(content[key], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: {key} is no array of numbers ({error})") from error
    if array.ndim != len(shape) or any(n not in (None, m) for n, m in zip(shape, array.shape, strict=True)):
        raise InputError(
            f"{path}: {key} has shape {array.shape}, expected {tuple('N' if n is None else n for n in shape)}"
        )
    return array


def _lists(content: dict[str, Any], key: str, path: Path) -> list[Any]:
    value = content[key]
    if isinstance(value, np.ndarray):
        value = list(value)
    if not isinstance(value, list | tuple) or not value:
        raise InputError(f"{path}: {key} is no list with an entry for each person")
    return list(value)
