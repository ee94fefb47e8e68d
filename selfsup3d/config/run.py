"""What a run is: every setting of a system, its data and its training, with its meaning and default.

A YAML file names what differs from the defaults; flags override the file (`selfsup3d.cli.parse_config`); the merged
config is saved with every run and inside every released model. Only builders, training and launch scripts read this;
everything below them takes plain arguments.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, model_validator

from selfsup3d.config.base import Count, Fraction, NotNegative, Positive, Section
from selfsup3d.config.cross_modal import CrossModalConfig
from selfsup3d.config.datasets import H36mConfig, MpiInf3dhpConfig, ShardsConfig
from selfsup3d.config.lifters import LifterConfig, ProjectedConfig
from selfsup3d.io.files import write_text

__all__ = [
    "Config",
    "CrossModalConfig",
    "DataConfig",
    "MixtureConfig",
    "OptimizerConfig",
    "PartGuidedConfig",
    "ProjectedConfig",
    "Section",
    "SyntheticConfig",
    "SystemConfig",
    "TrainerConfig",
    "VideosConfig",
]

# --------------------------------------------------------------------------------------------------------------------
# Systems
# --------------------------------------------------------------------------------------------------------------------


class StageConfig(Section):
    """Fractions of the run given to each stage of the curriculum, in this order; they sum to 1."""

    puppet: Fraction = 0.4
    """The encoder learns poses from the drawn puppet."""
    decoder: Fraction = 0.35
    """The decoder learns to redraw real frames; the pose path stands still."""
    joint: Fraction = 0.25
    """Everything together."""

    @model_validator(mode="after")
    def _sums_to_one(self) -> Self:
        total = self.puppet + self.decoder + self.joint
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"the fractions must sum to 1, they sum to {total:g}")
        return self


class LossWeightConfig(Section):
    """Weights of the loss terms in the fused mode (method: objectives); Algorithm 1 of the paper has none."""

    image: NotNegative = 1.0
    """L_I^u: the target redrawn with the source's appearance."""
    silhouette: NotNegative = 0.2
    """Agreement of the soft silhouette with the saliency."""
    consistency: NotNegative = 0.5
    """L_I^c: one pose drawn with the appearance of either frame."""
    segmentation: NotNegative = 0.2
    """L_seg: part labels of the unpaired pose."""
    pose: NotNegative = 0.5
    """L_p: the unpaired pose found again in the decoded image."""
    appearance: NotNegative = 0.2
    """L_a: the appearance found again in the decoded image."""
    puppet: NotNegative = 1.0
    """Pose and camera of the drawn puppet, or the labels where `supervision` uses them."""


class BetaConfig(Section):
    """The weight of the saliency term in L_I^u, lowered once learning is stable."""

    start: NotNegative = 1.0
    """Until `lower_at`."""
    end: NotNegative = 0.5
    """From `lower_at` on."""
    lower_at: Fraction = 0.9
    """Fraction of the run."""


class PartGuidedConfig(Section):
    """Part-guided image synthesis (Kundu et al., CVPR 2020)."""

    kind: Literal["part_guided"] = "part_guided"
    """Which system."""
    preset: Literal["tiny", "small", "paper"] = "tiny"
    """Size of encoder and decoder: 64 px, 128 px, or ResNet-50 at 224 px."""
    backbone: str | None = None
    """Any timm backbone by name in place of the preset's."""
    backbone_weights: Path | None = None
    """File with weights of the backbone (safetensors); none = random. Nothing is ever downloaded."""
    supervision: Literal["none", "teacher", "2d", "3d", "puppet"] = "none"
    """none = unsupervised; teacher = so too, with what `teacher` reads from the real frames; 2d = weakly supervised;
    3d = the upper bound; puppet = the drawn puppet only."""
    teacher: Path | None = None
    """A trained system of this kind, unsupervised itself: a run, a released model or a checkpoint. To train only."""
    puppets: bool = True
    """Painted puppets teach the pose path (off = the ablation without the warm-up, or labels alone)."""
    disturbance: bool = True
    """What `teacher` reads from real frames is learned from disturbed copies of them: colours, blur, noise, holes."""
    kinematics: bool = True
    """Predict limb vectors and a camera; off = camera-frame joints directly (the ablation without T_fk and T_c)."""
    frames: Literal["parallel_transport", "gram_schmidt"] = "parallel_transport"
    """Frame field of the forward kinematics."""
    bone_lengths: Literal["fixed", "given"] = "fixed"
    """fixed = the prior's mean; given = each person's own, a label."""
    saliency: bool = True
    """Use the saliency m_sal (off = the ablation without it)."""
    adaptation: bool = True
    """The energies L_p and L_a (off = the ablation without adaptation)."""
    plates: bool = True
    """Lay decoded people over backgrounds before they are encoded."""
    appearance_channels: Count = 24
    """Channels of the appearance per part."""
    optimizers: Literal["fused", "per_loss"] = "fused"
    """fused = one optimizer, weighted losses, one forward; per_loss = Algorithm 1 literally, an AdaGrad per loss."""
    stages: StageConfig = StageConfig()
    weights: LossWeightConfig = LossWeightConfig()
    beta: BetaConfig = BetaConfig()

    @model_validator(mode="after")
    def _something_teaches(self) -> PartGuidedConfig:
        if not self.puppets and (self.supervision == "puppet" or (self.supervision == "none" and self.stages.puppet)):
            raise ValueError(
                "puppets is off, but the puppet stage has nothing else to learn from: set stages.puppet to 0"
            )
        if self.teacher is not None and self.supervision != "teacher":
            raise ValueError(f"a teacher is given, but supervision is {self.supervision!r}: set supervision to teacher")
        return self


