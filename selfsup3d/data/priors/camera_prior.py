"""The distribution of cameras that the method may assume: stated ranges, sampled for unpaired poses.

The person stands near the middle of a stage; the camera orbits it at some azimuth and elevation, so far away that a
stated height of the scene fills the image. By default these are the very ranges that synth-v1 draws its cameras and
paths from, which is the easiest possible prior; `widen=1.2` is the ablation's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from selfsup3d.structures.batch import Camera
from selfsup3d.structures.random import RandomStreams

__all__ = ["CameraPrior", "CameraRanges", "UprightPoses", "look_at", "pinhole"]


@dataclass(frozen=True)
class CameraRanges:
    """Lowest and highest value of each thing that is drawn; azimuth is uniform all round.

    Attributes:
        elevation: degrees that the camera looks down.
        field_of_view: degrees across the image.
        visible_height: metres that fill the image's height at the middle of the stage. With the field of view this
            gives the distance: 3.6 to 5.5 m.
        aim_height: metres above the floor that the camera looks at.
        sideways, depthways: metres by which the person stands off the stage's middle, across and along the view.
        pelvis_height: metres, where the pose is not known to stand on a floor.
        lowest_eye: metres above the floor below which no camera goes.
    """

    elevation: tuple[float, float] = (-10.0, 35.0)
    field_of_view: tuple[float, float] = (30.0, 38.0)
    visible_height: tuple[float, float] = (2.5, 2.95)
    aim_height: tuple[float, float] = (0.82, 0.96)
    sideways: tuple[float, float] = (-0.55, 0.55)
    depthways: tuple[float, float] = (-0.42, 0.42)
    pelvis_height: tuple[float, float] = (0.45, 1.0)
    lowest_eye: float = 0.12

    def widened(self, factor: float) -> CameraRanges:
        """Every range stretched about its middle by `factor` (azimuth is all round already)."""

        def stretch(span: tuple[float, float]) -> tuple[float, float]:
            middle, half = (span[0] + span[1]) / 2, (span[1] - span[0]) / 2 * factor
            return (middle - half, middle + half)

        return CameraRanges(
            elevation=stretch(self.elevation),
            field_of_view=stretch(self.field_of_view),
            visible_height=stretch(self.visible_height),
            aim_height=stretch(self.aim_height),
            sideways=stretch(self.sideways),
            depthways=stretch(self.depthways),
            pelvis_height=stretch(self.pelvis_height),
            lowest_eye=self.lowest_eye,
        )


def pinhole(size: int, field_of_view: np.ndarray) -> np.ndarray:
    """(..., 3, 3) pinhole of square images `size` pixels wide that see `field_of_view` degrees."""
    view = np.asarray(field_of_view, dtype=np.float64)
    K = np.zeros((*view.shape, 3, 3))
    K[..., 0, 0] = K[..., 1, 1] = size / (2.0 * np.tan(np.deg2rad(view) / 2.0))
    K[..., 0, 2] = K[..., 1, 2] = size / 2.0
    K[..., 2, 2] = 1.0
    return K


def look_at(
    target: np.ndarray, azimuth: np.ndarray, elevation: np.ndarray, distance: np.ndarray, lowest_eye: float = 0.12
) -> tuple[np.ndarray, np.ndarray]:
    """Cameras that orbit a target, upright: world (z up, metres) -> camera.

    Args:
        target: (..., 3) what the camera looks at.
        azimuth: (...) degrees from +x towards +y of the direction target -> camera.
        elevation: (...) degrees above the target; raised where the eye would be below `lowest_eye` (-inf: never).
        distance: (...) metres.

    Returns:
        rotation (..., 3, 3), translation (..., 3).
    """
    e = np.deg2rad(elevation)
    if np.isfinite(lowest_eye):
        e = np.maximum(e, np.arcsin(np.clip((lowest_eye - target[..., 2]) / distance, -1.0, 1.0)))
    a = np.deg2rad(azimuth)
    outwards = np.stack([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)], -1)
    right = np.stack([-np.sin(a), np.cos(a), np.zeros_like(a)], -1)
    down = np.cross(-outwards, right)
    rotation = np.stack([right, down, -outwards], -2)
    eye = target + outwards * np.asarray(distance)[..., None]
    return rotation, -np.einsum("...ij,...j->...i", rotation, eye)


@dataclass(frozen=True)
class UprightPoses:
    """Poses that know which way is up.

    Attributes:
        joints: (B, 17, 3) body frame, metres.
        tilt: (B, 3, 3) rotation of the body frame into the upright frame of its heading (z up, x ahead): how the trunk
            leans.
        height: (B,) metres of the pelvis above the floor.
    """

    joints: Tensor
    tilt: Tensor
    height: Tensor


class CameraPrior:
    """RandomStreams cameras for unpaired poses.

    Args:
        image_size: S, pixels a side; K is in these pixels.
        ranges: what is drawn from.
        widen: every range is stretched by this factor.
    """

    def __init__(self, image_size: int, ranges: CameraRanges | None = None, widen: float = 1.0) -> None:
        self.image_size = image_size
        self.ranges = (ranges or CameraRanges()).widened(widen)

    def sample(self, streams: RandomStreams, K: Tensor | None = None, poses: UprightPoses | None = None) -> Camera:
        """B cameras, body frame -> camera, float32.

        Args:
            draws: one stream per sample; eight numbers each, whatever is given.
            K: (B, 3, 3) pinholes to use, such as the images' own; None = drawn by the field of view.
            poses: where given, the trunk's lean and the pelvis' height are the poses' own; otherwise the trunk is
                taken to be upright.
        """
        r = self.ranges
        azimuth = streams.uniform(low=0.0, high=360.0)
        elevation = streams.uniform(low=r.elevation[0], high=r.elevation[1])
        view = streams.uniform(low=r.field_of_view[0], high=r.field_of_view[1])
        visible = streams.uniform(low=r.visible_height[0], high=r.visible_height[1])
        aim = streams.uniform(low=r.aim_height[0], high=r.aim_height[1])
        sideways = streams.uniform(low=r.sideways[0], high=r.sideways[1])
        depthways = streams.uniform(low=r.depthways[0], high=r.depthways[1])
        height = streams.uniform(low=r.pelvis_height[0], high=r.pelvis_height[1])
        pinholes = pinhole(self.image_size, view) if K is None else K.double().cpu().numpy()
        if poses is not None:
            height = poses.height.double().cpu().numpy()
        distance = visible * pinholes[:, 1, 1] / self.image_size
        target = np.stack([np.zeros_like(aim), np.zeros_like(aim), aim], -1)
        rotation, translation = look_at(target, azimuth, elevation, distance, r.lowest_eye)
        a = np.deg2rad(azimuth)
        across, along = np.stack([-np.sin(a), np.cos(a)], -1), np.stack([np.cos(a), np.sin(a)], -1)
        ground = across * sideways[:, None] + along * depthways[:, None]
        pelvis = np.concatenate([ground, height[:, None]], -1)
        translation = np.einsum("bij,bj->bi", rotation, pelvis) + translation
        if poses is not None:
            rotation = rotation @ poses.tilt.double().cpu().numpy()
        return Camera(*(torch.from_numpy(v.astype(np.float32)) for v in (rotation, translation, pinholes)))
