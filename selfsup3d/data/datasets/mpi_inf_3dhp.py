"""MPI-INF-3DHP: training sequences with their fourteen cameras, and the test set TS1-TS6.

    S1/Seq1/annot.mat (MATLAB v5), camera.calibration, and images in any of
        imageSequence/video_0.avi, imageSequence/video_0/000001.jpg, imageFrames/video_0/frame_000001.jpg, video_0/...
    mpi_inf_3dhp_test_set/TS1/annot_data.mat (HDF5), imageSequence/img_000001.jpg

Joints "metric" (`annot3`) are the person's own; "universal" (`univ_annot3`) are scaled to one height, as published
results mostly use: they no longer project onto the image, so 2D joints and boxes always come from `annot2`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from selfsup3d.config.choices import Annotation
from selfsup3d.data.datasets.dataset_tree import Missing, Part, Source, Tree, labelled_size, make_rows, need_package
from selfsup3d.data.datasets.frame_index import Rows, Take
from selfsup3d.data.datasets.intrinsics import fit_intrinsics
from selfsup3d.errors import InputError
from selfsup3d.io.images import read_image
from selfsup3d.io.limits import check_mat, read_within, stored_array
from selfsup3d.io.video import video_info
from selfsup3d.structures.joint_formats import FOREIGN, ForeignSkeleton

__all__ = ["ACTIVITIES", "SOURCE", "USUAL_CAMERAS", "find_mpi_inf_3dhp", "read_calibration"]

SOURCE = Source(
    title="MPI-INF-3DHP",
    url="https://vcai.mpi-inf.mpg.de/3dhp-dataset (script get_dataset.sh)",
    licence="research only, non-commercial",
    cite="Mehta et al.: Monocular 3D Human Pose Estimation in the Wild, 3DV 2017",
)

USUAL_CAMERAS = (0, 1, 2, 4, 5, 6, 7, 8)
"""Those at chest height or slightly above, which most papers train on."""

ACTIVITIES = ("Stand/Walk", "Exercise", "Sit on Chair", "Crouch/Reach", "On the Floor", "Sports", "Misc.")
"""Of the test set, numbered from 1 in its files."""


_TRAIN = FOREIGN["mpi_inf_3dhp_28"]
_TEST = FOREIGN["mpi_inf_3dhp_test_17"]
_SIZE = 2048
_TEST_SIZES = ((2048, 2048), (1920, 1080))
_HEADER = 1
_LINES = 7


@dataclass(frozen=True)
class _Sequence:
    """What a reader needs to know."""

    root: Path
    folder: Path
    subject: str
    name: str
    cameras: tuple[int, ...]
    annotation: Annotation
    every: int


def find_mpi_inf_3dhp(
    root: str | Path,
    *,
    annotation: Annotation = "metric",
    cameras: Sequence[int] = USUAL_CAMERAS,
    subjects: Sequence[int] = tuple(range(1, 9)),
    every: int = 1,
) -> Tree:
    """Find out what an MPI-INF-3DHP folder offers.

    Args:
        root: with S1 ... S8 and mpi_inf_3dhp_test_set (or TS1 ... TS6), each optional.
        annotation: which 3D joints.
        cameras: of the training sequences.
        subjects: of the training sequences.
        every: keep each `every`-th frame of a training recording; the test set is kept whole.

    Raises:
        InputError: no such folder, or an unknown annotation.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected {SOURCE.title} (from {SOURCE.url})")
    if annotation not in ("metric", "universal"):
        raise InputError(f"annotation {annotation!r} is unknown; expected metric or universal")
    parts: list[Part] = []
    missing: list[Missing] = []
    base = next((b for b in (root, root / "mpi_inf_3dhp", root / "train") if next(b.glob("S*/Seq*"), None)), root)
    for subject in subjects:
        for number in (1, 2):
            name = f"S{subject}/Seq{number}"
            folder = base / name
            if not (folder / "annot.mat").is_file():
                missing.append(Missing(f"{name}/annot.mat", "training annotation"))
                continue
            task = _Sequence(root, folder, f"S{subject}", name, tuple(cameras), annotation, every)
            seen = [c for c in cameras if _image(folder, c)]
            if not seen:
                missing.append(Missing(f"{name}/imageSequence/video_*.avi", "videos or frames of the cameras"))
            for camera in [c for c in cameras if seen and c not in seen]:
                missing.append(Missing(f"{name}/imageSequence/video_{camera}.avi", "video or frames of this camera"))
            parts.append(Part(name, partial(read_train, task), folder / "annot.mat"))
    test = next((b for b in (root / "mpi_inf_3dhp_test_set", root, root / "test") if next(b.glob("TS*"), None)), None)
    for number in range(1, 7):
        folder = (test or root / "mpi_inf_3dhp_test_set") / f"TS{number}"
        if not (folder / "annot_data.mat").is_file():
            missing.append(Missing(f"mpi_inf_3dhp_test_set/TS{number}/annot_data.mat", "test annotation"))
            continue
        if not (folder / "imageSequence").is_dir():
            missing.append(Missing(f"mpi_inf_3dhp_test_set/TS{number}/imageSequence", "test images"))
        task = _Sequence(root, folder, f"TS{number}", f"TS{number}", (), annotation, 1)
        parts.append(Part(f"TS{number}", partial(read_test, task), folder / "annot_data.mat"))
    notes = {
        "joints": f"{'univ_annot3' if annotation == 'universal' else 'annot3'} ({annotation})",
        "boxes": "around the ground-truth joints (annot2)",
    }
    return Tree("mpi_inf_3dhp", root, "official", parts, missing, SOURCE, notes)