SystemConfig = Annotated[PartGuidedConfig | LifterConfig | CrossModalConfig, Field(discriminator="kind")]
"""Any system."""


# --------------------------------------------------------------------------------------------------------------------
# Data
# --------------------------------------------------------------------------------------------------------------------


class SyntheticConfig(Section):
    """The embedded benchmark synth-v1: rendered people, nothing to download."""

    kind: Literal["synthetic"] = "synthetic"
    """Which data."""
    preset: str = "quickstart"
    """How many clips: quickstart, v1 (the benchmark), v1-moving, tiny-test."""
    size: Literal[16, 32, 64, 128, 256] = 64
    """Image side in pixels."""
    root: Path | None = None
    """Folder of the rendered cache; none = $SELFSUP3D_CACHE or ~/.cache/selfsup3d."""
    prior: Path | None = None
    """Motion-capture npz that gives the unpaired poses; none = the procedural prior."""
    camera_widen: Positive = 1.0
    """The camera prior's ranges, relative to the benchmark's own."""
    augment: bool = True
    """Mirror, crop and recolour training samples."""
    weight: Positive = 1.0
    """Share of samples within a mixture."""


class VideosConfig(Section):
    """A folder of your own videos or frame folders, one person in each."""

    kind: Literal["videos"] = "videos"
    """Which data."""
    root: Path | None = None
    """The folder (required)."""
    cache: Path | None = None
    """Folder for the prepared clips; none = $SELFSUP3D_CACHE or ~/.cache/selfsup3d."""
    prior: Path | None = None
    """Motion-capture npz that gives the unpaired poses; none = the procedural prior."""
    size: Annotated[int, Field(ge=16, le=512)] = 64
    """Image side in pixels."""
    camera_widen: Positive = 1.0
    """The camera prior's ranges, relative to synth-v1's."""
    augment: bool = True
    """Mirror, crop and recolour training samples."""
    weight: Positive = 1.0
    """Share of samples within a mixture."""


PictureConfig = SyntheticConfig | VideosConfig | H36mConfig | MpiInf3dhpConfig | ShardsConfig
"""Any dataset of pictures."""


class MixtureConfig(Section):
    """Several datasets together; a YAML list in place of `data` means the same."""

    kind: Literal["mixture"] = "mixture"
    """Which data."""
    parts: tuple[Annotated[PictureConfig, Field(discriminator="kind")], ...] = Field(min_length=1)
    """The datasets, each with its `weight`. The first is evaluated during training, every one at the end."""


DataConfig = Annotated[PictureConfig | ProjectedConfig | MixtureConfig, Field(discriminator="kind")]
"""Any dataset."""


# --------------------------------------------------------------------------------------------------------------------
# Training
# --------------------------------------------------------------------------------------------------------------------


