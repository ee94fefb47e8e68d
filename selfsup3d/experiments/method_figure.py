"""The figure of the method in README and docs, made of a trained model's own tensors.

    python -m selfsup3d.experiments.method_figure --checkpoint assets/synth-v1/model \
        --image assets/synth-v1/people/person-2.png --output assets/docs/method.png
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from selfsup3d.builders.systems import evaluated, load_system
from selfsup3d.geometry.camera import default_intrinsics
from selfsup3d.io.files import atomic_path
from selfsup3d.models.part_guided.network import PartGuidedNetwork
from selfsup3d.viz.parts import colour_labels
from selfsup3d.viz.sheets import to_uint8
from selfsup3d.viz.skeleton import draw_skeleton
from selfsup3d.viz.view3d import draw_pose_3d

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw", "main"]

_CELL = 256
_LEARNED, _FIXED = "#d8e6f3", "#e9e6df"
_UPDATES = (
    ("pretrain", "rendered puppets in unpaired poses\nencoder learns pose and camera"),
    ("decoder", "two frames of one person, pose frozen\nappearance and decoder learn"),
    ("joint, odd steps", "energies $L_p$, $L_a$: the encoder finds\nthe unpaired pose in its decoded image"),
    ("joint, even steps", "the same energies move the decoder;\n$L_I^u$, $L_I^c$, $L_{seg}$ move both"),
)


def panels(network: PartGuidedNetwork, image: np.ndarray, size: int) -> dict[str, np.ndarray]:
    """The tensors on the way of one image through the network, each as a (256, 256, 3) uint8 RGB image."""
    small = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    batch = torch.from_numpy(small).permute(2, 0, 1)[None].float() / 255.0
    K = default_intrinsics(size)[None]
    with torch.no_grad():
        encoding = network.encode(batch, K)
        body = network.pose(encoding)
        maps, _ = network.maps(body.joints, K, (size, size))
        decoded = network.synthesize(network.appearance(batch, encoding, body), body.joints, K, (size, size))
    large = cv2.resize(small, (_CELL, _CELL), interpolation=cv2.INTER_NEAREST)
    soft = maps[0].amax(0).numpy()[None, None]
    shown = colour_labels(maps.argmax(1)) * torch.from_numpy(soft)
    return {
        "image": large,
        "keypoints": draw_skeleton(large // 2 + 96, encoding.keypoints[0].numpy() * _CELL / size),
        "limb vectors": draw_pose_3d(body.canonical[0].numpy(), frame="body", size=_CELL),
        "posed skeleton": draw_pose_3d(body.posed[0].numpy(), size=_CELL),
        "part maps": _enlarged(shown),
        "decoded image": _enlarged(decoded.image),
        "segmentation": _enlarged(colour_labels(decoded.segmentation.argmax(1))),
    }


def _enlarged(image: torch.Tensor) -> np.ndarray:
    return cv2.resize(to_uint8(image)[0], (_CELL, _CELL), interpolation=cv2.INTER_NEAREST)


def draw(found: dict[str, np.ndarray], path: Path) -> None:
    """Write the figure as PNG.

    Args:
        found: see `panels`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.2, 5.2), dpi=110, facecolor="white")
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(0, 13.2)
    axes.set_ylim(0, 5.2)
    axes.axis("off")
    places = {
        "image": (0.3, 2.75), "keypoints": (3.1, 3.75), "limb vectors": (3.1, 2.15), "posed skeleton": (5.9, 2.75),
        "part maps": (8.4, 2.75), "decoded image": (11.4, 3.78), "segmentation": (11.4, 1.98),
    }  # fmt: skip
    for name, (x, y) in places.items():
        axes.imshow(found[name], extent=(x, x + 1.35, y, y + 1.35), aspect="auto", zorder=2)
        axes.text(x + 0.67, y - 0.06, name, ha="center", va="top", fontsize=9.5)
    _box(axes, 1.9, 2.95, 0.95, "encoder", _LEARNED)
    _box(axes, 4.7, 2.95, 0.95, "kinematics\n$T_{fk}$, camera $T_c$", _FIXED)
    _box(axes, 7.4, 2.95, 0.85, "part\ntransform $T_s$", _FIXED)
    _box(axes, 10.05, 2.95, 0.95, "decoder", _LEARNED)
    for x0, x1 in ((1.67, 1.88), (2.87, 3.08), (4.47, 4.68), (5.67, 5.88), (7.27, 7.38), (8.27, 8.38), (9.77, 10.03),
                   (11.02, 11.36)):  # fmt: skip
        _arrow(axes, (x0, 3.42), (x1, 3.42))
    axes.text(6.4, 1.78, "appearance: one vector a part", ha="center", va="top", fontsize=9.5, color="#333")
    axes.plot([2.35, 2.35, 10.5], [2.93, 1.85, 1.85], color="#555", lw=1.0, zorder=1)
    _arrow(axes, (10.5, 1.85), (10.5, 2.91))
    axes.text(0.3, 1.36, "training: the stages of a run", fontsize=10.5, weight="bold")
    for n, (title, text) in enumerate(_UPDATES):
        x = 0.3 + 3.2 * n
        _box(axes, x, 0.2, 2.85, f"{text}", "#f3efe3" if n < 2 else "#e7f0e4", height=0.82, top=title)
        if n:
            _arrow(axes, (x - 0.33, 0.6), (x - 0.03, 0.6))
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def _box(axes: Axes, x: float, y: float, width: float, text: str, colour: str, height: float = 0.95,
         top: str | None = None) -> None:  # fmt: skip
    from matplotlib.patches import FancyBboxPatch

    axes.add_patch(FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0.02,rounding_size=0.06", fc=colour,
                                  ec="#888", lw=0.9, zorder=3))  # fmt: skip
    middle = y + height / 2
    if top is not None:
        axes.text(x + width / 2, y + height - 0.06, top, ha="center", va="top", fontsize=9.5, weight="bold", zorder=4)
        middle -= 0.13
    axes.text(x + width / 2, middle, text, ha="center", va="center", fontsize=9, zorder=4)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": "#555"})


def main() -> None:
    """Draw it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="a part-guided model")
    parser.add_argument("--image", type=Path, required=True, help="a square image of a person")
    parser.add_argument("--output", type=Path, required=True, help="PNG to write")
    args = parser.parse_args()
    system, config = load_system(args.checkpoint)
    assert isinstance(system, PartGuidedNetwork)
    image = cv2.imread(str(args.image))
    if image is None:
        parser.error(f"--image {args.image}: no image")
    draw(panels(system, image[..., ::-1].copy(), int(getattr(evaluated(config), "size", 64))), args.output)


if __name__ == "__main__":
    main()
