"""An untrained model, small and the same every time: what the page does with answers does not depend on their worth."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from selfsup3d.builders.systems import build_system
from selfsup3d.config.run import Config
from selfsup3d.data.synthetic.prior import ProceduralPrior
from selfsup3d.demo.answers import Answers
from selfsup3d.geometry.kinematics import bone_lengths
from selfsup3d.inference.synthesizer import Synthesizer


@pytest.fixture(scope="session")
def synthesizer() -> Synthesizer:
    system = build_system(Config()).eval()
    system.bone_lengths.copy_(bone_lengths(torch.from_numpy(ProceduralPrior(2).poses)).mean(0))
    nn.init.normal_(system.decoder.to_image.weight, std=0.05)  # as if it were trained
    return Synthesizer(system, 64)


@pytest.fixture
def answers(synthesizer: Synthesizer, tmp_path: Path) -> Answers:
    return Answers(synthesizer, tmp_path / "poses", "untrained")


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two images of different shape."""
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    paths = []
    for number, size in enumerate(((96, 64), (50, 120))):
        coarse = generator.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        paths.append(folder / f"image-{number}.png")
        Image.fromarray(coarse).resize(size).save(paths[-1])
    return paths
