"""Settings of training: optimizers, schedules, the loop."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from selfsup3d.config.base import Count, Fraction, NotNegative, Positive, Section

__all__ = ["OptimizerConfig", "TrainerConfig"]


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
    """Largest gradient norm of an update; 0 = unlimited."""
    ema: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.999
    """Decay of the averaged weights, which are the ones evaluated and released; 0 = off."""
    device: Literal["auto", "cpu"] = "auto"
    """auto = the GPU where there is one."""
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    """auto = bf16 where the processor computes it natively, else no; on CPUs not for networks with depthwise convolutions,
    which have no use for its matrix units (`selfsup3d benchmark --only backbones`)."""
    compile: bool = False
    """torch.compile the networks (needs a compiler on CPUs)."""
    channels_last: bool = False
    """Keep convolution weights channels-last; the part-guided networks always do."""
    threads: Annotated[int, Field(ge=0)] = 0
    """CPU threads of each process; 0 = as OMP_NUM_THREADS says, or all cores shared by the processes, and fewer (told in the
    log) while other processes use the same cores."""
    workers: Annotated[int, Field(ge=0)] = 1
    """Processes that prepare batches; results do not depend on it."""
    deterministic: bool = False
    """Deterministic algorithms wherever torch has them (slower on GPUs); operations without one are named."""
    log_every: Count = 20
    """Steps between logged means; widened in long runs so that a log holds at most 5,000 lines."""
    image_every: Count = 500
    """Steps between images; widened in long runs so that a log holds at most 50."""
    images: Annotated[int, Field(ge=0, le=64)] = 8
    """Samples in each image; 0 = no images."""
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
