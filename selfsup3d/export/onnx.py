"""ONNX of the encoder and the decoder, checked on onnxruntime, and `torch.export` of the whole prediction.

    encoder.onnx      images (N, 3, S, S) RGB in [0, 1], K (N, 3, 3) px of the S x S crop
                      -> canonical (N, 17, 3), rotation (N, 3, 3), translation (N, 3), joints_3d (N, 17, 3),
                         joints_2d (N, 17, 2), appearance (N, slots, C)
    decoder.onnx      appearance, part_maps (N, P, S, S) -> image (N, 3, S, S), segmentation (N, P + 1, S, S) logits
    prediction.pt2    images, K -> all of encoder.onnx but appearance, image, segmentation: encoder, forward kinematics,
                      part maps and decoder in one (`torch.export.load(path).module()`)

N is free in all of them. What each tensor means, in which unit and frame, stands in `MEANINGS`; the ONNX files hold it
as the doc strings of their inputs and outputs, and as metadata with the joints' names and the K to take where the
camera is unknown. K is decisive: with another focal length depths and joints are others. The libraries come with the
extra `export`.
"""

from __future__ import annotations

import importlib
import json
import logging
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from selfsup3d import __version__
from selfsup3d.errors import InputError
from selfsup3d.geometry.camera import default_intrinsics
from selfsup3d.io.files import atomic_path
from selfsup3d.models.part_guided.system import PartGuided
from selfsup3d.puppet.transform import PartGeometry, regular_polygon
from selfsup3d.structures.skeleton import H36M_17

__all__ = [
    "MEANINGS",
    "TOLERANCE",
    "DecoderModule",
    "EncoderModule",
    "PredictionModule",
    "check_libraries",
    "dense_part_maps",
    "example_inputs",
    "export_onnx",
    "export_program",
    "onnx_difference",
]

TOLERANCE = 1e-4
"""Largest difference between onnxruntime and torch, in units of the outputs' own size where that is above 1."""

ENCODED = ("canonical", "rotation", "translation", "joints_3d", "joints_2d", "appearance")
DECODED = ("image", "segmentation")

MEANINGS = {
    "images": "RGB in [0, 1] of a square crop that holds one person; channels, rows, columns",
    "K": "pinhole of that crop, px, pixel centres at +0.5: [[f, 0, c_x], [0, f, c_y], [0, 0, 1]]; where the camera is "
    "unknown take default_K of the metadata",
    "canonical": "joints in the body's frame, metres: pelvis 0, x ahead, y left, z from pelvis to neck",
    "rotation": "body's frame to the camera's: joints_3d = canonical @ rotation^T",
    "translation": "pelvis in the camera's frame, metres",
    "joints_3d": "joints relative to the pelvis in the camera's frame (x right, y down, z forward), metres",
    "joints_2d": "joints in the crop, px, pixel centres at +0.5: K (joints_3d + translation)",
    "appearance": "codes of the person's looks, one a body part, the background's last",
    "part_maps": "coverage of each body part, in [0, 1]",
    "image": "the decoded person over a constant colour, RGB in [0, 1]",
    "segmentation": "logits of the body parts, the background last",
}
"""What the tensors of exported models mean."""


class EncoderModule(nn.Module):
    """Images and pinholes to pose, camera and appearance, as plain tensors."""

    inputs = ("images", "K")
    outputs = ENCODED

    def __init__(self, system: PartGuided) -> None:
        super().__init__()
        self.system = system

    def forward(self, images: Tensor, K: Tensor) -> tuple[Tensor, ...]:
        """See the module's docstring."""
        encoding = self.system.encode(images, K)
        body = self.system.pose(encoding)
        camera = body.camera
        return body.canonical, camera.rotation, camera.translation, body.posed, body.pixels, encoding.appearance


class DecoderModule(nn.Module):
    """Appearance and part maps to an image and its parts, as plain tensors."""

    inputs = ("appearance", "part_maps")
    outputs = DECODED

    def __init__(self, system: PartGuided) -> None:
        super().__init__()
        _refuse_textures(system)
        self.decoder = system.decoder

    def forward(self, appearance: Tensor, part_maps: Tensor) -> tuple[Tensor, ...]:
        """See the module's docstring."""
        decoded = self.decoder(appearance, part_maps)
        return decoded.image, decoded.segmentation


class PredictionModule(nn.Module):
    """Images and pinholes to pose, camera, reconstruction and parts, as plain tensors."""

    inputs = ("images", "K")
    outputs = (*ENCODED[:-1], *DECODED)

    def __init__(self, system: PartGuided) -> None:
        super().__init__()
        _refuse_textures(system)
        self.system = system

    def forward(self, images: Tensor, K: Tensor) -> tuple[Tensor, ...]:
        """See the module's docstring."""
        encoding = self.system.encode(images, K)
        body = self.system.pose(encoding)
        geometry = self.system.geometry(body.joints, K)
        decoded = self.system.decoder(
            encoding.appearance, dense_part_maps(geometry, (images.shape[-2], images.shape[-1]))
        )
        camera = body.camera
        pose = (body.canonical, camera.rotation, camera.translation, body.posed, body.pixels)
        return *pose, decoded.image, decoded.segmentation


def _refuse_textures(system: PartGuided) -> None:
    if system.settings.textures:
        raise InputError("this model's decoder corrects drawn textures, which ONNX has no part for: export the encoder")


