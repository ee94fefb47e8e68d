"""Detectors at run time: one protocol, people followed, failures that keep what was found."""

import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from selfsup3d.errors import InputError
from selfsup3d.inference import clip_keypoints
from selfsup3d.inference.clock import Clock
from selfsup3d.inference.detection import ahead, detect_people, windows_of_detector
from selfsup3d.inference.detectors.build import build_detector
from selfsup3d.inference.detectors.protocol import DetectorFailedError, without_repeats
from selfsup3d.inference.people import Person
from selfsup3d.io.video import VideoFrame, read_timed_frames

BODY = np.random.default_rng(0).uniform((0, 0), (60, 180), (17, 2))


class Scripted:
    """Two people who cross; one is hidden for ten frames in the middle; a ghost appears once."""

    skeleton = "coco_17"

    def __init__(self, dies_at=10**9):
        self.count, self.dies_at, self.closed = 0, dies_at, False

    def detect(self, image, time):
        n, self.count = self.count, self.count + 1
        if n == self.dies_at:
            raise DetectorFailedError("the graph stopped")
        shown = [(8.0 * n, 100.0)] + ([] if 25 <= n < 35 else [(480.0 - 8.0 * n, 110.0)])
        people = [Person(BODY + np.array(place), np.full(17, 0.9)) for place in shown]
        if n == 3:
            people.append(Person(BODY + 900.0, np.full(17, 0.5)))
        return people[::-1] if n % 2 else people

    def close(self):
        self.closed = True


def frames(count=60):
    return (VideoFrame(k, 0.04 * k, np.zeros((400, 600, 3), np.uint8)) for k in range(count))


def test_people_keep_their_ids_through_crossing_and_hiding():
    found = detect_people(frames(), Scripted(), Clock())
    people, others = found.sequences()
    assert [len(person) for person in people] == [60, 50]
    assert others == 1  # the ghost
    for person, speed in zip(people, (8.0, -8.0), strict=True):
        wrist = person.joints[:, 13, 0]
        np.testing.assert_allclose(np.diff(wrist) / np.diff(person.frames), speed, atol=1e-3)
    assert found.size == (600, 400)
    assert found.times[10] == pytest.approx(0.4)


@pytest.mark.parametrize(("seconds", "count"), [(1.0, 1), (4.0, 2)])
def test_whoever_comes_long_after_somebody_has_left_is_somebody_else(seconds, count):
    class OneAfterTheOther(Scripted):
        def detect(self, image, time):
            return [] if 1.0 < time < 1.0 + seconds else [Person(BODY + 100.0, np.full(17, 0.9))]

    people, others = detect_people(frames(150), OneAfterTheOther(), Clock()).sequences()
    assert len(people) == count
    assert others == 0
    assert sorted(int(person.frames[0]) for person in people) == [0, 125][:count]


def test_whoever_comes_in_on_the_other_side_is_somebody_else():
    class Two(Scripted):
        def detect(self, image, time):
            self.count += 1
            shown = self.count <= 20 or self.count > 30
            place = 0.0 if self.count <= 20 else 500.0
            return [Person(BODY + place, np.full(17, 0.9))] if shown else []

    people, _ = detect_people(frames(60), Two(), Clock()).sequences()
    assert [len(person) for person in people] == [30, 20]


def test_what_was_found_before_a_failure_is_kept():
    found = detect_people(frames(), Scripted(dies_at=20), Clock())
    assert "the graph stopped" in str(found.failure)
    assert len(found.sequences()[0][0]) == 20


def test_joints_that_are_guesses_are_missing():
    class Unsure(Scripted):
        def detect(self, image, time):
            return [Person(BODY, np.r_[np.full(11, 0.9), np.full(6, 0.1)])]

    (person,), _ = detect_people(frames(3), Unsure(), Clock()).sequences()
    assert (person.confidence[:, 1:7] == 0).all()  # the legs
    assert (person.confidence[:, 11:] > 0).all()


