"""One process and two: they see the same samples and add them up in another order, so that weights drift apart a little."""

import subprocess
import sys
from pathlib import Path

from selfsup3d.io import pretrained
from tests.reliability.faults import ROOT, Place, _environment

__all__ = ["STEPS", "weights_apart"]

STEPS = 9
CONFIG = """
system: {{kind: part_guided, preset: tiny}}
data: {{kind: synthetic, preset: tiny-test, size: 32, root: "{cache}"}}
trainer: {{steps: {steps}, workers: 0, images: 0, device: cpu, fit_batches: 1, threads: 1, ema: 0, checkpoint_every: {steps}}}
"""


def weights_apart(place: Place) -> dict[str, float]:
    """Train the tiny part-guided system for some steps of 4 samples, in one process and in two.

    Returns:
        Of the trained weights: the largest absolute difference, and the largest of a tensor's relative to its norm.
    """
    config = place.folder / "part guided.yaml"
    config.write_text(CONFIG.format(cache=place.folder / "cache", steps=STEPS))
    found = []
    for processes in (1, 2):
        output = place.new(f"{processes} processes")
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"] if processes == 2 else []
        words = [sys.executable, *launcher, str(ROOT / "launch" / "train.py"), "--config", str(config),
                 "--output-dir", str(output), "--trainer.batch-size", str(4 // processes)]  # fmt: skip
        environment = {**_environment({}), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=1800
        )
        assert done.returncode == 0, done.stderr[-3000:]
        (checkpoint,) = sorted(Path(output, "checkpoints").glob("step-*"))
        found.append(pretrained.read_tensors(checkpoint / pretrained.WEIGHTS))
    one, two = (
        {name: value.double() for name, value in tensors.items() if value.is_floating_point()} for tensors in found
    )
    apart = {name: one[name] - two[name] for name in one}
    return {
        "largest": max(float(d.abs().max()) for d in apart.values() if d.numel()),
        "relative": max(float(d.norm() / one[name].norm().clamp_min(1e-12)) for name, d in apart.items() if d.numel()),
    }