def read_calibration(path: Path) -> dict[int, tuple[np.ndarray, tuple[int, int]]]:
    """Camera number -> K (3, 3) and (width, height), px, of `camera.calibration`: a header line, then 7 a camera.

    Raises:
        InputError: damaged, or a lens that distorts (the dataset's do not).
    """
    lines = read_within(path).decode("latin1").splitlines()[_HEADER:]
    cameras: dict[int, tuple[np.ndarray, tuple[int, int]]] = {}
    try:
        for start in range(0, len(lines) - _LINES + 1, _LINES):
            values = {line.split()[0]: line.split()[1:] for line in lines[start : start + _LINES] if line.split()}
            inner = np.array([float(v) for v in values["intrinsic"]]).reshape(4, 4)
            if any(float(v) for v in values.get("radial", ())):
                raise ValueError(f"camera {values['name'][0]} has radial distortion, which is not read")
            width, height = (int(v) for v in values["size"])
            cameras[int(values["name"][0])] = inner[:3, :3], (width, height)
    except (KeyError, IndexError, ValueError) as error:
        raise InputError(f"{path}: not a readable camera.calibration ({error})") from error
    if not cameras:
        raise InputError(f"{path}: holds no camera")
    return cameras


def read_train(task: _Sequence) -> list[Rows]:
    """All wanted cameras of one training sequence."""
    path = task.folder / "annot.mat"
    content = _loadmat(path)
    calibration = task.folder / "camera.calibration"
    known = read_calibration(calibration) if calibration.is_file() else {}
    metric = _cell(content, "annot3", 3, path)
    wanted = _cell(content, "univ_annot3", 3, path) if task.annotation == "universal" else metric
    pixels = _cell(content, "annot2", 2, path)
    rows = []
    for camera in task.cameras:
        if camera >= len(pixels) or pixels[camera].size == 0:
            continue
        count = min(len(metric[camera]), len(pixels[camera]), len(wanted[camera]))
        two_d = pixels[camera][:count]
        K, size = known.get(camera, (None, (_SIZE, _SIZE)))
        if K is None:
            K = fit_intrinsics(metric[camera][:count:10], two_d[::10], f"{path}: camera {camera}")
        kept = slice(0, count, task.every)
        take = _train_take(task, camera, K, size)
        frame = np.arange(count)[kept] + _first_number(take.image)
        joints = _to_17(_TRAIN, wanted[camera][kept] / 1000.0)
        ours, confidence = _pixels_17(_TRAIN, two_d[kept], metric[camera][kept], K)
        rows.append(make_rows(take, frame, joints, ours, confidence))
    if not rows:
        raise InputError(f"{path}: has none of the cameras {', '.join(map(str, task.cameras))}")
    return rows


