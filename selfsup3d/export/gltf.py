"""glTF 2.0, binary (.glb): an animated skeleton with capsules for limbs; opens in Blender and in web viewers.

Metres, y up. The nodes stand in the first frame's pose, which is what viewers show that ignore animations. Every bone's
capsule hangs on the joint that turns it (see `export.rig`), coloured by side as everywhere here. Only the core of the format is used: nodes, one mesh a bone, one animation.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch

from selfsup3d import __version__
from selfsup3d.export.rig import RigMotion, fit_rig
from selfsup3d.geometry.rotation import matrix_to_axis_angle
from selfsup3d.io.files import atomic_path
from selfsup3d.structures.skeleton import H36M_17
from selfsup3d.viz.colours import joint_colours

__all__ = ["capsule", "quaternions", "write_glb"]

_RADIUS = 0.035  # metres; the trunk's and the head's are thicker
_THICK = {"neck": 0.09, "head": 0.07, "nose": 0.05, "spine": 0.05}
_FLOAT, _INDEX = 5126, 5123
_ARRAY, _ELEMENTS = 34962, 34963


def write_glb(path: str | Path, joints: np.ndarray, fps: float) -> None:
    """Write a motion.

    Args:
        path: of the file. joints: (T, 17, 3) metres, camera axes. fps: frames per second.

    Raises:
        InputError: see `rig.fit_rig`.
    """
    motion = fit_rig(joints, fps)
    buffer = _Buffer()
    nodes, meshes, materials = _skeleton(motion, buffer)
    document = {
        "asset": {"version": "2.0", "generator": f"selfsup3d {__version__}"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": nodes,
        "meshes": meshes,
        "materials": materials,
        "animations": [_animation(motion, buffer)],
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": len(buffer.data)}],
    }
    with atomic_path(path) as temporary:
        temporary.write_bytes(_container(document, bytes(buffer.data)))


class _Buffer:
    """The binary part and its tables."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def add(self, values: np.ndarray, kind: str, target: int | None = None) -> int:
        """Index of a new accessor; float32, or uint16 for whole numbers."""
        whole = values.dtype.kind in "iu"
        values = np.ascontiguousarray(values, dtype="<u2" if whole else "<f4")
        self.data += b"\0" * (-len(self.data) % 4)
        view: dict[str, Any] = {"buffer": 0, "byteOffset": len(self.data), "byteLength": values.nbytes}
        self.views.append(view if target is None else view | {"target": target})
        self.data += values.tobytes()
        flat = values.reshape(len(values), -1)
        self.accessors.append(
            {
                "bufferView": len(self.views) - 1,
                "componentType": _INDEX if whole else _FLOAT,
                "count": len(values),
                "type": kind,
                "min": flat.min(0).tolist(),
                "max": flat.max(0).tolist(),
            }
        )
        return len(self.accessors) - 1


