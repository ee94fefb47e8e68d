import math
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch

from selfsup3d.errors import InputError
from selfsup3d.geometry.camera import default_intrinsics
from selfsup3d.geometry.kinematics import bone_lengths
from selfsup3d.inference.clock import Clock
from selfsup3d.inference.drawing import overlay, overlays
from selfsup3d.inference.keypoint_files import KeypointSequence
from selfsup3d.inference.lifting import lift_keypoints
from selfsup3d.inference.predictor import Predictor, images_of
from selfsup3d.inference.records import load_record
from selfsup3d.inference.smoothing import OneEuro
from selfsup3d.inference.windows import WindowOptions, find_windows, whole_frame
from selfsup3d.models.part_guided.confidence import Calibration
from selfsup3d.structures.batch import PoseOutput
from selfsup3d.structures.skeleton import NUM_JOINTS


def noise(count, height=40, width=60):
    rng = np.random.default_rng(3)
    return [(k, rng.integers(0, 255, (height, width, 3), np.uint8)) for k in range(count)]


def whole(_, image):
    return whole_frame(image)


class Fixed(torch.nn.Module):
    """A system that stands for any: one known pose, wherever it looks."""

    predict_requires = ("target",)

    def __init__(self):
        super().__init__()
        self.pose = torch.nn.Parameter(torch.arange(51.0).view(17, 3) / 50.0)

    def predict(self, batch, samples=1):
        count = len(batch.target)
        root = torch.tensor([0.0, 0.0, 4.0]).expand(count, 1, 3)
        return PoseOutput(self.pose.detach().expand(count, 1, 17, 3), root=root)


def test_frames_come_back_in_order_whatever_the_batch(system):
    images = noise(7)
    found = list(Predictor(system, 32, batch_size=7).stream(images, whole))
    small = list(Predictor(system, 32, batch_size=3).stream(images, whole))
    assert [f.number for f in small] == list(range(7))
    for a, b in zip(found, small, strict=True):
        np.testing.assert_allclose(a.joints_3d, b.joints_3d, atol=1e-5)
        assert a.parts.shape == (32, 32)
        assert a.joints_3d.shape == (NUM_JOINTS, 3)
        assert np.abs(a.joints_3d[0]).max() == 0.0


def test_parts_are_the_puppets_or_the_decoders_and_the_pose_is_the_same(system):
    images = noise(3)
    by = {kind: list(Predictor(system, 32, parts=kind).stream(images, whole)) for kind in ("puppet", "decoder", "none")}
    for kind, frames in by.items():
        assert (frames[0].parts is None) == (kind == "none")
        np.testing.assert_allclose(frames[2].joints_3d, by["decoder"][2].joints_3d, atol=1e-5)
        np.testing.assert_allclose(frames[2].root, by["decoder"][2].root, atol=1e-4)
        np.testing.assert_allclose(frames[2].joints_2d, by["decoder"][2].joints_2d, atol=1e-3)
    assert by["puppet"][0].parts.max() <= 10


def test_frames_without_a_person_are_passed_on_bare(system):
    images = noise(5)
    predictor = Predictor(system, 32, batch_size=2)
    found = list(predictor.stream(images, lambda k, p: None if k in (0, 3) else whole_frame(p)))
    assert [f.joints_3d is None for f in found] == [True, False, False, True, False]
    record = predictor.record(found, 10.0, "x")
    assert record.frames.tolist() == [1, 2, 4]
    with pytest.raises(InputError, match="no person was found"):
        predictor.record(found[:1], 10.0, "x")


def test_pixels_are_those_of_the_full_frame(system):
    image = noise(1, 64, 64)[0]
    inside = np.zeros((200, 300, 3), np.uint8)
    inside[100:164, 50:114] = image[1]
    alone = next(Predictor(system, 32).stream([image], whole))
    placed = next(Predictor(system, 32).stream([(0, inside)], lambda *_: np.array([50, 100, 64])))
    np.testing.assert_allclose(placed.joints_2d, alone.joints_2d + np.array([50, 100]), atol=1e-3)


