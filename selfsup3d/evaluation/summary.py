"""From per-frame records to the numbers of a result: means over frames, actions, joints, occlusion, baselines."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfsup3d.evaluation.baselines import Baselines, Numbers, bone_floor
from selfsup3d.evaluation.diagnostics import FLIPS, LIMB_PAIRS, body_frame_poses, flip_gains, frechet_distance
from selfsup3d.evaluation.identity import shows_own_person
from selfsup3d.evaluation.measure import Measured, measure
from selfsup3d.evaluation.metrics import mrpe, root_relative, scale_to
from selfsup3d.evaluation.protocols import Protocol
from selfsup3d.evaluation.records import Records
from selfsup3d.structures.skeleton import H36M_17, NUM_JOINTS

__all__ = ["Summary", "result_numbers", "summarise"]

_IN_METRES = ("mpjpe", "mpjpe_actions", "pck_150", "auc")
"""Metrics that mean nothing for a pose of unknown scale, unless the truth gives the scale."""

_MOST_OCCLUDED = 6


@dataclass
class Summary:
    """The numbers of one set of frames. A metric that is missing is None, with an entry in `reasons`.

    Attributes:
        frames: with usable truth (or, where the data has no poses, all frames).
        skipped: without.
        metrics: means over frames; "..._actions" are means over the actions' means.
        per_joint, per_action, per_occlusion: name -> metric -> number ("frames" among them).
        baselines: name -> metric -> number.
        beside: joint set -> metric -> number, on other joints than the main figure's.
        per_frame: metric -> (N,) values, for comparisons.
    """

    frames: int = 0
    skipped: int = 0
    metrics: Numbers = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    per_joint: dict[str, Numbers] = field(default_factory=dict)
    per_action: dict[str, Numbers] = field(default_factory=dict)
    per_occlusion: dict[str, Numbers] = field(default_factory=dict)
    baselines: dict[str, Numbers] = field(default_factory=dict)
    beside: dict[str, Numbers] = field(default_factory=dict)
    per_frame: dict[str, np.ndarray] = field(default_factory=dict)

    def missing(self, names: tuple[str, ...] | list[str], reason: str) -> None:
        """Put None for these metrics, with the reason."""
        for name in names:
            self.metrics[name], self.reasons[name] = None, reason


def summarise(records: Records, protocol: Protocol, baselines: Baselines) -> Summary:
    """All numbers of the frames in `records` by one protocol."""
    result = Summary(frames=len(records), reasons=dict(records.reasons))
    known = records.tensor("known") > 0 if "known" in records else torch.zeros(len(records), NUM_JOINTS).bool()
    if known.any():
        _poses(result, records, known, protocol, baselines)
    else:
        names = [
            "mpjpe",
            "pa_mpjpe",
            "n_mpjpe",
            "mrpe",
            "pck_150",
            "auc",
            "frechet",
            *(f"flip_{f}" for f in (*FLIPS, *LIMB_PAIRS)),
        ]
        result.missing(names, "the data has no true poses")
    _overlaps(result, records)
    _images(result, records)
    for name in result.reasons:
        result.metrics.setdefault(name, None)
    result.reasons = {name: r for name, r in result.reasons.items() if result.metrics.get(name) is None}
    return result


def result_numbers(summary: Summary, baselines: Baselines) -> dict[str, Any]:
    """The part of a result file that holds numbers, rounded far below what they can tell apart."""
    reasons = dict(summary.reasons)
    for name, found in summary.baselines.items():
        if all(number is None for number in found.values()):
            reasons[f"baselines.{name}"] = baselines.reasons.get(name, "not given")
    numbers: dict[str, Any] = {
        "frames": summary.frames,
        "skipped": summary.skipped,
        "metrics": summary.metrics,
        "reasons": reasons,
        "per_joint": summary.per_joint,
        "per_action": summary.per_action,
        "baselines": summary.baselines,
    }
    if summary.per_occlusion:
        numbers["per_occlusion"] = summary.per_occlusion
    if summary.beside:
        numbers["beside"] = summary.beside
    return _rounded(numbers)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return round(value, 6) if isinstance(value, float) else value


def _poses(result: Summary, records: Records, known: Tensor, protocol: Protocol, baselines: Baselines) -> None:
    """Everything that compares predicted with true joints."""
    poses, target = records.tensor("pose"), records.tensor("target")
    first = measure(poses[:, 0], target, known, protocol.flags, protocol.joints)
    counted = first.counted
    result.frames, result.skipped = int(counted.sum()), int((~counted).sum())
    for name, values in first.frame.items():
        result.metrics[name] = _mean(values[counted])
        result.per_frame[name] = values.numpy()
    _hypotheses(result, poses, target, known, protocol)
    _groups(result, records, first)
    _root(result, records, known)
    _kinds_of_error(result, records, poses[:, 0], target, known & counted[:, None], protocol)
    for joints in protocol.beside:
        other = measure(poses[:, 0], target, known, protocol.flags, joints)
        result.beside[joints] = {name: _mean(values[other.counted]) for name, values in other.frame.items()}
    _pose_baselines(result, records, target, known, protocol, baselines)
    if records.unit != "m" and not protocol.flags.gt_scale:
        names = [n for n in result.metrics if n.startswith(_IN_METRES)]
        result.missing(names, f"the poses are in unit {records.unit!r}: only n_mpjpe and pa_mpjpe have a meaning")
        for name in names:
            result.per_frame.pop(name, None)
        for numbers in (*result.per_joint.values(), *result.per_action.values(), *result.beside.values()):
            numbers.update({name: None for name in numbers if name in _IN_METRES})
    bad = int((~torch.isfinite(poses[:, 0]).all(-1) & known).any(-1)[counted].sum())
    if bad:
        names = [name for name, value in result.metrics.items() if value is None]
        for name in names:
            result.reasons.setdefault(name, f"{bad} frames have predictions that are not finite")


def _hypotheses(result: Summary, poses: Tensor, target: Tensor, known: Tensor, protocol: Protocol) -> None:
    """The best of S hypotheses, chosen by the truth for each frame and metric."""
    count = poses.shape[1]
    if count == 1:
        return
    every = [measure(poses[:, s], target, known, protocol.flags, protocol.joints) for s in range(count)]
    counted = every[0].counted
    for name in ("mpjpe", "pa_mpjpe"):
        best = torch.stack([one.frame[name][counted] for one in every]).amin(0)
        result.metrics[f"{name}_best_of_{count}"] = _mean(best)


def _groups(result: Summary, records: Records, measured: Measured) -> None:
    """Per joint, per action, and the mean over actions."""
    for index, joint in enumerate(H36M_17.joint_names):
        numbers = {name: _mean(v[measured.counted][:, index], partial=True) for name, v in measured.joint.items()}
        if any(number is not None for number in numbers.values()):
            result.per_joint[joint] = numbers
    result.per_action = _by(records, "action", measured)
    for name in ("mpjpe", "pa_mpjpe"):
        means = [numbers[name] for numbers in result.per_action.values()]
        if means:
            whole = all(mean is not None for mean in means)
            result.metrics[f"{name}_actions"] = float(np.mean([m for m in means if m is not None])) if whole else None
    if "hidden" in records:
        hidden = records.tensor("hidden")
        number = torch.where(torch.isfinite(hidden).all(-1), hidden.sum(-1), torch.full((len(records),), float("nan")))
        texts = [_bin(value) for value in number.tolist()]
        binned = Records({"index": records.values["index"], "hidden": np.array(texts)})
        result.per_occlusion = _by(binned, "hidden", measured)


def _bin(hidden: float) -> str:
    if not np.isfinite(hidden):
        return ""
    return str(int(hidden)) if hidden < _MOST_OCCLUDED else f"{_MOST_OCCLUDED}+"


def _by(records: Records, key: str, measured: Measured) -> dict[str, Numbers]:
    """Means over the frames of each value of a text; frames where it is "" are in no group."""
    if key not in records:
        return {}
    groups: dict[str, Numbers] = {}
    for value in sorted(set(records.values[key].tolist()) - {""}):
        rows = torch.from_numpy(records.values[key] == value) & measured.counted
        if rows.any():
            groups[value] = {"frames": int(rows.sum())}
            groups[value] |= {name: _mean(measured.frame[name][rows]) for name in ("mpjpe", "pa_mpjpe", "pck_150")}
    return groups


def _root(result: Summary, records: Records, known: Tensor) -> None:
    if "root" not in records:
        result.missing(["mrpe"], "the system predicts no root")
        return
    rows = known[:, H36M_17.root]
    values = mrpe(records.tensor("root")[:, 0], records.tensor("target")[:, H36M_17.root])
    result.metrics["mrpe"] = _mean(values[rows])
    result.per_frame["mrpe"] = torch.where(rows, values, torch.full_like(values, float("nan"))).numpy()


def _kinds_of_error(
    result: Summary, records: Records, pose: Tensor, target: Tensor, known: Tensor, protocol: Protocol
) -> None:
    """Flips, distribution of poses, pixels."""
    counted = known.any(-1)
    root = protocol.flags.root
    truth = torch.where(known[..., None], target, torch.full_like(target, float("nan")))
    guess = root_relative(pose, root)
    if records.unit != "m":
        guess = scale_to(guess, root_relative(truth, root), known)
    for name, gain in flip_gains(guess[counted], truth[counted], known[counted], root=root).items():
        usable = gain[torch.isfinite(gain)]
        result.metrics[f"flip_{name}"] = float((usable > 0).double().mean()) if len(usable) else None
    bodies, true_bodies = body_frame_poses(pose[counted]), body_frame_poses(truth[counted])
    whole = torch.isfinite(bodies).flatten(1).all(1) & torch.isfinite(true_bodies).flatten(1).all(1)
    if records.unit != "m":
        result.missing(["frechet"], f"the poses are in unit {records.unit!r}")
    elif whole.sum() < 2:
        result.missing(["frechet"], "fewer than 2 frames with a whole body")
    else:
        result.metrics["frechet"] = frechet_distance(bodies[whole], true_bodies[whole])
    if "joints_2d_error" in records:
        result.metrics["joints_2d_px"] = _mean(records.tensor("joints_2d_error"), partial=True)


def _pose_baselines(
    result: Summary, records: Records, target: Tensor, known: Tensor, protocol: Protocol, baselines: Baselines
) -> None:
    guesses: dict[str, Tensor | None] = {
        "mean_pose": _expanded(baselines.mean_pose, target),
        "mean_canonical_pose": _expanded(baselines.mean_canonical, target),
        "bone_floor": None if baselines.bone_lengths is None else bone_floor(target, baselines.bone_lengths.double()),
        "nearest_neighbour": records.tensor("neighbour") if "neighbour" in records else None,
    }
    if "flat" in records:  # systems that lift keypoints
        guesses["flat"] = records.tensor("flat")
    for name, guess in guesses.items():
        aligned_only = name in ("mean_canonical_pose", "flat")  # of another frame, or of no scale
        wanted = ("pa_mpjpe",) if aligned_only else ("mpjpe", "pa_mpjpe", "pck_150")
        if guess is None:
            result.baselines[name] = dict.fromkeys(wanted)
            continue
        found = measure(guess, target, known, protocol.flags, protocol.joints)
        result.baselines[name] = {metric: _mean(found.frame[metric][found.counted]) for metric in wanted}


def _expanded(pose: Tensor | None, target: Tensor) -> Tensor | None:
    return None if pose is None else pose.to(target).expand_as(target)


def _overlaps(result: Summary, records: Records) -> None:
    """Intersections over unions, both summed over the frames first."""
    if "overlap" in records:
        both = records.tensor("overlap").nansum(0)  # (P + 1, 2)
        ratio = both[:, 0] / both[:, 1]
        result.metrics["miou_fg"] = _mean(ratio[-1:], partial=True)
        result.metrics["miou_parts"] = _mean(ratio[:-1], partial=True)
    if "saliency_overlap" in records:
        both = records.tensor("saliency_overlap").nansum(0)
        result.metrics["saliency_iou"] = _mean((both[0] / both[1])[None], partial=True)


def _images(result: Summary, records: Records) -> None:
    """Image metrics of the system and of the baselines, whom they show, and the cycle."""
    people = records.values["person"] if "person" in records else np.array([""])
    several = len(set(people.tolist()) - {""}) > 1
    true_colours = next((name for name in records.values if name.startswith("truth/colours")), "")
    for name in records.values:
        prefix, _, metric = name.rpartition("/")
        values = None
        if metric.startswith(("psnr", "ssim", "lpips", "cycle")):
            values = records.tensor(name)
        elif metric.startswith("colours"):
            metric = metric.replace("colours", "identity")
            if several:
                values = shows_own_person(records.tensor(name), records.tensor(true_colours), people)
            elif not prefix:
                result.missing([metric], "fewer than two people are told apart")
        if values is not None:
            number = _mean(values, partial=True)
            if prefix:
                result.baselines.setdefault(prefix, {})[metric] = number
            else:
                result.metrics[metric] = number
                result.per_frame[metric] = values.numpy()


def _mean(values: Tensor, partial: bool = False) -> float | None:
    """Mean of a vector; None where it is empty or not finite. `partial`: over its finite entries."""
    if partial:
        values = values[torch.isfinite(values)]
    mean = float(values.mean()) if len(values) else float("nan")
    return mean if np.isfinite(mean) else None
