"""Human3.6M's cameras, from any of the files that hold them.

A camera takes world to camera by X_c = R (X_w - T); T is its centre. Files: the official `metadata.xml`; `cameras.h5`
of 3d-pose-baseline; VideoPose3D's `h36m_dataset.py`, whose tables are read as literals, never run; the same as JSON.
"""

from __future__ import annotations

import ast
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from selfsup3d.data.datasets.dataset_tree import need_package
from selfsup3d.errors import InputError
from selfsup3d.geometry.camera import apply_intrinsics, distort
from selfsup3d.io.json_yaml import parse_json
from selfsup3d.io.limits import DOCUMENT, read_within, stored_array

__all__ = ["CAMERAS", "SUBJECTS", "H36mCamera", "find_cameras", "load_cameras", "project_h36m"]

CAMERAS = ("54138969", "55011271", "58860488", "60457274")
"""Names of the four cameras, in the order of every file."""

SUBJECTS = ("S1", "S5", "S6", "S7", "S8", "S9", "S11")
"""Subjects with published poses."""

_SIZES = {"54138969": (1000, 1002), "55011271": (1000, 1000), "58860488": (1000, 1000), "60457274": (1000, 1002)}
_FILES = ("metadata.xml", "cameras.h5", "h36m_dataset.py", "common/h36m_dataset.py", "cameras.json")


@dataclass(frozen=True)
class H36mCamera:
    """One camera as it stood for one subject.

    Attributes:
        name: such as "54138969".
        R: (3, 3) world axes -> camera axes.
        T: (3,) centre in the world, metres.
        K: (3, 3) px.
        radial: (3,) k1, k2, k3.
        tangential: (2,) p1, p2.
        width, height: px.
    """

    name: str
    R: np.ndarray
    T: np.ndarray
    K: np.ndarray
    radial: np.ndarray
    tangential: np.ndarray
    width: int
    height: int

    def to_camera(self, world: np.ndarray) -> np.ndarray:
        """(..., 3) world, metres -> camera frame."""
        return (world - self.T) @ self.R.T

    def distortion(self) -> tuple[float, ...]:
        """k1, k2, k3, p1, p2."""
        return tuple(float(v) for v in (*self.radial, *self.tangential))


Cameras = dict[tuple[str, str], H36mCamera]
"""(subject, camera name) -> camera."""


def project_h36m(points: np.ndarray, K: np.ndarray, distortion: tuple[float, ...]) -> np.ndarray:
    """Camera-frame points (..., J, 3) to distorted pixels (..., J, 2), float64."""
    values = torch.from_numpy(np.asarray(points, dtype=np.float64))
    plane = values[..., :2] / values[..., 2:].clamp(min=1e-6)
    if distortion:
        lens = torch.tensor(distortion, dtype=torch.float64)
        plane = distort(plane, lens[:3], lens[3:], lens="h36m")
    return apply_intrinsics(plane, torch.from_numpy(np.asarray(K, dtype=np.float64))).numpy()


def find_cameras(root: Path) -> Path | None:
    """The first camera file in the folder or its parent."""
    for folder in (root, root.parent):
        for name in _FILES:
            if (folder / name).is_file():
                return folder / name
    return None


def load_cameras(path: str | Path) -> Cameras:
    """Read a camera file of any known kind (by its suffix).

    Raises:
        InputError: absent, of an unknown kind, damaged, or a rotation that is none.
    """
    path = Path(path)
    readers = {".xml": _from_metadata, ".h5": _from_h5, ".py": _from_python, ".json": _from_json}
    if path.suffix not in readers:
        raise InputError(f"{path}: not a known camera file; expected {', '.join(_FILES)}")
    try:
        cameras = readers[path.suffix](path)
    except InputError:
        raise
    except (RecursionError, MemoryError):  # of Python's parser
        raise InputError(f"{path}: not readable as Human3.6M cameras (nested too deeply)") from None
    except (OSError, KeyError, ValueError, TypeError, IndexError, SyntaxError, ElementTree.ParseError) as error:
        raise InputError(f"{path}: not readable as Human3.6M cameras ({error})") from error
    for (subject, name), camera in cameras.items():
        off = np.abs(camera.R @ camera.R.T - np.eye(3)).max()
        if not off < 1e-3 or not np.linalg.det(camera.R) > 0 or not np.isfinite(camera.K).all():
            raise InputError(f"{path}: the camera {name} of {subject} has no valid rotation or intrinsics")
    return cameras


def _camera(name: str, R: Any, T: Any, f: Any, c: Any, k: Any, p: Any, size: Any = None) -> H36mCamera:
    f, c, k, p, T = (np.asarray(v, dtype=np.float64).ravel() for v in (f, c, k, p, T))
    width, height = size or _SIZES.get(name, (1000, 1000))
    K = np.array([[f[0], 0.0, c[0]], [0.0, f[1], c[1]], [0.0, 0.0, 1.0]])
    if len(k) != 3 or len(p) != 2 or len(T) != 3:
        raise ValueError(f"camera {name} has {len(k)} radial and {len(p)} tangential terms; expected 3 and 2")
    return H36mCamera(name, np.asarray(R, dtype=np.float64).reshape(3, 3), T, K, k, p, int(width), int(height))