def _to_17(skeleton: ForeignSkeleton, joints: np.ndarray) -> np.ndarray:
    """(N, F, 3) -> (N, 17, 3), NaN where a joint is missing; the pelvis is the middle of the hips."""
    ours, seen = skeleton.convert(joints)
    return np.where(seen[..., None] > 0, ours, np.nan)


def _pixels_17(
    skeleton: ForeignSkeleton, pixels: np.ndarray, metric: np.ndarray, K: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(N, 17, 2) and confidence; the hips' middle is projected, since the middle of two pixels is another point."""
    ours, confidence = skeleton.convert(pixels)
    pelvis = _to_17(skeleton, metric)[:, 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        ours[:, 0] = pelvis[:, :2] / pelvis[:, 2:] * K[[0, 1], [0, 1]] + K[:2, 2]
    return ours, confidence


def _train_take(task: _Sequence, camera: int, K: np.ndarray, size: tuple[int, int]) -> Take:
    image = _image(task.folder, camera)
    relative = (task.folder / image).relative_to(task.root).as_posix() if image else ""
    fps = 25.0
    if image and "{" not in image:
        fps = video_info(task.folder / image).fps or fps
    mask = _image(task.folder, camera, ("FGmasks", "foreground_masks", "masks"))
    return Take(
        name=f"{task.name}/video_{camera}",
        subject=task.subject,
        action=task.name.split("/")[-1],
        person=task.name.replace("/", "_"),  # clothes change between the two sequences of a subject
        camera=str(camera),
        split="train",
        image=relative,
        fps=fps,
        width=size[0],
        height=size[1],
        static_camera=True,
        K=tuple(float(v) for v in K.ravel()),
        mask=(task.folder / mask).relative_to(task.root).as_posix() if mask else "",
        mask_shift=_first_number(mask) - _first_number(image),
        source="univ_annot3" if task.annotation == "universal" else "annot3",
    )


def _image(folder: Path, camera: int, places: tuple[str, ...] = ("imageSequence", "imageFrames", ".")) -> str:
    """The video or the frames' pattern of a camera, relative to the sequence's folder; "" if there is none."""
    for place in places:
        for suffix in (".avi", ".mp4"):
            if (folder / place / f"video_{camera}{suffix}").is_file():
                return f"{place}/video_{camera}{suffix}"
        frames = folder / place / f"video_{camera}"
        if frames.is_dir():
            for pattern in ("{:06d}", "frame_{:06d}", "img_{:06d}"):
                for suffix in (".jpg", ".png"):
                    if (frames / f"{pattern.format(1)}{suffix}").is_file():
                        return f"{place}/video_{camera}/{pattern}{suffix}".removeprefix("./")
    return ""


def _first_number(image: str) -> int:
    """Of the first frame: frame files count from 1, videos (and joints without images) from 0."""
    return 1 if "{" in image else 0


def _loadmat(path: Path) -> dict[str, np.ndarray]:
    try:
        from scipy.io import loadmat
    except ImportError:
        raise need_package("scipy", path) from None
    check_mat(path)
    try:
        return dict(loadmat(path, variable_names=("annot2", "annot3", "univ_annot3")))
    except Exception as error:  # scipy raises whatever a damaged file leads it to
        raise InputError(f"{path}: not a readable MATLAB file ({type(error).__name__}: {error})") from error


def _cell(content: dict[str, np.ndarray], key: str, dimensions: int, path: Path) -> list[np.ndarray]:
    """One (N, 28, D) array for each camera of a (14, 1) cell of (N, 28 D)."""
    if key not in content:
        raise InputError(f"{path}: lacks {key}; it has {', '.join(k for k in content if not k.startswith('__'))}")
    arrays = [np.asarray(cell, dtype=np.float64) for cell in np.ravel(content[key])]
    for number, array in enumerate(arrays):
        if array.size and (array.ndim != 2 or array.shape[1] != 28 * dimensions):
            raise InputError(
                f"{path}: {key} of camera {number} has shape {array.shape}, expected (N, {28 * dimensions})"
            )
    return [array.reshape(-1, 28, dimensions) for array in arrays]


def read_test(task: _Sequence) -> list[Rows]:
    """One test sequence, a take for each activity; frames marked invalid are left out."""
    path = task.folder / "annot_data.mat"
    content = _load_hdf5(path)
    count = len(content["valid_frame"].ravel())
    pixels = _frames(content["annot2"], count, 2, path, "annot2")
    metric = _frames(content["annot3"], count, 3, path, "annot3") / 1000.0
    wanted = metric
    if task.annotation == "universal":
        wanted = _frames(content["univ_annot3"], count, 3, path, "univ_annot3") / 1000.0
    valid = content["valid_frame"].ravel() > 0.5
    activity = content["activity_annotation"].ravel().astype(int)
    if len(activity) != count:
        raise InputError(f"{path}: activity_annotation has {len(activity)} entries for {count} frames")
    if not valid.any():
        raise InputError(f"{path}: no frame is valid")
    K = fit_intrinsics(metric[valid], pixels[valid], str(path))
    first = task.folder / "imageSequence" / "img_000001.jpg"
    height, width = round(2 * K[1, 2]), round(2 * K[0, 2])
    if first.is_file():
        height, width = read_image(first, upright=False).shape[:2]
        width, height = labelled_size((width, height), K, _TEST_SIZES)
    relative = (task.folder / "imageSequence").relative_to(task.root).as_posix()
    rows = []
    for number in sorted(set(activity[valid].tolist())):
        mine = np.flatnonzero(valid & (activity == number))
        action = ACTIVITIES[number - 1] if 1 <= number <= len(ACTIVITIES) else f"activity {number}"
        take = Take(
            name=f"{task.subject}/{action}",
            subject=task.subject,
            action=action,
            person=task.subject,
            camera="0",
            split="test",
            image=f"{relative}/img_{{:06d}}.jpg" if first.parent.is_dir() else "",
            fps=25.0,
            width=width,
            height=height,
            static_camera=True,
            K=tuple(float(v) for v in K.ravel()),
            source="univ_annot3" if task.annotation == "universal" else "annot3",
        )
        ours, confidence = _pixels_17(_TEST, pixels[mine], metric[mine], K)
        rows.append(make_rows(take, mine + 1, _to_17(_TEST, wanted[mine]), ours, confidence))
    invalid = int((~valid).sum())
    if rows and invalid:
        rows[0].skipped["frames marked invalid by the dataset"] = invalid  # type: ignore[index]
    return rows


def _load_hdf5(path: Path) -> dict[str, np.ndarray]:
    try:
        import h5py
    except ImportError:
        raise need_package("h5py", path) from None
    names = ("annot2", "annot3", "univ_annot3", "valid_frame", "activity_annotation")
    try:
        with h5py.File(path, "r") as file:
            absent = [name for name in names if name not in file]
            if absent:
                raise InputError(f"{path}: lacks {', '.join(absent)}")
            return {name: stored_array(file[name], f"{path}: {name}").astype(np.float64) for name in names}
    except InputError:
        raise
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        raise InputError(f"{path}: not a readable MATLAB v7.3 file ({error})") from error


def _frames(array: np.ndarray, count: int, dimensions: int, path: Path, key: str) -> np.ndarray:
    """(N, 17, D) of an (N, 1, 17, D) array as HDF5 shows it (MATLAB's axes reversed)."""
    if array.shape != (count, 1, 17, dimensions):
        raise InputError(f"{path}: {key} has shape {array.shape}, expected ({count}, 1, 17, {dimensions})")
    return array[:, 0]
