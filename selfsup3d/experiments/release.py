"""What a finished run leaves: metrics.json, grid.png and the released model with its card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from selfsup3d.builders.systems import OneDataset, build_prior, evaluated
from selfsup3d.config.cross_modal import CrossModalConfig
from selfsup3d.config.datasets import PeopleConfig
from selfsup3d.config.part_guided import PartGuidedConfig
from selfsup3d.config.projected import ProjectedConfig
from selfsup3d.config.run import Config, MixtureConfig
from selfsup3d.data.mocap.mocap import load_mocap
from selfsup3d.data.sampling.dataset import Dataset, Frames, Split
from selfsup3d.data.sampling.projected_poses import ProjectedPoses
from selfsup3d.evaluation.baselines import Baselines, labelled_baselines, mean_canonical_pose
from selfsup3d.evaluation.evaluator import evaluate
from selfsup3d.evaluation.images import find_lpips
from selfsup3d.evaluation.protocols import dataset_protocol
from selfsup3d.evaluation.report import markdown
from selfsup3d.io import pretrained
from selfsup3d.io.files import write_json
from selfsup3d.models.part_guided.system import PartGuided
from selfsup3d.models.system import System
from selfsup3d.structures.batch import Batch
from selfsup3d.training import run_folder
from selfsup3d.training.ema import evaluating
from selfsup3d.viz.sheets import sheet, write_png

if TYPE_CHECKING:  # slow to load
    from accelerate import Accelerator

__all__ = ["evaluate_system", "example_frames", "model_card", "release", "run_baselines", "save_release"]

_SUPERVISION = {
    "none": "none",
    "pretrain": "none; rendered puppets and nothing else",
    "teacher": "none; what a system without labels read from the frames",
    "2d": "2D joints of the training frames",
    "3d": "3D poses of the training frames",
}

_LIFTERS = {
    "keypoint_lifter": "3D poses of the training subjects",
    "martinez": "3D poses of the training subjects",
    "temporal": "3D poses of the training subjects",
    "root_depth": "3D poses of the training subjects",
    "elepose": "2D poses alone, relative bone lengths, and (where `facing` is above 0) that knees bend forward",
}

_SHAPES = {
    "puppet": "one 2D puppet",
    "people": "rendered 3D people",
    "both": "one 2D puppet, rendered 3D people",
    "none": "one 2D puppet",
}
"""What is assumed of people's shapes, by the source of pre-training."""

_CMU = (
    "The data used in this project was obtained from mocap.cs.cmu.edu. The database was created with funding from "
    "NSF EIA-0196217."
)


