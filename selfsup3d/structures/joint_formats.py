"""Joints of other datasets and detectors, and how they become the 17 of `H36M_17`.

A foreign skeleton is converted by a table `our joint -> foreign joints`: one name (a copy), two (their mid-point) or none
(*absent*: the joint gets confidence 0). Equal strings do not mean equal points, so nothing is matched by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from selfsup3d.structures.skeleton import H36M_17, NUM_JOINTS, joint_index

__all__ = ["FOREIGN", "ForeignSkeleton"]


@dataclass(frozen=True)
class ForeignSkeleton:
    """A joint order that files come in, and where our joints are found in it.

    Attributes:
        name: identifier used in configs and files.
        joint_names: the F names, in file order.
        table: our joint name -> foreign joint names to average; joints left out are absent.
        recentre: the source's pelvis is another point than the middle of its hips, so ours is made that middle.
    """

    name: str
    joint_names: tuple[str, ...]
    table: Mapping[str, tuple[str, ...]]
    recentre: bool = False

    def __post_init__(self) -> None:
        for ours, foreign in self.table.items():
            joint_index(ours)
            missing = [f for f in foreign if f not in self.joint_names]
            if missing or not foreign:
                raise ValueError(f"skeleton {self.name!r}: {ours} maps to unknown joints {missing}")

    def __len__(self) -> int:
        return len(self.joint_names)

    @cached_property
    def weights(self) -> np.ndarray:
        """(17, F) averaging matrix: `ours = weights @ foreign`; rows of absent joints are zero."""
        matrix = np.zeros((NUM_JOINTS, len(self)), dtype=np.float64)
        for ours, foreign in self.table.items():
            for name in foreign:
                matrix[joint_index(ours), self.joint_names.index(name)] += 1.0 / len(foreign)
        return matrix

    def convert(self, joints: np.ndarray, confidence: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Bring foreign joints to `H36M_17`.

        Args:
            joints: (..., F, D) in any unit and frame.
            confidence: (..., F) in [0, 1], 0 = missing; None = all present.

        Returns:
            joints (..., 17, D) and confidence (..., 17); absent or missing joints are 0 with confidence 0. A mid-point
            has the lower confidence of its two joints, so one missing joint makes it missing.

        Raises:
            ValueError: the joint axis is not F long.
        """
        joints = np.asarray(joints)
        if joints.ndim < 2 or joints.shape[-2] != len(self):
            raise ValueError(f"{self.name} has {len(self)} joints, got an array of shape {tuple(joints.shape)}")
        if confidence is None:
            confidence = np.isfinite(joints).all(-1).astype(np.float32)
        confidence = np.where(np.isfinite(joints).all(-1), confidence, 0.0)
        used = self.weights > 0  # (17, F)
        lowest = np.where(used, confidence[..., None, :], np.inf).min(-1)
        ours = np.where(used.any(-1), lowest, 0.0).astype(np.float32)
        clean = np.where(np.isfinite(joints), joints, 0.0)
        out = np.einsum("of,...fd->...od", self.weights, clean) * (ours > 0)[..., None]
        return out.astype(joints.dtype if joints.dtype.kind == "f" else np.float32), ours


