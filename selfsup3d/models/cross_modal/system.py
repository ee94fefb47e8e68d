"""A VAE across modalities: one set of encoders and decoders, whatever pairs or fusion train them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from selfsup3d.config.cross_modal import CrossModalConfig
from selfsup3d.models.cross_modal.adversary import Adversary
from selfsup3d.models.cross_modal.fusion import (
    Noise,
    Pair,
    View,
    fuse,
    mixture_views,
    pair_views,
    parse_pair,
    product_views,
)
from selfsup3d.models.cross_modal.modalities import MODALITIES, ImageModality, Keypoints, Modality, Pose, SeenPose
from selfsup3d.models.cross_modal.networks import ImageDecoder, ImageEncoder, PoseDecoder, PoseEncoder
from selfsup3d.models.cross_modal.objective import beta_at, terms_of
from selfsup3d.models.cross_modal.panels import cross_modal_panels
from selfsup3d.models.modules.facing import facing_cost
from selfsup3d.models.modules.gaussian import Gaussian
from selfsup3d.models.modules.mlp import frozen_statistics
from selfsup3d.models.system import System, Update
from selfsup3d.structures.batch import Batch, PoseOutput
from selfsup3d.structures.random import gaussian_noise

__all__ = ["CrossModalVAE"]

_PRIOR, _PREDICTION = 1000, 2000  # streams of noise


class CrossModalVAE(System):
    """Encoders and decoders of modalities around one Gaussian latent.

    Hypothesis 0 of `predict` is decoded from the latent's mean, the others from draws.

    Args:
        settings: its section of the config.
        image_size: side of the images, px.

    Raises:
        ValueError: pairs or modalities that make no sense together; the message names them.
    """

    def __init__(self, settings: CrossModalConfig, image_size: int = 64) -> None:
        super().__init__()
        self.settings, self.image_size = settings, image_size
        self.pairs = [parse_pair(text, MODALITIES) for text in settings.pairs] if settings.fusion == "pairs" else []
        self.sources, self.targets = _sources_and_targets(settings, self.pairs)
        self.predict_from: tuple[str, ...] = settings.predict_from or self.sources[:1]
        _check(settings, self.sources, self.targets, self.predict_from)
        self.modalities = nn.ModuleDict(_make_modalities(settings, image_size, {*self.sources, *self.targets}))
        self.encoders = nn.ModuleDict({name: self._encoder(name) for name in self.sources})
        self.decoders = nn.ModuleDict({name: self._decoder(name) for name in self.targets})
        self.adversary = self._adversary()
        fields = (*self.sources, *self.targets)
        self.requires = _unique(*(f for name in fields for f in self.modality(name).fields), "seeds")  # type: ignore[misc]
        self.predict_requires = _unique(*(f for n in self.predict_from for f in self.modality(n).fields))  # type: ignore[misc]
        self.inputs = _unique(*(f for n in self.sources for f in self.modality(n).fields if n != "joints_3d"))

    def modality(self, name: str) -> Modality:
        """A modality by name."""
        found = self.modalities[name]
        assert isinstance(found, Modality)
        return found

    def _encoder(self, name: str) -> nn.Module:
        s = self.settings
        if name == "image":
            return ImageEncoder(s.backbone, self.image_size, s.latent, s.backbone_weights, s.image_norm)
        return PoseEncoder(self.modality(name).elements, s)

    def _decoder(self, name: str) -> nn.Module:
        s = self.settings
        if name == "image":
            return ImageDecoder(self.image_size, s.latent, s.image_norm, s.image_width)
        return PoseDecoder(self.modality(name).elements, s)

    def _adversary(self) -> Adversary | None:
        chosen = self.settings.adversary
        if chosen.judges == "none":
            return None
        keypoints = self.modalities["joints_2d"] if chosen.judges == "joints_2d" else None
        assert keypoints is None or isinstance(keypoints, Keypoints)
        return Adversary(chosen, self.modality("image" if chosen.judges == "image" else "joints_3d"), keypoints)

    # ------------------------------------------------------------------------------------------------------- training

    def fit(self, batches: Iterable[Batch]) -> None:
        """Statistics of every modality."""
        collected = list(batches)
        for name in self.modalities:
            self.modality(name).fit(collected)

    def parameter_groups(self) -> Mapping[str, Iterable[nn.Parameter]]:
        """All encoders and decoders together, and the critic."""
        groups = {"vae": [*self.encoders.parameters(), *self.decoders.parameters()]}
        return groups if self.adversary is None else groups | {"critic": list(self.adversary.parameters())}

    def updates(self, step: int, progress: float) -> list[Update]:
        """The critic, where there is one, then the VAE; one optimizer over all encoders and decoders."""
        critic = [] if self.adversary is None else [Update("critic", ("critic",), "critic")]
        return [*critic, Update("vae", ("vae",), "main")]

    def losses(self, batch: Batch, update: str, progress: float) -> dict[str, Tensor]:
        """Terms of the VAE or of its critic."""
        if update == "critic":
            assert self.adversary is not None
            with torch.no_grad():
                fakes = self._fakes(self._views(batch), batch)
            return self.adversary.critic_terms(fakes, batch)
        beta = beta_at(self.settings.beta, progress)
        weights = self.settings.weights.model_dump()
        elements = {name: self.modality(name).elements for name in self.targets}
        views = self._views(batch)
        terms: dict[str, Tensor] = {}
        for view, decoded in zip(views, self._decoded(views), strict=True):
            misses = {name: self.modality(name).miss(values, batch) for name, values in decoded.items()}
            terms |= terms_of(view, misses, beta, weights, elements, self.settings.reduction)
            terms[f"_nats_{view.name}"] = view.divergence.detach().mean()
            terms |= self._further(view, decoded, batch)
        if self.adversary is not None:
            through = self.settings.adversary.judges == "joints_2d"
            terms |= self.adversary.decoder_terms(self._fakes(views, batch, through), batch)
        terms["_beta"] = views[0].z.new_tensor(beta)
        return terms

    def _further(self, view: View, decoded: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Terms besides the bound: reconstruction in the critic's features, knees that bend forward."""
        terms: dict[str, Tensor] = {}
        features = self.settings.adversary.features
        if self.adversary is not None and features > 0 and "image" in decoded:
            miss = self.adversary.feature_miss(decoded["image"], batch)
            terms[f"{view.name}_to_features"] = view.weight * features * miss.mean()
        if self.settings.facing > 0 and "joints_3d" in decoded:
            pose = self._pose(decoded["joints_3d"])
            terms[f"{view.name}_facing"] = view.weight * self.settings.facing * facing_cost(pose).mean()
        return terms

    def _views(self, batch: Batch) -> list[View]:
        posteriors = {name: self.posterior(batch, (name,), alone=True) for name in self.sources}
        noise = self._noise(batch)
        if self.settings.fusion == "pairs":
            return pair_views(posteriors, self.pairs, noise)
        if self.settings.fusion == "poe":
            return product_views(posteriors, self.targets, noise, self.settings.own)
        return mixture_views(posteriors, self.targets, noise)

    def _decoded(self, views: Sequence[View]) -> list[dict[str, Tensor]]:
        """What each view's targets are decoded to, all views in one pass of a decoder.

        In passes of their own, each would be normalised by its own batch in training, and by the mean of all of them in
        prediction, where the decoder has BatchNorm.
        """
        decoded: list[dict[str, Tensor]] = [{} for _ in views]
        for target in self.targets:
            rows = [k for k, view in enumerate(views) if target in view.targets]
            values = self.decoders[target](torch.cat([views[k].z for k in rows]))
            for k, part in zip(rows, values.chunk(len(rows)), strict=True):
                decoded[k][target] = part
        return decoded

    def _fakes(self, views: Sequence[View], batch: Batch, through: bool = False) -> list[Tensor]:
        """What the critic judges: decoded from each view that has it, and from the prior.

        `through`: adversarial gradients reach the encoders.
        """
        assert self.adversary is not None
        target = self.adversary.target
        latents = [view.z if through else view.z.detach() for view in views if target in view.targets]
        if self.settings.adversary.prior:
            latents.append(self._noise(batch)(_PRIOR))
        with frozen_statistics(self.decoders[target]):  # real inputs do not look like draws from the prior
            return list(self.decoders[target](torch.cat(latents)).chunk(len(latents)))

    def _noise(self, batch: Batch) -> Noise:
        """Noise of each sample's own seed; evaluation frames without seeds take their number."""
        seeds = batch.seeds if batch.seeds is not None else batch.index
        seeds = torch.arange(len(batch)) if seeds is None else seeds
        device = next(self.parameters()).device
        return lambda stream: gaussian_noise(seeds, (self.settings.latent,), stream).to(device)

    # ----------------------------------------------------------------------------------------------------- the latent

    def posterior(self, batch: Batch, given: Sequence[str], alone: bool = False) -> Gaussian:
        """N over (B, D) of some modalities, fused as the system is trained to (see `fusion.fuse`).

        Args:
            given: names of encoders.
            alone: one expert as it leaves its encoder.
        """
        experts = [self.encoders[name](self.modality(name).values(batch)) for name in given]
        return experts[0] if alone else fuse(experts, self.settings.fusion)

    def decode(self, z: Tensor, target: str) -> Tensor:
        """What latents (B, D) mean: poses (B, 17, 3), images (B, 3, S, S) in [0, 1], or standardised keypoints."""
        decoded = self.decoders[target](z)
        modality = self.modality(target)
        if isinstance(modality, ImageModality):
            return modality.image(decoded)
        return self._pose(decoded) if target == "joints_3d" else decoded

    def _pose(self, decoded: Tensor) -> Tensor:
        modality = self.modality("joints_3d")
        assert isinstance(modality, Pose)
        return modality.pose(decoded)

    def streams(self, batch: Batch, given: Sequence[str], samples: int) -> Tensor:
        """(B, S, D) latents: the mean, then draws; those of a mixture alternate between its experts."""
        noise = self._noise(batch)
        posterior = self.posterior(batch, given)
        experts = [posterior]
        if self.settings.fusion == "moe" and len(given) > 1:
            experts = [self.posterior(batch, (name,), alone=True) for name in given]
        drawn = [experts[s % len(experts)].sample(noise(_PREDICTION + s)) for s in range(samples - 1)]
        return torch.stack([posterior.mean, *drawn], 1)

    @torch.no_grad()
    def predict(self, batch: Batch, samples: int = 1) -> PoseOutput:
        """Poses from the encoders of `predict_from`; the first of S is decoded from the mean, the others are drawn.

        Raises:
            MissingFieldError: a modality is not there.
            ValueError: no decoder of 3D poses.
        """
        batch.require(self.predict_requires, by="CrossModalVAE.predict")
        return self.predict_with(batch, self.predict_from, samples)

    @torch.no_grad()
    def predict_with(self, batch: Batch, given: Sequence[str], samples: int = 1) -> PoseOutput:
        """`predict` from any of the encoders, together."""
        if "joints_3d" not in self.targets:
            raise ValueError(f"no 3D pose is decoded here, only {', '.join(self.targets)}")
        modality = self.modality("joints_3d")
        assert isinstance(modality, Pose)
        with torch.autocast(next(self.parameters()).device.type, enabled=False):
            z = self.streams(batch, given, samples)
            pose = self.decode(z.flatten(0, 1), "joints_3d").unflatten(0, (len(z), samples))
            image = self.decode(z[:, 0], "image") if "image" in self.targets else None
        return PoseOutput(pose=pose, unit=modality.unit, latent=z[:, 0], image=image)

    @torch.no_grad()
    def panels(self, batch: Batch) -> dict[str, Tensor]:
        """What each modality is decoded to, from each encoder whose input is there."""
        present = [n for n in self.sources if all(getattr(batch, f) is not None for f in self.modality(n).fields)]
        latents = {name: self.posterior(batch, (name,)).mean for name in present if name != "joints_3d"}
        decoded = {
            (source, target): self.decode(z, target)
            for source, z in latents.items()
            for target in self.targets
            if target != "joints_2d"
        }
        image = self.modalities["image"] if "image" in self.modalities and batch.target is not None else None
        shown = image.image(image.values(batch)) if isinstance(image, ImageModality) else None
        return cross_modal_panels(batch, decoded, shown)


