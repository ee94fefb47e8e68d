"""A tree of named joints with offsets, posed by rotations: what BVH and exponential maps have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from selfsup3d.geometry.rotation import multiply, rotation_about

__all__ = ["Hierarchy", "euler_to_matrix"]


@dataclass(frozen=True)
class Hierarchy:
    """Joints, parents before children; end sites are joints named "<parent>_end".

    Attributes:
        names: (J,) unique.
        parents: (J,) indices, -1 at the root (the first).
        offsets: (J, 3), or (T, J, 3) where they change over time, from the parent, in the parent's frame, file units.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def forward(self, rotations: np.ndarray, translation: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """World positions (T, J, 3) and world rotations (T, J, 3, 3).

        Args:
            rotations: (T, J, 3, 3) of each joint's frame against its parent's; acting on its children's offsets.
            translation: (T, 3) added to the root's offset; None = nothing.
        """
        local = torch.from_numpy(np.ascontiguousarray(rotations, dtype=np.float64))
        offsets = torch.from_numpy(np.ascontiguousarray(self.offsets, dtype=np.float64))
        offsets = offsets.expand(len(local), len(self), 3)
        moved = torch.zeros(3, dtype=torch.float64) if translation is None else torch.from_numpy(np.array(translation))
        positions: list[torch.Tensor] = []
        frames: list[torch.Tensor] = []
        for joint, parent in enumerate(self.parents):
            if parent < 0:
                positions.append(moved.double() + offsets[:, joint])
                frames.append(local[:, joint])
            else:
                positions.append(positions[parent] + (frames[parent] @ offsets[:, joint, :, None])[..., 0])
                frames.append(frames[parent] @ local[:, joint])
        return torch.stack(positions, 1).numpy(), torch.stack(frames, 1).numpy()


def euler_to_matrix(angles: np.ndarray, axes: Sequence[str]) -> np.ndarray:
    """Product of rotations about coordinate axes, the first the leftmost: R = R_axes[0] R_axes[1] ...

    Args:
        angles: (..., K) radians.
        axes: K of "x", "y", "z".

    Returns:
        (..., 3, 3) float64; identity for K = 0.
    """
    values = torch.from_numpy(np.array(angles, dtype=np.float64))
    result = torch.eye(3, dtype=torch.float64).expand(*values.shape[:-1], 3, 3)
    for place, axis in enumerate(axes):
        if axis not in ("x", "y", "z"):
            raise ValueError(f"axis {axis!r}; expected x, y or z")
        result = multiply(result, rotation_about(axis, values[..., place]))  # type: ignore[arg-type]
    return result.numpy()
