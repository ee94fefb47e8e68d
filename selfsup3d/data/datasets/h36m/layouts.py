"""Finding Human3.6M on disk: which of the known layouts a folder has, and the parts it is read by.

    official    S1/MyPoseFeatures/{D2_Positions,D3_Positions,D3_Positions_mono}/*.cdf, S1/Videos/*.mp4, metadata.xml
    npz         data_3d_h36m.npz (VideoPose3D), optionally data_2d_h36m_*.npz, and a camera file
    fetch       S1/Directions-1/{annot.h5,imageSequence/54138969/img_000001.jpg} (h36m-fetch)
    baseline    S1/MyPoses/3D_positions/*.h5 and cameras.h5 (3d-pose-baseline)

Every layout becomes the same rows: 17 joints in the camera frame and in distorted pixels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from selfsup3d.data.datasets.dataset_tree import Missing, Part, Source, Tree
from selfsup3d.data.datasets.h36m.cameras import CAMERAS, SUBJECTS, Cameras, find_cameras, load_cameras
from selfsup3d.data.datasets.h36m.readers import Trial, read_baseline, read_fetch, read_npz_subject, read_official
from selfsup3d.errors import InputError
from selfsup3d.io.safe_pickle import load_npz

__all__ = ["ACTIONS", "SOURCE", "find_h36m"]

SOURCE = Source(
    title="Human3.6M",
    url="http://vision.imar.ro/human3.6m (account, approved by hand)",
    licence="research only, no redistribution",
    cite="Ionescu, Papava, Olaru, Sminchisescu: Human3.6M, TPAMI 2014",
)

ACTIONS = (
    "Directions",
    "Discussion",
    "Eating",
    "Greeting",
    "Phoning",
    "Photo",
    "Posing",
    "Purchases",
    "Sitting",
    "SittingDown",
    "Smoking",
    "Waiting",
    "WalkDog",
    "Walking",
    "WalkTogether",
)
"""The 15 actions that results are reported over."""

_SYNONYMS = {
    "TakingPhoto": "Photo",
    "WalkingDog": "WalkDog",
    "WalkingTogether": "WalkTogether",
    "Greetings": "Greeting",
}
_CORRUPT = {("S11", "Directions", "54138969"), ("S11", "Directions-2", "54138969")}
"""Known damaged recordings."""


@dataclass(frozen=True)
class Found:
    """What a layout offers."""

    parts: list[Part]
    missing: list[Missing]


def action_of(trial: str) -> str:
    """The reported action of a trial name: "WalkingDog 1" -> "WalkDog"."""
    name = re.sub(r"[ \-_]?\d+$", "", trial)
    return _SYNONYMS.get(name, name)


def find_h36m(
    root: str | Path,
    *,
    cameras: str | Path | None = None,
    detections: str | Path | None = None,
    subjects: Sequence[str] = SUBJECTS,
    every: int = 1,
) -> Tree:
    """Find out what a Human3.6M folder offers.

    Args:
        root: the folder (or the npz).
        cameras: camera file; None = looked for beside the data.
        detections: `data_2d_h36m_*.npz` whose 2D joints are kept as detections.
        subjects: to be read.
        every: keep each `every`-th frame of a recording (50 per second).

    Returns:
        The tree; `Tree.require` tells whether anything can be read.

    Raises:
        InputError: no such folder, or a camera or detection file that cannot be read.
    """
    root = Path(root)
    if root.suffix == ".npz":
        root = root.parent
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected {SOURCE.title} (from {SOURCE.url})")
    layout, base = _layout(root)
    camera_file = Path(cameras) if cameras is not None else find_cameras(base) or find_cameras(root)
    table = load_cameras(camera_file) if camera_file is not None else {}
    trial = partial(Trial, root=root, cameras=table, every=every, corrupt=frozenset(_CORRUPT))
    finders = {"official": _official, "npz": _npz, "fetch": _fetch, "baseline": _baseline}
    found = finders[layout](root, base, trial, subjects, table, detections) if layout else Found([], _nothing(root))
    if layout in ("npz", "baseline") and not table:
        wanted = "metadata.xml, cameras.h5, or VideoPose3D's h36m_dataset.py"
        found.missing.append(Missing("cameras.h5", f"the cameras, in any of {wanted}", needed=True))
    notes = {"joints": "Human3.6M motion capture, 32 -> 17 joints", "boxes": "around the ground-truth joints"}
    return Tree("h36m", root, layout, found.parts, found.missing, SOURCE, notes)


def _layout(root: Path) -> tuple[str, Path]:
    """The layout's name and the folder that holds it."""
    for base in (root, root / "processed", root / "h36m", root / "extracted"):
        if next(base.glob("S*/MyPoseFeatures"), None):
            return "official", base
        if next(base.glob("S*/*/annot.h5"), None):
            return "fetch", base
        if next(base.glob("S*/MyPoses/3D_positions"), None):
            return "baseline", base
        if (base / "data_3d_h36m.npz").is_file():
            return "npz", base
    return "", root


def _nothing(root: Path) -> list[Missing]:
    return [
        Missing("S1/MyPoseFeatures/D3_Positions_mono/*.cdf", "official poses; or one of the derived layouts:", True),
        Missing("data_3d_h36m.npz", "VideoPose3D", True),
        Missing("processed/S1/Directions-1/annot.h5", "h36m-fetch", True),
        Missing("h36m/S1/MyPoses/3D_positions/Directions 1.h5", "3d-pose-baseline", True),
    ]


