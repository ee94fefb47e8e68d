"""From a config to a cross-modal VAE."""

from __future__ import annotations

from selfsup3d.config.cross_modal import CrossModalConfig
from selfsup3d.config.projected import ProjectedConfig
from selfsup3d.config.run import Config, MixtureConfig
from selfsup3d.errors import InputError
from selfsup3d.models.cross_modal.system import CrossModalVAE

__all__ = ["build_cross_modal"]


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
    try:
        return CrossModalVAE(settings, 64 if isinstance(data, ProjectedConfig) else data.size)
    except ValueError as error:
        raise InputError(f"system: {error}") from error
    except (RuntimeError, OSError) as error:  # timm: an unknown backbone, a weight file that is not there
        raise InputError(f"system.backbone: {settings.backbone}: {error}") from error
