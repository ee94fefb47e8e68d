"""Predicted poses of a video as one record: joints with names, units and frame; to and from npz, to JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np

from selfsup3d.errors import InputError
from selfsup3d.io.files import atomic_path
from selfsup3d.io.limits import open_npz
from selfsup3d.structures.batch import Unit
from selfsup3d.structures.skeleton import H36M_17, NUM_JOINTS, joint_index

__all__ = ["FRAME", "PoseRecord", "no_finite_pose", "load_record"]

FRAME = "camera: x right, y down, z forward; relative to the pelvis"
"""Of `joints_3d`, in words; written into every file."""

ROOT_FRAME = {
    "image": "pelvis in the frame of the image's camera, metres: x right, y down, z forward; the same for all people",
    "crop": "pelvis in the frame of a camera that looks through the crop's centre, metres: x right, y down, z forward",
}
"""Of `root`, by `view`, in words; written into every file."""

_TORSO = 0.5  # metres that the pelvis-neck stretch of a pose without a scale is made


@dataclass(frozen=True)
class PoseRecord:
    """Poses of T frames of one person.

    Attributes:
        joints_3d: (T, 17, 3) in `unit`, camera axes (+x right, +y down, +z forward), relative to the pelvis.
        joints_2d: (T, 17, 2) px of the full frame, NaN where unknown.
        root: (T, 3) pelvis in the camera frame, metres; NaN where unknown.
        frames: (T,) number of each frame in its source, counted from 0; frames without a person are left out.
        windows: (T, 3) x, y, side of the crop in the full frame, px.
        confidence: (T, 17) in [0, 1], NaN where unknown: of a calibrated image model the probability that the joint lies
            within 150 mm of the truth, relative to the pelvis; of lifted keypoints what their detector or file states,
            0 where a joint was not seen and is filled in.
        times: (T,) seconds since frame 0 of the source, NaN where unknown; None = frames / fps.
        person: id where there are several, else "".
        fps: frames per second of these poses, 0 where unknown; a mean where the rate varies.
        unit: of `joints_3d`.
        view: "crop" = the camera looks through each crop's centre (the focal length is not known); "image" = the
            camera of the full image.
        source: file name, for reports.
        focal: of the camera that `root` is in, px of the full frame; NaN where it is not known. focal_assumed: nobody
            told it, so `root` is right up to one factor, the same for all people of a source.
        image_size: (width, height) of the full frame, px; (0, 0) where unknown.
    """

    joints_3d: np.ndarray
    joints_2d: np.ndarray
    root: np.ndarray
    frames: np.ndarray
    windows: np.ndarray
    fps: float = 0.0
    unit: Unit = "m"
    view: Literal["crop", "image"] = "crop"
    source: str = ""
    confidence: np.ndarray = field(default_factory=lambda: np.empty((0, NUM_JOINTS), np.float32))

    times: np.ndarray = None  # type: ignore[assignment]
    person: str = ""
    focal: float = math.nan
    focal_assumed: bool = True
    image_size: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        if self.times is None:
            known = np.asarray(self.frames) / self.fps if self.fps else np.full(len(self.frames), np.nan)
            object.__setattr__(self, "times", known)
        if len(self.confidence) == 0 < len(self.joints_3d):
            object.__setattr__(self, "confidence", np.full((len(self.joints_3d), NUM_JOINTS), np.nan, np.float32))

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Of the 17 joints, in their order."""
        return H36M_17.joint_names

    def __len__(self) -> int:
        return len(self.joints_3d)

    def metric(self) -> np.ndarray:
        """(T, 17, 3) metres; poses without a scale are given a torso of 0.5 m **[ours]**."""
        if self.unit == "m":
            return self.joints_3d
        torso = np.linalg.norm(self.joints_3d[:, joint_index("neck")], axis=-1)
        return self.joints_3d * (_TORSO / max(float(np.median(torso)), 1e-6))

    def world(self) -> np.ndarray:
        """(T, 17, 3) metres, camera axes, the pelvis moving where the root is known (from (0, 0, 0) where it is not)."""
        root = np.where(np.isfinite(self.root), self.root, 0.0)
        return self.metric() + root[:, None]

    def thinned(self, every: int = 1, limit: int | None = None) -> Self:
        """The poses of each n-th frame of the source, and at most so many; the frame rate follows."""
        rows = np.flatnonzero((self.frames - self.frames[0]) % every == 0)[:limit]
        return replace(self, fps=self.fps / every, **{name: getattr(self, name)[rows] for name in _ARRAYS})

    def refuse_nonfinite(self) -> None:
        """Nothing, if every pose is finite.

        Raises:
            InputError: one holds NaN or Inf; the first such frame is named.
        """
        bad = self.frames[~np.isfinite(self.joints_3d).all((1, 2))]
        if len(bad):
            raise no_finite_pose(self.source, int(bad[0]))

    def save(self, path: str | Path) -> None:
        """Write npz, without pickled objects.

        Raises:
            InputError: see `refuse_nonfinite`.
        """
        self.refuse_nonfinite()
        arrays: dict[str, Any] = {
            **{name: np.asarray(getattr(self, name)) for name in _ARRAYS},
            "joint_names": np.array(H36M_17.joint_names),
            "unit": np.array(self.unit),
            "frame": np.array(FRAME),
            "view": np.array(self.view),
            "fps": np.array(self.fps),
            "person": np.array(self.person),
            "root_frame": np.array(ROOT_FRAME[self.view]),
            "focal": np.array(self.focal),
            "focal_assumed": np.array(self.focal_assumed),
            "image_size": np.array(self.image_size, np.int64),
            "source": np.array(Path(self.source).name),  # files are passed round: no folders of ours
        }
        with atomic_path(path) as temporary:
            np.savez_compressed(temporary, **arrays)

    def save_json(self, path: str | Path) -> None:
        """Write JSON with the same fields, one line a pose; unknown numbers are null."""
        header = {
            "joint_names": list(H36M_17.joint_names),
            "unit": self.unit,
            "frame": FRAME,
            "view": self.view,
            "root_frame": ROOT_FRAME[self.view],
            "focal": _plain(np.array([self.focal]), 2)[0],
            "focal_assumed": self.focal_assumed,
            "image_size": list(self.image_size),
            "pixels": "of the full frame, centres at +0.5",
            "fps": self.fps,
            "source": Path(self.source).name,
            "person": self.person,
        }
        with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.write(json.dumps(header, indent=2, allow_nan=False).removesuffix("\n}") + ',\n  "poses": [')
            for t in range(len(self)):  # as text at once, the poses of a long video would take more than all else
                pose = {
                    "frame": int(self.frames[t]),
                    "time": _plain(self.times[t : t + 1], 6)[0],
                    "joints_3d": _plain(self.joints_3d[t], 5),
                    "joints_2d": _plain(self.joints_2d[t], 2),
                    "root": _plain(self.root[t], 5),
                    "confidence": _plain(self.confidence[t], 3),
                    "window": self.windows[t].tolist(),
                }
                file.write(("," if t else "") + "\n    " + json.dumps(pose, allow_nan=False))
            file.write("\n  ]\n}\n")

    @classmethod
    def joined(cls, records: list[Self]) -> Self:
        """One record of several in a row; all but the arrays is the first one's."""
        arrays: dict[str, Any] = {n: np.concatenate([getattr(r, n) for r in records]) for n in _ARRAYS}
        return replace(records[0], **arrays)


