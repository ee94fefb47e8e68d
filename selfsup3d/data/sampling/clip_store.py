"""Clips made ready for training: frames, saliency and background of one person each, read from their files on demand.

    STORE/
      store.json                written last: a store without it was never finished and is refused
      clip_00000/
        frames.npy              (T, S, S, 3) uint8 RGB
        saliency.npy            (T, S, S) uint8
        background.npy               (S, S, 3) uint8, or (T, S, S, 3) where the camera moves
        keypoints.npy           (T, 17, 3) float32 x, y, confidence, where a detector marked them
        meta.json               see `Clip.meta`

A clip's folder appears whole, by one rename. The unsupervised path reads the first three, meta.json and nothing else; a
detector's keypoints are for the weakly supervised variant. Ground truth for evaluation lives elsewhere.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from selfsup3d.config.choices import SaliencyMethod
from selfsup3d.data.saliency.saliency import Saliency, video_saliency
from selfsup3d.errors import FatalInputError, InputError
from selfsup3d.io.files import write_array, write_json
from selfsup3d.io.json_yaml import parse_json
from selfsup3d.io.limits import DOCUMENT, read_within
from selfsup3d.io.names import clean_component
from selfsup3d.io.stored_arrays import StoredArray, file_digest, refuse_limit
from selfsup3d.structures.skeleton import NUM_JOINTS

__all__ = [
    "STORE",
    "Clip",
    "ClipStore",
    "altered_clips",
    "clip_is_ready",
    "finish_store",
    "save_clip",
    "store_is_finished",
    "write_clip",
]

STORE = "store.json"
"""Of a finished store's folder."""

FORMAT = 2
"""Version of the folder's layout and of the saliency code; clips of another version are prepared again."""


_PARTS = ("frames", "saliency", "background")
_KEYPOINTS = "keypoints"


@dataclass(frozen=True)
class Clip:
    """One clip. Its arrays stay in their files; `numpy.asarray` reads all of one.

    Attributes:
        name: of the folder.
        frames: (T, S, S, 3) uint8 RGB.
        saliency: (T, S, S) uint8, 255 = surely person.
        background: (S, S, 3) or (T, S, S, 3) uint8.
        meta: name (of the source), person, action, fps, static_camera, K (null, one 3x3 or T of them), boxes (null or
            T rows x, y, width, height in the source's pixels), method (of the saliency), coverage, prepared (the
            settings it was made with), sha256 (of each array's file).
        keypoints: (T, 17, 3) float32, x and y px of the frames and confidence (0 = not found); None = nobody marked any.
    """

    name: str
    frames: StoredArray
    saliency: StoredArray
    background: StoredArray
    meta: Mapping[str, Any]
    keypoints: StoredArray | None = None

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def person(self) -> str:
        """Who is seen; clips of one person share it."""
        return str(self.meta.get("person") or self.name)

    def K(self) -> np.ndarray | None:
        """(T, 3, 3) float32 pinhole of each frame in the crop's pixels, where known."""
        if self.meta.get("K") is None:
            return None
        K = np.asarray(self.meta["K"], dtype=np.float32)
        return np.broadcast_to(K, (len(self), 3, 3)) if K.ndim == 2 else K


def write_clip(
    root: str | Path,
    name: str,
    frames: np.ndarray,
    meta: Mapping[str, Any] | None = None,
    *,
    prepared: Mapping[str, Any] | None = None,
    method: SaliencyMethod = "auto",
    static_camera: bool | None = None,
    size: int | None = None,
) -> Path:
    """Compute saliency and background of a clip and write its folder, whole or not at all.

    Args:
        root: of the store; made if missing.
        name: of the clip's folder.
        frames: (T, S, S, 3) uint8 RGB.
        meta: added to `Clip.meta`; K belongs to the written size.
        prepared: settings by which `clip_is_ready` later knows the clip again.
        method, static_camera: see `data.saliency.video_saliency`.
        size: of the written images; None = as given. Saliency is found on the frames as given, the larger the better.

    Raises:
        InputError: frames of another shape or kind, or a name that is no folder's.
    """
    frames = np.ascontiguousarray(frames)
    result = video_saliency(frames, method=method, static_camera=static_camera)
    return save_clip(root, name, frames, result, meta, prepared=prepared, size=size)


