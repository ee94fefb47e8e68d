"""Reading one Human3.6M trial in each layout; all give rows of 17 joints, metres, camera frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from selfsup3d.data.datasets.dataset_tree import first_existing, make_rows, need_package
from selfsup3d.data.datasets.frame_index import Rows, Take
from selfsup3d.data.datasets.h36m.cameras import CAMERAS, Cameras, project_h36m
from selfsup3d.data.datasets.h36m.cdf_check import check_cdf
from selfsup3d.data.datasets.intrinsics import fit_intrinsics
from selfsup3d.errors import InputError
from selfsup3d.io.limits import stored_array
from selfsup3d.io.safe_pickle import load_npz
from selfsup3d.structures.joint_formats import FOREIGN
from selfsup3d.structures.skeleton import NUM_JOINTS

__all__ = ["Trial", "read_baseline", "read_fetch", "read_npz_subject", "read_official"]

_TEST = ("S9", "S11")
_FPS = 50.0
_H36M_32 = FOREIGN["h36m_32"]


@dataclass(frozen=True)
class Trial:
    """What a reader needs to know.

    Attributes:
        root: of the dataset; images are named relative to it.
        folder: of the subject or the trial, by layout.
        subject, name, action: text.
        cameras: see `h36m.cameras`.
        every: keep each `every`-th frame.
        corrupt: (subject, trial, camera) known to be damaged.
    """

    root: Path
    folder: Path
    subject: str
    name: str
    action: str
    cameras: Cameras
    every: int
    corrupt: frozenset[tuple[str, str, str]]

    def take(self, camera: str, K: np.ndarray, image: str, **more: Any) -> Take:
        """The take seen by one camera."""
        known = self.cameras.get((self.subject, camera))
        return Take(
            name=f"{self.subject}/{self.name}/{camera}",
            subject=self.subject,
            action=self.action,
            person=self.subject,
            camera=camera,
            split="test" if self.subject in _TEST else "train",
            image=image,
            fps=_FPS,
            width=known.width if known else 1000,
            height=known.height if known else 1002 if camera in (CAMERAS[0], CAMERAS[3]) else 1000,
            static_camera=True,
            K=tuple(float(v) for v in K.ravel()),
            **more,
        )

    def relative(self, path: Path) -> str:
        """A path as the index keeps it."""
        return path.relative_to(self.root).as_posix()


def _skip(trial: Trial, camera: str, name: str | None = None) -> Rows:
    """No rows, one entry counted."""
    take = replace(trial, name=name or trial.name).take(camera, np.eye(3), "")
    empty = np.zeros((0, NUM_JOINTS, 3), np.float32)
    return Rows(
        take=take,
        frame=np.zeros(0, np.int32),
        joints_3d=empty,
        joints_2d=empty[..., :2],
        confidence=empty[..., 0],
        box=np.zeros((0, 4), np.float32),
        skipped={f"recordings known to be damaged ({take.name})": 1},
    )


# --------------------------------------------------------------------------------------------------------------------
# Official CDF
# --------------------------------------------------------------------------------------------------------------------


def read_official(trial: Trial) -> list[Rows]:
    """All cameras of one trial: D3_Positions_mono where it is there, else D3_Positions through the cameras."""
    features = trial.folder / "MyPoseFeatures"
    world: np.ndarray | None = None
    rows = []
    for camera in CAMERAS:
        if (trial.subject, trial.name, camera) in trial.corrupt:
            rows.append(_skip(trial, camera))
            continue
        mono = features / "D3_Positions_mono" / f"{trial.name}.{camera}.cdf"
        pixels = features / "D2_Positions" / f"{trial.name}.{camera}.cdf"
        known = trial.cameras.get((trial.subject, camera))
        if mono.is_file():
            joints = _cdf(mono, 3)[:: trial.every] / 1000.0
        elif known is not None and (features / "D3_Positions" / f"{trial.name}.cdf").is_file():
            if world is None:
                world = _cdf(features / "D3_Positions" / f"{trial.name}.cdf", 3)[:: trial.every] / 1000.0
            joints = known.to_camera(world)
        else:
            continue
        two_d = _cdf(pixels, 2)[:: trial.every] if pixels.is_file() else None
        rows.append(_official_rows(trial, camera, joints, two_d))
    if not rows:
        raise InputError(f"{features}: trial {trial.name!r} has neither D3_Positions_mono nor cameras for D3_Positions")
    return rows


def _official_rows(trial: Trial, camera: str, joints: np.ndarray, two_d: np.ndarray | None) -> Rows:
    known = trial.cameras.get((trial.subject, camera))
    ours = _to_17(joints)
    if known is not None:
        K, distortion = known.K, known.distortion()
    elif two_d is not None:
        count = min(len(joints), len(two_d))
        K, distortion = fit_intrinsics(joints[:count], two_d[:count], f"{trial.folder}: {trial.name}.{camera}"), ()
    else:
        raise InputError(
            f"{trial.folder}: {trial.name}.{camera}: neither metadata.xml nor D2_Positions tell its camera"
        )
    pixels = project_h36m(ours, K, distortion) if two_d is None else _H36M_32.convert(two_d)[0]
    count = min(len(ours), len(pixels))
    video = first_existing(trial.folder, f"Videos/{trial.name}.{camera}.mp4")
    mask = first_existing(trial.folder, f"MySegmentsMat/ground_truth_bs/{trial.name}.{camera}.mat")
    take = trial.take(
        camera,
        K,
        trial.relative(trial.folder / video) if video else "",
        mask=trial.relative(trial.folder / mask) if mask else "",
        distortion=tuple(distortion),
        source="D3_Positions",
    )
    confidence = np.ones((count, NUM_JOINTS), np.float32)
    frame = np.arange(count) * trial.every
    return make_rows(take, frame, ours[:count], pixels[:count], confidence)


def _to_17(joints: np.ndarray) -> np.ndarray:
    """(T, 32, 3) -> (T, 17, 3); a joint that is not finite stays so (`convert` would write 0)."""
    ours, seen = _H36M_32.convert(joints)
    return np.where(seen[..., None] > 0, ours, np.nan)


def _cdf(path: Path, dimensions: int) -> np.ndarray:
    """(T, 32, D) float64 of a CDF's variable `Pose`."""
    try:
        import cdflib
    except ImportError:
        raise need_package("cdflib", path) from None
    check_cdf(path)
    try:
        pose = np.asarray(cdflib.CDF(str(path)).varget("Pose"), dtype=np.float64)
    except Exception as error:  # the package raises whatever a damaged header leads it to
        raise InputError(f"{path}: not a readable CDF ({type(error).__name__}: {error})") from error
    pose = pose.reshape(-1, pose.shape[-1]) if pose.ndim else pose
    if pose.ndim != 2 or pose.shape[1] != 32 * dimensions or len(pose) == 0:
        raise InputError(f"{path}: Pose has shape {pose.shape}, expected (1, T, {32 * dimensions})")
    return pose.reshape(-1, 32, dimensions)