class OptimizerConfig(Section):
    """An optimizer and its learning-rate schedule."""

    kind: Literal["adamw", "adam", "adagrad", "rmsprop", "sgd"] = "adamw"
    """Algorithm, from torch.optim."""
    lr: Positive = 1e-3
    """Highest learning rate."""
    weight_decay: NotNegative = 0.01
    """Decoupled in adamw, added to the gradient in the others."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    """Adam and AdamW."""
    amsgrad: bool = False
    """Adam and AdamW."""
    momentum: Fraction = 0.0
    """SGD and RMSprop."""
    schedule: Literal["constant", "linear", "cosine", "exponential", "piecewise"] = "cosine"
    """Shape of the learning rate over the run, after the warm-up."""
    warmup: Fraction = 0.02
    """Fraction of the run over which the learning rate rises from 0."""
    end: NotNegative = 0.02
    """Learning rate at the end, relative to `lr` (linear, cosine, exponential)."""
    milestones: tuple[Fraction, ...] = ()
    """Fractions of the run at which the rate is multiplied by `factor` (piecewise)."""
    factor: Positive = 0.1
    """See `milestones`."""


class TrainerConfig(Section):
    """The training loop."""

    steps: Count = 10_000
    """Training steps; stages and schedules are fractions of them."""
    batch_size: Count = 16
    """Samples per process and micro-batch; a step sees batch_size x accumulation x processes."""
    accumulation: Count = 1
    """Micro-batches per step, where a whole batch does not fit in memory."""
    optimizer: OptimizerConfig = OptimizerConfig()
    optimizers: dict[str, OptimizerConfig] = Field(default_factory=dict)
    """Settings of single optimizers by the name that the system gives them, in place of `optimizer`."""
    clip: NotNegative = 1.0
    """Largest gradient norm of a turn; 0 = unlimited."""
    ema: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.999
    """Decay of the averaged weights, which are the ones evaluated and released; 0 = off."""
    device: Literal["auto", "cpu"] = "auto"
    """auto = the GPU where there is one."""
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    """auto = bf16 where the processor computes it natively, else no."""
    compile: bool = False
    """torch.compile the networks (needs a compiler on CPUs)."""
    channels_last: bool = False
    """Keep convolution weights channels-last."""
    threads: Annotated[int, Field(ge=0)] = 0
    """CPU threads of each process; 0 = as OMP_NUM_THREADS says, or all cores shared by the processes."""
    workers: Annotated[int, Field(ge=0)] = 1
    """Processes that prepare batches; results do not depend on it."""
    deterministic: bool = False
    """Deterministic algorithms wherever torch has them (slower on GPUs); operations without one are named."""
    log_every: Count = 20
    """Steps between logged means; widened in long runs so that a log holds at most 5,000 lines."""
    image_every: Count = 500
    """Steps between pictures; widened in long runs so that a log holds at most 50."""
    images: Annotated[int, Field(ge=0, le=64)] = 8
    """Samples in each picture; 0 = no pictures."""
    checkpoint_every: Count = 500
    """Steps between checkpoints; the last step always makes one."""
    keep_checkpoints: Count = 3
    """Older checkpoints are removed."""
    evaluate_every: Annotated[int, Field(ge=0)] = 0
    """Steps between evaluations on the validation split; 0 = at the end only."""
    fit_batches: Count = 64
    """Steps whose samples are shown to a system that collects statistics of its data before the first step."""
    max_bad_steps: Annotated[int, Field(ge=0)] = 10
    """Steps with NaN or Inf that are skipped before the run stops."""
    max_bad_samples: Annotated[int, Field(ge=0)] = 100
    """Unreadable samples that are replaced before the run stops."""


class Config(Section):
    """A run."""

    system: SystemConfig = PartGuidedConfig()
    data: DataConfig = SyntheticConfig()
    trainer: TrainerConfig = TrainerConfig()
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Of everything random in the run."""
    output_dir: Path | None = None
    """The run's folder; none = runs/<name of the config file>."""
    resume: str = "never"
    """never = start anew; auto = go on from the newest checkpoint in output_dir, if any; or a run or checkpoint."""
    weights: Path | None = None
    """Start from these weights (a run or a released model) with fresh optimizers."""
    fresh: tuple[str, ...] = ()
    """Tensors that `weights` does not give, by name or pattern (encoder.head.leave.*): they begin at random."""
    overwrite: bool = False
    """Remove an earlier run from output_dir first."""

    @model_validator(mode="before")
    @classmethod
    def _list_is_mixture(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("data"), list):
            return values | {"data": {"kind": "mixture", "parts": values["data"]}}
        return values

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.output_dir if self.output_dir is not None else Path("runs") / "run"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return self.model_dump(mode="json")

    @property
    def hash(self) -> str:
        """16 hex digits that identify what is trained: everything but where the run lives and how it was started."""
        told = {k: v for k, v in self.to_dict().items() if k not in ("output_dir", "resume", "overwrite")}
        if not self.fresh:
            del told["fresh"]  # as in runs of before there was a choice
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]

    def save(self, path: Path) -> None:
        """Write as YAML, every setting included."""
        write_text(path, yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True))
