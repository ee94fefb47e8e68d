"""2D keypoints of one person over time to 3D poses: gaps, sides, the lifter, the place in the camera, smoothing."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np

from selfsup3d.errors import InputError
from selfsup3d.inference.camera_frame import lift_people
from selfsup3d.inference.keypoint_files import KeypointSequence
from selfsup3d.inference.records import PoseRecord
from selfsup3d.inference.smoothing import OneEuro, with_bones_of
from selfsup3d.models.lifters.base import require_lifter
from selfsup3d.models.system import System
from selfsup3d.structures.skeleton import joint_index

__all__ = ["fill_gaps", "lift_keypoints", "repair_sides", "smoothed"]

_FARTHEST = 1e6  # px
_BATCH = 256  # frames at a time
_LIMBS = (("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist"))
_SWAP_COST = 0.15  # bodies that a change of sides costs, so that noise does not change them
_DOUBT_COST = 0.02  # bodies that each frame costs whose legs or arms are not as the detector says
_EVERYBODY = 1.4  # a body's box over its shoulder-to-ankle spread, where only keypoints are known


def lift_keypoints(
    system: System,
    keypoints: KeypointSequence,
    fps: float = 0.0,
    focal: float | None = None,
    source: str = "",
    times: np.ndarray | None = None,
) -> PoseRecord:
    """3D poses of 2D keypoints by a lifter; temporal ones see the frames around, by their numbers.

    Args:
        system: trained; `predict_requires` names no images.
        keypoints: see `keypoint_files`.
        fps: of their video. focal: px; None = unknown: the mean of the lifter's training data for the pose, a field of
            view of 60 degrees for the place of the pelvis.
        source: file name. times: (T,) seconds of the frames; None = frames / fps.

    Raises:
        InputError: the system is no lifter; keypoints farther away than any image reaches.
    """
    require_lifter(system)
    if np.abs(keypoints.joints).max() > _FARTHEST:
        raise InputError(f"{source}: keypoints beyond {_FARTHEST:,.0f} px; the file is damaged or not in pixels")
    around = _around(keypoints.frames, int(getattr(system, "frames", 1)) // 2)
    size = _image_size(keypoints)
    found = []
    for rows in np.array_split(around, max(1, math.ceil(len(keypoints) / _BATCH))):
        joints, confidence = keypoints.joints[rows], keypoints.confidence[rows]
        if around.shape[1] == 1:
            joints, confidence = joints[:, 0], confidence[:, 0]
        found.append(lift_people(system, joints, confidence, size, focal))
    known = np.where(keypoints.confidence[..., None] > 0, keypoints.joints, np.nan).astype(np.float32)
    low, high = np.nanmin(known, 1), np.nanmax(known, 1)
    windows = np.rint(np.column_stack([low, (high - low).max(1)])).astype(int)
    return PoseRecord(
        np.concatenate([part.poses for part in found]),
        known,
        np.concatenate([part.roots for part in found]),
        keypoints.frames,
        windows,
        fps=fps,
        unit=found[0].unit,
        view="image",
        source=source,
        times=times,  # type: ignore[arg-type]
        confidence=keypoints.confidence,
        person=keypoints.person,
        focal=found[0].focal,
        focal_assumed=found[0].guessed,
        image_size=size,
    )


def _around(frames: np.ndarray, reach: int) -> np.ndarray:
    """(T, 2 reach + 1) rows of the frames around each one; where one is absent, its nearest neighbour in time."""
    if reach == 0 or len(frames) < 2:
        return np.repeat(np.arange(len(frames))[:, None], 2 * reach + 1, axis=1)
    step = max(int(np.median(np.diff(frames))), 1)
    wanted = frames[:, None] + step * np.arange(-reach, reach + 1)
    after = np.searchsorted(frames, wanted).clip(1, len(frames) - 1)
    nearer = np.abs(frames[after - 1] - wanted) <= np.abs(frames[after] - wanted)
    rows: np.ndarray = np.where(nearer, after - 1, after)
    return rows


def _image_size(keypoints: KeypointSequence) -> tuple[int, int]:
    """(width, height) px; where nobody told it, the keypoints are taken to lie about the middle."""
    if keypoints.size is not None:
        return keypoints.size
    width, height = 2.0 * keypoints.joints[keypoints.confidence > 0].mean(0)
    return max(round(float(width)), 1), max(round(float(height)), 1)


def fill_gaps(keypoints: KeypointSequence, limit: int) -> KeypointSequence:
    """Keypoints interpolated over gaps of up to `limit` frames, with confidence 0.01 there: whole frames that are
    absent, and single joints that are missing in some."""
    frames = keypoints.frames
    step = max(int(np.median(np.diff(frames))), 1) if len(frames) > 1 else 1
    every = [frames[:1]]
    for before, after in itertools.pairwise(frames):
        short = after - before - 1 <= limit * step
        every += [np.arange(before + step, after if short else before, step), np.array([after])]
    numbers = np.concatenate(every)
    joints = np.zeros((len(numbers), *keypoints.joints.shape[1:]), np.float32)
    confidence = np.zeros((len(numbers), keypoints.joints.shape[1]), np.float32)
    rows = np.searchsorted(numbers, frames)
    joints[rows], confidence[rows] = keypoints.joints, keypoints.confidence
    for joint in range(joints.shape[1]):
        known = np.flatnonzero(confidence[:, joint] > 0)
        if len(known) < 2:
            continue
        inside = np.arange(known[0], known[-1] + 1)
        after = known[np.searchsorted(known, inside)]
        before = known[np.searchsorted(known, inside, side="right") - 1]
        short = inside[(confidence[inside, joint] == 0) & (numbers[after] - numbers[before] - 1 <= limit * step)]
        for axis in range(2):
            joints[short, joint, axis] = np.interp(numbers[short], numbers[known], joints[known, joint, axis])
        confidence[short, joint] = 0.01
    seen = (confidence > 0).any(1)
    return replace(keypoints, joints=joints[seen], confidence=confidence[seen], frames=numbers[seen])


def repair_sides(keypoints: KeypointSequence) -> tuple[KeypointSequence, int]:
    """Left and right of legs and of arms exchanged in the frames where that moves less; and how many frames were changed.

    A path of least movement through all frames (Viterbi) over the four ways to read a frame. A change costs something, and
    as much for legs and arms together as for either: detectors exchange whole bodies. So does each exchanged frame, so that
    long stretches keep what the detector says.
    """
    joints, confidence = keypoints.joints.copy(), keypoints.confidence.copy()
    body = max(
        _EVERYBODY
        * float(np.median([np.ptp(j[c > 0], axis=0).max() for j, c in zip(joints, confidence, strict=True)])),
        1.0,
    )
    sides, moves = [], []
    for limbs in _LIMBS:
        left, right = ([joint_index(f"{side}_{limb}") for limb in limbs] for side in ("left", "right"))
        own, other = [*left, *right], [*right, *left]
        sides.append((own, other))
        moves.append([_movement(joints, confidence, own, then) / body for then in (own, other)])
    changed = _least_movement(np.array(moves))
    for flips, (own, other) in zip(changed.T, sides, strict=True):
        for values in (joints, confidence):
            values[np.ix_(flips, own)] = values[np.ix_(flips, other)]
    return replace(keypoints, joints=joints, confidence=confidence), int(changed.any(1).sum())


def _movement(joints: np.ndarray, confidence: np.ndarray, own: list[int], then: list[int]) -> np.ndarray:
    """(T - 1,) px: mean distance from joints `own` of a frame to `then` of the next, where both are known."""
    known = (confidence[:-1, own] > 0) & (confidence[1:, then] > 0)
    far = np.linalg.norm(joints[1:, then] - joints[:-1, own], axis=-1)
    moved: np.ndarray = (far * known).sum(1) / np.maximum(known.sum(1), 1)
    return moved


def _least_movement(moves: np.ndarray) -> np.ndarray:
    """(T, L) bool, exchanged or not, of movements (L, 2, T - 1) of L pairs of limbs where two frames agree and differ."""
    readings = np.array(list(itertools.product((0, 1), repeat=len(moves))))
    differ = readings[:, None] ^ readings[None]  # (4, 4, L)
    doubt = _DOUBT_COST * readings.sum(-1)
    cost, came = doubt, []
    for move in moves.transpose(2, 0, 1):
        ways = cost[:, None] + np.where(differ, move[:, 1], move[:, 0]).sum(-1) + _SWAP_COST * differ.any(-1)
        came.append(ways.argmin(0))
        cost = ways.min(0) + doubt
    path = [int(cost.argmin())]
    for step in reversed(came):
        path.append(int(step[path[-1]]))
    return readings[path[::-1]].astype(bool)


def smoothed(record: PoseRecord, like: OneEuro) -> PoseRecord:
    """A record's poses and roots smoothed over time; bones keep their lengths, pixels stay as they were given.

    Filtered forwards and backwards and averaged, so that nothing comes late.
    """
    times = record.times if np.isfinite(record.times).all() else record.frames / like.fps
    gone = np.diff(times, prepend=np.nan)
    joints, root = (
        0.5 * (_filtered(values, gone, like) + _filtered(values[::-1], np.roll(gone[::-1], 1), like)[::-1])
        for values in (record.joints_3d, record.root)
    )
    kept = [with_bones_of(pose, own) for pose, own in zip(joints, record.joints_3d, strict=True)]
    return replace(record, joints_3d=np.stack(kept).astype(record.joints_3d.dtype), root=root)


def _filtered(values: np.ndarray, gone: np.ndarray, like: OneEuro) -> np.ndarray:
    one = OneEuro(like.fps, like.cutoff, like.beta, like.speed_cutoff)
    return np.stack([one(value, float(s) if np.isfinite(s) else None) for value, s in zip(values, gone, strict=True)])
