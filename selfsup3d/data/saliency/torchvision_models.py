"""Networks of torchvision that know people: segmentation and detection, where their weights are at hand.

Nothing is ever downloaded: weights come from a file that is named, or from torch's cache if they lie there already.
These networks were trained on labelled images (COCO), so a run that uses them is no longer free of labels: none of
them is ever a default.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models import detection, segmentation

from selfsup3d.errors import InputError

__all__ = [
    "DETECTORS",
    "SEGMENTERS",
    "detect_people",
    "find_weights",
    "detector",
    "segmenter",
    "segment_people",
]

SEGMENTERS: dict[str, tuple[Callable[..., nn.Module], str]] = {
    "deeplabv3_resnet101": (
        segmentation.deeplabv3_resnet101,
        segmentation.DeepLabV3_ResNet101_Weights.DEFAULT.url,
    ),
    "deeplabv3_resnet50": (segmentation.deeplabv3_resnet50, segmentation.DeepLabV3_ResNet50_Weights.DEFAULT.url),
    "deeplabv3_mobilenet_v3_large": (
        segmentation.deeplabv3_mobilenet_v3_large,
        segmentation.DeepLabV3_MobileNet_V3_Large_Weights.DEFAULT.url,
    ),
    "lraspp_mobilenet_v3_large": (
        segmentation.lraspp_mobilenet_v3_large,
        segmentation.LRASPP_MobileNet_V3_Large_Weights.DEFAULT.url,
    ),
}
"""Name -> how it is built, where its weights come from; the best first."""

DETECTORS: dict[str, tuple[Callable[..., nn.Module], str]] = {
    "fasterrcnn_resnet50_fpn_v2": (
        detection.fasterrcnn_resnet50_fpn_v2,
        detection.FasterRCNN_ResNet50_FPN_V2_Weights.DEFAULT.url,
    ),
    "fasterrcnn_mobilenet_v3_large_320_fpn": (
        detection.fasterrcnn_mobilenet_v3_large_320_fpn,
        detection.FasterRCNN_MobileNet_V3_Large_320_FPN_Weights.DEFAULT.url,
    ),
}
"""The same for detectors of people."""

_PERSON_OF_VOC = 15  # class of the segmenters, "person" of the 21 of Pascal VOC
_PERSON_OF_COCO = 1
_MEAN, _STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])  # of ImageNet


def find_weights(
    networks: dict[str, tuple[Callable[..., nn.Module], str]], path: str | Path | None = None
) -> tuple[str, Path]:
    """Name and weight file of the first network whose weights are at hand.

    Args:
        networks: `SEGMENTERS` or `DETECTORS`.
        path: file whose name begins with a network's name, as torchvision's do; None = look into torch's cache.

    Raises:
        InputError: no such file, a name that tells no network, or nothing in the cache; the message tells what to get.
    """
    if path is not None:
        path = Path(path)
        if not path.is_file():
            raise InputError(f"{path}: no such file; expected weights of {', '.join(networks)}")
        for name in sorted(networks, key=len, reverse=True):
            if path.name.startswith(name):
                return name, path
        raise InputError(f"{path}: the file's name must begin with its network's: {', '.join(networks)}")
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    for name, (_, url) in networks.items():
        cached = folder / url.rsplit("/", 1)[1]
        if cached.is_file():
            return name, cached
    urls = ", ".join(url for _, url in networks.values())
    raise InputError(f"{folder}: holds no pretrained weights; get one of {urls}, put it there or name its path")


def _load(networks: dict[str, tuple[Callable[..., nn.Module], str]], path: str | Path | None) -> nn.Module:
    name, file = find_weights(networks, path)
    network = networks[name][0](weights=None, weights_backbone=None)
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        # Segmenters' files hold an auxiliary head, which only training uses.
        network.load_state_dict({k: v for k, v in state.items() if not k.startswith("aux_classifier")})
    except Exception as error:  # a damaged zip, a pickle that is refused, other keys or shapes
        raise InputError(f"{file}: these are not the weights of {name} ({str(error).partition(chr(10))[0]})") from error
    return network.eval()


@lru_cache(maxsize=1)
def segmenter(path: str | Path | None = None) -> nn.Module:
    """A network for `segment_people`, kept for the next call; see `find_weights` for the path and the errors."""
    return _load(SEGMENTERS, path)


@lru_cache(maxsize=1)
def detector(path: str | Path | None = None) -> nn.Module:
    """A network for `detect_people`, kept for the next call; see `find_weights` for the path and the errors."""
    return _load(DETECTORS, path)


@torch.inference_mode()
def segment_people(network: nn.Module, frames: np.ndarray, side: int = 256, batch: int = 8) -> np.ndarray:
    """(T, H, W) uint8, 255 times the probability of a person.

    Args:
        network: of `segmenter`.
        frames: (T, H, W, 3) uint8 RGB.
        side: pixels that images are enlarged or reduced to for the network.
        batch: images at a time.
    """
    masks = []
    for start in range(0, len(frames), batch):
        images = _float(frames[start : start + batch])
        size = images.shape[-2:]
        images = (images - _MEAN[:, None, None]) / _STD[:, None, None]
        resized = nn.functional.interpolate(images, (side, side), mode="bilinear", antialias=True)
        person = network(resized)["out"].softmax(1)[:, _PERSON_OF_VOC, None]
        person = nn.functional.interpolate(person, size, mode="bilinear", antialias=True)[:, 0]
        masks.append((person * 255).round().to(torch.uint8).numpy())
    return np.concatenate(masks)


@torch.inference_mode()
def detect_people(network: nn.Module, frames: np.ndarray, least: float = 0.6) -> list[np.ndarray]:
    """For each frame (N, 4) x, y, width, height of its people, pixels.

    Args:
        network: of `detector`.
        frames: (T, H, W, 3) uint8 RGB.
        least: score that counts.
    """
    boxes = []
    for frame in frames:
        (found,) = network([_float(frame[None])[0]])
        keep = (found["labels"] == _PERSON_OF_COCO) & (found["scores"] >= least)
        corners = found["boxes"][keep].numpy().astype(np.float64)
        boxes.append(np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]]))
    return boxes


def _float(frames: np.ndarray | Sequence[np.ndarray]) -> Tensor:
    """(T, H, W, 3) uint8 -> (T, 3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 255.0
