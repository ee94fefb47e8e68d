"""The residual network of the supervised lifter (Martinez et al. 2017): FLOP/s at large batches over the measured GEMM
peak, and its published small batches beside a plain DataLoader loop of the same network.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from selfsup3d.benchmarks.harness import Benchmark, Result, Settings, check, measure
from selfsup3d.benchmarks.machine import gemm_peak
from selfsup3d.benchmarks.training_step import count_flops
from selfsup3d.config.lifters import MartinezConfig
from selfsup3d.data.sampling.projected_poses import ProjectedPoses
from selfsup3d.data.synthetic.capture import procedural_capture
from selfsup3d.models.lifters.martinez import Martinez
from selfsup3d.models.modules.mlp import MaxNormLinear
from selfsup3d.structures.random import RandomStreams
from selfsup3d.training.device import cpu_has_bf16

__all__ = ["INFERENCE", "SMALL_BATCH", "TRAINING"]

BATCH = 4096
SMALL = 64
TOLERANCE = 1e-3  # metres, of standardised outputs folded differently in float32


def _made(settings: Settings, count: int) -> tuple[Martinez, ProjectedPoses, int]:
    """A network with statistics, its data, and the batch size."""
    count = 32 if settings.quick else count
    torch.manual_seed(0)
    system = Martinez(MartinezConfig(width=64 if settings.quick else 1024))
    source = ProjectedPoses(procedural_capture(8 if settings.quick else 100), name="procedural")
    system.fit([source.batch(RandomStreams(0, 0, np.arange(max(count, 256))))])
    source.to(settings.device)
    return system.to(settings.device), source, count


def _kinds(settings: Settings) -> list[torch.dtype]:
    native = settings.device.type == "cuda" or cpu_has_bf16() or settings.quick
    return [torch.float32, *([torch.bfloat16] if native else [])]


def _shares(
    calls: dict[torch.dtype, Callable[[], object]], work: float, settings: Settings
) -> tuple[float, dict[str, float | str]]:
    """Milliseconds in float32, and the share of the peak by type."""
    notes: dict[str, float | str] = {}
    times = measure({str(kind): call for kind, call in calls.items()}, settings)
    for kind in calls:
        short, peak = "fp32" if kind is torch.float32 else "bf16", gemm_peak(kind, settings)
        notes[f"peak_{short}_gflops"] = peak / 1e9
        notes[f"share_{short}"] = work / (1e-3 * times[str(kind)].median_ms) / peak
    return times[str(torch.float32)].median_ms, notes


def inference(settings: Settings) -> Result:
    """Lifting a large batch; normalisation layers are folded into the linear ones first."""
    system, source, count = _made(settings, BATCH)
    system.eval()
    x = system.observe(source.batch(RandomStreams(0, 1, np.arange(count)))).values
    inputs = x[:, : system.network.enter[0].in_features // 2].flatten(1).contiguous()  # type: ignore[index, operator]
    fused = system.network.fused()
    with torch.inference_mode():
        error = check(fused(inputs), system.network(inputs), TOLERANCE)
        calls: dict[torch.dtype, Callable[[], object]] = {
            kind: partial(system.network.fused().to(kind), inputs.to(kind)) for kind in _kinds(settings)
        }
        work = count_flops(calls[torch.float32])
        taken, notes = _shares(calls, work, settings)
    notes["poses_per_second"] = count / (1e-3 * taken)
    return Result(
        ours_ms=taken, ratio=float(notes["share_fp32"]), bound=1.0, dtype="float32", max_error=error, notes=notes
    )


def training(settings: Settings) -> Result:
    """Forward, backward and optimizer at a large batch, on samples at hand."""
    system, source, count = _made(settings, BATCH // 2)
    batch = source.batch(RandomStreams(0, 1, np.arange(count)))
    optimizer = torch.optim.Adam(system.parameters(), lr=1e-3, fused=True)

    def step(kind: torch.dtype) -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(settings.device.type, dtype=torch.bfloat16, enabled=kind is torch.bfloat16):
            loss = system(batch, "lifter", 0.0)["mse"]
        loss.backward()
        optimizer.step()

    calls: dict[torch.dtype, Callable[[], object]] = {kind: partial(step, kind) for kind in _kinds(settings)}
    work = count_flops(calls[torch.float32])
    taken, notes = _shares(calls, work, settings)
    notes["poses_per_second"] = count / (1e-3 * taken)
    return Result(ours_ms=taken, ratio=float(notes["share_fp32"]), bound=1.0, dtype="float32", notes=notes)


class _Samples(Dataset):
    """What most lifter code trains on: one stored, normalised pair an item."""

    def __init__(self, inputs: Tensor, outputs: Tensor) -> None:
        self.inputs, self.outputs = inputs.cpu().numpy(), outputs.cpu().numpy()

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(self.inputs[index]).float(), torch.from_numpy(self.outputs[index]).float()


class _PlainMaxNorm(MaxNormLinear):
    """The constraint as its formula is written: the shrunk matrix is made, and autograd finds the gradient."""

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.linear(input, self.constrained_weight(), self.bias)


def _plainly_written(network: nn.Module) -> nn.Module:
    """The same network, its max-norm layers by the formula; in place."""
    for layer in network.modules():
        if isinstance(layer, MaxNormLinear):
            layer.__class__ = _PlainMaxNorm
    return network


def small_batch(settings: Settings) -> Result:
    """A step of the published batch of 64, samples included. Ours projects each anew; the plain loop reads stored pairs
    through a DataLoader, writes the max-norm as its formula and steps torch's default Adam. Note `peer_our_layers_ms`: that
    loop with our layers."""
    system, source, count = _made(settings, SMALL)
    stored = source.batch(RandomStreams(0, 1, np.arange(32 * count)))
    observed, target = system.observe(stored), system.scaler(stored.need("joints_3d", by="the benchmark"))
    seen = system.network.enter[0].in_features // 2  # type: ignore[index, operator]
    plain, mixed = _plainly_written(copy.deepcopy(system.network)), copy.deepcopy(system.network)
    samples = _Samples(observed.values[:, : int(seen)].flatten(1), target)
    ours = torch.optim.Adam(system.parameters(), lr=1e-3, fused=True)
    numbers = iter(range(10**9))

    def endless() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from DataLoader(samples, batch_size=count, shuffle=True, drop_last=True)

    batches = endless()

    def our_step() -> None:
        batch = source.batch(RandomStreams(0, next(numbers), np.arange(count)))
        ours.zero_grad(set_to_none=True)
        system(batch, "lifter", 0.0)["mse"].backward()
        ours.step()

    def plain_step(network: nn.Module, theirs: torch.optim.Optimizer) -> None:
        inputs, outputs = (value.to(settings.device) for value in next(batches))
        theirs.zero_grad()
        nn.functional.mse_loss(network(inputs), outputs).backward()
        theirs.step()

    system.eval()
    plain.eval()
    error = check(plain(_stored(samples, settings)), system.network(_stored(samples, settings)), 1e-5)
    system.train()
    plain.train()
    peers = {"plain": plain, "our layers": mixed.train()}
    least = _least_step(copy.deepcopy(system.network), count)
    steps = {n: partial(plain_step, net, torch.optim.Adam(net.parameters(), lr=1e-3)) for n, net in peers.items()}
    times = measure({"ours": our_step, "least": least, **steps}, settings)
    return Result(
        ours_ms=times["ours"].median_ms,
        peer_ms=times["plain"].median_ms,
        peer="a DataLoader loop",
        bound=times["plain"].median_ms / times["least"].median_ms,
        dtype="float32",
        max_error=error,
        notes={"peer_our_layers_ms": times["our layers"].median_ms},
    )


def _least_step(network: nn.Module, count: int) -> Callable[[], None]:
    """What no step of this network can do without: each layer's three matrix products, the draws of dropout, Adam."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    drops = sum(isinstance(layer, nn.Dropout) for layer in network.modules())
    hidden = torch.ones(count, max(layer.in_features for layer in layers), device=layers[0].weight.device)
    given = [
        (hidden.new_ones(count, layer.in_features), hidden.new_ones(count, layer.out_features)) for layer in layers
    ]
    adam = torch.optim.Adam(network.parameters(), lr=0.0, fused=True)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)

    @torch.no_grad()
    def step() -> None:
        for layer, (inputs, flow) in zip(layers, given, strict=True):
            nn.functional.linear(inputs, layer.weight)
            flow @ layer.weight
            flow.t() @ inputs
        for _ in range(drops):
            torch.empty_like(hidden).bernoulli_(0.5)
        adam.step()

    return step


def _stored(samples: _Samples, settings: Settings) -> Tensor:
    """The stored inputs as one batch."""
    return torch.from_numpy(samples.inputs).float().to(settings.device)


INFERENCE = Benchmark(
    inference,
    "lifting a large batch: FLOP/s over the measured GEMM peak",
    ">= 0.7",
    "the peak is that of larger matrices, and was found between 255 and 311 GFLOP/s on one machine",
)
TRAINING = Benchmark(
    training,
    "training a lifter at a large batch: FLOP/s over the measured GEMM peak",
    ">= 0.55",
    "products take a little over half of a step, the draws of dropout a fifth, the rest passes over memory",
)
SMALL_BATCH = Benchmark(
    small_batch,
    "training a lifter in batches of 64, beside a DataLoader loop",
    ">= 1.5",
    "matrix products, dropout and Adam of the same network, which both must do",
    beside_others=True,
)
