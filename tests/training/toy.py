"""A tiny real system for tests of the loop: a linear autoencoder with an encoder update and a decoder update."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from selfsup3d.config.run import Config
from selfsup3d.models.system import System, Update
from selfsup3d.structures.batch import Batch, PoseOutput
from selfsup3d.structures.random import RandomStreams

SIZE = 4
WIDTH = 3 * SIZE * SIZE


class Autoencoder(System):
    """Compresses `target`; the encoder's update also predicts the mean colour.

    Args:
        updates: "fused" (one), "two" (encoder, then decoder), "shared" (two updates with one optimizer).
        dropout: of the code. norm: a BatchNorm, which has running statistics.
    """

    requires = ("target",)
    predict_requires = ("target",)

    def __init__(self, mode: str = "two", dropout: float = 0.0, norm: bool = False) -> None:
        super().__init__()
        self.mode = mode
        self.encoder = nn.Sequential(nn.Linear(WIDTH, 8), nn.Tanh(), nn.Dropout(dropout))
        self.norm = nn.BatchNorm1d(8) if norm else nn.Identity()
        self.decoder = nn.Linear(8, WIDTH)
        self.unused = nn.Linear(2, 2)
        self.register_buffer("mean", torch.zeros(WIDTH))
        generator = torch.Generator().manual_seed(1)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.3, 0.3, generator=generator)

    def fit(self, batches):
        self.mean.copy_(torch.stack([b.target.flatten(1).mean(0) for b in batches]).mean(0))

    def parameter_groups(self):
        return {
            "encoder": [*self.encoder.parameters(), *self.norm.parameters()],
            "decoder": self.decoder.parameters(),
            "unused": self.unused.parameters(),
        }

    def updates(self, step, progress):
        both = ("encoder", "decoder")
        if self.mode == "fused":
            return [Update("all", both, "main")]
        names = ("main", "main") if self.mode == "shared" else ("enc", "dec")
        return [Update("encode", ("encoder",), names[0]), Update("decode", ("decoder",), names[1])]

    def losses(self, batch, update, progress):
        x = batch.target.flatten(1)
        code = self.norm(self.encoder(x - self.mean))
        error = (self.decoder(code) - x).square().mean(1)
        terms = {"image": error.mean(), "_monitored": error.detach().max()}
        if update != "decode":
            terms["colour"] = 0.1 * (code.mean(1) - x.mean(1)).square().mean()
        return terms

    def predict(self, batch, samples=1):
        code = self.norm(self.encoder(batch.target.flatten(1) - self.mean))
        return PoseOutput(pose=self.decoder(code)[:, None, :, None].expand(-1, -1, -1, 3))

    def panels(self, batch) -> dict[str, Tensor]:
        code = self.norm(self.encoder(batch.target.flatten(1) - self.mean))
        return {"target": batch.target, "again": self.decoder(code).reshape(batch.target.shape).clamp(0, 1)}


class Noise:
    """Random images, made from the draws alone. `broken` (step, sample in step) -> a NaN pixel."""

    name = "noise"
    image_size = SIZE

    def __init__(self, broken: set[tuple[int, int]] = frozenset()) -> None:
        self.broken = broken

    def __len__(self) -> int:
        return 8

    def batch(self, streams: RandomStreams) -> Batch:
        target = torch.from_numpy(streams.uniform(3, SIZE, SIZE)).float()
        for row, index in enumerate(streams.indices.tolist()):
            if (streams.step, index % 4) in self.broken:
                target[row, 0, 0, 0] = float("nan")
        meta = tuple({"dataset": self.name, "file": f"image{i}.png"} for i in streams.indices.tolist())
        return Batch(
            index=torch.from_numpy(streams.indices), seeds=torch.from_numpy(streams.seeds), target=target, meta=meta
        )


def config(folder, **trainer) -> Config:
    """A short run in `folder`: 8 steps of 4 samples without workers."""
    settings = {
        "steps": 8,
        "batch_size": 4,
        "workers": 0,
        "mixed_precision": "no",
        "device": "cpu",
        "log_every": 1,
        "checkpoint_every": 3,
        "fit_batches": 2,
        "optimizer": {"lr": 0.01},
    }
    top = {key: trainer.pop(key) for key in ("resume", "weights", "fresh", "overwrite", "seed") if key in trainer}
    return Config.model_validate({"output_dir": folder, "trainer": settings | trainer, **top})
