"""A dataset with every kind of truth, and a system whose errors are known: no network, no rendering."""

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from selfsup3d.models.system import System
from selfsup3d.structures.batch import Batch, Camera, PoseOutput

SIZE = 24
PARTS = 10


class Source:
    """`count` labelled frames of `people` persons; fields named in `without` are absent."""

    def __init__(self, count=20, people=4, name="synthetic", seed=0, without=(), size=SIZE):
        rng = np.random.default_rng(seed)
        self.name, self.count, self.people, self.without = name, count, people, set(without)
        self.asked = []
        body = rng.normal(size=(count, 17, 3)) * 0.3
        body[:, 0] = 0.5 * (body[:, 1] + body[:, 4])
        self.joints = torch.from_numpy(body).float() + torch.tensor([0.0, 0.0, 5.0])
        self.confidence = torch.ones(count, 17)
        images = torch.from_numpy(rng.random((4, count, 3, size, size))).float()
        self.source, self.target, self.second, self.transfer = images
        self.labels = torch.from_numpy(rng.integers(0, PARTS + 1, (3, count, size, size)))

    def __len__(self):
        return self.count

    def frames(self, indices):
        i = torch.as_tensor(np.asarray(indices))
        self.asked.append(i.tolist())
        K = torch.tensor([[30.0, 0, 12], [0, 30, 12], [0, 0, 1]]).expand(len(i), 3, 3)
        camera = Camera(torch.eye(3).expand(len(i), 3, 3), torch.zeros(len(i), 3), K)
        batch = Batch(
            index=i,
            source=self.source[i],
            target=self.target[i],
            source_saliency=torch.ones_like(self.source[i, :1]),
            target_saliency=(self.labels[0, i] != PARTS)[:, None].float(),
            joints_3d=self.joints[i],
            joints_2d=torch.full((len(i), 17, 2), 12.0),
            confidence=self.confidence[i],
            K=K,
            part_labels=self.labels[0, i],
            second_view=self.second[i],
            second_view_camera=camera,
            second_view_joints_3d=self.joints[i],
            second_view_labels=self.labels[1, i],
            transfer=self.transfer[i],
            transfer_joints_3d=self.joints[i].flip(0),
            transfer_labels=self.labels[2, i],
            meta=tuple(
                {
                    "dataset": self.name,
                    "person": f"p{int(k) % self.people}",
                    "action": ["walk", "sit", "wave"][int(k) % 3],
                }
                for k in i
            ),
        )
        return replace(batch, **dict.fromkeys(self.without))


class KnownErrors(System):
    """Predicts the truth of `source` moved by `noise` (count, S, 17, 3); looks frames up by their index."""

    predict_requires = ("target",)

    def __init__(self, source, noise=None, unit="m", segmentation=True, scale=1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.truth, self.unit, self.segmentation, self.scale = source, unit, segmentation, scale
        self.noise = torch.zeros(len(source), 1, 17, 3) if noise is None else noise
        self.modes = []

    def parameter_groups(self):
        return {"all": self.parameters()}

    def updates(self, step, progress):
        return []

    def losses(self, batch, turn, progress):
        return {}

    def predict(self, batch, samples=1):
        self.modes.append((self.training, torch.is_grad_enabled()))
        i = batch.index
        joints = self.truth.joints[i][:, None] + self.noise[i][:, :samples]
        parts = None
        if self.segmentation:
            parts = nn.functional.one_hot(self.truth.labels[0, i], PARTS + 1).permute(0, 3, 1, 2).float()
        return PoseOutput(
            pose=(joints - joints[:, :, :1]) * self.scale,
            unit=self.unit,
            root=joints[:, :, 0],
            joints_2d=torch.full((len(i), 1, 17, 2), 15.0),
            segmentation=parts,
        )


class Painter(KnownErrors):
    """Paints the true images, but for a grey level of `off`."""

    off = 0.1

    def reconstruct(self, batch):
        return (batch.target + self.off).clamp(0, 1)

    def novel_view(self, batch):
        return batch.second_view.clone()

    def transfer(self, batch):
        return (batch.transfer - self.off).clamp(0, 1)
