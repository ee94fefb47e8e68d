import json
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_jaccard_index

from selfsup3d.errors import InputError
from selfsup3d.evaluation.baselines import Baselines, labelled_baselines, mean_canonical_pose, mean_pose
from selfsup3d.evaluation.bootstrap import compare_frames, paired_bootstrap
from selfsup3d.evaluation.evaluator import evaluate, evaluate_frames
from selfsup3d.evaluation.images import masked_psnr
from selfsup3d.evaluation.metrics import mpjpe, mrpe, n_mpjpe, pa_mpjpe
from selfsup3d.evaluation.protocols import Flags, Protocol, dataset_protocol
from selfsup3d.evaluation.records import load_frames, save_frames
from selfsup3d.geometry.rotation import minimal_rotation
from selfsup3d.structures.batch import MissingFieldError
from selfsup3d.structures.skeleton import H36M_17
from tests.evaluation.fakes import KnownErrors, Painter, Source

LITERAL = {
    "dataset", "split", "protocol", "flags", "frames", "skipped", "metrics", "reasons", "per_joint", "per_action",
    "baselines", "checkpoint", "config_hash", "versions",
}  # fmt: skip


def run(system, source, **options):
    return evaluate(system, source, progress=False, **options)


def close(value, expected, rel=1e-5):
    assert value == pytest.approx(float(expected), rel=rel, abs=1e-4)


def test_numbers_are_the_metrics_over_all_frames(source, noise):
    result = run(KnownErrors(source, noise), source)
    pred, target = (source.joints + noise[:, 0]).double(), source.joints.double()
    metrics = result["metrics"]
    close(metrics["mpjpe"], mpjpe(pred, target).mean())
    close(metrics["pa_mpjpe"], pa_mpjpe(pred, target).mean())
    close(metrics["n_mpjpe"], n_mpjpe(pred, target).mean())
    close(metrics["mrpe"], mrpe(pred[:, 0], target[:, 0]).mean())
    close(metrics["joints_2d_px"], 3 * 2**0.5)
    assert (result["frames"], result["skipped"]) == (20, 0)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_batches_do_not_matter_and_each_frame_is_asked_once(source, noise, batch_size):
    result = run(KnownErrors(source, noise), source, batch_size=batch_size)
    assert sorted([i for chunk in source.asked for i in chunk]) == list(range(20))
    reference = run(KnownErrors(source, noise), Source())
    assert json.dumps(result["metrics"]) == json.dumps(reference["metrics"])


def test_the_result_has_the_literal_shape_and_is_strict_json(source, noise):
    result = run(Painter(source, noise), source, split="val", checkpoint="runs/x", config_hash="abc")
    assert set(result) == LITERAL | {"per_occlusion", "notes"}
    assert result["flags"] == {"reflection": False, "flip_best": False, "gt_scale": False, "count_root": False}
    assert (result["dataset"], result["split"], result["protocol"]) == ("synthetic", "val", "strict")
    assert (result["checkpoint"], result["config_hash"]) == ("runs/x", "abc")
    assert set(result["versions"]) == {"selfsup3d", "torch"}
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    for name, value in result["metrics"].items():
        assert (value is None) == (name in result["reasons"]), name


def test_means_over_joints_and_actions(source, noise):
    result = run(KnownErrors(source, noise), source)
    pred, target = (source.joints + noise[:, 0]).double(), source.joints.double()
    frames = mpjpe(pred, target)
    by_action = [frames[torch.arange(20) % 3 == k].mean() for k in range(3)]
    close(result["per_action"]["walk"]["mpjpe"], by_action[0])
    assert {name: row["frames"] for name, row in result["per_action"].items()} == {"walk": 7, "sit": 7, "wave": 6}
    close(result["metrics"]["mpjpe_actions"], np.mean(by_action))
    joints = result["per_joint"]
    assert list(joints) == list(H36M_17.joint_names)
    assert joints["pelvis"]["mpjpe"] is None  # 0 by construction, so not a number worth printing
    close(np.mean([row["mpjpe"] for row in joints.values() if row["mpjpe"] is not None]), frames.mean())
    close(np.mean([row["pa_mpjpe"] for row in joints.values()]), pa_mpjpe(pred, target).mean())


