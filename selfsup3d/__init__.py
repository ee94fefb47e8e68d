"""selfsup3d: self-supervised human image synthesis and 3D pose.

    model = selfsup3d.load("synth-v1")
    poses = model("person.jpg")

Names below are imported when they are first used, so `import selfsup3d` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfsup3d.api import load
    from selfsup3d.errors import InputError
    from selfsup3d.inference.predictor import Predictor
    from selfsup3d.inference.synthesizer import Synthesizer
    from selfsup3d.structures.batch import Batch, PoseOutput

__version__ = "0.1.0"

__all__ = ["Batch", "InputError", "PoseOutput", "Predictor", "Synthesizer", "__version__", "load"]

_HOMES = {
    "load": "selfsup3d.api",
    "Predictor": "selfsup3d.inference.predictor",
    "Synthesizer": "selfsup3d.inference.synthesizer",
    "Batch": "selfsup3d.structures.batch",
    "PoseOutput": "selfsup3d.structures.batch",
    "InputError": "selfsup3d.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'selfsup3d' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
