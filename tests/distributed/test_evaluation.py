"""Two processes give one's result: every frame once, though their number divides by neither processes nor batches."""

import json

import numpy as np
import pytest
import torch
from accelerate import Accelerator, debug_launcher
from accelerate.state import AcceleratorState, PartialState

from selfsup3d.evaluation.evaluator import evaluate
from tests.evaluation.fakes import Painter, Source


def work(folder, count, accelerator=None):
    torch.set_num_threads(1)
    source = Source(count=count)
    noise = torch.from_numpy(np.random.default_rng(2).normal(size=(count, 1, 17, 3)) * 0.05).float()
    system = Painter(source, noise)
    result = evaluate(system, source, batch_size=4, accelerator=accelerator, progress=False)
    asked = [i for chunk in source.asked for i in chunk]
    name = f"2-{accelerator.process_index}" if accelerator else "1-0"
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"result": result, "asked": asked}))


def work_as_one_of_two(folder, count):
    PartialState._reset_state()  # a forked process inherits the single-process state of tests that ran before
    AcceleratorState._reset_state()
    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == 2
    work(folder, count, accelerator)


@pytest.mark.slow
@pytest.mark.parametrize("count", [13, 3])
def test_two_processes_equal_one(tmp_path, count):
    work(tmp_path, count)
    debug_launcher(work_as_one_of_two, args=(tmp_path, count), num_processes=2)
    one, first, second = (json.loads((tmp_path / f"{n}.json").read_text()) for n in ("1-0", "2-0", "2-1"))
    assert sorted(first["asked"] + second["asked"]) == list(range(count)) == sorted(one["asked"])
    assert first["result"] == second["result"]
    assert first["result"]["frames"] == count
    for name, value in one["result"]["metrics"].items():
        other = first["result"]["metrics"][name]
        assert other == value if value is None else other == pytest.approx(value, rel=1e-6), name
