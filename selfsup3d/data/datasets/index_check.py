"""Numbers that show whether an index was read right: counts, cameras, joint order, and its mean and spread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from selfsup3d.data.datasets.frame_index import FrameIndex
from selfsup3d.structures.skeleton import H36M_17, joint_index

__all__ = ["Findings", "check_index", "knees_forward", "statistics"]

_BENT = 0.04  # metres off the straight line from hip to ankle that count as a bent knee
_SAMPLE = 20_000
_SCALED = ("univ_annot3",)
"""Sources of 3D joints that are not those of the person in the image."""


@dataclass(frozen=True)
class Findings:
    """What was found, and what looks wrong.

    Attributes:
        rows, takes: counts.
        counts: (subject, action) -> rows.
        splits: split -> rows.
        reprojection: median and 95th percentile of |K joints_3d - joints_2d| px; NaN where no joints ought to project
            onto the image (MPI-INF-3DHP's universal ones are scaled to one height).
        knees: share of bent knees that bend forwards; NaN where none is bent.
        leg: 5th and 95th percentile of thigh + shin, metres.
        warnings: in words, what is not as it should be.
    """

    rows: int
    takes: int
    counts: dict[tuple[str, ...], int]
    splits: dict[tuple[str, ...], int]
    reprojection: tuple[float, float]
    knees: float
    leg: tuple[float, float]
    warnings: tuple[str, ...]


def check_index(index: FrameIndex, tolerance: float = 15.0) -> Findings:
    """Look an index over; at most 20,000 rows, evenly spaced, are measured.

    Args:
        tolerance: median reprojection error above which cameras are doubted, px (lens distortion is a few).
    """
    rows = np.unique(np.linspace(0, len(index) - 1, min(len(index), _SAMPLE)).round().astype(int))
    joints, K = index.joints_3d[rows].astype(np.float64), index.K()[rows].astype(np.float64)
    pixels = np.einsum("nij,nkj->nki", K, joints / joints[..., 2:])[..., :2]
    scaled = np.array([take.source in _SCALED for take in index.takes])[index.take[rows]]
    known = np.isfinite(pixels).all(-1) & (index.confidence[rows] > 0) & ~scaled[:, None]
    off = np.linalg.norm(pixels - index.joints_2d[rows], axis=-1)[known]
    reprojection = (float(np.median(off)), float(np.percentile(off, 95))) if len(off) else (np.nan, np.nan)
    knees = knees_forward(joints)
    legs = _legs(joints)
    leg = (float(np.percentile(legs, 5)), float(np.percentile(legs, 95)))
    warnings = []
    if reprojection[0] > tolerance:
        warnings.append(
            f"3D joints project {reprojection[0]:.0f} px off their 2D joints: the cameras or units are wrong"
        )
    if knees < 0.6:
        warnings.append(
            f"only {knees:.0%} of bent knees bend forwards: left and right are swapped, or the axes mirrored"
        )
    if not 0.45 < leg[0] <= leg[1] < 1.3:
        warnings.append(f"legs measure {leg[0]:.2f}-{leg[1]:.2f} m: the unit is wrong")
    return Findings(
        rows=len(index),
        takes=len(index.takes),
        counts=index.counts("subject", "action"),
        splits=index.counts("split"),
        reprojection=reprojection,
        knees=knees,
        leg=leg,
        warnings=tuple(warnings),
    )


def knees_forward(joints: np.ndarray) -> float:
    """Share of bent knees in (N, 17, 3) that bend the way the hips face; NaN where no knee is bent.

    "Forwards" is left x up, so a file whose left and right are swapped, or whose axes are mirrored, shows people whose
    knees bend backwards.
    """
    left, right, neck = (joints[:, joint_index(n)] for n in ("left_hip", "right_hip", "neck"))
    ahead = np.cross(left - right, neck - 0.5 * (left + right))
    forwards = bent = 0
    for side in ("left", "right"):
        hip, knee, ankle = (joints[:, joint_index(f"{side}_{part}")] for part in ("hip", "knee", "ankle"))
        line = ankle - hip
        along = ((knee - hip) * line).sum(-1, keepdims=True) / (line * line).sum(-1, keepdims=True)
        off = knee - hip - along * line
        clear = np.linalg.norm(off, axis=-1) > _BENT
        forwards += int(((off * ahead).sum(-1) > 0)[clear].sum())
        bent += int(clear.sum())
    return forwards / bent if bent else float("nan")


def _legs(joints: np.ndarray) -> np.ndarray:
    """(2N,) thigh + shin."""
    lengths = []
    for side in ("left", "right"):
        hip, knee, ankle = (joints[:, joint_index(f"{side}_{part}")] for part in ("hip", "knee", "ankle"))
        lengths.append(np.linalg.norm(knee - hip, axis=-1) + np.linalg.norm(ankle - knee, axis=-1))
    return np.concatenate(lengths)


def statistics(index: FrameIndex) -> dict[str, Any]:
    """Mean and standard deviation over an index, for heads that standardise: give it the training rows only.

    joints_3d: camera frame, metres, pelvis subtracted and dropped (16 joints). joints_2d: full pixels over the
    image's width, the pelvis dropped but not subtracted, since its place tells of the perspective.

    Returns:
        {"frames": n, "joints": 16 names, "joints_3d": {"mean": 16 x 3, "std": ...}, "joints_2d": {"mean": 16 x 2, ...}};
        null where a joint is never seen.
    """
    relative = (index.joints_3d - index.joints_3d[:, :1])[:, 1:].astype(np.float64)
    width = index.of_takes("width").astype(np.float64)[:, None, None]
    seen = index.confidence[:, 1:, None] > 0
    screen = np.where(seen, index.joints_2d[:, 1:] / width, np.nan)
    return {
        "frames": len(index),
        "joints": list(H36M_17.joint_names[1:]),
        "joints_3d": _moments(relative),
        "joints_2d": _moments(screen),
    }


def _moments(values: np.ndarray) -> dict[str, list[Any]]:
    known = np.isfinite(values)
    count = known.sum(0)
    clean = np.where(known, values, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = clean.sum(0) / count
        std = np.sqrt(np.where(known, (values - mean) ** 2, 0.0).sum(0) / count)
    return {
        name: [[None if not np.isfinite(v) else float(v) for v in row] for row in array]
        for name, array in (("mean", mean), ("std", std))
    }