def test_frames_without_usable_truth_are_skipped_and_counted(source, noise):
    source.confidence[3, 0] = 0.0  # no root
    source.joints[5] = float("nan")  # nothing
    source.joints[6, 12] = float("nan")  # one joint: the frame stays
    predicted = KnownErrors(Source(), noise)
    result = run(predicted, source)
    assert (result["frames"], result["skipped"]) == (18, 2)
    kept = torch.tensor([i for i in range(20) if i not in (3, 5)])
    valid = torch.isfinite(source.joints[kept]).all(-1)
    expected = mpjpe((Source().joints + noise[:, 0])[kept].double(), source.joints[kept].double(), valid)
    close(result["metrics"]["mpjpe"], expected.mean())


def test_a_joint_that_a_detector_missed_still_has_to_be_predicted(source, noise):
    source.confidence[:, 7:12] = 0.0
    images, lifter = KnownErrors(source, noise), KnownErrors(source, noise)
    lifter.predict_requires = ("joints_2d",)
    assert "head" not in run(images, source)["per_joint"]  # labels without these joints
    pred, target = (source.joints + noise[:, 0]).double(), source.joints.double()
    result = run(lifter, source)
    assert "head" in result["per_joint"]
    close(result["metrics"]["mpjpe"], mpjpe(pred, target).mean())


def test_failing_is_not_rewarded(source, noise):
    noise[4, 0, 9] = float("nan")
    result = run(KnownErrors(source, noise), source)
    assert result["metrics"]["mpjpe"] is None
    assert result["metrics"]["pa_mpjpe"] is None
    assert "1 frames have predictions that are not finite" in result["reasons"]["mpjpe"]
    assert 0.0 < result["metrics"]["pck_150"] < 1.0
    assert result["frames"] == 20


def test_poses_of_unknown_scale_have_only_scale_free_metrics(source, noise):
    system = KnownErrors(source, noise, unit="relative", scale=3.0)
    in_metres = run(KnownErrors(source, noise), source)["metrics"]
    result = run(system, source)
    for name in ("mpjpe", "pck_150", "auc", "mpjpe_actions", "frechet"):
        assert result["metrics"][name] is None
        assert "relative" in result["reasons"][name]
    assert result["per_joint"]["head"]["mpjpe"] is None
    close(result["metrics"]["pa_mpjpe"], in_metres["pa_mpjpe"])
    close(result["metrics"]["n_mpjpe"], in_metres["n_mpjpe"])
    scaled = run(system, source, protocol=dataset_protocol("synthetic", "kudo"))
    close(scaled["metrics"]["mpjpe"], in_metres["n_mpjpe"])
    assert scaled["flags"]["gt_scale"] is True


def test_best_of_several_hypotheses_stands_beside_the_first(source, noise):
    result = run(KnownErrors(source, noise), source, samples=5)
    pred, target = (source.joints[:, None] + noise).double(), source.joints[:, None].double()
    close(result["metrics"]["mpjpe"], mpjpe(pred[:, 0], target[:, 0]).mean())
    close(result["metrics"]["mpjpe_best_of_5"], mpjpe(pred, target).amin(1).mean())
    close(result["metrics"]["pa_mpjpe_best_of_5"], pa_mpjpe(pred, target).amin(1).mean())


