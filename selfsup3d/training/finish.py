"""What a finished run leaves: metrics.json, grid.png and the released model with its card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from selfsup3d import hub
from selfsup3d.batch import Batch
from selfsup3d.config import Config, MixtureConfig, PartGuidedConfig, ProjectedConfig
from selfsup3d.config_cross_modal import CrossModalConfig
from selfsup3d.data.mixture import Source
from selfsup3d.data.mocap import load_mocap
from selfsup3d.data.projected import ProjectedPoses
from selfsup3d.evaluation.baselines import Baselines, FrameSource, labelled_baselines, mean_canonical_pose
from selfsup3d.evaluation.evaluator import evaluate
from selfsup3d.evaluation.images import find_lpips
from selfsup3d.evaluation.protocols import dataset_protocol
from selfsup3d.evaluation.report import markdown
from selfsup3d.files import write_json
from selfsup3d.system import System
from selfsup3d.training import run_folder
from selfsup3d.training.build import OneDataset, Split, build_prior, evaluated
from selfsup3d.training.ema import evaluating
from selfsup3d.viz.sheets import sheet, write_png

__all__ = ["evaluate_system", "example_frames", "model_card", "release", "run_baselines"]

_SUPERVISION = {
    "none": "none",
    "puppet": "none; painted puppets and nothing else",
    "teacher": "none; what a system without labels read from the frames",
    "2d": "2D joints of the training frames",
    "3d": "3D poses of the training frames",
}

_CMU = (
    "The data used in this project was obtained from mocap.cs.cmu.edu. The database was created with funding from "
    "NSF EIA-0196217."
)


def evaluate_system(
    config: Config,
    system: System,
    source: Source,
    baselines: Baselines,
    split: Split = "val",
    *,
    checkpoint: str = "",
    accelerator: Accelerator | None = None,
    **options: Any,
) -> dict[str, Any]:
    """The strict result of a system on a split, see `evaluation.evaluator.evaluate` (which takes the options)."""
    return evaluate(
        system,
        source,
        protocol=dataset_protocol(source.name),
        baselines=baselines,
        split=split,
        lpips=find_lpips(),
        checkpoint=checkpoint,
        config_hash=config.hash,
        accelerator=accelerator,
        **options,
    )


def run_baselines(config: Config, system: System, labelled: FrameSource | None) -> Baselines:
    """Guesses to print beside a result: from labelled training frames (None = there are none), and from the prior."""
    # Poses without pictures cost little, and a neighbour is nearer the more there are.
    limit = 20_000 if isinstance(labelled, ProjectedPoses) else 2_000
    mean, neighbour = (None, None) if labelled is None else labelled_baselines(labelled, limit=limit)
    lengths = getattr(system, "bone_lengths", None)
    return Baselines(
        mean_pose=mean,
        mean_canonical=mean_canonical_pose(torch.from_numpy(build_prior(evaluated(config)).poses)),
        bone_lengths=lengths.detach().cpu() if isinstance(lengths, Tensor) else None,
        neighbour=neighbour,
    )


def example_frames(source: Source, count: int) -> Batch | None:
    """`count` frames, evenly spread over a dataset: the pictures that a run shows again and again."""
    if count == 0:
        return None
    return source.frames(np.unique(np.linspace(0, len(source) - 1, count).round().astype(np.int64)))


def release(config: Config, system: System, result: Mapping[str, Any], pictures: Batch | None) -> None:
    """Write metrics.json, grid.png and model/ into the run's folder (one process)."""
    folder = config.folder
    write_json(folder / run_folder.METRICS, dict(result))
    hub.save_pretrained(folder / run_folder.MODEL, system, config.to_dict(), model_card(config, result))
    if pictures is not None:
        with evaluating(system):
            panels = system.panels(pictures.to(next(system.parameters()).device))
        if panels:
            write_png(folder / run_folder.GRID, sheet(panels))


def model_card(config: Config, result: Mapping[str, Any]) -> str:
    """README.md of a released model: what it is, how to load it, what it was trained on, what it assumes, results."""
    name = config.folder.name
    datasets = config.data.parts if isinstance(config.data, MixtureConfig) else (config.data,)
    lines = [
        f"# {name}",
        "",
        f"A `{config.system.kind}` system of selfsup3d, trained for "
        f"{config.trainer.steps} steps with seed {config.seed}. The settings stand in `config.json`.",
        "",
        "```python",
        "from selfsup3d.training.build import load_system",
        f'system, config = load_system("{name}/{run_folder.MODEL}")',
        "```",
        "",
        "## Training data and assumptions",
        "",
        *(line for data in datasets for line in _data_lines(data)),
        *_assumptions(config),
    ]
    if any(_from_cmu(path) for data in datasets if (path := _poses_file(data)) is not None):
        lines += ["", _CMU]
    return "\n".join([*lines, "", "## Results", "", markdown(result)])


def _data_lines(data: OneDataset) -> list[str]:
    if isinstance(data, ProjectedConfig):
        return [
            f"- poses: {_poses_name(data)}, seen by random cameras {data.cameras.distance[0]:g}-"
            f"{data.cameras.distance[1]:g} m away in pictures of {data.size} px"
        ]
    return [
        f"- images: {data.kind}, {data.size} px",
        f"- unpaired 3D poses: {_poses_name(data)}",
        f"- cameras: drawn from the ranges of synth-v1, widened by {data.camera_widen:g}",
    ]


def _assumptions(config: Config) -> list[str]:
    if isinstance(config.system, CrossModalConfig):
        told = {
            "labels": "3D poses of the training frames",
            "reprojection": "2D joints of the training frames, no 3D label; knees bend forward",
        }
        return [f"- supervision: {told[config.system.supervision]}"]
    if not isinstance(config.system, PartGuidedConfig):
        return []
    return [
        f"- supervision: {_SUPERVISION[config.system.supervision]}",
        "",
        '"Unsupervised" still assumes one 2D puppet, bone-length ratios, the unpaired poses, the distribution of cameras '
        "and a label-free saliency.",
    ]


def _poses_file(data: OneDataset) -> Path | None:
    return data.mocap if isinstance(data, ProjectedConfig) else data.prior


def _poses_name(data: OneDataset) -> str:
    path = _poses_file(data)
    return "the procedural prior" if path is None else f"motion capture ({path.name})"


def _from_cmu(path: Path) -> bool:
    return path.is_file() and any(subject.startswith("cmu") for subject in load_mocap(path).subjects)
