import re

import pytest

from selfsup3d.evaluation.baselines import Baselines, labelled_baselines, mean_canonical_pose
from selfsup3d.evaluation.evaluator import evaluate
from selfsup3d.evaluation.protocols import dataset_protocol
from selfsup3d.evaluation.report import comparison, markdown, text
from tests.evaluation.fakes import KnownErrors, Painter, Source


@pytest.fixture
def result(source, noise):
    pose, neighbour = labelled_baselines(Source(seed=5))
    baselines = Baselines(pose, mean_canonical_pose(Source(seed=5).joints), None, neighbour)
    return evaluate(Painter(source, noise), source, split="val", baselines=baselines, progress=False)


@pytest.mark.parametrize("render", [text, markdown])
def test_flags_baselines_and_reasons_are_always_there(render, result):
    shown = render(result)
    assert "synthetic val: 20 frames" in shown
    assert "protocol=strict reflection=no flip_best=no gt_scale=no count_root=no joints=h36m_17" in shown
    for words in ("this system", "mean training pose", "mean canonical pose of the prior", "nearest training frame"):
        assert words in shown
    for words in (
        "copy the source",
        "mean colour",
        "transfer",
        "novel view",
        "mIoU foreground",
        "frames with both (facing the other way)",
        "walk",
    ):
        assert words in shown
    assert "n/a (weights absent)" in shown
    assert ("By joint" in shown) == (render is markdown)
    assert "bone_floor" in shown.split("n/a (not given): ")[1]


def test_plain_tables_are_aligned_and_numbers_are_those_of_the_result(result):
    lines = text(result).splitlines()
    start = lines.index("Pose")
    rows = lines[start + 1 : start + 5]
    assert len({len(row) for row in rows}) == 1
    numbers = re.findall(r"[\d.]+", rows[1])
    assert float(numbers[0]) == pytest.approx(result["metrics"]["mpjpe"], abs=0.05)
    assert float(numbers[-1]) == pytest.approx(result["metrics"]["auc"], abs=0.0005)


def test_markdown_tables_are_rectangular(result):
    for block in re.findall(r"(?:^\|.*\n)+", markdown(result), re.MULTILINE):
        assert len({row.count("|") for row in block.splitlines()}) == 1


def test_a_comparison_prints_the_rules_of_every_row(source, noise):
    strict = evaluate(KnownErrors(source, noise), source, progress=False)
    loose = evaluate(KnownErrors(source, noise), source, protocol=dataset_protocol("h36m", "elepose"), progress=False)
    rows = comparison({"ours": strict, "by ElePose's rule": loose}).splitlines()
    assert len(rows) == 4
    assert "gt_scale=no" in rows[2]
    assert "protocol=elepose reflection=yes flip_best=no gt_scale=yes" in rows[3]


def test_results_without_poses_or_images_print_too():
    videos = Source(without=("joints_3d", "part_labels", "target_saliency", "second_view", "transfer"))
    shown = text(evaluate(KnownErrors(videos), videos, progress=False))
    assert "Pose" not in shown.splitlines()
    assert "n/a (the data has no true poses): mpjpe" in shown


def test_3dpw_prints_the_other_joints_beside(noise):
    source = Source(name="3dpw")
    shown = text(evaluate(KnownErrors(source, noise), source, protocol=dataset_protocol("3dpw"), progress=False))
    assert "root=mid_hips joints=limbs_12" in shown
    assert "lsp_14 joints" in shown