def _make_modalities(settings: CrossModalConfig, image_size: int, names: set[str]) -> dict[str, nn.Module]:
    """Modules by name, in a fixed order."""
    made: dict[str, nn.Module] = {}
    seen = settings.supervision == "reprojection"
    for name in MODALITIES:
        if name not in names:
            continue
        if name == "image":
            made[name] = ImageModality(image_size, settings.cut_out)
        elif name == "joints_2d":
            made[name] = Keypoints("head" if seen else "zeroed" if settings.zero_root else "kept")
        elif seen:
            keypoints = made["joints_2d"]
            assert isinstance(keypoints, Keypoints)
            made[name] = SeenPose(keypoints)
        else:
            made[name] = Pose()
    return made


def _unique(*names: str) -> tuple[str, ...]:
    """Each name once, in the order they are first given."""
    return tuple(dict.fromkeys(names))


def _sources_and_targets(settings: CrossModalConfig, pairs: Sequence[Pair]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Encoders and decoders, in the order they are named."""
    if settings.fusion != "pairs":
        return _unique(*settings.encoders), _unique(*settings.decoders)
    return _unique(*(pair.source for pair in pairs)), _unique(*(pair.target for pair in pairs))


def _check(
    settings: CrossModalConfig, sources: Sequence[str], targets: Sequence[str], predict_from: Sequence[str]
) -> None:
    """Raise ValueError where the settings contradict each other."""
    if not sources or not targets:
        raise ValueError(f"fusion {settings.fusion!r} needs pairs")
    wrong = [name for name in predict_from if name not in sources or name == "joints_3d"]
    if wrong:
        raise ValueError(f"predict_from names {wrong[0]!r}, which is no encoder to predict from: {', '.join(sources)}")
    seen = settings.supervision == "reprojection"
    if seen and ("joints_2d" not in sources or "joints_3d" in sources or "joints_3d" not in targets):
        raise ValueError("reprojection needs an encoder of joints_2d, a decoder of joints_3d and no encoder of it")
    if seen and settings.zero_root:
        raise ValueError("reprojection takes keypoints relative to the root anyway; leave zero_root off")
    judged = {"none": None, "joints_3d": "joints_3d", "joints_2d": "joints_3d", "image": "image"}[
        settings.adversary.judges
    ]
    if judged is not None and judged not in targets:
        raise ValueError(f"adversary.judges {settings.adversary.judges} needs a decoder of {judged}")
    if (settings.adversary.judges == "joints_2d") != seen and settings.adversary.judges in ("joints_2d", "joints_3d"):
        raise ValueError("adversary.judges joints_2d judges re-projected poses, joints_3d poses that have labels")
