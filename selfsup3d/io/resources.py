"""What is shipped with the package: configs, released models, images of people; and models by name or by path.

In a checkout they lie in configs/ and assets/; a wheel carries the same files in selfsup3d/shipped/.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from selfsup3d.errors import InputError

__all__ = [
    "CONFIG", "WEIGHTS", "example_people", "find_config", "locate_model", "shipped_configs", "shipped_models"
]  # fmt: skip

WEIGHTS, CONFIG = "model.safetensors", "config.json"

_PACKAGE = Path(__file__).parents[1]
_ROOT = _PACKAGE / "shipped" if (_PACKAGE / "shipped").is_dir() else _PACKAGE.parent


def shipped_models() -> dict[str, Path]:
    """Name -> folder of every released model that is shipped: assets/NAME/model."""
    return {path.parents[1].name: path.parent for path in sorted((_ROOT / "assets").glob(f"*/model/{CONFIG}"))}


def shipped_configs() -> dict[str, Path]:
    """Name -> file of every config that is shipped: "quickstart", "lifters/martinez" ..."""
    folder = _ROOT / "configs"
    return {
        path.relative_to(folder).with_suffix("").as_posix(): path
        for path in sorted(folder.rglob("*.yaml"))
        if path.relative_to(folder).parts[0] != "accelerate"
    }


def example_people() -> Path:
    """Folder of images of people to try a model on. It may be missing."""
    return _ROOT / "assets" / "synth-v1" / "people"


def find_config(path: str | Path) -> Path:
    """The file that a path or the name of a shipped config means: quickstart, configs/quickstart.yaml ...

    A file that is there comes first. What is neither is returned as it is, for its reader to refuse.
    """
    path = Path(path)
    name = path.with_suffix("") if path.suffix == ".yaml" else path
    name = name.relative_to("configs") if name.parts[:1] == ("configs",) else name
    return path if path.exists() else shipped_configs().get(name.as_posix(), path)


def locate_model(path: str | Path) -> Path:
    """The folder with config.json and weights: a shipped model's by its name, `path` itself, its `model/` (a run), or
    a run's newest checkpoint. A path that is there comes before a name.

    Raises:
        InputError: no model there.
    """
    shipped = shipped_models()
    name, path = str(path), Path(path)
    if path.name == WEIGHTS and path.is_file():
        path = path.parent
    if not path.exists():
        if name in shipped:
            return shipped[name]
        close = difflib.get_close_matches(name, shipped, 1)
        meant = f"; did you mean the shipped model {close[0]!r}?" if close else ""
        raise InputError(f"{path}: no such file or folder{meant}")
    checkpoints = sorted(path.glob("checkpoints/step-*"), reverse=True) if path.is_dir() else []
    for folder in (path, path / "model", *checkpoints):
        if (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file():
            return folder
    raise InputError(f"{path}: holds no model; expected {WEIGHTS} and {CONFIG}, or the folder of a run")
