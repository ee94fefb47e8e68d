"""Released lifters under the conditions that people meet: true and a detector's keypoints, usual and odd cameras.

    python -m selfsup3d.experiments.lifter_conditions --data.mocap mocap.npz --split test \
        --results assets/results/lifters_released.md assets/lifter assets/lifter-temporal assets/lifter-unsupervised

All by the strict rules (no reflection, no depth flip, no scale of the truth), the root not counted. For detectors'
skeletons the truth is the point that is marked: the nose on the face, the neck in the middle of the shoulders.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from selfsup3d.builders.lifters import projected_poses
from selfsup3d.builders.systems import load_system
from selfsup3d.cli import run
from selfsup3d.config.projected import CameraConfig, ProjectedConfig
from selfsup3d.data.sampling.dataset import Split
from selfsup3d.data.sampling.detector_noise import DETECTOR_CONDITIONS, DetectorModel
from selfsup3d.data.sampling.keypoint_noise import CONDITIONS, KeypointModel
from selfsup3d.data.sampling.projected_poses import ProjectedPoses
from selfsup3d.evaluation.evaluator import evaluate_frames
from selfsup3d.io.files import write_text
from selfsup3d.models.system import System
from selfsup3d.structures.batch import Batch

__all__ = ["Condition", "conditions", "main", "measure"]

_USUAL = CameraConfig()
_ODD = CameraConfig(distance=(2.0, 9.0), elevation=(-20.0, 45.0), roll=(-25.0, 25.0), focal=(600.0, 2600.0), offset=0.3)


@dataclass(frozen=True)
class Condition:
    """How people are seen.

    Attributes:
        title: of the column. cameras, keypoints: see `ProjectedPoses`. known: the camera's K is told.
    """

    title: str
    cameras: CameraConfig
    keypoints: KeypointModel | DetectorModel
    known: bool = True


def conditions() -> list[Condition]:
    """The columns of the table."""
    return [
        Condition("usual cameras, true 2D", _USUAL, CONDITIONS["clean"]),
        Condition("5 px noise", _USUAL, CONDITIONS["noisy"]),
        Condition("10 % missing", _USUAL, CONDITIONS["missing"]),
        Condition("odd cameras, true 2D", _ODD, CONDITIONS["clean"]),
        Condition("a detector's joints", _ODD, DETECTOR_CONDITIONS["detector_joints"]),
        Condition("and its errors", _ODD, DETECTOR_CONDITIONS["detector"]),
        Condition("focal length unknown", _ODD, DETECTOR_CONDITIONS["detector"], known=False),
    ]


class _Untold:
    """Frames whose camera is not told."""

    def __init__(self, source: ProjectedPoses) -> None:
        self.source, self.name = source, source.name

    def __len__(self) -> int:
        return len(self.source)

    def frames(self, indices: np.ndarray) -> Batch:
        """Without K."""
        return replace(self.source.frames(indices), K=None)


def measure(
    system: System, mocap: Path, split: Split, condition: Condition, stride: int = 5, limit: int | None = None
) -> dict[str, float | None]:
    """Errors in mm, and the share by which the root's distance is off (mean), of every `stride`-th frame of a split."""
    frames = int(getattr(system, "frames", 1))
    settings = ProjectedConfig(mocap=mocap, cameras=condition.cameras, frames=frames, stride=stride)
    source: Any = projected_poses(settings, split, condition.keypoints)
    shown = source if condition.known else _Untold(source)
    result, _ = evaluate_frames(system, shown, split=split, batch_size=512, limit=limit, images=False, progress=False)
    found = {name: result["metrics"].get(name) for name in ("mpjpe", "pa_mpjpe", "n_mpjpe")}
    found["flat"] = (result["baselines"].get("flat") or {}).get("pa_mpjpe")
    return found | {"distance": _distance_error(system, source, limit) if condition.known else None}


