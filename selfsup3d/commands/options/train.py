"""Train any system from a config.

    selfsup3d train --config quickstart
    accelerate launch launch/train.py --config quickstart --trainer.steps 2000 --seed 1
    torchrun --nproc_per_node 2 launch/train.py --config quickstart

Everything goes to one folder (--output-dir, default runs/<name of the config>): config.yaml, checkpoints/,
scalars.jsonl, tensorboard/ and, at the end, model/, metrics.json and grid.png. A run that was cut off goes on with
--resume auto. SIGTERM or Ctrl-C finish the step, save and exit 0 (accelerate and torchrun say the signal in their own
exit code). A process that dies ends the others at once; one that hangs, after 30 minutes.
"""

from __future__ import annotations

from collections.abc import Sequence

from selfsup3d.config.flags import parse_config
from selfsup3d.config.run import Config

__all__ = ["parse"]


def parse(argv: Sequence[str]) -> Config:
    return parse_config(argv, __doc__ or "")
