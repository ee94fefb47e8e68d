"""Speed of the kernels, the training step and the loader, beside their peers."""

from __future__ import annotations

import sys
from typing import Any

import torch

from selfsup3d.benchmarks.growth import grow
from selfsup3d.benchmarks.harness import Disagreement, Result, Settings
from selfsup3d.benchmarks.long_run import run_long
from selfsup3d.benchmarks.machine import busy_shares, describe, pin, versions
from selfsup3d.benchmarks.registry import BENCHMARKS
from selfsup3d.benchmarks.report import table
from selfsup3d.cli import keep_freed_memory
from selfsup3d.commands.options.benchmark import parse
from selfsup3d.config.load import nearest
from selfsup3d.errors import InputError
from selfsup3d.io.files import write_json, write_text

__all__ = ["main"]

BUSY = 0.15
"""Share of a CPU that others may use before the machine counts as busy."""


def main(argv: list[str]) -> int:
    args = parse(argv)
    for name in args.only or ():
        if name not in BENCHMARKS:
            raise InputError(
                f"--only {name}: there is no such benchmark{nearest(name, list(BENCHMARKS))}; --list names all"
            )
    if args.device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch finds no CUDA device here")
    if args.list:
        width = max(map(len, BENCHMARKS))
        for name, benchmark in BENCHMARKS.items():
            print(f"{name:{width}}  {benchmark.summary}{f'  ({benchmark.reach})' if benchmark.reach else ''}")
        return 0
    before, chosen = _idle_cpus(args.threads, force=args.force or args.long_run is not None)
    pin(chosen)
    settings = Settings(args.threads, torch.device(args.device), args.seconds, args.quick)
    results: dict[str, Result] = {}
    wrong = False
    page = args.growth or args.long_run
    if page is not None:
        keep_freed_memory()
        text = grow(settings) if args.growth else run_long(settings)
    else:
        results, wrong = _run_all(args.only or list(BENCHMARKS), settings)
        text = table(results)
    after = max((share for cpu, share in busy_shares().items() if cpu in chosen), default=0.0)
    warnings = []
    if max(before, after) > BUSY and args.long_run is None:  # which times nothing
        warnings.append(f"others used up to {max(before, after):.0%} of these CPUs: the figures above are unreliable")
    if args.quick:
        warnings.append("--quick: the sizes are tiny, these figures mean nothing")
    text = "\n".join([text.rstrip(), *([""] if page is not None and warnings else []), *warnings])
    print(text)
    if page is not None:
        write_text(page, text + "\n")
    if args.json is not None:
        write_json(args.json, _document(results, settings, args.force, before, after, chosen))
    return int(wrong)


def _idle_cpus(threads: int, force: bool) -> tuple[float, list[int]]:
    """The idlest CPUs, and the largest share of one of them that others use; InputError if that is too much."""
    shares = busy_shares()
    if len(shares) < threads:
        raise InputError(f"--threads {threads}: only {len(shares)} CPUs are available to this process")
    chosen = sorted(shares, key=lambda cpu: shares[cpu])[:threads]
    busiest = shares[chosen[-1]]
    if busiest > BUSY and not force:
        used = ", ".join(f"cpu {cpu} {share:.0%}" for cpu, share in sorted(shares.items()))
        raise InputError(
            f"the machine is busy: fewer than {threads} CPUs are idle ({used} used by others); "
            "wait until it is idle, use fewer --threads, or measure all the same with --force"
        )
    return busiest, sorted(chosen)


def _run_all(names: list[str], settings: Settings) -> tuple[dict[str, Result], bool]:
    """Results by name, and whether any benchmark found its results wrong."""
    results: dict[str, Result] = {}
    wrong = False
    for name in sorted(dict.fromkeys(names), key=lambda name: not BENCHMARKS[name].beside_others):
        if not BENCHMARKS[name].beside_others:
            keep_freed_memory()
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            results[name] = BENCHMARKS[name].run(settings)
        except Disagreement as error:
            wrong = True
            results[name] = Result(reason=f"not timed: {error}")
            print(f"{name}: {error}", file=sys.stderr)
    return {name: results[name] for name in names}, wrong


def _document(
    results: dict[str, Result], settings: Settings, force: bool, before: float, after: float, cpus: list[int]
) -> dict[str, Any]:
    return {
        "threads": settings.threads,
        "machine": {
            **describe(settings.device),
            "cpus": cpus,
            "busy_before": round(before, 3),
            "busy_after": round(after, 3),
            "forced": force,
            "quick": settings.quick,
        },
        "versions": versions(),
        "results": {
            name: {"reach": BENCHMARKS[name].reach, "limit": BENCHMARKS[name].limit, **result.to_json()}
            for name, result in results.items()
        },
    }
