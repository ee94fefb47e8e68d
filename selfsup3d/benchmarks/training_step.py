"""A training step of the part-guided system on made-up samples: what all benchmarks of training share.

The step is that of `training.loop` without its bookkeeping: for each update clear, forward, backward, clip, step; then the
averaged weights. The samples are painted puppets over blurred noise, so that nothing needs to be rendered first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from selfsup3d.config.part_guided import PartGuidedConfig
from selfsup3d.config.trainer import OptimizerConfig, TrainerConfig
from selfsup3d.data.priors.camera_prior import CameraPrior
from selfsup3d.data.synthetic.prior import ProceduralPrior
from selfsup3d.models.part_guided.pose import BodyPose
from selfsup3d.models.part_guided.presets import build_networks
from selfsup3d.models.part_guided.puppet_images import rendered_puppets
from selfsup3d.models.part_guided.system import PartGuided
from selfsup3d.puppet.puppet import Puppet, default_puppet
from selfsup3d.structures.batch import Batch
from selfsup3d.structures.random import RandomStreams
from selfsup3d.training.ema import AveragedWeights
from selfsup3d.training.optimizers import UpdateOptimizers

__all__ = ["PARTS", "Stage", "TrainingStep", "count_flops", "made_up_batch", "make_system", "profile", "puppet_of"]

Stage = Literal["pretrain", "decoder", "joint"]
PARTS = (2, 6, 10, 18)
"""Sizes of puppet that `puppet_of` makes."""

ADAGRAD = OptimizerConfig(kind="adagrad", lr=1e-3, weight_decay=0.0, schedule="constant", warmup=0.0)


def puppet_of(parts: int) -> Puppet:
    """A puppet of 2 (head and torso), 6 (and arms), 10 (the default) or 18 parts (every limb twice)."""
    whole = default_puppet().parts
    if parts not in PARTS:
        raise ValueError(f"parts {parts}: choose one of {PARTS}")
    again = [replace(p, id=p.id + 8, name=f"{p.name}_again", partner=p.partner + 8) for p in whole[2:]]
    return Puppet(tuple([*whole, *again][:parts]))


def make_system(
    preset: str = "tiny", optimizers: Literal["fused", "per_loss"] = "fused", parts: int = 10, seed: int = 0
) -> PartGuided:
    """An untrained system; the same seed gives the same weights whatever the optimizers."""
    puppet = puppet_of(parts)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder, decoder = build_networks(preset, parts)
    return PartGuided(encoder, decoder, puppet, settings=PartGuidedConfig(optimizers=optimizers))


def made_up_batch(size: int, count: int, seed: int = 0) -> Batch:
    """`count` unsupervised samples of `size` px: puppets in poses and under cameras of the priors, at the given seed."""
    generator = torch.Generator().manual_seed(seed)
    prior, cameras, puppet = ProceduralPrior(motions=8), CameraPrior(size), default_puppet()
    looks = torch.from_numpy(RandomStreams(seed, 0, np.arange(count)).seeds)

    def background() -> Tensor:
        noise = torch.rand(count, 3, 8, 8, generator=generator)
        return F.interpolate(noise, (size, size), mode="bilinear", align_corners=False)

    def frame(step: int) -> tuple[Tensor, Tensor, BodyPose]:
        streams = RandomStreams(seed, step, np.arange(count))
        poses = prior.sample_upright(streams)
        body = BodyPose(poses.joints, cameras.sample(streams, poses=poses))
        drawn = Batch(seeds=looks, unpaired_background=background())
        image, labels = rendered_puppets(puppet, body, drawn, (size, size))
        return image, (labels != puppet.background)[:, None].float(), body

    source, source_saliency, _ = frame(1)
    target, target_saliency, _ = frame(2)
    unpaired = frame(3)[2]
    return Batch(
        index=torch.arange(count),
        seeds=looks,
        source=source,
        target=target,
        source_saliency=source_saliency,
        target_saliency=target_saliency,
        unpaired=unpaired.canonical,
        unpaired_camera=unpaired.camera,
        unpaired_background=background(),
        K=unpaired.camera.K,
    )


class TrainingStep:
    """Steps of one stage over one batch.

    Args:
        system: its variant says whether AdamW takes one step for all losses, or AdaGrad one for each.
        batch: samples; moved to the device.
        stage: of the curriculum.
        dtype: float32, or what autocast computes in.
        device: system and batch are moved there.
        wrap: makes the module that is called from the system (data parallelism).
    """

    def __init__(
        self,
        system: PartGuided,
        batch: Batch,
        stage: Stage = "joint",
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        wrap: Callable[[PartGuided], nn.Module] = lambda system: system,
    ) -> None:
        self.device = torch.device(device)
        self.system, self.batch, self.dtype = system.to(self.device).train(), batch.to(self.device), dtype
        self.system.fit([self.batch])
        stages = system.settings.stages
        begins = {"pretrain": 0.0, "decoder": stages.pretrain, "joint": stages.pretrain + stages.decoder}
        self.progress = begins[stage] + 0.5 * getattr(stages, stage)
        literal = system.settings.optimizers == "per_loss"
        self.optimizers = UpdateOptimizers(system, TrainerConfig(optimizer=ADAGRAD) if literal else TrainerConfig())
        self.averaged = AveragedWeights(system, 0.999)
        self.module = wrap(self.system)

    def terms(self, update: str, batch: Batch | None = None) -> dict[str, Tensor]:
        """Loss terms of an update at the present weights."""
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return self.module(self.batch if batch is None else batch, update, self.progress)

    def take(self, step: int, batch: Batch | None = None) -> None:
        """All updates of a step; odd steps adapt the encoder, even ones the decoder."""
        for update in self.system.updates(step, self.progress):
            self.module.zero_grad(set_to_none=True)
            torch.stack(list(self.terms(update.name, batch).values())).sum().backward()
            self.optimizers.clip(update)
            self.optimizers.step(update, self.progress)
        self.averaged.update(step)

    def pair(self) -> None:
        """An odd and an even step."""
        self.take(1)
        self.take(2)


def count_flops(call: Callable[[], object]) -> float:
    """FLOPs of the convolutions and matrix products in a call (`torch.utils.flop_counter`); all else is left out."""
    with FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops())


def profile(call: Callable[[], object], device: torch.device, most: int = 7) -> str:
    """Where a call's time goes: "convolution_backward 44 %, ...", the largest first."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    cuda = device.type == "cuda"
    if cuda:
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as recorded:
        call()
    times = {e.key: e.self_device_time_total if cuda else e.self_cpu_time_total for e in recorded.key_averages()}
    total = sum(times.values()) or 1.0
    largest = sorted(times, key=lambda name: -times[name])[:most]
    return ", ".join(f"{name.removeprefix('aten::')} {times[name] / total:.0%}" for name in largest)