def test_a_known_focal_length_turns_the_pose_to_the_images_camera():
    system = Fixed()
    predictor = Predictor(system, 32, focal=100.0)
    frame = next(predictor.stream(noise(1, 100, 300), lambda *_: np.array([200, 0, 100])))
    # The crop's middle lies 100 px right of the image's: the person stands at 45 degrees.
    np.testing.assert_allclose(frame.root, [4 / math.sqrt(2), 0, 4 / math.sqrt(2)], atol=1e-5)
    K = predictor._intrinsics(np.array([200, 0, 100]))
    assert K[0, 0] * 100 / 32 == pytest.approx(100.0)  # px of the crop per px of the image
    unknown = next(Predictor(system, 32).stream(noise(1), whole))
    np.testing.assert_allclose(unknown.root, [0, 0, 4])
    assert torch.equal(Predictor(system, 32)._intrinsics(np.array([0, 0, 9])), default_intrinsics(32))


def test_smoothing_takes_noise_out_and_keeps_a_motion():
    rng = np.random.default_rng(0)
    filtered = OneEuro(30.0, cutoff=1.0, beta=0.5)
    still = np.stack([filtered(v) for v in rng.normal(size=(200, 4)) * 0.01])
    assert still[50:].std() < 0.4 * 0.01
    filtered = OneEuro(30.0, cutoff=1.0, beta=2.0)
    ramp = np.linspace(0.0, 6.0, 60)  # 3 units a second
    followed = np.array([filtered(np.array([v]))[0] for v in ramp])
    assert np.abs(followed - ramp)[30:].max() < 0.15
    assert np.isnan(OneEuro(30.0)(np.array([np.nan]))).all()


def test_a_smoothed_stream_varies_less(system):
    images = noise(20)
    predictor = Predictor(system, 32, parts="none")
    plain = np.stack([f.joints_3d for f in predictor.stream(images, whole)])
    smooth = np.stack([f.joints_3d for f in predictor.stream(images, whole, OneEuro(10.0, 0.3, 0.0))])
    assert np.abs(np.diff(smooth, axis=0)).mean() < 0.5 * np.abs(np.diff(plain, axis=0)).mean()
    lengths = bone_lengths(torch.from_numpy(smooth))
    torch.testing.assert_close(lengths, system.bone_lengths.expand_as(lengths), atol=1e-4, rtol=1e-4)


def test_memory_does_not_grow_with_the_video(system, walker):
    predictor = Predictor(system, 32, batch_size=4)
    big = np.zeros((480, 640, 3), np.uint8)  # 0.9 MB a frame

    def peak(count):
        tracemalloc.start()
        for frame in overlays(predictor.stream(((k, big.copy()) for k in range(count)), whole)):
            del frame
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(8)
    assert peak(60) < 1.2 * peak(12)


def test_drawings_have_one_size_and_show_somebody(system):
    predictor = Predictor(system, 32)
    frames = list(predictor.stream(noise(3, 100, 140), lambda k, p: None if k == 1 else whole_frame(p)))
    drawn = list(overlays(frames))
    assert len({d.shape for d in drawn}) == 1
    assert drawn[0].shape[1] == drawn[0].shape[0] + overlay(frames[0]).shape[1]
    assert (overlay(frames[0]) != overlay(frames[0], parts=False)).any()
    assert (overlay(frames[0], parts=False) != overlay(frames[0].bare().__class__(0, frames[0].image))).any()