def save_clip(
    root: str | Path,
    name: str,
    frames: np.ndarray,
    result: Saliency,
    meta: Mapping[str, Any] | None = None,
    *,
    prepared: Mapping[str, Any] | None = None,
    size: int | None = None,
    keypoints: np.ndarray | None = None,
) -> Path:
    """Write a clip whose saliency and background are known already, whole or not at all; arguments as of `write_clip`.

    Args:
        keypoints: (T, 17, 3) x and y px of the frames as given, and confidence.
    """
    keypoints = None if keypoints is None else np.array(keypoints, np.float32)
    saliency, background = result.saliency, result.background
    if size is not None and size != frames.shape[1]:
        if keypoints is not None:
            keypoints[..., :2] *= size / frames.shape[1]
        frames, saliency = _resized(frames, size), _resized(saliency, size)
        background = _resized(background[None], size)[0] if background.ndim == 3 else _resized(background, size)
    clean_component(name, f"{root}: name of a clip")
    record = {
        "name": name,
        "person": None,
        "action": None,
        "fps": 0.0,
        "K": None,
        "boxes": None,
        **dict(meta or {}),
        "static_camera": result.static_camera,
        "method": result.method,
        "coverage": round(result.coverage, 4),
        "prepared": {"format": FORMAT, **dict(prepared or {})},
    }
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".partial-", dir=root))
    try:
        arrays = dict(zip(_PARTS, (frames, saliency, background), strict=True))
        if keypoints is not None:
            arrays[_KEYPOINTS] = keypoints
        for part, array in arrays.items():
            write_array(temporary / f"{part}.npy", array)
        digests = {part: file_digest(temporary / f"{part}.npy") for part in arrays}
        write_json(temporary / "meta.json", {**record, "sha256": digests})
        temporary.chmod(0o755)
        if (root / name).exists():
            shutil.rmtree(root / name)
        os.replace(temporary, root / name)
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(root / name)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return root / name


def _resized(images: np.ndarray, size: int) -> np.ndarray:
    """(T, size, size, ...) of (T, H, W, ...) uint8: reduced by areas, enlarged bilinearly."""
    interpolation = cv2.INTER_AREA if images.shape[1] > size else cv2.INTER_LINEAR
    return np.stack([cv2.resize(image, (size, size), interpolation=interpolation) for image in images])


def clip_is_ready(root: str | Path, name: str, prepared: Mapping[str, Any]) -> bool:
    """Whether the clip stands there whole, made with just these settings; its values are not compared."""
    try:
        meta = _read_clip(Path(root) / name).meta
    except FatalInputError:
        raise
    except InputError:
        return False
    return meta.get("prepared") == {"format": FORMAT, **json.loads(json.dumps(dict(prepared)))}


def finish_store(root: str | Path, names: Sequence[str], settings: Mapping[str, Any]) -> None:
    """Write store.json, which makes the store usable; call it when every clip stands."""
    write_json(Path(root) / STORE, {"format": FORMAT, "clips": list(names), "settings": dict(settings)})


def store_is_finished(root: str | Path, names: Sequence[str]) -> bool:
    """Whether store.json stands there, is whole and lists just these clips."""
    try:
        return _read_store(Path(root))[1] == tuple(names)
    except InputError:
        return False


class ClipStore:
    """The clips of a finished store. However many there are, few files are open at a time.

    Args:
        root: folder with store.json.
        names: folders to keep; None = all.

    Raises:
        InputError: no store, an unfinished one, another format, or a clip that is missing or damaged.
    """

    def __init__(self, root: str | Path, names: Iterable[str] | None = None) -> None:
        self.root = Path(root)
        self.settings, every = _read_store(self.root)
        self.names = every if names is None else tuple(names)
        unknown = set(self.names) - set(every)
        if unknown:
            raise InputError(f"{self.root}: no clips {', '.join(sorted(unknown))}; store.json lists {len(every)}")
        if not self.names:
            raise InputError(f"{self.root}: the store holds no clips")
        self.clips = tuple(_read_clip(self.root / name) for name in self.names)
        sizes = {clip.frames.shape[1:3] for clip in self.clips}
        if len(sizes) > 1:
            raise InputError(f"{self.root}: clips of different sizes {sorted(sizes)}; prepare them again with one size")

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Clip:
        return self.clips[index]

    def __iter__(self) -> Iterator[Clip]:
        return iter(self.clips)

    @property
    def image_size(self) -> int:
        """Side of the square frames, pixels."""
        return int(self.clips[0].frames.shape[1])

    @property
    def frames(self) -> int:
        """Number of frames of all clips."""
        return sum(len(clip) for clip in self.clips)