# --------------------------------------------------------------------------------------------------------------------
# VideoPose3D npz
# --------------------------------------------------------------------------------------------------------------------


def read_npz_subject(trial: Trial, file: Path, detections: Path | None, action_of: Callable[[str], str]) -> list[Rows]:
    """One subject of data_3d_h36m.npz, seen by the four cameras; no images."""
    positions = load_npz(file, keys=("positions_3d",))["positions_3d"][trial.subject]
    two_d = _detections(detections).get(trial.subject, {}) if detections is not None else {}
    rows = []
    for name, world in positions.items():
        world = np.asarray(world, dtype=np.float64)
        if world.ndim != 3 or world.shape[1:] != (32, 3):
            raise InputError(f"{file}: {trial.subject}/{name} has shape {world.shape}, expected (T, 32, 3)")
        for number, camera in enumerate(CAMERAS):
            if (trial.subject, name, camera) in trial.corrupt:
                rows.append(_skip(trial, camera, name))
                continue
            found = two_d.get(name, [None] * 4)
            seen = found[number] if number < len(found) else None
            rows.append(_world_rows(trial, camera, name, action_of(name), world, "data_3d_h36m.npz", seen))
    return rows


def _world_rows(
    trial: Trial,
    camera: str,
    name: str,
    action: str,
    world: np.ndarray,
    source: str,
    detected: np.ndarray | None = None,
) -> Rows:
    """Rows from (T, 32, 3) world joints in metres, at the full rate."""
    known = trial.cameras.get((trial.subject, camera))
    if known is None:
        raise InputError(f"{trial.root}: the camera file has no camera {camera} of {trial.subject}")
    if detected is not None:
        world = world[: len(detected)]
    thinned = world[:: trial.every]
    joints = known.to_camera(thinned)
    ours = _to_17(joints)
    distortion = known.distortion()
    named = replace(trial, name=name, action=action)
    take = named.take(camera, known.K, "", distortion=distortion, source=source)
    two_d = None
    if detected is not None:
        kept = np.asarray(detected, dtype=np.float32)[: len(world)][:: trial.every]
        two_d = kept if kept.shape[-1] == 3 else np.concatenate([kept, np.ones_like(kept[..., :1])], -1)
    return make_rows(
        take,
        np.arange(len(ours)) * trial.every,
        ours,
        project_h36m(ours, known.K, distortion),
        np.ones((len(ours), NUM_JOINTS), np.float32),
        detected=two_d,
    )


