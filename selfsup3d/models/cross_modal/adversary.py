"""Critics of decoded poses and images: VAE-GAN (Larsen et al. 2016), and re-projection without 3D labels.

    joints_3d   standardised poses against labels
    joints_2d   projections of the decoded pose rotated to another view, against keypoints: no 3D label is needed
    image       decoded images against images; the critic's last feature map can replace pixels as the measure of a
                reconstruction

Decoded from posteriors and from the prior alike. Adversarial gradients reach decoders only, not encoders, as in the
paper; keypoints are the exception, whose pose has no other teacher of depth.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from selfsup3d.config.cross_modal import AdversaryConfig
from selfsup3d.geometry.rotation import random_view, rotate
from selfsup3d.models.cross_modal.modalities import Keypoints, Modality, Pose, SeenPose
from selfsup3d.models.cross_modal.networks import ImageCritic
from selfsup3d.models.modules.critic import Adversarial, Critic, accuracy, critic_loss, generator_loss, leave_out
from selfsup3d.structures.batch import Batch
from selfsup3d.structures.random import uniform_noise
from selfsup3d.structures.skeleton import NUM_JOINTS

__all__ = ["Adversary"]


class Adversary(nn.Module):
    """A critic, and what both players minimise.

    Args:
        settings: of it; there is no "wasserstein" kind, since there is no gradient penalty here.
        modality: that it judges: a `Pose` for "joints_3d", a `SeenPose` for "joints_2d", an image modality for "image".
        keypoints: real 2D poses ("joints_2d").
    """

    def __init__(self, settings: AdversaryConfig, modality: Modality, keypoints: Keypoints | None = None) -> None:
        super().__init__()
        self.settings = settings
        self.others = (modality, keypoints)  # in a tuple: they are registered elsewhere
        self.critic: Critic | ImageCritic
        if settings.judges == "image":
            self.critic = ImageCritic(int(modality.size), settings.image_width)  # type: ignore[arg-type]
        else:
            size = 2 * NUM_JOINTS if settings.judges == "joints_2d" else modality.elements
            self.critic = Critic(size, settings.width, settings.blocks)

    @property
    def target(self) -> str:
        """The decoded modality that is judged."""
        return "image" if self.settings.judges == "image" else "joints_3d"

    def critic_terms(self, decoded: list[Tensor], batch: Batch) -> dict[str, Tensor]:
        """What the critic minimises, of decoded values (each (B, ...), from one draw of the latent)."""
        settings, low_high = self.settings, self.settings.accuracy_range
        scores = [self.critic(self._judged(values.detach(), batch, k)) for k, values in enumerate(decoded)]
        real = self.critic(self._real(batch, decoded[0].detach()))
        correct = torch.stack([accuracy(real, fake) for fake in scores]).mean()
        works, _ = leave_out(correct, *low_high)
        losses = [critic_loss(real, fake, self._kind, settings.smoothing) for fake in scores]
        return {"adversarial": works * torch.stack(losses).mean(), "_accuracy": correct}

    def decoder_terms(self, decoded: list[Tensor], batch: Batch) -> dict[str, Tensor]:
        """What the decoder minimises."""
        scores = [self.critic(self._judged(values, batch, k)) for k, values in enumerate(decoded)]
        works = torch.ones((), device=scores[0].device)
        if self.settings.accuracy_range != (0.0, 1.0):
            with torch.no_grad():
                real = self.critic(self._real(batch, decoded[0].detach()))
                correct = torch.stack([accuracy(real, fake) for fake in scores]).mean()
            _, works = leave_out(correct, *self.settings.accuracy_range)
        losses = torch.stack([generator_loss(fake, self._kind) for fake in scores])
        return {"adversarial": self.settings.weight * works * losses.mean()}

    def feature_miss(self, decoded: Tensor, batch: Batch) -> Tensor:
        """(B,) mean squared difference of the critic's last feature maps (Larsen et al. 2016, eq. 7)."""
        assert isinstance(self.critic, ImageCritic)
        with torch.no_grad():
            true = self.critic.features(self.others[0].values(batch))
        return (self.critic.features(decoded) - true).float().square().flatten(1).mean(1)

    @property
    def _kind(self) -> Adversarial:
        return self.settings.kind

    def _real(self, batch: Batch, decoded: Tensor) -> Tensor:
        """(B, ...) true samples; coordinates without a label are the decoder's, which gives the critic nothing to learn."""
        modality, keypoints = self.others
        if self.settings.judges == "joints_2d":
            assert keypoints is not None
            return (keypoints.observe(batch).values * keypoints.distance).flatten(1)
        if self.settings.judges == "image":
            return modality.values(batch)
        assert isinstance(modality, Pose)
        target = modality.scaler(batch.need("joints_3d", by="the critic"))
        return torch.where(torch.isfinite(target), target, decoded)

    def _judged(self, decoded: Tensor, batch: Batch, stream: int) -> Tensor:
        """(B, ...) what the critic sees of decoded values: for "joints_2d" a view from elsewhere."""
        modality = self.others[0]
        if self.settings.judges != "joints_2d":
            return decoded
        assert isinstance(modality, SeenPose)
        assert batch.seeds is not None
        rotation = random_view(uniform_noise(batch.seeds, (2,), stream=stream))
        return modality.project(rotate(rotation, modality.pose(decoded))).flatten(1)