def evaluate_system(
    config: Config,
    system: System,
    source: Dataset,
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


def run_baselines(config: Config, system: System, labelled: Frames | None) -> Baselines:
    """Guesses to print beside a result: from labelled training frames (None = there are none), and from the prior."""
    # Poses without images cost little, and a neighbour is nearer the more there are.
    limit = 20_000 if isinstance(labelled, ProjectedPoses) else 2_000
    mean, neighbour = (None, None) if labelled is None else labelled_baselines(labelled, limit=limit)
    lengths = getattr(system, "bone_lengths", None)
    file = _poses_file(evaluated(config))  # of a released model, motion capture may be elsewhere
    canonical = None
    if file is None or file.exists():
        canonical = mean_canonical_pose(torch.from_numpy(build_prior(evaluated(config)).poses))
    return Baselines(
        mean_pose=mean,
        mean_canonical=canonical,
        bone_lengths=lengths.detach().cpu() if isinstance(lengths, Tensor) else None,
        neighbour=neighbour,
    )


def example_frames(source: Dataset, count: int) -> Batch | None:
    """`count` frames, evenly spread over a dataset: the images that a run shows again and again."""
    if count == 0:
        return None
    return source.frames(np.unique(np.linspace(0, len(source) - 1, count).round().astype(np.int64)))


def release(config: Config, system: System, result: Mapping[str, Any], images: Batch | None) -> list[str]:
    """Write metrics.json, model/ and, of images that there are, grid.png into the run's folder (one process).

    Returns:
        The names of what was written.
    """
    folder, written = config.folder, [run_folder.METRICS, f"{run_folder.MODEL}/"]
    write_json(folder / run_folder.METRICS, dict(result))
    pretrained.save_pretrained(folder / run_folder.MODEL, system, config.to_dict(), model_card(config, result))
    if images is not None:
        with evaluating(system):
            panels = system.panels(images.to(next(system.parameters()).device))
        if panels:
            write_png(folder / run_folder.GRID, sheet(panels))
            written.append(run_folder.GRID)
    return written


def save_release(
    folder: Path,
    config: Config,
    system: System,
    results: Sequence[Mapping[str, Any]],
    about: str = "",
    half: bool = True,
) -> None:
    """Write a model to give away: without paths of the machine that it was trained on, with its confidences where it is
    calibrated, a section for each result.

    Args:
        folder: where to; what stands there is replaced as a whole.
        config, system: as `training.build.load_system` gives them.
        results, about: for the card.
        half: store weights as fp16.
    """
    released = config.without_paths().to_dict()
    if isinstance(config.data, PeopleConfig):
        for name in ("prior", "backgrounds"):
            path = getattr(config.data, name)
            released["data"][name] = None if path is None else path.name
    if isinstance(config.data, ProjectedConfig) and config.data.mocap is not None:
        released["data"]["mocap"] = config.data.mocap.name
    pretrained.save_pretrained(
        folder, system, released, model_card(config, *results, path=folder.as_posix(), about=about), half=half
    )
    if isinstance(system, PartGuided) and system.calibration is not None:
        system.calibration.save(folder)


def model_card(config: Config, *results: Mapping[str, Any], path: str | None = None, about: str = "") -> str:
    """README.md of a released model: what it is, how to load it, what it was trained on and assumes, use, results.

    Args:
        config: of the run.
        results: see `evaluation.evaluator.evaluate`; a section each.
        path: where the model will lie; None = in its run.
        about: a paragraph at the beginning.
    """
    path = path or f"{config.folder.name}/{run_folder.MODEL}"
    datasets = config.data.parts if isinstance(config.data, MixtureConfig) else (config.data,)
    lines = [
        f"# {Path(path).name if Path(path).name != run_folder.MODEL else Path(path).parent.name}",
        "",
        f"A `{config.system.kind}` system of selfsup3d, trained for "
        f"{config.trainer.steps} steps with seed {config.seed}. The settings stand in `config.json`.",
        *(["", about] if about else []),
        "",
        "```python",
        "from selfsup3d.builders.systems import load_system",
        "",
        f'system, config = load_system("{path}")',
        "```",
        "",
        "## Training data and assumptions",
        "",
        *(line for data in datasets for line in _data_lines(data)),
        *_assumptions(config),
        *_use(config),
    ]
    if any(_from_cmu(file) for data in datasets if (file := _poses_file(data)) is not None):
        lines += ["", _CMU]
    return "\n".join([*lines, "", "## Results", "", "\n".join(markdown(result) for result in results)])


def _data_lines(data: OneDataset) -> list[str]:
    if isinstance(data, ProjectedConfig):
        return [
            f"- poses: {_poses_name(data)}, seen by random cameras {data.cameras.distance[0]:g}-"
            f"{data.cameras.distance[1]:g} m away in images of {data.size} px, which roll by up to "
            f"{max(abs(angle) for angle in data.cameras.roll):g} degrees",
            *_detector_lines(data),
        ]
    if isinstance(data, PeopleConfig):
        photographs = "" if data.backgrounds is None else ", and photographs that show nobody"
        return [
            f"- images: rendered 3D people in tight crops, {data.size} px, over procedural backgrounds{photographs}; no real "
            "image of a person, and no label of a real image",
            f"- poses of these people: {_poses_name(data)}{'' if data.prior is None else ' (60 %), and procedural'}",
            "- cameras: all round, 1.8-9 m away, from below to steeply above, turned by up to 20 degrees about their axis",
        ]
    return [
        f"- images: {data.kind}, {data.size} px",
        f"- unpaired 3D poses: {_poses_name(data)}",
        f"- cameras: drawn from the ranges of synth-v1, widened by {data.camera_widen:g}",
    ]


def _detector_lines(data: ProjectedConfig) -> list[str]:
    """What stands for a detector's faults, and for people whom no motion capture holds."""
    lines = []
    if data.detector is not None:
        lines.append(
            f"- keypoints: as detectors mark them, in {data.detector.skeleton:.0%} of samples without spine and head; "
            f"errors of up to {2 * data.detector.error:g} torso lengths on average, missing joints, left/right swaps"
        )
    if data.variation is not None:
        lines.append("- bodies and poses: bone lengths vary, limbs are mixed and rotated")
    return lines


def _assumptions(config: Config) -> list[str]:
    if config.system.kind in _LIFTERS:
        return [f"- supervision: {_LIFTERS[config.system.kind]}"]
    if isinstance(config.system, CrossModalConfig):
        supervision = {
            "labels": "3D poses of the training frames",
            "reprojection": "2D joints of the training frames, no 3D label; knees bend forward",
        }
        return [f"- supervision: {supervision[config.system.supervision]}"]
    if not isinstance(config.system, PartGuidedConfig):
        return []
    return [
        f"- supervision: {_supervision(config.system)}",
        *_backbone(config.system),
        "",
        f'"Unsupervised" still assumes {_SHAPES[config.system.pretrain.source]}, bone-length ratios, the unpaired '
        "poses, the distribution of cameras and a label-free saliency.",
    ]


def _supervision(system: PartGuidedConfig) -> str:
    if system.supervision == "pretrain" and system.pretrain.source != "puppet":
        return "none; synthetic people, rendered with their poses, and nothing else"
    return _SUPERVISION[system.supervision]


def _backbone(system: PartGuidedConfig) -> list[str]:
    """Weights that the backbone began with are an assumption, too."""
    if system.backbone_weights is None:
        return []
    return [f"- the backbone began with the weights of {system.backbone_weights.name}, trained with class labels"]


def _use(config: Config) -> list[str]:
    """Limits, intended use and misuse of a system that looks at people."""
    if config.system.kind in _LIFTERS:
        return [
            "",
            "## Limits",
            "",
            "- It was measured on projected motion capture; real keypoints err in other ways.",
            "- Sizes are those of the captured people: who is 10 % taller seems to stand 10 % nearer.",
            "- Depth is ambiguous where a limb points at the camera, and from wrong keypoints follow wrong poses; it says "
            "nothing of how sure it is.",
            "",
            "Intended for research and for people who agreed to be filmed; not for watching or judging people, and not for "
            "medical or safety decisions.",
        ]
    if not isinstance(config.system, PartGuidedConfig):
        return []
    rendered = any(
        data.kind == "synthetic"
        for data in (config.data.parts if isinstance(config.data, MixtureConfig) else (config.data,))
    )
    return [
        "",
        "## Limits",
        "",
        "- One person an image, at the size above; more detail than that is not seen, and lost when painting.",
        *(["- It has seen rendered people only; no error was measured on photographs."] * rendered),
        *(
            ["- It has not learned to paint: pose transfer and novel views need a decoder."]
            * (not config.system.trains_decoder)
        ),
        "- It takes left for right, and people to face the other way, in a share of frames (`flip_*`, where there are true poses).",
        "- Bones have the mean lengths of the unpaired poses, whoever is seen; depth rests on the given focal length.",
        "- How sure it is of a joint it says where `confidence.json` lies beside the weights (`evaluate --calibrate`).",
        "",
        "## Intended use, and misuse",
        "",
        "Research on learning pose and appearance without labels, and images of people who have agreed to it. Not for "
        "watching, identifying or judging people, not for images of people filmed without their consent, and not for "
        "painting somebody in a pose that they never took as if it had happened. Nothing here is fit for medical or "
        "safety decisions.",
    ]


def _poses_file(data: OneDataset) -> Path | None:
    return data.mocap if isinstance(data, ProjectedConfig) else data.prior


def _poses_name(data: OneDataset) -> str:
    path = _poses_file(data)
    return "the procedural prior" if path is None else f"motion capture ({path.name})"


def _from_cmu(path: Path) -> bool:
    return path.is_file() and any(subject.startswith("cmu") for subject in load_mocap(path).subjects)
