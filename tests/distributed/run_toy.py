"""Trains the toy system in as many processes as torchrun starts: `run_toy.py FOLDER SETTINGS`.

SETTINGS is JSON: of one run in FOLDER, or {name: settings} of several, one after another, in FOLDER/name.
"""

import json
import os
import signal
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from accelerate import PartialState
from safetensors.torch import save

from selfsup3d.cli import run
from selfsup3d.models.modules.critic import across_processes
from selfsup3d.training import device, run_folder
from selfsup3d.training.device import make_accelerator
from selfsup3d.training.loop import train
from tests.training.toy import Autoencoder, Noise, config


class Agreeing(Autoencoder):
    """Has statistics that all processes share, so that each waits for the others in every loss."""

    def losses(self, batch, update, progress):
        terms = super().losses(batch, update, progress)
        return terms | {"_agreed": across_processes(terms["image"])}


class Slow(Noise):
    """Takes its time, and can be told to fail, to die or to hang in one process, or to be far too bright, at a step."""

    def __init__(
        self,
        pause: float,
        fail: int | None,
        die: int | None,
        hang: int | None,
        broken: list[list[int]],
        bright: int | None,
    ) -> None:
        super().__init__({(step, sample) for step, sample in broken})
        self.pause, self.fail, self.die, self.hang, self.bright = pause, fail, die, hang, bright

    def batch(self, streams):
        time.sleep(self.pause)
        if os.environ.get("RANK") == "1":
            if streams.step == self.die:
                os._exit(7)
            if streams.step == self.hang:
                os.kill(os.getpid(), signal.SIGSTOP)
            if streams.step == self.fail:
                raise ZeroDivisionError("rank 1 broke")
            if streams.step == self.bright:
                batch = super().batch(streams)
                return replace(batch, target=batch.target * 1e30)  # finite, but its square is not
        return super().batch(streams)


def main(argv: list[str]) -> int:
    folder, told = Path(argv[0]), json.loads(argv[1])
    several = all(isinstance(settings, dict) for settings in told.values()) and told
    for name, settings in told.items() if several else [("", told)]:
        one(folder / name, settings)
    PartialState().destroy_process_group()
    return 0


def one(folder: Path, told: dict) -> None:
    system = Agreeing(told.pop("mode", "two"), dropout=told.pop("dropout", 0.0), norm=told.pop("norm", False))
    wrong = [told.pop(name, None) for name in ("fail", "die", "hang")]
    wrong += [told.pop("broken", []), told.pop("bright", None)]
    device._TIMEOUT = timedelta(seconds=told.pop("patience", device._TIMEOUT.total_seconds()))
    source = Slow(told.pop("pause", 0.0), *wrong)
    settings = config(folder, **told)
    accelerator = make_accelerator(settings.trainer)
    with run_folder.claimed(settings, accelerator):
        result = train(settings, system, source, accelerator=accelerator)
    (folder / f"held-{accelerator.process_index}").write_bytes(save(result.system.state_dict()))
    if accelerator.is_main_process:
        print(f"{accelerator.num_processes} processes, step {result.step}, stopped {result.stopped}", flush=True)


if __name__ == "__main__":
    sys.exit(run(main))