def test_baselines_stand_on_the_same_frames(source, noise):
    train = Source(seed=7)
    pose, neighbour = labelled_baselines(train)
    canonical = mean_canonical_pose(train.joints)
    lengths = torch.full((17,), 0.3)
    result = run(
        KnownErrors(source, noise), source, baselines=Baselines(pose, canonical, lengths, neighbour), images=False
    )["baselines"]
    target = source.joints.double()
    expected = mean_pose(train.joints).double().expand_as(target)
    close(result["mean_pose"]["mpjpe"], mpjpe(expected, target).mean())
    close(result["mean_pose"]["pa_mpjpe"], pa_mpjpe(expected, target).mean())
    assert set(result["mean_canonical_pose"]) == {"pa_mpjpe"}
    assert result["bone_floor"]["mpjpe"] > 0
    assert result["nearest_neighbour"]["mpjpe"] > 0


def test_the_nearest_neighbour_of_a_training_image_is_itself(source):
    _, neighbour = labelled_baselines(source)
    result = run(KnownErrors(source), source, baselines=Baselines(neighbour=neighbour), images=False)
    close(result["baselines"]["nearest_neighbour"]["mpjpe"], 0.0)
    assert result["baselines"]["mean_pose"] == {"mpjpe": None, "pa_mpjpe": None, "pck_150": None}
    assert result["reasons"]["baselines.mean_pose"] == "not given"


def test_part_iou_is_over_the_whole_dataset(source):
    system = KnownErrors(source)
    wrong = torch.from_numpy(np.random.default_rng(3).integers(0, 11, source.labels[0].shape))
    system.truth = Source()
    system.truth.labels[0] = wrong
    metrics = run(system, source)["metrics"]
    per_class = multiclass_jaccard_index(wrong, source.labels[0], 11, average="none")
    close(metrics["miou_parts"], per_class[:10].mean())
    person = ((wrong != 10) & (source.labels[0] != 10)).sum() / ((wrong != 10) | (source.labels[0] != 10)).sum()
    close(metrics["miou_fg"], person)
    close(metrics["saliency_iou"], 1.0)


def test_a_smaller_segmentation_is_enlarged(source):
    class Small(KnownErrors):
        def predict(self, batch, samples=1):
            output = super().predict(batch, samples)
            return replace(output, segmentation=torch.nn.functional.avg_pool2d(output.segmentation, 2))

    source.labels[0] = source.labels[0][:, ::8, ::8].repeat_interleave(8, 1).repeat_interleave(8, 2)
    assert run(Small(source), source)["metrics"]["miou_parts"] > 0.8


def test_images_are_compared_inside_the_true_person(source):
    result = run(Painter(source), source)
    mask = (source.labels[2] != 10)[:, None]
    painted = (source.transfer - 0.1).clamp(0, 1)
    close(result["metrics"]["psnr_transfer"], masked_psnr(painted, source.transfer, mask).mean())
    close(result["metrics"]["psnr_novel_view"], 100.0)
    close(result["metrics"]["ssim_novel_view"], 1.0)
    copied = masked_psnr(source.target, source.second, (source.labels[1] != 10)[:, None]).mean()
    close(result["baselines"]["copy_source"]["psnr_novel_view"], copied)
    assert result["baselines"]["mean_colour"]["psnr"] < result["metrics"]["psnr"]
    assert result["metrics"]["lpips"] is None
    assert result["reasons"]["lpips"] == "weights absent"


def test_a_system_whose_decoder_was_not_trained_is_not_measured_on_images():
    class Unpainting(Painter):
        paints = False

        def transfer(self, batch):
            raise AssertionError

    source = Source()
    result = run(Unpainting(source), source)
    assert result["metrics"]["psnr"] is None
    assert result["metrics"].get("cycle_mpjpe") is None
    assert result["reasons"]["psnr_transfer"] == "its decoder was not trained"


def test_the_cycle_compares_with_the_driving_pose(source):
    result = run(Painter(source), source, batch_size=20)
    # The fake looks poses up by index, so it "finds" the target's pose where the driving one was the flipped batch's.
    driving = source.joints.flip(0).double()
    close(result["metrics"]["cycle_mpjpe"], mpjpe(source.joints.double(), driving).mean())