def _sided(rows: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Expand `{"hip": "{}_hip"}` to both sides; a pattern names the foreign joint with the side in braces."""
    return {f"{side}_{ours}": (pattern.format(side),) for ours, pattern in rows.items() for side in ("left", "right")}


_LIMBS = {limb: "{}_" + limb for limb in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")}
_MID_HIPS = {"pelvis": ("left_hip", "right_hip")}

_H36M_32 = (
    "pelvis",
    "right_hip",
    "right_knee",
    "right_ankle",
    "right_foot",
    "right_toe",
    "left_hip",
    "left_knee",
    "left_ankle",
    "left_foot",
    "left_toe",
    "pelvis_2",
    "spine",
    "neck",
    "nose",
    "head",
    "neck_2",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "left_wrist_2",
    "left_thumb",
    "left_hand",
    "left_hand_2",
    "neck_3",
    "right_shoulder",
    "right_elbow",
    "right_wrist",
    "right_wrist_2",
    "right_thumb",
    "right_hand",
    "right_hand_2",
)

_SMPL_24 = (
    "pelvis",
    "left_hip",
    "right_hip",
    "spine1",
    "left_knee",
    "right_knee",
    "spine2",
    "left_ankle",
    "right_ankle",
    "spine3",
    "left_foot",
    "right_foot",
    "neck",
    "left_collar",
    "right_collar",
    "head",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hand",
    "right_hand",
)

_COCO_17 = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)

_COCO_18 = (
    "nose",
    "neck",
    "right_shoulder",
    "right_elbow",
    "right_wrist",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "right_hip",
    "right_knee",
    "right_ankle",
    "left_hip",
    "left_knee",
    "left_ankle",
    "right_eye",
    "left_eye",
    "right_ear",
    "left_ear",
)

_BODY_25 = (
    "nose",
    "neck",
    "right_shoulder",
    "right_elbow",
    "right_wrist",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "mid_hip",
    "right_hip",
    "right_knee",
    "right_ankle",
    "left_hip",
    "left_knee",
    "left_ankle",
    "right_eye",
    "left_eye",
    "right_ear",
    "left_ear",
    "left_big_toe",
    "left_small_toe",
    "left_heel",
    "right_big_toe",
    "right_small_toe",
    "right_heel",
)

_HALPE_26 = (
    *_COCO_17,
    "head",
    "neck",
    "mid_hip",
    "left_big_toe",
    "right_big_toe",
    "left_small_toe",
    "right_small_toe",
    "left_heel",
    "right_heel",
)

_MEDIAPIPE_33 = (
    "nose",
    "left_eye_inner",
    "left_eye",
    "left_eye_outer",
    "right_eye_inner",
    "right_eye",
    "right_eye_outer",
    "left_ear",
    "right_ear",
    "mouth_left",
    "mouth_right",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_pinky",
    "right_pinky",
    "left_index",
    "right_index",
    "left_thumb",
    "right_thumb",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
    "left_heel",
    "right_heel",
    "left_foot_index",
    "right_foot_index",
)

_3DHP_28 = (
    "spine3",
    "spine4",
    "spine2",
    "spine",
    "pelvis",
    "neck",
    "head",
    "head_top",
    "left_clavicle",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "left_hand",
    "right_clavicle",
    "right_shoulder",
    "right_elbow",
    "right_wrist",
    "right_hand",
    "left_hip",
    "left_knee",
    "left_ankle",
    "left_foot",
    "left_toe",
    "right_hip",
    "right_knee",
    "right_ankle",
    "right_foot",
    "right_toe",
)

_3DHP_TEST_17 = (
    "head_top",
    "neck",
    "right_shoulder",
    "right_elbow",
    "right_wrist",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "right_hip",
    "right_knee",
    "right_ankle",
    "left_hip",
    "left_knee",
    "left_ankle",
    "pelvis",
    "spine",
    "head",
)

_LSP_14 = (
    "right_ankle",
    "right_knee",
    "right_hip",
    "left_hip",
    "left_knee",
    "left_ankle",
    "right_wrist",
    "right_elbow",
    "right_shoulder",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "neck",
    "head_top",
)

_CMU_MOCAP = (  # ends of the ASF bones, mocap.cs.cmu.edu; hips are the ends of the hip-joint bones
    "root",
    "lhipjoint",
    "lfemur",
    "ltibia",
    "rhipjoint",
    "rfemur",
    "rtibia",
    "lowerback",
    "upperback",
    "thorax",
    "lowerneck",
    "upperneck",
    "head",
    "lclavicle",
    "lhumerus",
    "lradius",
    "lwrist",
    "rclavicle",
    "rhumerus",
    "rradius",
    "rwrist",
)

# 3DHP's `head` is our nose slot and its `head_top` our head (the released 28 -> 17 tables read so).
_3DHP_TABLE = _sided(_LIMBS) | {
    **_MID_HIPS,
    "spine": ("spine",),
    "neck": ("neck",),
    "nose": ("head",),
    "head": ("head_top",),
}
# Keypoint detectors mark no neck, no top of the head and no spine; shoulders' middle stands for the neck (the usual
# reading), and the head is left absent: the ears' middle is 10 cm from the top.
_KEYPOINT_TABLE = _sided(_LIMBS) | {**_MID_HIPS, "neck": ("left_shoulder", "right_shoulder"), "nose": ("nose",)}

FOREIGN: dict[str, ForeignSkeleton] = {
    skeleton.name: skeleton
    for skeleton in (
        ForeignSkeleton("h36m_17", H36M_17.joint_names, {name: (name,) for name in H36M_17.joint_names}),
        ForeignSkeleton("h36m_32", _H36M_32, {name: (name,) for name in H36M_17.joint_names}),
        ForeignSkeleton("lsp_14", _LSP_14, _sided(_LIMBS) | {**_MID_HIPS, "neck": ("neck",), "head": ("head_top",)}),
        # SMPL's neck and head are joints inside the body, 5-10 cm from ours: copied under those names, and excluded
        # from the figures that compare methods (see evaluation.protocols).
        ForeignSkeleton(
            "smpl_24",
            _SMPL_24,
            _sided(_LIMBS) | {**_MID_HIPS, "spine": ("spine2",), "neck": ("neck",), "head": ("head",)},
            recentre=True,
        ),
        ForeignSkeleton("coco_17", _COCO_17, _KEYPOINT_TABLE),
        ForeignSkeleton("coco_18", _COCO_18, _KEYPOINT_TABLE),
        ForeignSkeleton("body_25", _BODY_25, _KEYPOINT_TABLE),
        ForeignSkeleton("halpe_26", _HALPE_26, _KEYPOINT_TABLE | {"head": ("head",)}),  # its head is the top
        ForeignSkeleton("mediapipe_33", _MEDIAPIPE_33, _KEYPOINT_TABLE),
        ForeignSkeleton("mpi_inf_3dhp_28", _3DHP_28, _3DHP_TABLE, recentre=True),
        ForeignSkeleton("mpi_inf_3dhp_test_17", _3DHP_TEST_17, _3DHP_TABLE, recentre=True),
        ForeignSkeleton(
            "cmu_mocap",
            _CMU_MOCAP,
            {
                "pelvis": ("lhipjoint", "rhipjoint"),
                "right_hip": ("rhipjoint",),
                "right_knee": ("rfemur",),
                "right_ankle": ("rtibia",),
                "left_hip": ("lhipjoint",),
                "left_knee": ("lfemur",),
                "left_ankle": ("ltibia",),
                "spine": ("lowerback",),
                "neck": ("thorax",),
                "nose": ("upperneck",),
                "head": ("head",),
                "left_shoulder": ("lclavicle",),
                "left_elbow": ("lhumerus",),
                "left_wrist": ("lwrist",),  # `radius` is the forearm's first two thirds
                "right_shoulder": ("rclavicle",),
                "right_elbow": ("rhumerus",),
                "right_wrist": ("rwrist",),
            },
        ),
    )
}
"""Every foreign skeleton by name. The pelvis is the middle of the hips wherever the source's pelvis is another point."""