_NEEDED = ("joints_3d", "joints_2d", "root", "frames", "windows")
_ARRAYS = (*_NEEDED, "confidence", "times")


def no_finite_pose(source: str, frame: int) -> InputError:
    """The error to raise where a model predicts NaN or Inf."""
    return InputError(
        f"{source}: the model gives no finite pose of frame {frame}; its training failed, or the input is far from all "
        "that it knows: use another checkpoint"
    )


def _plain(values: np.ndarray, digits: int) -> list[Any]:
    """Nested lists of rounded numbers, None where not finite."""
    if values.ndim > 1:
        return [_plain(row, digits) for row in values]
    return [round(float(v), digits) if np.isfinite(v) else None for v in values]


def _camera_of(data: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What a file says of its camera; older ones say nothing."""
    if "focal" not in data:
        return {}
    width, height = (int(v) for v in data["image_size"])
    return {"focal": float(data["focal"]), "focal_assumed": bool(data["focal_assumed"]), "image_size": (width, height)}


def load_record(path: str | Path) -> PoseRecord:
    """Read what `PoseRecord.save` wrote.

    Raises:
        InputError: missing, damaged, or another npz.
    """
    path = Path(path)
    try:
        with open_npz(path) as data:
            missing = [name for name in (*_NEEDED, "unit", "fps", "joint_names") if name not in data.files]
            if missing:
                raise InputError(f"{path}: no predicted poses (selfsup3d predict writes them): lacks {missing[0]}")
            arrays = {name: data[name] for name in _ARRAYS if name in data.files}
            unit, fps = str(data["unit"]), float(data["fps"])
            names = tuple(str(name) for name in data["joint_names"])
            view = "image" if "view" in data.files and str(data["view"]) == "image" else "crop"
            source, person = (str(data[key]) if key in data.files else "" for key in ("source", "person"))
            camera = _camera_of(data)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected poses that selfsup3d predict wrote (.npz)") from None
    except InputError:
        raise
    except Exception as error:  # whatever numpy raises for a damaged file
        raise InputError(f"{path}: cannot be read as an npz without pickled objects ({error})") from error
    _check_arrays(path, arrays)
    if not 0 <= fps < 1e6:
        raise InputError(f"{path}: {fps:g} frames per second")
    joints = arrays["joints_3d"]
    if names != H36M_17.joint_names or joints.ndim != 3 or joints.shape[1:] != (NUM_JOINTS, 3) or not len(joints):
        raise InputError(f"{path}: joints_3d has shape {joints.shape} and {len(names)} names; expected (T, 17, 3)")
    if not np.isfinite(joints).all() or unit not in get_args(Unit):
        raise InputError(f"{path}: joints that are not finite, or the unknown unit {unit!r}")
    return PoseRecord(**arrays, fps=fps, unit=unit, view=view, source=source, person=person, **camera)  # type: ignore[arg-type]


_ROWS = {
    "joints_3d": (NUM_JOINTS, 3), "joints_2d": (NUM_JOINTS, 2), "root": (3,), "frames": (), "windows": (3,),
    "confidence": (NUM_JOINTS,), "times": (),
}  # fmt: skip
"""Array -> shape of one frame's."""


def _check_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Raise where an array is none (numpy gives the bytes of what it cannot read), or of another kind or shape."""
    count = len(arrays["frames"]) if isinstance(arrays["frames"], np.ndarray) and arrays["frames"].ndim else 0
    for name, value in arrays.items():
        kinds = "iu" if name == "frames" else "iuf"
        expected = (count, *_ROWS[name])
        if not isinstance(value, np.ndarray) or value.dtype.kind not in kinds or value.shape != expected:
            found = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else "damaged"
            raise InputError(f"{path}: {name} is {found}; expected numbers {expected}")
