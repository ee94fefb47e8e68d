"""The rules a number was taken by: strict flags by default, named presets of papers, and each dataset's joints.

Published errors are not comparable, because these rules differ silently between papers. So every number here is
printed beside its flags, and a preset reproduces a paper's rule under its name.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from selfsup3d.errors import InputError
from selfsup3d.structures.skeleton import H36M_17, joint_index

__all__ = ["JOINT_SETS", "PRESETS", "Flags", "FlipBest", "Protocol", "dataset_protocol"]

FlipBest = Literal[False, "frame", "joint"]
"""Which of a pose and its mirror image in depth counts: its own (False), or the better one of a frame or a joint."""


@dataclass(frozen=True)
class Flags:
    """Every choice that changes a number without a word about it.

    Attributes:
        reflection: the alignment of PA-MPJPE may mirror the pose.
        flip_best: root-relative errors keep the better of the pose and its mirror image in depth: for the whole
            "frame" or for each "joint" alone.
        gt_scale: root-relative errors (MPJPE, PCK, AUC) after scaling each pose to the truth.
        count_root: the root, whose error is 0 by construction, is averaged into root-relative errors.
        root: what both poses are moved to before a root-relative error: "pelvis" or "mid_hips".
        crop_ray: predicted poses are rotated from the virtual camera that looks through the crop's centre into the
            axes of the true camera, by the crop's K.
    """

    reflection: bool = False
    flip_best: FlipBest = False
    gt_scale: bool = False
    count_root: bool = False
    root: str = "pelvis"
    crop_ray: bool = False

    def as_dict(self) -> dict[str, Any]:
        """For the result file: the four flags that papers differ in, and any other that is not at its default."""
        values: dict[str, Any] = {
            "reflection": self.reflection,
            "flip_best": self.flip_best,
            "gt_scale": self.gt_scale,
            "count_root": self.count_root,
        }
        if self.root != "pelvis":
            values["root"] = self.root
        if self.crop_ray:
            values["crop_ray"] = True
        return values

    def __str__(self) -> str:
        """On one line, as printed beside every table: `reflection=no flip_best=no gt_scale=no count_root=no`."""
        words = {k: ("yes" if v else "no") if isinstance(v, bool) else v for k, v in self.as_dict().items()}
        return " ".join(f"{key}={word}" for key, word in words.items())


PRESETS: dict[str, Flags] = {
    "strict": Flags(),
    # Martinez et al. 2017 and VideoPose3D (Pavllo et al. 2019) average 17 joints, the root's zero among them.
    "martinez17": Flags(count_root=True),
    "videopose3d": Flags(count_root=True),
    # Kudo et al. 2018: poses are scaled by the truth before the error called MPJPE.
    "kudo": Flags(gt_scale=True),
    # RepNet (Wandt & Rosenhahn 2019): the alignment may mirror.
    "repnet": Flags(reflection=True),
    # Chen et al. 2019 report the aligned error (PA-MPJPE); no looser rule of theirs is known, so the flags are strict.
    "chen": Flags(),
    # ITES (Xu et al. 2021): scale of the truth, the better depth sign of each joint; PA without mirroring.
    "ites": Flags(gt_scale=True, flip_best="joint"),
    # C3DPO (Novotny et al. 2019): the better of both depth signs of a frame.
    "c3dpo": Flags(flip_best="frame"),
    # Deep NRSfM (Kong & Lucey 2019): the alignment may mirror.
    "deep_nrsfm": Flags(reflection=True),
    # ElePose (Wandt et al. 2022): scale of the truth; the alignment may mirror.
    "elepose": Flags(reflection=True, gt_scale=True),
    # HPE3D (Budaraju, KTH thesis code): the alignment may mirror.
    "hpe3d": Flags(reflection=True),
}
"""Paper -> flags. Where a paper offers several figures, these are the rules of its main one; what a paper leaves
open is strict."""


def _joints(*names: str) -> tuple[int, ...]:
    return tuple(sorted(joint_index(name) for name in names))


_LIMB_NAMES = tuple(
    f"{side}_{joint}" for side in ("left", "right") for joint in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
)

JOINT_SETS: dict[str, tuple[int, ...]] = {
    "h36m_17": tuple(range(len(H36M_17))),
    "limbs_12": _joints(*_LIMB_NAMES),
    "lsp_14": _joints(*_LIMB_NAMES, "neck", "head"),
}
"""Named sets of joints of our skeleton that a figure is taken over."""


@dataclass(frozen=True)
class Protocol:
    """A named rule: flags, the joints of the main figure, and other joint sets whose figures stand beside it.

    Attributes:
        name: of the preset.
        flags: see `Flags`.
        joints: a key of `JOINT_SETS`.
        beside: further keys.
        notes: label -> remark printed with the table (where joints or boxes come from).
    """

    name: str = "strict"
    flags: Flags = field(default_factory=Flags)
    joints: str = "h36m_17"
    beside: tuple[str, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key in (self.joints, *self.beside):
            if key not in JOINT_SETS:
                raise ValueError(f"no joint set {key!r}; known: {', '.join(JOINT_SETS)}")


_DATASETS: dict[str, Protocol] = {
    "synthetic": Protocol(),
    "synth-mocap": Protocol(),
    "videos": Protocol(),
    # P1 is `mpjpe`, P2 is `pa_mpjpe`; the split (S1, 5, 6, 7, 8 against S9, 11) belongs to the data.
    "h36m": Protocol(notes={"protocols": "P1 = mpjpe, P2 = pa_mpjpe; train S1,5,6,7,8, test S9,11"}),
    "mpi_inf_3dhp": Protocol(notes={"frames": "valid frames only"}),
    # The published root is the middle of the hips. Neck and head of SMPL's 24 joints are other points than ours, so
    # the 12 limb joints are the main figure and the 14 of LSP stand beside it.
    "3dpw": Protocol(flags=Flags(root="mid_hips"), joints="limbs_12", beside=("lsp_14",)),
}


def dataset_protocol(dataset: str, preset: str = "strict") -> Protocol:
    """The joints and root of a dataset with the flags of a preset.

    Args:
        dataset: "synthetic", "synth-mocap", "h36m", "mpi_inf_3dhp", "3dpw" or "videos"; any other name gets the 17
            joints and the pelvis as root.
        preset: a key of `PRESETS`.

    Raises:
        InputError: unknown preset, with the nearest known one.
    """
    if preset not in PRESETS:
        near = difflib.get_close_matches(preset, PRESETS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(f"--protocol {preset}: no such preset{hint} (known: {', '.join(PRESETS)})")
    base = _DATASETS.get(dataset, Protocol())
    flags = replace(PRESETS[preset], root=base.flags.root)
    return replace(base, name=preset, flags=flags)
