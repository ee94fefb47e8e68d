"""Image metrics inside a mask (PSNR, SSIM, LPIPS) and overlap of masks and part labels (IoU).

Images are (B, 3, H, W) in [0, 1]; masks (B, 1, H, W), true or above 0.5 where the person is. A person covers a few
percent of a frame, so a figure over the whole image would measure the background: outside the mask both images
are made the same grey, and only pixels inside it are averaged.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from selfsup3d.errors import InputError

__all__ = ["Lpips", "find_lpips", "iou", "label_overlap", "masked_psnr", "masked_ssim"]

_OUTSIDE = 0.5
_PSNR_CEILING = 100.0

_BACKBONES = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth"}
"""File names under which torchvision keeps the ImageNet weights that LPIPS is built on."""


def masked_psnr(image: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """PSNR over the pixels of the mask -> (B,) dB; NaN where the mask is empty.

    Identical images have no finite PSNR; 100 dB stands for them, so that a mean stays a number.
    """
    _check(image, target, mask)
    weight = (mask > 0.5).to(image.dtype)
    error = ((image.clamp(0, 1) - target).square() * weight).sum((1, 2, 3)) / (weight.sum((1, 2, 3)) * image.shape[1])
    return (-10.0 * torch.log10(error.clamp_min(1e-12))).clamp_max(_PSNR_CEILING)


def masked_ssim(image: Tensor, target: Tensor, mask: Tensor, window: int = 11) -> Tensor:
    """SSIM (Wang et al. 2004, Gaussian window, kornia) averaged over the pixels of the mask -> (B,); NaN if empty."""
    _check(image, target, mask)
    weight = (mask > 0.5).to(image.dtype)
    from kornia.metrics import ssim as kornia_ssim  # slow to load

    local = kornia_ssim(_composite(image, weight), _composite(target, weight), window)  # (B, 3, H, W)
    return (local.mean(1, keepdim=True) * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3))


def iou(a: Tensor, b: Tensor) -> Tensor:
    """(B, 2) intersection and union in pixels of two masks (B, 1, H, W); sum over frames, then divide."""
    a, b = a > 0.5, b > 0.5
    return torch.stack([(a & b).sum((1, 2, 3)), (a | b).sum((1, 2, 3))], -1)


def label_overlap(pred: Tensor, target: Tensor, parts: int) -> Tensor:
    """Intersections and unions of part labels, to be summed over frames and then divided.

    Args:
        pred, target: (B, H, W) int64 ids; `parts` = background.
        parts: P.

    Returns:
        (B, P + 1, 2) int64: intersection and union of each part, and in the last row of the whole person (any part
        against the background).

    Raises:
        ValueError: shapes differ.
    """
    if pred.shape != target.shape:
        raise ValueError(f"labels differ in shape: {tuple(pred.shape)} and {tuple(target.shape)}")
    rows = []
    for part in range(parts):
        a, b = pred == part, target == part
        rows.append(torch.stack([(a & b).sum((1, 2)), (a | b).sum((1, 2))], -1))
    a, b = pred != parts, target != parts
    rows.append(torch.stack([(a & b).sum((1, 2)), (a | b).sum((1, 2))], -1))
    return torch.stack(rows, 1)


class Lpips(nn.Module):
    """LPIPS (Zhang et al. 2018) on weights that lie on this machine; nothing is ever downloaded.

    Args:
        weights: torchvision's ImageNet weights of the backbone (a .pth state dict).
        backbone: "alex" or "vgg".
    """

    def __init__(self, weights: str | Path, backbone: Literal["alex", "vgg"] = "alex") -> None:
        super().__init__()
        import lpips  # slow to import, and needed by nobody else

        with warnings.catch_warnings():  # lpips calls torchvision by deprecated names
            warnings.simplefilter("ignore", UserWarning)
            self.net = lpips.LPIPS(net=backbone, pnet_rand=True, verbose=False)
        try:
            state = torch.load(weights, map_location="cpu", weights_only=True)
            # LPIPS cuts `features` into slices and keeps the layers' numbers: slice2.3.weight is features.3.weight.
            own = {name: state["features." + name.split(".", 1)[1]] for name in self.net.net.state_dict()}
            self.net.net.load_state_dict(own)
        except (OSError, KeyError, RuntimeError, TypeError) as error:
            raise InputError(
                f"{weights}: not torchvision's {backbone} weights ({type(error).__name__}); expected the state dict "
                f"that torchvision stores as {_BACKBONES[backbone]}"
            ) from None
        self.eval().requires_grad_(False)

    def forward(self, image: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """LPIPS of the masked images -> (B,); NaN where the mask is empty."""
        _check(image, target, mask)
        weight = (mask > 0.5).to(image.dtype)
        distance = self.net(_composite(image, weight), _composite(target, weight), normalize=True).flatten()
        return torch.where(weight.sum((1, 2, 3)) > 0, distance, torch.full_like(distance, float("nan")))


def find_lpips(path: str | Path | None = None, backbone: Literal["alex", "vgg"] = "alex") -> Lpips | None:
    """LPIPS from `path`, else from torch's cache if the weights lie there, else None.

    Raises:
        InputError: a path was given and cannot be used.
    """
    if path is not None:
        return Lpips(path, backbone)
    cached = Path(torch.hub.get_dir()) / "checkpoints" / _BACKBONES[backbone]
    return Lpips(cached, backbone) if cached.is_file() else None


def _composite(image: Tensor, weight: Tensor) -> Tensor:
    return image.clamp(0, 1) * weight + _OUTSIDE * (1.0 - weight)


def _check(image: Tensor, target: Tensor, mask: Tensor) -> None:
    if image.shape != target.shape or mask.shape != (image.shape[0], 1, *image.shape[2:]):
        raise ValueError(
            f"expected images of one shape (B, 3, H, W) and a mask (B, 1, H, W), got {tuple(image.shape)}, "
            f"{tuple(target.shape)} and {tuple(mask.shape)}"
        )