def test_a_clock_counts_each_stage_for_itself(monkeypatch):
    now = iter([0.0, 0.0, 1.0, 3.0, 4.0, 10.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(now))
    clock = Clock()
    with clock.stage("outer"), clock.stage("inner"):
        pass
    assert clock.seconds == {"outer": 2.0, "inner": 2.0}
    assert "outer 1000.0" in clock.report(2)


def test_images_of_any_sizes_and_videos_are_numbered(tmp_path, walker):
    from selfsup3d.viz.sheets import write_png

    for k, side in enumerate((8, 12, 9)):
        write_png(tmp_path / "p" / f"{k}.png", np.full((side, side, 3), k, np.uint8))
    assert [(n, p.shape[0]) for n, p in images_of(tmp_path / "p")] == [(0, 8), (1, 12), (2, 9)]
    assert [n for n, _ in images_of(walker, every=7, limit=3)] == [0, 7, 14]
    assert [n for n, _ in images_of(tmp_path / "p" / "1.png")] == [0]
    with pytest.raises(InputError, match="no images"):
        list(images_of(tmp_path))
    assert len(list(Predictor(Fixed(), 16).stream(images_of(walker), find_windows(walker, WindowOptions())))) == 30


class Lifter(torch.nn.Module):
    """Depth 0, and the middle frame's keypoints."""

    predict_requires = ("joints_2d",)

    def __init__(self, frames):
        super().__init__()
        self.frames = frames
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def predict(self, batch, samples=1):
        joints = batch.joints_2d
        if joints.dim() == 4:
            assert joints.shape[1] == self.frames
            joints = joints[:, joints.shape[1] // 2]
        return PoseOutput(torch.cat([joints, 0 * joints[..., :1]], -1)[:, None], unit="relative")


@pytest.mark.parametrize("frames", [1, 5])
def test_keypoints_are_lifted_frame_by_frame_or_with_their_neighbours(frames):
    joints = np.random.default_rng(0).uniform(10, 90, (7, 17, 2)).astype(np.float32)
    confidence = np.ones((7, 17), np.float32)
    confidence[:, 10] = 0.0
    keypoints = KeypointSequence(joints, confidence, np.arange(7) * 2, (100, 100), "coco", "coco_17")
    record = lift_keypoints(Lifter(frames), keypoints, fps=20.0)
    assert record.unit == "relative"
    assert record.frames.tolist() == [0, 2, 4, 6, 8, 10, 12]
    seen = [j for j in range(17) if j != 10]
    np.testing.assert_allclose(record.joints_3d[:, seen, :2], joints[:, seen])
    assert np.isnan(record.joints_2d[:, 10]).all()


def test_what_a_system_cannot_take_is_told(system):
    keypoints = KeypointSequence(np.ones((1, 17, 2)), np.ones((1, 17)), np.zeros(1), None, "coco", "coco_17")
    with pytest.raises(InputError, match="needs joints_2d, not images"):
        Predictor(Lifter(1), 32)
    with pytest.raises(InputError, match="keypoints need a lifter"):
        lift_keypoints(system, keypoints)
    far = replace(keypoints, joints=np.full((1, 17, 2), 1e30))
    with pytest.raises(InputError, match="keypoints beyond 1,000,000 px"):
        lift_keypoints(Lifter(1), far)


def test_frames_over_time_come_back_in_order_with_gaps_and_all_of_them(system):
    images = noise(70)
    nobody = {0, 5, *range(30, 45)}
    windows = lambda k, p: None if k in nobody else whole_frame(p)  # noqa: E731
    found = list(Predictor(system, 32, batch_size=7, over_time=True).stream(images, windows))
    assert [f.number for f in found] == list(range(70))
    assert {f.number for f in found if f.window is None} == nobody
    alone = list(Predictor(system, 32, batch_size=16).stream(images, windows))
    for a, b in zip(found, alone, strict=True):  # the same people, perhaps with left and right exchanged
        if a.window is not None:
            np.testing.assert_allclose(sorted(a.keypoints[:, 0]), sorted(b.keypoints[:, 0]), atol=1e-2)


def test_a_record_keeps_confidences_and_old_files_have_none(system, tmp_path):
    predictor = Predictor(system, 32)
    record = predictor.record(predictor.stream(noise(3), whole), 10.0, "x")
    assert np.isnan(record.confidence).all()  # not calibrated
    system.calibration = Calibration(torch.zeros(NUM_JOINTS), torch.zeros(4))
    record = predictor.record(predictor.stream(noise(3), whole), 10.0, "x")
    np.testing.assert_allclose(record.confidence, 0.5)
    record.save(tmp_path / "a.npz")
    assert load_record(tmp_path / "a.npz").confidence.shape == (3, NUM_JOINTS)
    with np.load(tmp_path / "a.npz") as data:
        np.savez(tmp_path / "old.npz", **{name: data[name] for name in data.files if name != "confidence"})
    assert np.isnan(load_record(tmp_path / "old.npz").confidence).all()
    record.save_json(tmp_path / "a.json")
    assert '"confidence": [0.5' in (tmp_path / "a.json").read_text()