def _skeleton(
    motion: RigMotion, buffer: _Buffer
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """Nodes (the rig's first, then one a capsule), meshes, and a material for each colour."""
    nodes: list[dict[str, Any]] = [
        {
            "name": node.name,
            "translation": (motion.translation[0] if node.parent < 0 else motion.offsets[k]).tolist(),
            "rotation": quaternions(motion.rotations[:1, k])[0].tolist(),
        }
        for k, node in enumerate(motion.nodes)
    ]
    for k, node in enumerate(motion.nodes):
        if node.parent >= 0:
            nodes[node.parent].setdefault("children", []).append(k)
    meshes: list[dict[str, Any]] = []
    materials: list[dict[str, Any]] = []
    seen: dict[tuple[int, int, int], int] = {}
    colours = joint_colours(H36M_17)
    for k, node in enumerate(motion.nodes):
        if node.parent < 0 or not np.any(motion.offsets[k]):
            continue
        if colours[node.joint] not in seen:
            seen[colours[node.joint]] = len(materials)
            base = [*((c / 255.0) ** 2.2 for c in colours[node.joint]), 1.0]  # glTF's colours are linear
            pbr = {"baseColorFactor": base, "metallicFactor": 0.0, "roughnessFactor": 0.8}
            materials.append({"name": f"colour {len(materials)}", "pbrMetallicRoughness": pbr})
        points, normals, triangles = capsule(motion.offsets[k], _THICK.get(node.name, _RADIUS))
        attributes = {"POSITION": buffer.add(points, "VEC3", _ARRAY), "NORMAL": buffer.add(normals, "VEC3", _ARRAY)}
        indices = buffer.add(triangles.reshape(-1), "SCALAR", _ELEMENTS)
        primitive = {"attributes": attributes, "indices": indices, "material": seen[colours[node.joint]]}
        meshes.append({"name": f"{node.name} limb", "primitives": [primitive]})
        nodes.append({"name": f"{node.name} limb", "mesh": len(meshes) - 1})
        nodes[node.parent].setdefault("children", []).append(len(nodes) - 1)
    return nodes, meshes, materials


def _animation(motion: RigMotion, buffer: _Buffer) -> dict[str, Any]:
    """Rotations of all joints that turn, and the root's place."""
    times = buffer.add(np.arange(len(motion)) / motion.fps, "SCALAR")
    samplers: list[dict[str, Any]] = []
    channels: list[dict[str, Any]] = []

    def channel(node: int, path: str, values: np.ndarray, kind: str) -> None:
        samplers.append({"input": times, "output": buffer.add(values, kind), "interpolation": "LINEAR"})
        channels.append({"sampler": len(samplers) - 1, "target": {"node": node, "path": path}})

    channel(0, "translation", motion.translation, "VEC3")
    for k, node in enumerate(motion.nodes):
        if node.parent < 0 or node.bone >= 0:
            channel(k, "rotation", quaternions(motion.rotations[:, k]), "VEC4")
    return {"name": "motion", "samplers": samplers, "channels": channels}


def quaternions(rotations: np.ndarray) -> np.ndarray:
    """(T, 4) x, y, z, w of rotations (T, 3, 3); each in the same half space as the one before, so that viewers, which
    interpolate, take the short way."""
    turn = matrix_to_axis_angle(torch.from_numpy(rotations)).numpy()
    angle = np.linalg.norm(turn, axis=-1, keepdims=True)
    found = np.concatenate([0.5 * np.sinc(0.5 * angle / np.pi) * turn, np.cos(0.5 * angle)], axis=-1)
    flips = np.where((found[1:] * found[:-1]).sum(-1) < 0, -1.0, 1.0)
    found[1:] *= np.cumprod(flips)[:, None]
    return found / np.linalg.norm(found, axis=-1, keepdims=True)


def capsule(
    end: np.ndarray, radius: float, around: int = 12, rings: int = 4
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points (N, 3), normals (N, 3) and triangles (M, 3), counter-clockwise from outside, of a capsule from 0 to `end`.

    Args:
        end: (3,) metres, not 0. radius: metres.
        around: points round the axis. rings: of each half sphere.
    """
    length = float(np.linalg.norm(end))
    axis = end / length
    side = np.cross(axis, np.eye(3)[np.argmin(np.abs(axis))])
    side /= np.linalg.norm(side)
    other = np.cross(axis, side)
    radius = min(radius, 0.5 * length)
    polar = np.linspace(-np.pi / 2, 0.0, rings + 1)
    polar = np.concatenate([polar, -polar[::-1]])  # up one half sphere, along the limb, up the other
    along = np.repeat([0.0, length], rings + 1)
    turn = 2.0 * np.pi * np.arange(around) / around
    circle = np.cos(turn)[:, None] * side + np.sin(turn)[:, None] * other  # (around, 3)
    normals = np.cos(polar)[:, None, None] * circle + np.sin(polar)[:, None, None] * axis
    points = radius * normals + (along[:, None] * axis)[:, None]
    a = np.arange(len(polar) - 1)[:, None] * around + np.arange(around)
    b = np.arange(len(polar) - 1)[:, None] * around + (np.arange(around) + 1) % around
    triangles = np.concatenate([np.stack([a, b, b + around], -1), np.stack([a, b + around, a + around], -1)])
    return points.reshape(-1, 3), normals.reshape(-1, 3), triangles.reshape(-1, 3)


def _container(document: dict[str, Any], binary: bytes) -> bytes:
    """The two chunks of a .glb behind its header (glTF 2.0, section 4.4)."""
    text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode("utf-8")
    text += b" " * (-len(text) % 4)
    binary += b"\0" * (-len(binary) % 4)
    body = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body