def test_repeated_people_are_one():
    people = [Person(BODY + shift, np.full(17, sure)) for shift, sure in ((0, 0.5), (3, 0.9), (200, 0.4))]
    assert [person.certainty for person in without_repeats(people)] == [
        pytest.approx(0.9 * 17),
        pytest.approx(0.4 * 17),
    ]


def test_windows_follow_the_person_who_was_found_first():
    window = windows_of_detector(Scripted())
    image = np.zeros((400, 600, 3), np.uint8)
    centres = [x + 0.5 * side for x, _, side in (window(n, image) for n in range(24))]
    np.testing.assert_allclose(np.abs(np.diff(centres)), 8.0, atol=1.5)


def test_frames_ahead_come_in_order_and_errors_come_out():
    assert list(ahead(range(100), 4)) == list(range(100))

    def failing():
        yield 1
        raise InputError("cut off")

    given = ahead(failing())
    assert next(given) == 1
    with pytest.raises(InputError, match="cut off"):
        next(given)


def test_whoever_stops_listening_stops_the_thread():
    before = threading.active_count()
    given = ahead(iter(range(10**9)), 2)
    next(given)
    given.close()
    assert threading.active_count() == before


@pytest.mark.parametrize("name", ["mediapipe", "rtmlib", "torchvision", "model"])
def test_weights_are_asked_for_by_name(tmp_path, name):
    with pytest.raises(InputError, match=f"--detector {name} needs --detector-weights FILE"):
        build_detector(name, [])
    with pytest.raises(InputError, match=r"no\.task: no such file"):
        build_detector(name, [tmp_path / "no.task"])


@pytest.mark.parametrize(
    ("name", "package", "words"),
    [("mediapipe", "mediapipe", r"pip install -e '\.\[detector\]'"), ("rtmlib", "rtmlib", "pip install rtmlib")],
)
def test_a_missing_package_is_told_with_the_remedy(tmp_path, monkeypatch, name, package, words):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    (tmp_path / "w").write_bytes(b"x")
    with pytest.raises(InputError, match=words):
        build_detector(name, [tmp_path / "w"])


@pytest.mark.parametrize("name", ["mediapipe", "torchvision"])
def test_other_files_are_no_weights(tmp_path, name):
    if name == "mediapipe":
        pytest.importorskip("mediapipe")
    (tmp_path / "weights.bin").write_bytes(b"no model at all" * 50)
    with pytest.raises(InputError, match=r"weights\.bin: not a"):
        build_detector(name, [tmp_path / "weights.bin"])


@pytest.mark.slow
def test_torchvision_keypoints_have_the_protocols_form(tmp_path):
    import torch
    from torchvision.models.detection import keypointrcnn_resnet50_fpn

    torch.save(keypointrcnn_resnet50_fpn(weights=None, weights_backbone=None).state_dict(), tmp_path / "w.pth")
    detector = build_detector("torchvision", [tmp_path / "w.pth"])
    assert isinstance(detector.detect(np.zeros((64, 64, 3), np.uint8), 0.0), list)


@pytest.mark.slow
def test_blazepose_agrees_with_the_reference_of_a_real_clip():
    pytest.importorskip("mediapipe")
    root = os.environ.get("SELFSUP3D_DATA")
    if not root:
        pytest.skip("SELFSUP3D_DATA is not set")
    weights = Path(root) / "models" / "pose_landmarker_full.task"
    detector = build_detector("mediapipe", [weights], people=1)
    clip = Path(root) / "clips" / "intel_onebyone_p1" / "frames"
    found = detect_people(read_timed_frames(clip, stop=12), detector, Clock())
    detector.close()
    (person, *_), _ = found.sequences()
    with np.load(Path(root) / "clips" / "reference_2d.npz") as reference:
        pixels, seen = reference["intel_onebyone_p1/pixels"], reference["intel_onebyone_p1/visibility"]
    rows = person.frames
    both = (person.confidence > 0.5) & (seen[rows] > 0.5)
    away = np.linalg.norm(person.joints - pixels[rows], axis=-1)[both]
    assert np.median(away) < 8.0  # px of 256; each was found in another way (tracked; alone)