def test_what_system_or_data_lack_is_null_with_its_reason(noise):
    bare = Source(without=("part_labels", "target_saliency", "second_view", "transfer", "joints_3d"))
    result = run(Painter(bare, noise, segmentation=False), bare)
    for name, words in {
        "mpjpe": "no true poses",
        "frechet": "no true poses",
        "miou_fg": "no part labels",
        "psnr": "no target_saliency",
        "psnr_novel_view": "no second_view",
        "ssim_transfer": "no transfer",
    }.items():
        assert result["metrics"][name] is None
        assert words in result["reasons"][name]
    plain = run(KnownErrors(Source(), noise, segmentation=False), Source())
    assert "no reconstruct()" in plain["reasons"]["psnr"]
    assert "no segmentation" in plain["reasons"]["miou_parts"]


def test_real_videos_are_compared_inside_the_saliency_and_say_so(noise):
    videos = Source(name="videos", without=("part_labels", "joints_3d"))
    result = run(Painter(videos, noise), videos)
    assert result["metrics"]["psnr"] is not None
    assert "saliency" in result["notes"]["mask"]
    assert result["frames"] == 20


def test_every_dataset_of_a_mixture_has_its_own_result(noise):
    class Mixture(Source):
        def frames(self, indices):
            batch = super().frames(indices)
            meta = tuple(m | {"dataset": "a" if i < 8 else "b"} for i, m in zip(batch.index, batch.meta, strict=True))
            return replace(batch, meta=meta)

    mixture = Mixture()
    result = run(KnownErrors(mixture, noise), mixture)
    parts = result["per_dataset"]
    assert (parts["a"]["frames"], parts["b"]["frames"]) == (8, 12)
    whole = (8 * parts["a"]["metrics"]["mpjpe"] + 12 * parts["b"]["metrics"]["mpjpe"]) / 20
    close(result["metrics"]["mpjpe"], whole)
    assert "per_dataset" not in run(KnownErrors(Source(), noise), Source())


def test_3dpw_takes_twelve_joints_and_sets_fourteen_beside(noise):
    source = Source(name="3dpw")
    source.confidence[:, [9, 7]] = 0.0
    result = run(KnownErrors(source, noise), source, protocol=dataset_protocol("3dpw"))
    assert result["flags"]["root"] == "mid_hips"
    assert result["notes"]["joint_set"] == "limbs_12"
    assert set(result["per_joint"]) == {n for n in H36M_17.joint_names if n[0] in "lr"}
    pred, target = (source.joints + noise[:, 0]).double(), source.joints.double()
    limbs = [i for i, n in enumerate(H36M_17.joint_names) if n[0] in "lr"]
    middle = [4, 1]
    errors = (pred - pred[:, middle].mean(1, keepdim=True)) - (target - target[:, middle].mean(1, keepdim=True))
    close(result["metrics"]["mpjpe"], errors.norm(dim=-1)[:, limbs].mean() * 1000)
    assert set(result["beside"]) == {"lsp_14"}
    assert result["beside"]["lsp_14"]["pa_mpjpe"] != result["metrics"]["pa_mpjpe"]


def test_poses_are_rotated_into_the_axes_of_the_true_camera(source, noise):
    class OffCentre(Source):
        def frames(self, indices):
            batch = super().frames(indices)
            K = batch.K.clone()
            K[:, 0, 2] -= 10.0
            return replace(batch, K=K)

    data = OffCentre()
    turn = minimal_rotation(torch.tensor([0.0, 0, 1]), torch.tensor([10.0 / 30, 0, 1]))
    system = KnownErrors(data)
    relative = (data.joints - data.joints[:, :1]) @ turn  # as the virtual camera sees the truth: R^T x
    system.noise = (relative - (data.joints - data.joints[:, :1]))[:, None]
    flags = Flags(crop_ray=True)
    result = run(system, data, protocol=Protocol(flags=flags))
    assert result["metrics"]["mpjpe"] < 1e-3
    assert result["flags"]["crop_ray"] is True
    assert run(system, data)["metrics"]["mpjpe"] > 10