def _from_metadata(path: Path) -> Cameras:
    """`w0`: 6 extrinsics at 6 (11 cam + subject - 1), 9 intrinsics at 264 + 9 cam; angles about x, y, z, T in mm."""
    text = read_within(path, DOCUMENT).decode(errors="replace")
    if "<!ENTITY" in text:
        raise InputError(f"{path}: defines XML entities, which Human3.6M's file does not; get it again")
    root = ElementTree.fromstring(text)
    node = root.find(".//w0")
    if node is None or not node.text:
        raise InputError(f"{path}: has no w0 element; expected Human3.6M's metadata.xml")
    w0 = np.array(re.findall(r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?", node.text), dtype=np.float64)
    if len(w0) != 300:
        raise InputError(f"{path}: w0 has {len(w0)} numbers, expected 300")
    cameras: Cameras = {}
    for number, name in enumerate(CAMERAS):
        inner = w0[264 + 9 * number : 273 + 9 * number]
        for subject in SUBJECTS:
            start = 6 * (11 * number + int(subject[1:]) - 1)
            angles, centre = w0[start : start + 3], w0[start + 3 : start + 6]
            R = _turn(0, angles[0]) @ _turn(1, angles[1]) @ _turn(2, angles[2])
            cameras[subject, name] = _camera(name, R, centre / 1000, inner[:2], inner[2:4], inner[4:7], inner[7:9])
    return cameras


def _turn(axis: int, angle: float) -> np.ndarray:
    """Rotation about coordinate axis 0, 1 or 2."""
    i, j = (axis + 1) % 3, (axis + 2) % 3
    R = np.eye(3)
    R[i, i] = R[j, j] = np.cos(angle)
    R[i, j], R[j, i] = -np.sin(angle), np.sin(angle)
    return R


def _from_h5(path: Path) -> Cameras:
    """3d-pose-baseline: subjectN/cameraM/{R,T,f,c,k,p,Name}; MATLAB wrote it, so matrices stand transposed."""
    try:
        import h5py
    except ImportError:
        raise need_package("h5py", path) from None
    cameras: Cameras = {}
    with h5py.File(path, "r") as file:
        for subject in SUBJECTS:
            for number in range(1, 5):
                group = file.get(f"subject{subject[1:]}/camera{number}")
                if group is None:
                    continue
                name = "".join(chr(int(c)) for c in stored_array(group["Name"], path).ravel())
                values = {key: stored_array(group[key], path) for key in ("R", "T", "f", "c", "k", "p")}
                R, T = values["R"].T, values["T"].ravel() / 1000
                cameras[subject, name] = _camera(name, R, T, values["f"], values["c"], values["k"], values["p"])
    if not cameras:
        raise InputError(f"{path}: holds no subjectN/cameraM groups; expected 3d-pose-baseline's cameras.h5")
    return cameras


def _from_python(path: Path) -> Cameras:
    """VideoPose3D's source file: two tables of literals."""
    tables: dict[str, Any] = {}
    for node in ast.parse(read_within(path, DOCUMENT).decode()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name in ("h36m_cameras_intrinsic_params", "h36m_cameras_extrinsic_params"):
                tables[name] = ast.literal_eval(node.value)
    return _from_tables(tables["h36m_cameras_intrinsic_params"], tables["h36m_cameras_extrinsic_params"])


def _from_json(path: Path) -> Cameras:
    """{"intrinsics": [4 x {...}], "extrinsics": {"S1": [4 x {...}], ...}} with the keys of VideoPose3D's tables."""
    tables = parse_json(read_within(path, DOCUMENT).decode())
    return _from_tables(tables["intrinsics"], tables["extrinsics"])


def _from_tables(inner: list[Mapping[str, Any]], outer: Mapping[str, list[Mapping[str, Any]]]) -> Cameras:
    """Quaternion (w, x, y, z) and translation take camera to world there: R is the transpose, T the translation."""
    cameras: Cameras = {}
    for subject, entries in outer.items():
        for lens, place in zip(inner, entries, strict=False):
            if "orientation" not in place:
                continue
            name = str(lens["id"])
            R = _quaternion(np.asarray(place["orientation"], dtype=np.float64)).T
            centre = np.asarray(place["translation"], dtype=np.float64) / 1000
            size = (lens["res_w"], lens["res_h"]) if "res_w" in lens else None
            cameras[subject, name] = _camera(
                name,
                R,
                centre,
                lens["focal_length"],
                lens["center"],
                lens["radial_distortion"],
                lens["tangential_distortion"],
                size,
            )
    return cameras


def _quaternion(q: np.ndarray) -> np.ndarray:
    """(3, 3) of a unit quaternion (w, x, y, z)."""
    w, x, y, z = q / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
