"""How sure a prediction is of each joint: the probability that it lies within 150 mm of the truth, root-relative.

A logistic regression on label-free signals (`averaging.Reading`): the heat map's entropy, the probability of the
left/right assignment that was taken, and how far keypoint and skeleton, depth map and skeleton lie apart. Fitted where the
truth is known, and stored beside the weights (`confidence.json`) **[ours]**: of synth-v1 on synth-v1 val, where it is off by
0.014 (expected calibration error, on frames that it was not fitted on), of people-v1 on rendered people (0.014). Its level
holds for images of that kind alone. On whole-body real clips synth-v1's mean confidence is 0.68, while 0.50 of its joints
lie within 0.2 torso lengths of a 2D reference and 0.83 within 0.5; the fifth that it trusts least has 0.25 and 0.64, the
fifth that it trusts most 0.67 and 0.96.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup3d.errors import InputError
from selfsup3d.io.files import write_json
from selfsup3d.io.json_yaml import parse_json
from selfsup3d.io.limits import DOCUMENT, read_within
from selfsup3d.models.part_guided.averaging import ASSIGNMENTS, Reading
from selfsup3d.structures.batch import TensorFields
from selfsup3d.structures.skeleton import NUM_JOINTS, joint_index

__all__ = ["CONFIDENCE_FILE", "SIGNALS", "WITHIN", "Calibration", "calibration_error", "fit_calibration", "signals"]

CONFIDENCE_FILE = "confidence.json"
WITHIN = 0.15
"""Metres."""
SIGNALS = ("entropy", "assignment", "keypoint_gap", "depth_gap")

_LIMBS = [
    [joint_index(f"{side}_{name}") for side in ("left", "right") for name in names]
    for names in (("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist"))
]


def signals(reading: Reading, assignment: Tensor) -> Tensor:
    """(N, 17, 4) label-free signals of readings (N, A, ...) under one assignment (N,) each; more is worse.

    `assignment` is minus the log-probability: of its legs for joints of legs, of its arms for joints of arms, of both for
    all others.
    """
    chosen = reading.at(assignment)
    log_p = reading.log_probability.log_softmax(1)  # (N, A)
    table = torch.tensor(ASSIGNMENTS, device=log_p.device)  # (A, 2)
    unsure = -log_p.gather(1, assignment[:, None]).expand(-1, NUM_JOINTS).clone()
    for limb, joints in enumerate(_LIMBS):
        alike = table[:, limb] == table[assignment, limb][:, None]  # (N, A)
        unsure[:, joints] = -log_p.masked_fill(~alike, -torch.inf).logsumexp(1, keepdim=True)
    gaps = (chosen.keypoint_gap.clamp_max(0.5) * 10.0, chosen.depth_gap.clamp_max(1.0) * 5.0)
    return torch.stack([chosen.entropy, unsure.clamp_max(10.0), *gaps], -1)


@dataclass(frozen=True)
class Calibration(TensorFields):
    """Coefficients: logit = bias of the joint - weights . signals.

    Attributes:
        bias: (17,). weights: (4,). source: what it was fitted on, for reports.
    """

    bias: Tensor
    weights: Tensor
    source: str = ""

    def __call__(self, reading: Reading, assignment: Tensor) -> Tensor:
        """(N, 17) in [0, 1]; see `signals`."""
        values = signals(reading, assignment)
        return torch.sigmoid(self.bias.to(values) - values @ self.weights.to(values))

    def save(self, folder: Path) -> Path:
        """Write `confidence.json` beside a model's weights."""
        header: dict[str, Any] = {
            "within_mm": WITHIN * 1000, "signals": list(SIGNALS), "source": self.source,
            "bias": [round(v, 5) for v in self.bias.tolist()], "weights": [round(v, 5) for v in self.weights.tolist()],
        }  # fmt: skip
        write_json(folder / CONFIDENCE_FILE, header)
        return folder / CONFIDENCE_FILE

    @classmethod
    def load(cls, folder: Path) -> Calibration | None:
        """The one beside a model's weights, None where there is none.

        Raises:
            InputError: damaged, or of other signals.
        """
        path = folder / CONFIDENCE_FILE
        if not path.is_file():
            return None
        try:
            header: Mapping[str, Any] = parse_json(read_within(path, DOCUMENT).decode())
            bias, weights = (torch.tensor(header[name], dtype=torch.float32) for name in ("bias", "weights"))
            fits = tuple(header["signals"]) == SIGNALS and header["within_mm"] == WITHIN * 1000
            source = str(header["source"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: damaged ({error}); make it again with evaluate --calibrate") from None
        finite = bool(torch.isfinite(bias).all() and torch.isfinite(weights).all())
        if not fits or bias.shape != (NUM_JOINTS,) or weights.shape != (len(SIGNALS),) or not finite:
            raise InputError(f"{path}: of other signals; make it again with evaluate --calibrate")
        return cls(bias, weights, source)


def fit_calibration(values: Tensor, right: Tensor, source: str) -> Calibration:
    """Fit by maximum likelihood, weights not below 0, with a small penalty on both.

    Args:
        values: (N, 17, 4) of `signals`. right: (N, 17) bool, within `WITHIN` of the truth.
    """
    bias = torch.zeros(NUM_JOINTS, dtype=torch.float64, requires_grad=True)
    raw = torch.zeros(len(SIGNALS), dtype=torch.float64, requires_grad=True)
    values, wanted = values.double(), right.double()
    optimizer = torch.optim.LBFGS([bias, raw], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        weights = F.softplus(raw)
        loss = F.binary_cross_entropy_with_logits(bias - values @ weights, wanted)
        loss = loss + 1e-4 * (bias.square().mean() + weights.square().mean())
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]
    return Calibration(bias.detach().float(), F.softplus(raw).detach().float(), source)


def calibration_error(confidence: Tensor, right: Tensor, bins: int = 10) -> float:
    """Expected calibration error: mean |confidence - share that is right| over `bins` bins of equal width, by count."""
    index = (confidence.flatten() * bins).long().clamp(0, bins - 1)
    count = torch.bincount(index, minlength=bins).double()
    sums = [torch.bincount(index, v.flatten().double(), minlength=bins) for v in (confidence, right)]
    return float((sums[0] - sums[1]).abs().sum() / count.sum())
