"""Several people of one frame in one camera frame: the cascade from detection to root to pose (Moon et al. 2019).

    found = lift_people(system, joints, confidence, size=(1280, 720), focal=1100.0)
    places = found.poses + found.roots[:, None]  # (P, 17, 3) metres, all seen by one camera

Every person is lifted alone; one K for the whole image puts all of them into its frame. A lifter that finds the root's
depth (`keypoint_lifter`; `root_depth` where K is known) is asked for it; for others, which give metres, the place is the
one where the pose re-projects best onto its keypoints. Poses of unknown size have no place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from selfsup3d.geometry import align
from selfsup3d.geometry.camera import default_intrinsics, normalize_pixels
from selfsup3d.models.lifters.base import require_lifter
from selfsup3d.models.lifters.keypoint_lifter import KeypointLifter
from selfsup3d.models.system import System
from selfsup3d.structures.batch import Batch, Unit

__all__ = ["GUESSED_FIELD_OF_VIEW", "PeopleInCamera", "lift_people", "reprojecting_root"]

GUESSED_FIELD_OF_VIEW = 60.0
"""Degrees over an image's longer side where no focal length is known: phones and webcams see 55 to 70 [ours]."""


@dataclass(frozen=True)
class PeopleInCamera:
    """People of one camera: of one frame, or of many.

    Attributes:
        poses: (P, 17, 3) root-relative, camera axes, in `unit`.
        roots: (P, 3) pelvis in the camera frame, metres; NaN for who has too few keypoints to be placed, and where
            `unit` is not "m".
        unit: of `poses`. focal: px, what was used. guessed: it was not given; distances then are right up to one factor
            for all people.
    """

    poses: np.ndarray
    roots: np.ndarray
    unit: Unit
    focal: float
    guessed: bool


def lift_people(
    system: System,
    joints: np.ndarray,
    confidence: np.ndarray | None,
    size: tuple[int, int],
    focal: float | None = None,
) -> PeopleInCamera:
    """Poses and places of all people that one camera sees.

    Args:
        system: a lifter, on its device, in evaluation mode.
        joints: (P, 17, 2) px of the whole image, or (P, T, 17, 2) with the frame in the middle of T.
        confidence: (P, 17) or (P, T, 17), 0 = missing; None = all that is finite is there.
        size: (width, height) of the image, px. focal: px; None = guessed from the size: the guess places people, and
            does not enter their poses.

    Raises:
        InputError: the system is no lifter.
    """
    require_lifter(system)
    guessed = focal is None
    K = default_intrinsics((size[1], size[0]), math.radians(GUESSED_FIELD_OF_VIEW))
    if focal is not None:
        K[0, 0] = K[1, 1] = focal
    used = float(K[0, 0])
    if len(joints) == 0:
        empty = np.zeros((0, 17, 3), np.float32)
        return PeopleInCamera(empty, empty[:, 0], "m", used, guessed)
    device = next(iter(system.parameters())).device
    points = torch.from_numpy(np.asarray(joints, np.float32))
    seen = None if confidence is None else torch.from_numpy(np.asarray(confidence, np.float32))
    bare = Batch(joints_2d=points, confidence=seen).joints_missing_as_zero().to(device)
    placed = replace(bare, K=K.expand(len(points), 3, 3).to(device))
    with torch.inference_mode():
        if isinstance(system, KeypointLifter):
            output = system.predict(placed, trusted=torch.full((len(points),), not guessed, device=device))
        else:
            output = system.predict(bare if guessed else placed)
        pose = output.pose[:, 0]
        root = torch.full_like(pose[:, 0], torch.nan)
        if output.root is not None and (isinstance(system, KeypointLifter) or not guessed):
            root = output.root[:, 0]
        elif output.unit == "m":  # others' roots without K are those of their training data's camera
            root = reprojecting_root(pose, placed)
    enough = _visible(bare).sum(-1) >= 2
    root = torch.where(enough[:, None], root, torch.nan)
    return PeopleInCamera(pose.float().cpu().numpy(), root.float().cpu().numpy(), output.unit, used, guessed)


def reprojecting_root(pose: Tensor, batch: Batch) -> Tensor:
    """(B, 3) metres: where poses (B, 17, 3) re-project best onto the (middle frame's) keypoints of a batch with K."""
    assert batch.joints_2d is not None
    assert batch.K is not None
    joints = batch.joints_2d
    if joints.dim() == 4:
        joints = joints[:, joints.shape[1] // 2]
    return align.reprojecting_root(pose, normalize_pixels(joints, batch.K), _visible(batch))


def _visible(batch: Batch) -> Tensor:
    """(B, 17) of the middle frame."""
    assert batch.confidence is not None
    confidence = batch.confidence
    return (confidence if confidence.dim() == 2 else confidence[:, confidence.shape[1] // 2]).gt(0).float()
