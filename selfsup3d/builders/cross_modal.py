"""From a config to a cross-modal VAE."""

from __future__ import annotations

from typing import Any

from selfsup3d.config.cross_modal import CrossModalConfig
from selfsup3d.config.projected import ProjectedConfig
from selfsup3d.config.run import Config, MixtureConfig
from selfsup3d.errors import InputError
from selfsup3d.models.cross_modal.adversary import AdversarySettings
from selfsup3d.models.cross_modal.networks import PoseLayers
from selfsup3d.models.cross_modal.objective import Beta
from selfsup3d.models.cross_modal.settings import Settings, Sizes
from selfsup3d.models.cross_modal.system import CrossModalVAE

__all__ = ["build_cross_modal"]

_SIZES = ("latent", "backbone", "backbone_weights", "image_norm", "image_width", "cut_out")
_POSE = ("width", "blocks", "residual", "norm", "dropout")


def build_cross_modal(config: Config) -> CrossModalVAE:
    """The VAE of a config; images have the size of its data.

    Raises:
        InputError: modalities, pairs or a critic that do not fit together; images where the data have none.
    """
    settings = config.system
    assert isinstance(settings, CrossModalConfig)
    data = config.data.parts[0] if isinstance(config.data, MixtureConfig) else config.data
    if "image" in settings.modalities and isinstance(data, ProjectedConfig):
        raise InputError("system: data of kind projected have no images; take another kind, or pairs without image")
    values: dict[str, Any] = settings.model_dump(exclude={"kind", "beta", "adversary", *_SIZES, *_POSE})
    sizes = {name: getattr(settings, name) for name in _SIZES}
    image = 64 if isinstance(data, ProjectedConfig) else data.size
    try:
        return CrossModalVAE(
            Settings(
                **values,
                beta=Beta(**settings.beta.model_dump()),
                adversary=AdversarySettings(**settings.adversary.model_dump()),
            ),
            Sizes(**sizes, pose=PoseLayers(**{name: getattr(settings, name) for name in _POSE}), image=image),
        )
    except ValueError as error:
        raise InputError(f"system: {error}") from error
    except (RuntimeError, OSError) as error:  # timm: an unknown backbone, a weight file that is not there
        raise InputError(f"system.backbone: {settings.backbone}: {error}") from error
