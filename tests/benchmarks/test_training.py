"""Benchmarks of training and of use, at their smallest sizes; the figures mean nothing there."""

import json

import pytest
import torch

from selfsup3d.benchmarks import (
    backbones,
    gemm_share,
    inference,
    loader_share,
    memory,
    n_views,
    people,
    start,
    train_step,
    training_images,
)
from selfsup3d.benchmarks.apart import Cell, Figures, measure_apart
from selfsup3d.benchmarks.growth import axes, page
from selfsup3d.benchmarks.harness import Disagreement, Settings
from selfsup3d.benchmarks.training_step import (
    PARTS,
    TrainingStep,
    count_flops,
    made_up_batch,
    make_system,
    profile,
    puppet_of,
)

QUICK = Settings(threads=1, quick=True)


@pytest.fixture(scope="module")
def batch():
    return made_up_batch(32, 2)


def row_of(result):
    row = result.to_json()
    json.dumps(row, allow_nan=False)
    return row


def test_the_made_up_batch_is_what_training_asks_for(batch):
    batch.require(make_system().requires, by="the test")
    assert (batch.source != batch.target).any()
    assert 0.01 < batch.target_saliency.mean() < 0.6
    again = made_up_batch(32, 2)
    assert torch.equal(batch.source, again.source)
    assert not torch.equal(batch.source, made_up_batch(32, 2, seed=1).source)


@pytest.mark.parametrize("parts", PARTS)
def test_puppets_of_every_size_train(parts):
    assert len(puppet_of(parts)) == parts
    step = TrainingStep(make_system(parts=parts), made_up_batch(32, 1))
    assert all(torch.isfinite(value) for value in step.terms("joint/encoder").values())


def test_the_same_seed_gives_both_modes_the_same_weights():
    fused, literal = (make_system("tiny", mode) for mode in ("fused", "per_loss"))
    assert all(torch.equal(a, b) for a, b in zip(fused.parameters(), literal.parameters(), strict=True))


def test_a_pair_of_steps_moves_every_group(batch):
    step = TrainingStep(make_system(), batch)
    before = {name: [p.detach().clone() for p in group] for name, group in step.system.parameter_groups().items()}
    step.pair()
    for name, group in step.system.parameter_groups().items():
        assert any(not torch.equal(p, old) for p, old in zip(group, before[name], strict=True)), name


def test_fused_and_literal_terms_agree_and_a_wrong_weight_is_found(batch, monkeypatch):
    fused, literal = (TrainingStep(make_system("tiny", mode), batch) for mode in ("fused", "per_loss"))
    assert train_step.compare_terms(fused, literal) < 1e-4
    monkeypatch.setitem(train_step.WEIGHTS, "L_I_u", "segmentation")
    with pytest.raises(Disagreement, match="L_I_u"):
        train_step.compare_terms(fused, literal)


def test_flops_of_a_matrix_product():
    assert count_flops(lambda: torch.randn(3, 4) @ torch.randn(4, 5)) == 2 * 3 * 4 * 5


def test_a_profile_names_what_takes_the_time():
    a = torch.randn(256, 256)
    assert "mm " in profile(lambda: a @ a, torch.device("cpu"))


def test_n_views():
    row = row_of(n_views.run(QUICK))
    assert row["ratio"] > 0
    assert row["bound"] > 0
    assert row["max_error"] < 1e-3


def test_inference():
    row = row_of(inference.run(QUICK))
    assert row["notes"]["tiny_1_p95_ms"] >= row["ours_ms"] * 0.5
    assert row["max_error"] < 1e-3


def test_a_line_through_peaks():
    start, slope, away = memory.line((8, 16, 32), [500.0, 600.0, 800.0])
    assert (start, slope) == pytest.approx((400.0, 12.5))
    assert away < 1e-9
    assert memory.line((8, 16, 32), [500.0, 700.0, 800.0])[2] > 0.05


def test_growth_changes_one_thing_at_a_time():
    for cells in axes(Settings()).values():
        changed = {k for cell in cells for k, v in vars(cell).items() if v != vars(cells[0])[k]}
        assert len(changed) == 1 or changed == {"processes", "threads"}
    assert {cell.size for cell in axes(Settings())["resolution"]} >= {64, 128, 256}


def test_the_page_has_a_row_for_each_cell():
    table = {axis: [(cell, Figures(100.0, 900.0, 500.0, 8.0, 10**6)) for cell in cells] for axis, cells in
             axes(Settings()).items()}  # fmt: skip
    text = page(table, Settings())
    assert text.count("| fp32 |") + text.count("| bf16 |") == sum(map(len, table.values()))


@pytest.mark.slow
def test_train_step():
    row = row_of(train_step.run(QUICK))
    assert row["bound"] > 1
    assert "convolution" in row["notes"]["profile of fused"]


@pytest.mark.slow
def test_gemm_share():
    row = row_of(gemm_share.run(QUICK))
    assert row["ratio"] > 0
    assert {f"share_{stage}_fp32" for stage in gemm_share.STAGES} <= set(row["notes"])


@pytest.mark.slow
def test_loader_share(tmp_path):
    row = row_of(loader_share.run(QUICK, root=tmp_path))
    assert 0 <= row["ratio"] <= 1


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_step_in_processes_of_its_own(processes):
    found = measure_apart(Cell(size=32, batch=2, threads=1, processes=processes, seconds=0.0))
    assert found.peak_mb >= found.before_mb > 50
    assert found.step_ms > 0
    assert found.gflop > 0


@pytest.mark.slow
def test_a_process_that_fails_says_why():
    with pytest.raises(RuntimeError, match="parts 3"):
        measure_apart(Cell(size=32, batch=1, parts=3))


def test_backbones():
    row = row_of(backbones.run(QUICK))
    assert {f"{name}_{kind}_images_per_s" for name in backbones.NAMES for kind in ("fp32", "bf16")} <= set(row["notes"])


def test_training_images():
    row = row_of(training_images.run(QUICK))
    assert {f"{stage}_32_images_per_s" for stage in training_images.STAGES} <= set(row["notes"])
    assert 0 < row["ratio"] < 1.5


@pytest.mark.slow
def test_people():
    notes = row_of(people.run(QUICK))["notes"]
    assert min(notes["images_per_s_32_1_processes"], notes["images_per_s_32_2_processes"]) > 0
    assert notes["images_per_s_32_from_a_filled_pool"] > 0


@pytest.mark.slow
def test_start():
    row = row_of(start.run(QUICK))
    assert row["ours_ms"] > 0
    assert row["notes"]["first_prediction_s"] > 0