def altered_clips(root: str | Path) -> tuple[list[Clip], dict[Path, str]]:
    """Compare every file of a finished store with the checksum that was written when it was prepared.

    Returns:
        The clips that are as they were (or of which nothing is known: `meta` holds no sha256), and folder -> what is
        wrong of those that are missing, damaged or altered.

    Raises:
        InputError: no finished store.
    """
    whole: list[Clip] = []
    faults: dict[Path, str] = {}
    for folder in (Path(root) / name for name in _read_store(Path(root))[1]):
        try:
            clip = _read_clip(folder)
            altered = [array.path.name for array in _arrays(clip) if array.altered()]
        except FatalInputError:  # the machine's, not the clip's
            raise
        except InputError as error:
            faults[folder] = str(error).removeprefix(f"{folder}: ").split(";")[0]
            continue
        if altered:
            faults[folder] = f"{', '.join(altered)} altered after it was prepared"
        else:
            whole.append(clip)
    return whole, faults


def _arrays(clip: Clip) -> list[StoredArray]:
    """All that a clip's folder stores."""
    every = [getattr(clip, part) for part in _PARTS]
    return every if clip.keypoints is None else [*every, clip.keypoints]


def _read_store(root: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    file = root / STORE
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected prepared clips (selfsup3d prepare-data makes them)")
    if not file.is_file():
        raise InputError(f"{root}: no store.json: not prepared clips, or the preparation was cut off; run it again")
    try:
        record = parse_json(read_within(file, DOCUMENT).decode())
        names, settings = tuple(record["clips"]), dict(record["settings"])
    except OSError as error:
        refuse_limit(error)
        raise InputError(f"{file}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: damaged ({error}); delete it and prepare the clips again") from error
    if record.get("format") != FORMAT:
        raise InputError(f"{file}: format {record.get('format')}, this version reads {FORMAT}; prepare the clips again")
    return settings, tuple(clean_component(name, file) for name in names)


def _read_clip(folder: Path) -> Clip:
    try:
        meta = parse_json(read_within(folder / "meta.json", DOCUMENT).decode())
        known = meta.get("sha256") or {}
        frames, saliency, background = (StoredArray(folder / f"{part}.npy", known.get(part)) for part in _PARTS)
        keypoints = None
        if _KEYPOINTS in known or (folder / f"{_KEYPOINTS}.npy").exists():
            keypoints = StoredArray(folder / f"{_KEYPOINTS}.npy", known.get(_KEYPOINTS))
    except OSError as error:
        refuse_limit(error)
        raise InputError(
            f"{folder / 'meta.json'}: cannot be read ({error.strerror}); prepare the clips again"
        ) from None
    except FatalInputError:
        raise
    except (ValueError, AttributeError) as error:
        raise InputError(f"{folder}: damaged clip ({error}); delete the folder and prepare the clips again") from error
    count, *size = frames.shape
    whole = (
        frames.ndim == 4
        and all(part.dtype == np.uint8 for part in (frames, saliency, background))
        and frames.shape[-1] == 3
        and count > 0
        and saliency.shape == (count, *size[:2])
        and background.shape in ((*size[:2], 3), (count, *size[:2], 3))
    )
    if not whole:
        raise InputError(
            f"{folder}: frames {frames.shape}, saliency {saliency.shape} and background {background.shape} do not belong together;"
            " delete the folder and prepare the clips again"
        )
    if keypoints is not None and (keypoints.shape, keypoints.dtype) != ((count, NUM_JOINTS, 3), np.float32):
        raise InputError(
            f"{keypoints.path}: {keypoints.shape} {keypoints.dtype}, expected ({count}, {NUM_JOINTS}, 3) float32; delete"
            f" {folder} and prepare the clips again"
        )
    if not isinstance(meta, dict) or not _is_pinhole(meta.get("K"), count):
        raise InputError(
            f"{folder / 'meta.json'}: damaged, expected an object with K null, 3x3 or one 3x3 a frame;"
            f" delete {folder} and prepare the clips again"
        )
    return Clip(folder.name, frames, saliency, background, meta, keypoints)


def _is_pinhole(K: Any, frames: int) -> bool:
    """Whether a value of JSON is null, a 3x3 matrix or one for each frame, of finite numbers."""
    try:
        values = np.zeros((3, 3)) if K is None else np.asarray(K, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return False
    return values.shape in ((3, 3), (frames, 3, 3)) and bool(np.isfinite(values).all())
