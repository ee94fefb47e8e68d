"""`Synthesizer.pose`: images to poses and cameras, at two sizes and two batches; of one image also with its parts and
reconstruction ("decoded"), and by ONNX Runtime, from an exported model."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from selfsup3d.benchmarks.harness import Benchmark, Result, Settings, check, measure, optional
from selfsup3d.benchmarks.machine import peak_memory_mb
from selfsup3d.benchmarks.training_step import made_up_batch, make_system, profile
from selfsup3d.export.onnx import PredictionModule, export_onnx
from selfsup3d.inference.synthesizer import Synthesizer
from selfsup3d.models.part_guided.presets import PRESETS
from selfsup3d.models.part_guided.system import PartGuided

__all__ = ["BENCHMARK", "run"]

NAMES = ("tiny", "small")
BATCHES = (1, 32)
TOLERANCE = 1e-3  # metres, between an image alone and among others


def run(settings: Settings) -> Result:
    """See the module. The row is of `tiny` and one image."""
    notes: dict[str, float | str] = {}
    calls = {}
    systems = {}
    error = 0.0
    batches = (1, 3) if settings.quick else BATCHES
    for name in NAMES[:1] if settings.quick else NAMES:
        size = PRESETS[name].image_size
        batch = made_up_batch(size, batches[-1])
        assert batch.target is not None
        system = make_system(name).to(settings.device).eval()
        system.fit([batch])
        torch.nn.init.normal_(system.decoder.to_image.weight, std=0.02)  # a trained one's are not 0 either
        synthesizer, images = Synthesizer(system, size), batch.target.to(settings.device)
        systems[name] = system, images[:1], synthesizer.intrinsics(1)
        alone, among = (synthesizer.pose(images[:count]).pose[:1] for count in batches)
        error = max(error, check(alone, among, TOLERANCE, f"poses of {name}"))
        for count in batches:
            calls[name, count] = partial(synthesizer.pose, images[:count])
    times = {}
    for (name, count), call in calls.items():  # each on its own: a cache that others have emptied is no answer's time
        timing = times[name, count] = measure({"pose": call}, settings)["pose"]
        notes[f"{name}_{count}_images_per_s"] = 1e3 * count / timing.median_ms
        if count == 1:
            notes[f"{name}_1_p95_ms"] = timing.p95_ms
            timing = measure({"decode": partial(call, decode=True)}, settings)["decode"]
            notes |= {f"{name}_1_decoded_ms": timing.median_ms, f"{name}_1_decoded_p95_ms": timing.p95_ms}
    notes["profile of tiny, one image"] = profile(calls["tiny", 1], settings.device)
    peak = peak_memory_mb(calls["tiny", batches[-1]], settings)
    if optional("onnxruntime") is not None and optional("onnxscript") is not None:  # last: its threads are its own
        timing = measure({"exported": _exported(*systems["tiny"], settings)}, settings)["exported"]
        notes |= {"tiny_1_exported_ms": timing.median_ms, "tiny_1_exported_p95_ms": timing.p95_ms}
    return Result(
        ours_ms=times["tiny", 1].median_ms,
        dtype=str(torch.get_default_dtype()).removeprefix("torch."),
        max_error=error,
        peak_mb=peak,
        notes=notes,
    )


def _exported(system: PartGuided, image: Tensor, K: Tensor, settings: Settings) -> Callable[[], list[np.ndarray]]:
    """ONNX Runtime's prediction of an image, first compared with torch's."""
    import onnxruntime

    module = PredictionModule(system).cpu().eval()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.threads
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "prediction.onnx"
        export_onnx(module, path, image.shape[-1])
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    given = {"images": image.cpu().numpy(), "K": K.cpu().numpy()}
    with torch.inference_mode():
        expected = module(image.cpu(), K.cpu())
    for name, found, value in zip(module.outputs, session.run(None, given), expected, strict=True):
        check(torch.from_numpy(found), value, TOLERANCE * max(1.0, float(value.abs().max())), f"exported {name}")
    return partial(session.run, None, given)


BENCHMARK = Benchmark(
    run,
    "Synthesizer.pose, tiny and small, 1 and 32 images",
    "tiny p95 < 15 ms",
    "thousands of small calls of torch, microseconds each (the profile); exported, they are compiled",
)
