"""Backbones: any `timm` network by name, or our own small one for two CPU cores.

Every backbone is a module that gives a list of feature maps, fine to coarse, and knows their channels.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from selfsup3d.errors import InputError
from selfsup3d.models.part_guided.layers import group_norm

__all__ = ["check_backbone", "PatchResNet", "TimmBackbone"]


class TimmBackbone(nn.Module):
    """A `timm` network's features. GroupNorm takes the place of BatchNorm in its ResNets.

    Args:
        name: a `timm` name, of a network whose feature maps (N, C, h, w) become coarser level by level.
        levels: which of them, fine to coarse; the last four have strides 4, 8, 16 and 32 in nearly all networks.
        weights: a safetensors file of the whole network; None = random weights. Nothing is ever downloaded.
            BatchNorm keeps the statistics that come with them: those of synthetic images would not do for real ones.
        frozen_blocks: the stem and as many blocks keep the weights they have (networks with `blocks`: EfficientNets,
            MobileNets); what edges and textures look like is known from photographs.

    Raises:
        InputError: no such network or none with such maps; weights that are not there, or of another network.
    """

    def __init__(
        self,
        name: str,
        levels: tuple[int, ...] = (-4, -3, -2, -1),
        weights: str | None = None,
        frozen_blocks: int = 0,
    ) -> None:
        super().__init__()
        check_backbone(name, weights)
        options: dict[str, Any] = {}
        if name.startswith("resnet"):
            # Residual branches that start at zero take a longer run than ours to open.
            options = {"norm_layer": group_norm, "zero_init_last": False}
        if weights is not None:
            options["pretrained_cfg_overlay"] = {"file": weights}
        import timm  # slow to load, and our own backbone needs none

        try:
            network: Any = timm.create_model(
                name, pretrained=weights is not None, features_only=True, out_indices=levels, **options
            )
        except (SafetensorError, RuntimeError, IndexError, AssertionError, AttributeError) as error:
            cause = "cannot be used" if weights is None else f"does not take the weights of {weights}"
            raise InputError(f"backbone {name!r}: {cause}: {str(error).splitlines()[0]}") from error
        strides = network.feature_info.reduction()
        if strides != sorted(set(strides)) or str(getattr(network, "output_fmt", "NCHW")).endswith("NHWC"):
            raise InputError(
                f"backbone {name!r}: gives no pyramid of maps (N, C, h, w); take a ResNet, ConvNeXt, EfficientNet ..."
            )
        if weights is not None:
            _check_covered(network, name, weights)
        self.network = network
        self.channels: list[int] = network.feature_info.channels()
        self.keeps_statistics = weights is not None
        if frozen_blocks:
            _freeze(network, name, frozen_blocks)

    def train(self, mode: bool = True) -> TimmBackbone:
        """As of any module, but BatchNorm stays with the statistics of given weights."""
        super().train(mode)
        if self.keeps_statistics:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> feature maps."""
        return self.network(images)


def _freeze(network: Any, name: str, blocks: int) -> None:
    if not hasattr(network, "blocks") or not hasattr(network, "conv_stem") or blocks > len(network.blocks):
        raise InputError(f"system.frozen_blocks is {blocks}: backbone {name!r} has no stem and that many blocks")
    for part in (network.conv_stem, network.bn1, *list(network.blocks)[:blocks]):
        part.requires_grad_(False)


def check_backbone(name: str, weights: str | None = None) -> None:
    """Refuse what `timm` would fetch (hf-hub:...), read elsewhere (local-dir:...), run or report without a name.

    Raises:
        InputError: no network that timm itself has, or no safetensors file.
    """
    import timm

    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=1)
        raise InputError(f"backbone {name!r}: no network of timm" + (f"; did you mean {close[0]!r}?" if close else ""))
    if weights is not None and not Path(weights).is_file():
        raise InputError(f"{weights}: no such file; expected weights of the backbone {name!r}")
    if weights is not None and Path(weights).suffix != ".safetensors":  # pickles can run code
        raise InputError(f"{weights}: expected weights as .safetensors")


def _check_covered(network: nn.Module, name: str, weights: str) -> None:
    """`timm` leaves what a file lacks as it is: the weights of another network may fill nothing."""
    with safe_open(weights, framework="pt") as file:
        given = {key.replace(".", "_") for key in file.keys()}  # noqa: SIM118 (a file, no dict)
    lacking = [key for key, _ in network.named_parameters() if key.replace(".", "_") not in given]
    if lacking:
        raise InputError(
            f"{weights}: not the weights of the backbone {name!r}: {len(lacking)} parameters are missing, such as {lacking[0]}"
        )


class PatchResNet(nn.Module):
    """A residual network on 4 x 4 patches, for small images on a CPU **[ours]**.

    A usual stem spends a third of the time on 64 channels at half resolution; a patch of 48 numbers fits into the first
    stage's channels as it is.

    Args:
        channels: of the stages at strides 4, 8, 16, ... depths: residual blocks of each.
    """

    def __init__(self, channels: tuple[int, ...] = (64, 128, 192), depths: tuple[int, ...] = (2, 2, 2)) -> None:
        super().__init__()
        self.channels = list(channels)
        self.stem = nn.Sequential(nn.Conv2d(3, channels[0], 4, 4, bias=False), group_norm(channels[0]))
        self.stages = nn.ModuleList()
        previous = channels[0]
        for stage, (width, depth) in enumerate(zip(channels, depths, strict=True)):
            blocks = [ResidualBlock(previous, width, stride=2 if stage else 1)]
            blocks += [ResidualBlock(width, width) for _ in range(depth - 1)]
            self.stages.append(nn.Sequential(*blocks))
            previous = width

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> feature maps at strides 4, 8, 16, ..."""
        x = self.stem(images)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with GroupNorm, and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            group_norm(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            group_norm(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), group_norm(outputs))
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
        return self.act(self.body(x) + self.shortcut(x))
