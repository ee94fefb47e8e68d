"""A fused training step beside the literal Algorithm 1 of Kundu et al. 2020: same networks, same batch.

Fused: one forward shared by all losses, one backward, one AdamW. Literal: every loss its own forward, backward, and
AdaGrad step, each computing no more than its loss needs. Both of the joint stage, the mean of an odd and an even step.
The bound is the ratio of their FLOPs. Both give the same loss terms at equal weights, which is checked first.
"""

from __future__ import annotations

import torch

from selfsup3d.benchmarks.harness import Benchmark, Result, Settings, check, measure
from selfsup3d.benchmarks.machine import peak_memory_mb
from selfsup3d.benchmarks.training_step import TrainingStep, count_flops, made_up_batch, make_system, profile

__all__ = ["BENCHMARK", "compare_terms", "run"]

BATCH, SIZE = 16, 64
TOLERANCE = 1e-3  # relative to a term's size: summation order differs
WEIGHTS = {
    "L_I_u": "image",
    "L_I_c": "consistency",
    "L_seg": "segmentation",
    "L_p": "pose",
    "L_a": "appearance",
    "known_pose": "known_pose",
}


def compare_terms(fused: TrainingStep, literal: TrainingStep) -> float:
    """Largest difference of the two steps' loss terms without their weights, relative to the term where that is > 1."""
    error = 0.0
    for step in (1, 2):
        (whole,) = fused.system.updates(step, fused.progress)
        together = fused.terms(whole.name)
        for update in literal.system.updates(step, literal.progress):
            for name, value in literal.terms(update.name).items():
                weight = getattr(fused.system.settings.weights, WEIGHTS[name.partition("/")[0]])
                size = max(1.0, float(value.detach().abs()))
                error = max(error, check(together[name] / weight / size, value / size, TOLERANCE, name))
    return error


def run(settings: Settings) -> Result:
    """See the module."""
    count, size = (2, 32) if settings.quick else (BATCH, SIZE)
    batch = made_up_batch(size, count)

    def step(optimizers: str, dtype: torch.dtype) -> TrainingStep:
        system = make_system("tiny", "fused" if optimizers == "fused" else "per_loss")
        return TrainingStep(system, batch, "joint", dtype, settings.device)

    fused, literal = step("fused", torch.float32), step("per_loss", torch.float32)
    error = compare_terms(fused, literal)
    work = count_flops(fused.pair), count_flops(literal.pair)
    contestants = {
        "fused": fused.pair,
        "literal": literal.pair,
        "fused_bf16": step("fused", torch.bfloat16).pair,
        "literal_bf16": step("per_loss", torch.bfloat16).pair,
    }
    times = {name: t.median_ms / 2 for name, t in measure(contestants, settings, warmup=2).items()}
    return Result(
        ours_ms=times["fused"],
        peer_ms=times["literal"],
        peer="literal Algorithm 1",
        bound=work[1] / work[0],
        dtype="float32",
        max_error=error,
        peak_mb=peak_memory_mb(fused.pair, settings),
        notes={
            "fused_bf16_ms": times["fused_bf16"],
            "literal_bf16_ms": times["literal_bf16"],
            "ratio_bf16_to_literal_fp32": times["literal"] / times["fused_bf16"],
            "ratio_bf16_to_literal_bf16": times["literal_bf16"] / times["fused_bf16"],
            "gflop_fused": work[0] / 2e9,
            "gflop_literal": work[1] / 2e9,
            "profile of fused": profile(fused.pair, settings.device),
            "profile of literal": profile(literal.pair, settings.device),
            "profile of fused in bf16": profile(contestants["fused_bf16"], settings.device),
        },
    )


BENCHMARK = Benchmark(
    run,
    f"fused step of {BATCH} samples at {SIZE} px, beside literal Algorithm 1",
    ">= 1.8, bf16 >= 2.5",
    "the FLOPs of the two algorithms; in bf16 copies, sums and joins take a fifth (the profiles)",
)
