"""Supervised training drives the error of a few frames to (nearly) nothing: loop, losses and geometry fit together."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from selfsup3d.config.part_guided import PartGuidedConfig
from selfsup3d.data.synthetic.cache import prepare
from selfsup3d.data.synthetic.dataset import SyntheticTruth
from selfsup3d.evaluation.baselines import bone_floor
from selfsup3d.evaluation.metrics import mpjpe
from selfsup3d.geometry.kinematics import canonicalize
from selfsup3d.models.part_guided.presets import build_networks
from selfsup3d.models.part_guided.system import PartGuided
from selfsup3d.structures.batch import Batch, Camera


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> Batch:
    """Eight frames of different people at 64 px, with their labels."""
    root = tmp_path_factory.mktemp("synth")
    prepare(root, "tiny-test", 64, ("train",), workers=0, progress=False)
    truth = SyntheticTruth(root, "tiny-test", 64, "train")
    return truth.frames(np.linspace(0, len(truth) - 1, 8).astype(np.int64))


def overfit(frames: Batch, bone_lengths: str, steps: int = 700) -> tuple[PartGuided, float]:
    """A supervised system trained on the frames alone, and its error there in mm."""
    torch.manual_seed(0)
    settings = PartGuidedConfig(supervision="3d", pretrain={"source": "none"}, bone_lengths=bone_lengths)
    system = PartGuided(*build_networks("tiny", 10), settings=settings)
    rooted = frames.joints_3d - frames.joints_3d[:, :1]
    system.fit([Batch(unpaired=canonicalize(frames.joints_3d))])
    parameters = system.encoder.pose_parameters()
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.5e-3, total_steps=steps)
    for step in range(steps):
        optimizer.zero_grad()
        drawn = replace(frames, seeds=torch.arange(8) + 8 * step)  # crops a little off, each time anew
        sum(system(drawn, "pretrain", 0.0).values()).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
    predicted = system.eval().predict(frames).pose[:, 0]
    return system, mpjpe(predicted, rooted).mean().item()


@pytest.fixture(scope="module")
def training_batch(frames) -> Batch:
    """The fields that a labelled batch has, with what this variant asks for and never looks at left empty."""
    empty = torch.zeros(8, 1, 64, 64)
    return replace(
        frames,
        seeds=torch.arange(8),
        source_saliency=empty,
        target_saliency=empty,
        unpaired=canonicalize(frames.joints_3d),
        unpaired_camera=Camera(torch.eye(3).expand(8, 3, 3), torch.ones(8, 3), frames.K),
        unpaired_background=frames.target,
    )


@pytest.mark.slow
def test_with_each_persons_bone_lengths_below_10_mm(training_batch):
    assert overfit(training_batch, "given")[1] < 10.0


@pytest.mark.slow
def test_with_fixed_bone_lengths_close_to_the_floor(training_batch):
    system, error = overfit(training_batch, "fixed")
    rooted = training_batch.joints_3d - training_batch.joints_3d[:, :1]
    floor = mpjpe(bone_floor(rooted, system.bone_lengths), rooted).mean().item()
    assert error < floor + 10.0