def rtm_stub(path, side, outputs):
    """An ONNX model of RTMLib's interface that answers the same whatever it sees."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    nodes, values = [], []
    for name, array in outputs.items():
        nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array.astype(np.float32))))
        values.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape))
    seen = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, side[1], side[0]])
    graph = helper.make_graph(nodes, "stub", [seen], values)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return path


def test_rtmo_of_the_adapters_interface(tmp_path):
    """The models themselves cannot be had here: this is rtmlib over a stand-in of the same interface."""
    pytest.importorskip("rtmlib")
    boxes = np.array([[[10, 20, 110, 220, 0.9], [300, 20, 400, 220, 0.8]]])
    joints = np.zeros((1, 2, 17, 3))
    joints[0, :, :, :2], joints[..., 2] = np.stack([BODY + 20, BODY + np.array([310, 20])]), 0.8
    weights = rtm_stub(tmp_path / "rtmo.onnx", (640, 640), {"dets": boxes, "keypoints": joints})
    detector = build_detector("rtmlib", [weights])
    people = detector.detect(np.zeros((640, 640, 3), np.uint8), 0.0)
    assert detector.skeleton == "coco_17"
    assert len(people) == 2
    np.testing.assert_allclose(
        sorted(p.joints[0, 0] for p in people), sorted([BODY[0, 0] + 20, BODY[0, 0] + 310]), atol=0.5
    )


def test_rtmpose_of_the_adapters_interface(tmp_path):
    pytest.importorskip("rtmlib")
    boxes = rtm_stub(tmp_path / "yolox.onnx", (416, 416), {"dets": np.array([[[50, 60, 250, 360, 0.95]]])})
    x, y = np.zeros((1, 26, 384)), np.zeros((1, 26, 512))
    x[0, :, 192], y[0, :, 256] = 0.9, 0.9  # every joint in the middle of the crop
    pose = rtm_stub(tmp_path / "rtmpose.onnx", (192, 256), {"simcc_x": x, "simcc_y": y})
    detector = build_detector("rtmlib", [boxes, pose])
    (person,) = detector.detect(np.zeros((416, 416, 3), np.uint8), 0.0)
    assert detector.skeleton == "halpe_26"
    np.testing.assert_allclose(person.joints, np.tile([150.0, 210.0], (26, 1)), atol=2.0)
    (tmp_path / "x.onnx").write_bytes(b"junk")
    with pytest.raises(InputError, match="not an ONNX model"):
        build_detector("rtmlib", [tmp_path / "x.onnx"])


def test_a_clips_keypoints_are_of_the_person_who_is_seen_most(monkeypatch, tmp_path):
    class Masked(Scripted):
        restarts = 0

        def restart(self):
            self.restarts, self.count = self.restarts + 1, 0

        def detect(self, image, time):
            self.times.append(time)
            people = super().detect(image, time)
            place = [int(person.joints[0, 0] > 240) for person in people]
            return [replace(p, mask=np.full((400, 400), 100 + k, np.uint8)) for p, k in zip(people, place, strict=True)]

    detector = Masked()
    detector.times = []
    monkeypatch.setattr(clip_keypoints, "build_detector", lambda *_, **__: detector)
    (tmp_path / "weights").write_bytes(b"w")
    marker = clip_keypoints.ClipMarker("mediapipe", [tmp_path / "weights"])
    assert marker.name.startswith("mediapipe ")
    for _ in range(2):
        found = marker(np.zeros((60, 400, 400, 3), np.uint8), 25.0)
        assert found.joints.shape == (60, 17, 3)
        assert (found.joints[..., 2] > 0).any(1).all()  # the one who is never hidden
        np.testing.assert_allclose(np.diff(found.joints[:, 13, 0]), 8.0, atol=1e-3)
        assert found.masks.shape == (60, 400, 400)
        assert found.masks.min() >= 100
    assert detector.restarts == 2
    assert detector.times[1] == pytest.approx(0.04)
