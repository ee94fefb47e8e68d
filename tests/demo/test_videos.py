"""What the video tab is answered: motion, overlay, files, and one line where it cannot be."""

import json

import numpy as np
import pytest

from selfsup3d.builders.systems import build_system
from selfsup3d.config.run import Config
from selfsup3d.data.mocap.convert import read_recording
from selfsup3d.data.synthetic.capture import procedural_capture
from selfsup3d.demo import videos as module
from selfsup3d.demo.viewer import MOVING_HTML, script
from selfsup3d.errors import InputError
from selfsup3d.inference.detectors.protocol import DetectorFailedError
from selfsup3d.inference.people import Person
from selfsup3d.inference.records import load_record
from selfsup3d.io.video import read_timed_frames
from tests.video_writing import write_timed


class Walker:
    """Follows a procedural person, seen by a level camera 4 m away; somebody else passes for ten frames."""

    skeleton = "h36m_17"

    def __init__(self, dies_at=10**9, blind=False):
        joints = procedural_capture(1, frames=40).positions[:40]
        joints = joints - joints[:, :1]
        plane = np.stack([joints[..., 0], -joints[..., 2]], -1) / (4.0 + joints[..., 1:2])
        self.pixels, self.dies_at, self.blind, self.count = 110 * plane + (64, 48), dies_at, blind, 0

    def restart(self):
        self.count = 0

    def detect(self, image, time):
        k, self.count = self.count, self.count + 1
        if k == self.dies_at:
            raise DetectorFailedError("the graph stopped")
        if self.blind:
            return []
        own = Person(self.pixels[k], np.full(17, 0.9))
        return [own, Person(self.pixels[k] + 300.0, np.full(17, 0.5))] if 5 <= k < 15 else [own]

    def close(self): ...


@pytest.fixture(scope="module")
def lifter():
    return build_system(Config.model_validate({"system": {"kind": "keypoint_lifter", "width": 32}})).eval()


def answers(lifter, folder, **how):
    return module.VideoAnswers(Walker(**how), lifter, folder / "motions", "scripted", "untrained")


@pytest.fixture
def video(tmp_path):
    return write_timed(tmp_path / "walk.mp4", np.full((30, 96, 128, 3), 90, np.uint8), np.arange(30) / 20, rate=20)


def test_a_video_is_answered_by_motion_overlay_and_files(lifter, video, tmp_path):
    asked = answers(lifter, tmp_path)
    found = asked.watch(video, "mine.mp4", "me")
    told = json.loads(found.motion)
    motion = np.array(told["motion"])
    assert motion.shape == (30, 17, 3)
    assert told["fps"] == pytest.approx(20, rel=1e-3)
    np.testing.assert_allclose(motion[:, 0, :2], 0, atol=1e-3)  # the viewer follows the pelvis
    assert len(told["bones"]) == len(told["colours"]) == 16
    record = load_record(found.files[0])
    assert record.source == "mine.mp4"
    assert len(record) == 30
    assert read_recording(found.files[1]).fps == pytest.approx(20, rel=1e-3)
    assert [path.suffix for path in found.files] == [".npz", ".bvh", ".glb", ".trc"]
    assert [path.stat().st_size > 500 for path in found.files] == [True] * 4
    drawn = list(read_timed_frames(found.overlay))
    assert len(drawn) == 30
    assert (drawn[3].image != 90).any()
    assert found.lines[0] == "One person in 30 of 30 frames."
    assert found.lines[1].startswith("1 other people are left out")
    assert "focal length is assumed" in found.lines[-1]
    again = asked.watch(video, "mine.mp4", "me")
    assert again.motion == found.motion  # nothing of the video before is left in the detector
    asked.results.forget("me")
    assert not found.files[0].exists()


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"blind": True}, "mine.mp4: nobody is found in it"),
        ({"dies_at": 9}, "mine.mp4: the detector stopped"),
    ],
)
def test_nobody_and_a_detector_that_dies_are_one_line(lifter, video, tmp_path, how, told):
    with pytest.raises(InputError, match=told):
        answers(lifter, tmp_path, **how).watch(video, "mine.mp4")
    assert not list((tmp_path / "motions").rglob("*.npz"))


def test_what_is_too_long_too_large_or_no_video_is_told(lifter, video, tmp_path, monkeypatch):
    asked = answers(lifter, tmp_path)
    long = write_timed(tmp_path / "long.mp4", np.zeros((44, 16, 16, 3), np.uint8), np.arange(44) / 2, rate=2)
    with pytest.raises(InputError, match=r"long\.mp4 lasts 22 s; at most 20 s"):
        asked.watch(long, "long.mp4")
    (tmp_path / "bad.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(300))
    with pytest.raises(InputError, match=r"bad\.mp4 is damaged or cut off"):
        asked.watch(tmp_path / "bad.mp4", "bad.mp4")
    with pytest.raises(InputError, match="is not a video that can be read"):
        asked.watch(tmp_path / "a.png", "a.png")
    monkeypatch.setattr(module, "MAX_VIDEO_BYTES", 100)
    with pytest.raises(InputError, match="larger than 0 MB"):
        asked.watch(video, "mine.mp4")


def test_the_moving_view_has_named_controls_and_loads_nothing():
    assert MOVING_HTML.count("aria-label") == 3
    assert "http" not in script()