def _absent_subjects(base: Path, root: Path, subjects: Sequence[str], what: str) -> list[Missing]:
    return [Missing(str((base / s).relative_to(root)), what) for s in subjects if not (base / s).is_dir()]


def _official(
    root: Path, base: Path, trial: partial[Trial], subjects: Sequence[str], table: Cameras, detections: object
) -> Found:
    missing = _absent_subjects(base, root, subjects, "the subject's Poses and Videos archives")
    if not table:
        missing.append(
            Missing("metadata.xml", "cameras: without it, only trials with D3_Positions_mono and D2_Positions")
        )
    parts = []
    for subject in subjects:
        features = base / subject / "MyPoseFeatures"
        names: set[str] = set()
        for file in features.glob("D3_Positions_mono/*.cdf"):
            names.add(file.stem.rsplit(".", 1)[0])
        names |= {file.stem for file in features.glob("D3_Positions/*.cdf")}
        names = {n for n in names if not n.startswith("_ALL")}
        if (base / subject).is_dir() and not names:
            missing.append(Missing(f"{subject}/MyPoseFeatures/D3_Positions_mono", "3D poses (*.cdf)"))
        missing += _absent_files(base / subject, subject, names, table)
        for name in sorted(names):
            task = trial(folder=base / subject, subject=subject, name=name, action=action_of(name))
            parts.append(Part(f"{subject}/{name}", partial(read_official, task), features / f"D3_Positions/{name}.cdf"))
    return Found(parts, missing)


def _absent_files(folder: Path, subject: str, names: Iterable[str], table: Cameras) -> list[Missing]:
    """Videos and poses of single cameras that a subject's trials lack."""
    views = [(n, c) for n in sorted(names) for c in CAMERAS if (subject, n, c) not in _CORRUPT]
    missing = []
    filmed = {(n, c) for n, c in views if (folder / "Videos" / f"{n}.{c}.mp4").is_file()}
    if views and not filmed:
        missing.append(Missing(f"{subject}/Videos/*.mp4", "the videos: joints can be used, images cannot"))
    for name, camera in views:
        if filmed and (name, camera) not in filmed:
            missing.append(Missing(f"{subject}/Videos/{name}.{camera}.mp4", "the video: its joints have no images"))
        mono = f"MyPoseFeatures/D3_Positions_mono/{name}.{camera}.cdf"
        through = (subject, camera) in table and (folder / f"MyPoseFeatures/D3_Positions/{name}.cdf").is_file()
        if not through and not (folder / mono).is_file():
            missing.append(Missing(f"{subject}/{mono}", "3D poses of this camera: it is left out"))
    return missing


def _npz(
    root: Path, base: Path, trial: partial[Trial], subjects: Sequence[str], table: Cameras, detections: object
) -> Found:
    file = base / "data_3d_h36m.npz"
    content = load_npz(file)
    positions = content.get("positions_3d")
    if not isinstance(positions, dict):
        raise InputError(
            f"{file}: has no positions_3d; expected VideoPose3D's data_3d_h36m.npz (it has {list(content)})"
        )
    missing = [Missing(f"data_3d_h36m.npz: {s}", "the subject") for s in subjects if s not in positions]
    two_d = Path(str(detections)) if detections is not None else None
    parts = []
    for subject in subjects if table else ():
        if subject in positions:
            task = trial(folder=base, subject=subject, name="all", action="")
            parts.append(Part(f"{subject}", partial(read_npz_subject, task, file, two_d, action_of), file))
    return Found(parts, missing)


def _fetch(
    root: Path, base: Path, trial: partial[Trial], subjects: Sequence[str], table: Cameras, detections: object
) -> Found:
    missing = _absent_subjects(base, root, subjects, "the subject")
    parts = []
    for subject in subjects:
        for file in sorted((base / subject).glob("*/annot.h5")):
            name = file.parent.name
            if not (file.parent / "imageSequence").is_dir():
                missing.append(Missing(f"{subject}/{name}/imageSequence", "the images"))
            for camera in CAMERAS if (file.parent / "imageSequence").is_dir() else ():
                if not (file.parent / "imageSequence" / camera).is_dir() and (subject, name, camera) not in _CORRUPT:
                    missing.append(Missing(f"{subject}/{name}/imageSequence/{camera}", "the images of this camera"))
            task = trial(folder=file.parent, subject=subject, name=name, action=action_of(name))
            parts.append(Part(f"{subject}/{name}", partial(read_fetch, task), file))
    return Found(parts, missing)


def _baseline(
    root: Path, base: Path, trial: partial[Trial], subjects: Sequence[str], table: Cameras, detections: object
) -> Found:
    missing = _absent_subjects(base, root, subjects, "the subject")
    parts = []
    for subject in subjects if table else ():
        for file in sorted((base / subject / "MyPoses" / "3D_positions").glob("*.h5")):
            task = trial(folder=base / subject, subject=subject, name=file.stem, action=action_of(file.stem))
            parts.append(Part(f"{subject}/{file.stem}", partial(read_baseline, task, file), file))
    return Found(parts, missing)