def dense_part_maps(geometry: PartGeometry, size: tuple[int, int], edge: float = 1.0) -> Tensor:
    """`parts.transform.part_maps` (analytic) without its shortcuts, which depend on the data: every part everywhere.

    Args:
        geometry: of leading dimensions (N, P). size: (H, W) px. edge: px.

    Returns:
        (N, P, H, W).
    """
    x = torch.arange(size[1], dtype=geometry.q1.dtype, device=geometry.q1.device) + 0.5
    y = torch.arange(size[0], dtype=geometry.q1.dtype, device=geometry.q1.device) + 0.5

    def coverage(planes: Tensor) -> Tensor:  # (N, P, E, 3) -> (N, P, H, W)
        a, b, c = planes[..., None, None].unbind(3)
        return (0.5 + (a * x + b * y[:, None] + c).amin(2) / edge).clamp(0.0, 1.0)

    centre = (geometry.q1 + geometry.q2) / 2
    discs = regular_polygon(centre, geometry.width / 2, geometry.planes.shape[-2])
    share, visible = geometry.share[..., None, None], geometry.visible[..., None, None]
    return visible * (share * coverage(geometry.planes) + (1.0 - share) * coverage(discs))


Exported = EncoderModule | DecoderModule | PredictionModule


def example_inputs(module: Exported, size: int, count: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random inputs of a module: `count` samples of side `size`; images are smooth fields of colours.

    White noise is no image: on it the rounding of float32 alone can lead a trained encoder further apart than
    `TOLERANCE`, in whose bounds it stays on images.
    """
    generator = torch.Generator().manual_seed(seed)
    if isinstance(module, DecoderModule):
        parts = module.decoder.to_parts.out_channels - 1
        channels = module.decoder.whole.in_features
        appearance = torch.randn(count, parts + 1, channels, generator=generator)
        return appearance, torch.rand(count, parts, size, size, generator=generator)
    colours = torch.rand(count, 3, 8, 8, generator=generator)
    images = nn.functional.interpolate(colours, (size, size), mode="bilinear", align_corners=False)
    return images, default_intrinsics(size).expand(count, 3, 3).clone()


def check_libraries() -> None:
    """Call before anything is written.

    Raises:
        InputError: one of the libraries that write ONNX and compare it is not installed.
    """
    for name in ("onnx", "onnxscript", "onnxruntime"):
        _library(name)


def export_onnx(module: Exported, path: str | Path, size: int) -> None:
    """Write a module as ONNX, with any number of samples, and check it with ONNX's own checker.

    Args:
        module: in evaluation mode, on the CPU. path: of the file. size: side of its images, px.

    Raises:
        InputError: the extra `export` is not installed.
    """
    onnx = _library("onnx")
    _library("onnxscript")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    count = torch.export.Dim("count", min=1)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*shares the same shape constraints")  # both inputs have one count
        program = torch.onnx.export(
            module,
            example_inputs(module, size),
            input_names=list(module.inputs),
            output_names=list(module.outputs),
            dynamic_shapes=({0: count}, {0: count}),
            custom_translation_table={torch.ops.prims.signbit.default: _signbit},
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    with atomic_path(path) as temporary:
        program.save(str(temporary), external_data=False)
        _describe(onnx, temporary, size)
        onnx.checker.check_model(str(temporary), full_check=True)


def _describe(onnx: ModuleType, path: Path, size: int) -> None:
    """Write meanings, joints' names, the side of images and the default pinhole into an ONNX file."""
    model = onnx.load(str(path))
    for value in (*model.graph.input, *model.graph.output):
        value.doc_string = MEANINGS[value.name]
    names = [value.name for value in (*model.graph.input, *model.graph.output)]
    facts = {
        "generator": f"selfsup3d {__version__}",
        "joint_names": ",".join(H36M_17.joint_names),
        "image_size": str(size),
        "default_K": json.dumps(default_intrinsics(size).tolist()),
        **{f"meaning.{name}": MEANINGS[name] for name in names},
    }
    onnx.helper.set_model_props(model, facts)
    onnx.save(model, str(path))


def export_program(module: Exported, path: str | Path, size: int) -> None:
    """Write a module by `torch.export`, with any number of samples.

    Args:
        module: in evaluation mode, on the CPU. path: of the file, usually .pt2. size: side of its images, px.

    Raises:
        InputError: this version of torch would fix the number of samples (2.12 does for encoders, 2.14 does not).
    """
    count = torch.export.Dim("count", min=1)
    with torch.no_grad():
        try:
            program = torch.export.export(
                module, example_inputs(module, size), dynamic_shapes=({0: count}, {0: count}), strict=False
            )
        except torch._dynamo.exc.UserError as error:
            raise InputError(
                f"torch {torch.__version__} cannot export a program that takes any number of images; install torch 2.14 or "
                "newer, or export ONNX"
            ) from error
    with atomic_path(path) as temporary:
        torch.export.save(program, str(temporary))


def onnx_difference(module: Exported, path: str | Path, size: int, count: int = 3) -> dict[str, float]:
    """Largest difference of each output between onnxruntime (CPU) and torch, on new inputs and another count.

    Outputs larger than 1 are compared in units of their largest value.

    Raises:
        InputError: the extra `export` is not installed.
    """
    runtime = _library("onnxruntime")
    given = example_inputs(module, size, count, seed=1)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(None, {name: value.numpy() for name, value in zip(module.inputs, given, strict=True)})
    with torch.inference_mode():
        expected = module(*given)
    return {
        name: _difference(a, b.numpy()) for name, a, b in zip(module.outputs, found, expected, strict=True)
    }  # fmt: skip


def _difference(found: Any, expected: np.ndarray) -> float:
    return float(np.abs(np.asarray(found) - expected).max() / max(1.0, float(np.abs(expected).max())))


def _signbit(x: Any) -> Any:
    """`torch.signbit`, which torch has no translation of: -0 counts as 0 here."""
    opset = importlib.import_module("onnxscript").opset18
    return opset.Less(x, opset.CastLike(opset.Constant(value_float=0.0), x))


def _library(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"{name} is not installed; it comes with the extra: pip install -e '.[export]'") from error