@torch.inference_mode()
def _distance_error(system: System, source: ProjectedPoses, limit: int | None) -> float | None:
    """Mean of |Z' / Z - 1| of the root."""
    count = len(source)
    batch = source.frames(np.unique(np.linspace(0, count - 1, min(limit or 2000, count)).astype(np.int64)))
    root = system.predict(batch).root
    if root is None or batch.joints_3d is None:
        return None
    return float((root[:, 0, 2] / batch.joints_3d[:, 0, 2] - 1.0).abs().mean())


def _page(command: str, split: str, rows: dict[str, list[dict[str, float | None]]], facts: dict[str, str]) -> str:
    columns = [condition.title for condition in conditions()]
    lines = [
        "# Released lifters",
        "",
        f"`{command}`",
        "",
        f"Motion capture of the CMU database (mocap.cs.cmu.edu), {split} subjects, every fifth frame, strict rules; mm after "
        "similarity alignment (PA-MPJPE), without it in brackets (MPJPE; N-MPJPE, marked n, where a method knows no metres).",
        "Usual cameras are those of [all lifters](lifters.md): 3-6 m away, -5 to 20 degrees up, roll up to 2 degrees, one lens. "
        "Odd ones are 2-9 m away, -20 to 45 degrees up, roll up to 25 degrees, focal lengths of 600-2600 px at a width of 1000.",
        "A detector's joints: no spine, no top of the head, neck and pelvis mid-points, the nose on the face. Its errors: 0.12 "
        "torso lengths on average, heavy-tailed, most of each lasting over a sequence.",
        "",
        "|  | " + " | ".join(columns) + " |",
        "| --- |" + " ---: |" * len(columns),
    ]
    for name, values in rows.items():
        lines.append(f"| {name} | " + " | ".join(_cell(value) for value in values) + " |")
    flat = next(iter(rows.values()))
    lines.append("| _zero-depth baseline_ | " + " | ".join(_number(value["flat"]) for value in flat) + " |")
    lines += ["", "Distance of the root, mean error in %:", "", "|  | " + " | ".join(columns) + " |"]
    lines.append("| --- |" + " ---: |" * len(columns))
    for name, values in rows.items():
        if any(value["distance"] is not None for value in values):
            shares = [None if v["distance"] is None else 100.0 * v["distance"] for v in values]
            lines.append(f"| {name} | " + " | ".join(_number(share) for share in shares) + " |")
    lines += ["", *(f"- {name}: {fact}" for name, fact in facts.items())]
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.1f}"


def _cell(value: dict[str, float | None]) -> str:
    plain = _number(value["mpjpe"]) if value["mpjpe"] is not None else f"{_number(value['n_mpjpe'])} n"
    return f"{_number(value['pa_mpjpe'])} ({plain})"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the models that are named and print the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, help="released models, runs or checkpoints of lifters")
    parser.add_argument("--data.mocap", dest="mocap", type=Path, required=True, help="motion-capture npz")
    parser.add_argument("--split", choices=("val", "test"), default="val")
    parser.add_argument("--stride", type=int, default=5, help="every n-th frame")
    parser.add_argument("--limit", type=int, help="at most so many frames, evenly spaced")
    parser.add_argument("--results", type=Path, help="write the page there")
    args = parser.parse_args(argv)
    rows, facts = {}, {}
    for path in args.models:
        system, config = load_system(path)
        name = path.parent.name if path.name == "model" else path.name
        name = path.as_posix() if name in rows else name
        rows[name] = [measure(system, args.mocap, args.split, c, args.stride, args.limit) for c in conditions()]
        size = sum(p.numel() for p in system.parameters()) / 1e6
        facts[name] = (
            f"`{config.system.kind}`, {size:.2f} M parameters, {getattr(system, 'frames', 1)} frame(s), "
            f"{config.trainer.steps:,} steps of {config.trainer.batch_size} by its settings"
        )
    command = "python -m selfsup3d.experiments.lifter_conditions --data.mocap mocap.npz --split " + args.split
    command += "".join(f" --{k} {v}" for k, v in (("stride", args.stride), ("limit", args.limit)) if v not in (5, None))
    command += "".join(f" {path.as_posix()}" for path in args.models)
    page = _page(command, args.split, rows, facts)
    print(page)
    if args.results is not None:
        write_text(args.results, page)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