def test_evaluation_leaves_the_system_as_it_was(source):
    system = KnownErrors(source)
    system.train()
    run(system, source)
    assert system.training
    assert set(system.modes) == {(False, False)}
    system.eval()
    run(system, source)
    assert not system.training


def test_a_limit_takes_frames_evenly_from_the_whole(source):
    result = run(KnownErrors(source), source, limit=4)
    assert [i for chunk in source.asked for i in chunk] == [0, 6, 13, 19]
    assert result["frames"] == 4
    with pytest.raises(InputError, match="at least 1"):
        run(KnownErrors(source), source, limit=0)


def test_bad_sources_are_named(source):
    with pytest.raises(InputError, match="no evaluation frames"):
        run(KnownErrors(source), Source(count=0))
    with pytest.raises(MissingFieldError, match="KnownErrors needs target"):
        run(KnownErrors(source), Source(without=("target",)))


def test_skipped_frames_and_notes_of_the_source_are_reported(source):
    source.skipped, source.notes = 7, {"boxes": "from the ground truth"}
    result = run(KnownErrors(source), source)
    assert result["skipped"] == 7
    assert result["notes"] == {"boxes": "from the ground truth"}


def test_progress_goes_to_stderr(source, capsys):
    evaluate(KnownErrors(source), source)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "20/20" in captured.err


def test_per_frame_values_serve_a_paired_comparison(source, noise, tmp_path):
    for name, factor in (("a", 1.0), ("b", 0.5)):
        _, frames = evaluate_frames(KnownErrors(source, noise * factor), source, progress=False)
        save_frames(tmp_path / f"{name}.npz", frames)
    a, b = load_frames(tmp_path / "a.npz"), load_frames(tmp_path / "b.npz")
    assert a["index"].tolist() == list(range(20))
    found = compare_frames(a, b)["mpjpe"]
    assert found == paired_bootstrap(a["mpjpe"], b["mpjpe"], a["person"])
    assert found.significant
    assert found.difference < 0
    assert found.people == 4
    (tmp_path / "bad.npz").write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"bad\.npz"):
        load_frames(tmp_path / "bad.npz")


def test_occlusion_bins_hold_every_frame_once(source, noise):
    bins = run(KnownErrors(source, noise), source)["per_occlusion"]
    assert sum(row["frames"] for row in bins.values()) == 20
    assert list(bins) == sorted(bins)


@pytest.mark.slow
def test_35_000_frames_of_metrics_take_seconds():
    big = Source(count=35_000, without=("source", "target", "part_labels", "second_view", "transfer"), size=2)
    system = KnownErrors(big, torch.randn(35_000, 1, 17, 3) * 0.05, segmentation=False)
    system.predict_requires = ()
    start = time.process_time()  # of all threads: 20 s on two cores, whatever else the machine does
    run(system, big, batch_size=1000, baselines=Baselines(mean_pose(big.joints), big.joints.mean(0), torch.ones(17)))
    assert time.process_time() - start < 40


@pytest.mark.gpu
def test_a_gpu_gives_the_numbers_of_the_cpu(source, noise):
    on_cpu = run(Painter(source, noise), Source())["metrics"]

    class OnGpu(Painter):
        def predict(self, batch, samples=1):
            assert batch.index.is_cuda
            return super().predict(batch.to("cpu"), samples).to("cuda")

    on_gpu = run(OnGpu(source, noise).cuda(), Source())["metrics"]
    for name, value in on_cpu.items():
        assert on_gpu[name] == (value if value is None else pytest.approx(value, rel=1e-4, abs=1e-3)), name
