"""The skeleton that turns under the mouse, standing or moving: what the page's canvas is given to draw."""

from __future__ import annotations

import json
from importlib.resources import files

import numpy as np

from selfsup3d.structures.skeleton import H36M_17
from selfsup3d.viz.colours import bone_colours

__all__ = ["CSS", "HTML", "MOVING_HTML", "script", "skeleton_json"]

HTML = (
    '<div class="turn"><canvas tabindex="0" role="img" aria-label="3D skeleton; drag it or use the arrow keys"></canvas>'
    "<span>drag to turn &middot; wheel to zoom</span></div>"
)
MOVING_HTML = (
    '<div class="turn moving"><canvas tabindex="0" role="img" '
    'aria-label="3D skeleton in motion; drag it or use the arrow keys to turn it"></canvas>'
    '<div class="player"><button type="button" class="play" aria-label="play or pause">Pause</button>'
    '<input type="range" class="time" min="0" max="0" value="0" aria-label="frame of the motion"></div></div>'
)
"""With a button and a slider for time."""
CSS = """
.turn { position: relative; height: 276px; }
.turn canvas { width: 100%; height: 100%; cursor: grab; touch-action: pan-y; outline-offset: -3px; }
.turn canvas:active { cursor: grabbing; }
.turn span { position: absolute; left: 0; right: 0; bottom: 6px; text-align: center; font-size: 12px; opacity: 0.55;
             pointer-events: none; }
.turn.moving { display: flex; flex-direction: column; height: 316px; }
.turn.moving canvas { flex: 1 1 0; min-height: 0; }
.player { display: flex; gap: 8px; align-items: center; padding: 4px 8px; }
.player .play { min-width: 64px; height: 32px; padding: 0 8px; font-size: 14px; cursor: pointer; }
.player .time { flex: 1; }
"""


def script() -> str:
    """The canvas's JavaScript."""
    return files("selfsup3d.demo").joinpath("viewer.js").read_text(encoding="utf-8")


def skeleton_json(joints: np.ndarray) -> str:
    """A pose for the canvas.

    Args:
        joints: (17, 3) metres, camera axes (x right, y down, z away).

    Returns:
        JSON: joints as [right, away, up] from the middle of the body, bones as index pairs, a CSS colour for each bone.
    """
    joints = np.asarray(joints, dtype=np.float64)
    upright = np.stack([joints[:, 0], joints[:, 2], -joints[:, 1]], -1)
    middle = (upright.max(0) + upright.min(0)) / 2
    content = {
        "joints": (upright - middle).round(4).tolist(),
        "bones": [list(bone) for bone in H36M_17.bones],
        "colours": [f"rgb({r}, {g}, {b})" for r, g, b in bone_colours(H36M_17)],
    }
    return json.dumps(content, allow_nan=False)