def _detections(path: Path) -> dict[str, dict[str, list[np.ndarray]]]:
    """subject -> trial -> four (T, 17, 2 or 3) arrays in our order, by the layout the file names."""
    content = load_npz(path)
    table, metadata = content.get("positions_2d"), content.get("metadata", {})
    if not isinstance(table, dict):
        raise InputError(f"{path}: has no positions_2d; expected data_2d_h36m_*.npz (it has {', '.join(content)})")
    layout = str(metadata.get("layout_name", "h36m")) if isinstance(metadata, dict) else "h36m"
    skeletons = {"h36m": "h36m_17", "coco": "coco_17"}
    if layout not in skeletons:
        raise InputError(f"{path}: its joints are {layout!r}; known are {', '.join(skeletons)}")
    if layout == "h36m" and isinstance(metadata, dict):
        _check_sides(metadata.get("keypoints_symmetry"), path)
    skeleton = FOREIGN[skeletons[layout]]

    def ours(array: Any) -> np.ndarray:
        array = np.asarray(array, dtype=np.float64)
        joints, confidence = skeleton.convert(array[..., :2], array[..., 2] if array.shape[-1] > 2 else None)
        return np.concatenate([joints, confidence[..., None]], -1).astype(np.float32)

    return {s: {name: [ours(a) for a in views] for name, views in trials.items()} for s, trials in table.items()}


def _check_sides(symmetry: Any, path: Path) -> None:
    """The file's own list of left joints must be ours: files with the left leg first exist under the same names."""
    if symmetry is None:
        return
    left = sorted(int(j) for j in np.asarray(symmetry[0]).ravel())
    if left != [4, 5, 6, 11, 12, 13]:
        raise InputError(
            f"{path}: lists {left} as left joints, expected [4, 5, 6, 11, 12, 13]: its joint order is another one"
        )


# --------------------------------------------------------------------------------------------------------------------
# h36m-fetch and 3d-pose-baseline
# --------------------------------------------------------------------------------------------------------------------


def read_fetch(trial: Trial) -> list[Rows]:
    """annot.h5 of one trial: all cameras' frames in one table, images beside it."""
    path = trial.folder / "annot.h5"
    content = _h5(path, ("pose/2d", "pose/3d", "camera", "frame"))
    pixels, joints = content["pose/2d"].astype(np.float64), content["pose/3d"].astype(np.float64) / 1000.0
    count = len(content["frame"])
    if pixels.shape != (count, 32, 2) or joints.shape != (count, 32, 3) or content["camera"].shape != (count,):
        raise InputError(
            f"{path}: arrays of shapes {pixels.shape}, {joints.shape} for {count} frames; expected (N, 32, D)"
        )
    names = np.array([n.decode() if isinstance(n, bytes) else str(n) for n in content["camera"]])
    rows = []
    for camera in sorted(set(names)):
        if (trial.subject, trial.name, camera) in trial.corrupt:
            rows.append(_skip(trial, camera))
            continue
        mine = np.flatnonzero(names == camera)
        mine = mine[np.argsort(content["frame"][mine], kind="stable")][:: trial.every]
        f_c = _h5(path, (f"intrinsics/{camera}",), needed=False).get(f"intrinsics/{camera}")
        if f_c is not None and f_c.size == 4:
            K = np.array([[f_c.flat[0], 0, f_c.flat[1]], [0, f_c.flat[2], f_c.flat[3]], [0, 0, 1]], dtype=np.float64)
        else:
            K = fit_intrinsics(joints[mine], pixels[mine], f"{path}: camera {camera}")
        folder = trial.folder / "imageSequence" / camera
        image = f"{trial.relative(folder)}/img_{{:06d}}.jpg" if folder.is_dir() else ""
        take = trial.take(camera, K, image, source="annot.h5 pose/3d")
        two_d, seen = _H36M_32.convert(pixels[mine])
        rows.append(make_rows(take, content["frame"][mine], _to_17(joints[mine]), two_d, seen))
    return rows


def read_baseline(trial: Trial, path: Path) -> list[Rows]:
    """3D_positions (96, T) mm of one trial, seen by the four cameras; no images."""
    values = _h5(path, ("3D_positions",))["3D_positions"].astype(np.float64)
    if values.ndim != 2 or values.shape[0] != 96:
        raise InputError(f"{path}: 3D_positions has shape {values.shape}, expected (96, T)")
    world = values.T.reshape(-1, 32, 3) / 1000.0
    rows = []
    for camera in CAMERAS:
        if (trial.subject, trial.name, camera) in trial.corrupt:
            rows.append(_skip(trial, camera))
        else:
            rows.append(_world_rows(trial, camera, trial.name, trial.action, world, "3D_positions"))
    return rows


def _h5(path: Path, names: tuple[str, ...], needed: bool = True) -> dict[str, np.ndarray]:
    """Arrays of an HDF5 file by name."""
    try:
        import h5py
    except ImportError:
        raise need_package("h5py", path) from None
    try:
        with h5py.File(path, "r") as file:
            absent = [name for name in names if name not in file]
            if absent and needed:
                raise InputError(f"{path}: lacks {', '.join(absent)}")
            return {name: stored_array(file[name], f"{path}: {name}") for name in names if name not in absent}
    except InputError:
        raise
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        raise InputError(
            f"{path}: not a readable HDF5 file ({error}); it is damaged or another kind of file"
        ) from error
