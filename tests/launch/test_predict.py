import json
import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from selfsup3d.builders.systems import build_system
from selfsup3d.cli import run
from selfsup3d.config.run import Config
from selfsup3d.data.mocap.convert import read_recording
from selfsup3d.inference.detectors.protocol import DetectorFailedError
from selfsup3d.inference.people import Person
from selfsup3d.inference.records import load_record
from selfsup3d.io import pretrained
from selfsup3d.io.images import read_image
from selfsup3d.io.video import read_timed_frames
from tests.video_writing import write_timed


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("predict")


def arguments(model, source, output, *more):
    return ["--checkpoint", str(model), "--input", str(source), "--output", str(output), "--device", "cpu", *more]


def frames_of(path):
    capture, frames = cv2.VideoCapture(str(path)), []
    while True:
        good, frame = capture.read()
        if not good:
            return frames
        frames.append(frame)


def test_a_video_becomes_poses_an_overlay_and_animations(script, model, scenes, tmp_path, capsys):
    out = tmp_path / "out"
    command = arguments(model, scenes / "walk.avi", out, "--bvh", "--glb", "--smooth", "--video", "mp4")
    assert run(script.main, command) == 0
    printed = capsys.readouterr().out
    assert "frames/s; ms per frame: find people" in printed
    for stage in ("read", "crop", "network", "draw", "write", "save"):
        assert f"{stage} " in printed
    assert {p.name for p in out.iterdir()} == {"poses.npz", "poses.json", "overlay.mp4", "pose.bvh", "pose.glb"}
    record = load_record(out / "poses.npz")
    assert record.fps == pytest.approx(10.0)
    assert len(record) <= 12
    told = json.loads((out / "poses.json").read_text())
    assert len(told["poses"]) == len(record)
    frames = frames_of(out / "overlay.mp4")
    assert len(frames) == 12
    assert frames[0].shape[1] > 2 * frames[0].shape[0]  # the frame, and the pose beside it
    animated = read_recording(out / "pose.bvh")
    assert len(animated) == len(record)
    lengths = np.linalg.norm(animated.positions[:, 5] - animated.positions[:, 4], axis=-1)
    assert np.ptp(lengths) < 1e-4


def test_nothing_is_overwritten_unless_told(script, model, scenes, tmp_path, capsys):
    command = arguments(model, scenes / "a.png", tmp_path)
    assert run(script.main, command) == 0
    before = (tmp_path / "poses.json").read_bytes()
    assert run(script.main, command) == 2
    err = capsys.readouterr().err.splitlines()
    assert "exists already" in err[-1]
    assert "--overwrite" in err[-1]
    assert (tmp_path / "poses.json").read_bytes() == before
    assert run(script.main, [*command, "--overwrite"]) == 0


def test_a_folder_of_images_of_several_sizes(script, model, scenes, tmp_path, capsys):
    images = tmp_path / "images"
    images.mkdir()
    shutil.copy(scenes / "a.png", images)
    cv2.imwrite(str(images / "z.jpg"), np.full((30, 80, 3), 99, np.uint8))
    (images / "m.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    assert run(script.main, arguments(model, images, tmp_path / "out", "--parts", "none")) == 0
    assert "m.png: not an image that can be read (damaged, or no image); it is skipped" in capsys.readouterr().out
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "poses.npz", "poses.json", "a_overlay.png", "z_overlay.png",
    }  # fmt: skip
    record = load_record(tmp_path / "out" / "poses.npz")
    assert record.windows.tolist() == [[0, -8, 72], [0, -25, 80]]
    assert record.frames.tolist() == [0, 2]
    for name in ("a.png", "z.jpg"):
        (images / name).write_bytes(b"")
    assert run(script.main, arguments(model, images, tmp_path / "none")) == 2
    assert "a.png: the file is empty" in capsys.readouterr().err


def test_keypoints_are_lifted_by_a_lifter(script, tmp_path, motion_poses, capsys):
    config = Config.model_validate({"system": {"kind": "martinez"}})
    pretrained.save_pretrained(tmp_path / "lifter", build_system(config), config.to_dict(), "random weights")
    points = np.random.default_rng(0).uniform(10, 90, (3, 17, 2)).round(1)
    results = [
        {"image_id": k, "keypoints": np.column_stack([p, np.ones(17)]).reshape(-1).tolist()}
        for k, p in enumerate(points)
    ]
    (tmp_path / "k.json").write_text(json.dumps(results))
    command = arguments(tmp_path / "lifter", tmp_path / "k.json", tmp_path / "out", "--video", "gif")
    assert run(script.main, command) == 0
    assert len(load_record(tmp_path / "out" / "poses.npz")) == 3
    assert (tmp_path / "out" / "overlay.gif").exists()


def test_keypoints_are_thinned_and_smoothed_as_told(script, tmp_path):
    config = Config.model_validate({"system": {"kind": "martinez"}})
    pretrained.save_pretrained(tmp_path / "lifter", build_system(config), config.to_dict(), "random weights")
    points = np.random.default_rng(0).uniform(10, 90, (30, 17, 2))
    results = [
        {"image_id": k, "keypoints": np.column_stack([p, np.ones(17)]).reshape(-1).tolist()}
        for k, p in enumerate(points)
    ]
    (tmp_path / "k.json").write_text(json.dumps(results))
    found = {}
    for name, more in (
        ("all", []),
        ("some", ["--every", "4", "--limit", "5"]),
        ("smooth", ["--smooth", "--cutoff", "0.1"]),
    ):
        command = arguments(tmp_path / "lifter", tmp_path / "k.json", tmp_path / name, "--video", "none", "--fps", "20")
        assert run(script.main, [*command, *more]) == 0
        found[name] = load_record(tmp_path / name / "poses.npz")
    assert found["some"].frames.tolist() == [0, 4, 8, 12, 16]
    assert found["some"].fps == pytest.approx(5.0)
    np.testing.assert_array_equal(found["some"].joints_3d, found["all"].joints_3d[:17:4])
    rough, smooth = (np.abs(np.diff(found[name].joints_3d, axis=0)).mean() for name in ("all", "smooth"))
    assert smooth < 0.8 * rough
    np.testing.assert_array_equal(found["smooth"].joints_2d, found["all"].joints_2d)


def test_images_of_one_name_and_two_kinds_keep_an_overlay_each(script, model, scenes, tmp_path):
    (tmp_path / "in").mkdir()
    shutil.copy(scenes / "a.png", tmp_path / "in")
    cv2.imwrite(str(tmp_path / "in" / "a.jpg"), np.full((30, 80, 3), 99, np.uint8))
    assert run(script.main, arguments(model, tmp_path / "in", tmp_path / "out")) == 0
    overlays = {p.name: cv2.imread(str(p)).shape for p in (tmp_path / "out").glob("*.png")}
    assert set(overlays) == {"a.jpg_overlay.png", "a.png_overlay.png"}
    assert len(set(overlays.values())) == 2


def test_a_image_of_a_turned_phone_is_seen_upright(script, model, scenes, tmp_path):
    held = Image.open(scenes / "a.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    held.rotate(90, expand=True).save(tmp_path / "phone.png", exif=exif)
    for name, image in (("phone", tmp_path / "phone.png"), ("plain", scenes / "a.png")):
        assert run(script.main, arguments(model, image, tmp_path / name)) == 0
    phone, plain = (load_record(tmp_path / name / "poses.npz") for name in ("phone", "plain"))
    np.testing.assert_array_equal(phone.joints_2d, plain.joints_2d)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--every", "0"], "--every 0: must be at least 1"),
        (["--crop", "magic"], "--crop"),
        (["--crop", "boxes"], "no box file beside it"),
        (["--boxes", "missing.json"], "missing.json"),
        (["--fps", "inf"], "--fps inf: must be more than 0"),
        (["--crop", "detector"], "needs --detector"),
        (["--crop", "whole", "--boxes", "walk.json"], "--boxes walk.json: finding people by whole does not look at it"),
        (
            ["--crop", "detector", "--detector-weights", "no.pth"],
            "no.pth: no such file; expected a state dict of ssdlite320",
        ),
        (["--detector", "yolo"], "invalid choice: 'yolo'"),
        (["--device", "cuda:99"], "--device cuda:99"),
        (["--overwite"], "--overwite"),
        (["--image-size", "640"], "expected WIDTHxHEIGHT"),
        (["--input", "nowhere.mp4"], "nowhere.mp4: no such file"),
        (["--checkpoint", "nowhere"], "nowhere"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(script, model, scenes, tmp_path, capsys, more, words):
    assert run(script.main, arguments(model, scenes / "walk.avi", tmp_path / "out", *more)) == 2
    err = capsys.readouterr().err
    assert words in err.splitlines()[-1]
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("source", ["walk.avi", "a.png"])
@pytest.mark.parametrize("row", ["900,1,2,30,40", "0,9000,2,30,40"])
def test_where_nobody_is_found_nothing_is_written(script, model, scenes, tmp_path, capsys, source, row):
    (tmp_path / "b.csv").write_text(f"frame,x,y,width,height\n{row}\n")
    more = ["--boxes", str(tmp_path / "b.csv"), "--limit", "1"]
    assert run(script.main, arguments(model, scenes / source, tmp_path / "out", *more)) == 2
    assert f"{source}: no person was found in any frame" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "data"), [("v.mp4", b"broken"), ("p.png", b""), ("k.json", b"{")])
def test_damaged_inputs_are_told(script, model, tmp_path, capsys, name, data):
    (tmp_path / name).write_bytes(data)
    assert run(script.main, arguments(model, tmp_path / name, tmp_path / "out")) == 2
    assert name in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_images_need_an_image_system_and_keypoints_a_lifter(script, model, tmp_path, capsys, scenes):
    (tmp_path / "k.json").write_text(json.dumps([{"image_id": 1, "keypoints": [5.0] * 51}]))
    assert run(script.main, arguments(model, tmp_path / "k.json", tmp_path / "out")) == 2
    assert "keypoints need a lifter" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda t: t * float("nan"), "hold NaN or Inf"),
        (lambda t: t * 1e25, "the model gives no finite pose of frame 0"),
    ],
)
def test_a_model_whose_training_failed_is_refused_and_leaves_nothing(
    script, model, scenes, tmp_path, capsys, spoil, said
):
    shutil.copytree(model, tmp_path / "model")
    tensors = pretrained.read_tensors(tmp_path / "model" / pretrained.WEIGHTS)
    spoilt = {name: spoil(value) if name.startswith("encoder") else value for name, value in tensors.items()}
    pretrained.write_tensors(tmp_path / "model" / pretrained.WEIGHTS, spoilt)
    for source in ("walk.avi", "a.png"):
        command = arguments(tmp_path / "model", scenes / source, tmp_path / "out", "--crop", "whole")
        assert run(script.main, command) == 2
        assert said in capsys.readouterr().err.splitlines()[-1]
        assert not (tmp_path / "out").exists()


# ---- one clock, gaps and people ----


def lifter(folder):
    config = Config.model_validate({"system": {"kind": "martinez"}})
    pretrained.save_pretrained(folder / "lifter", build_system(config), config.to_dict(), "random weights")
    return folder / "lifter"


def keypoint_file(path, frames, people=1):
    body = np.random.default_rng(0).uniform(10, 90, (17, 2))
    entries = [
        {"image_id": f"{n}.jpg", "keypoints": np.column_stack([body + 0.1 * n + 300 * p, np.ones(17)]).ravel().tolist()}
        for n in frames
        for p in range(people)
    ]
    path.write_text(json.dumps(entries))
    return path


def test_everything_written_agrees_with_the_times_of_the_video(script, model, tmp_path, capsys):
    frames = np.random.default_rng(0).integers(0, 255, (12, 48, 64, 3), np.uint8)
    video = write_timed(tmp_path / "a.mp4", frames, [0.1 * k for k in range(12)])
    out = tmp_path / "out"
    command = arguments(model, video, out, "--every", "3", "--bvh", "--trc", "--crop", "whole")
    assert run(script.main, command) == 0
    record = load_record(out / "poses.npz")
    np.testing.assert_allclose(record.times, [0.0, 0.3, 0.6, 0.9], atol=2e-3)
    np.testing.assert_allclose([f.time for f in read_timed_frames(out / "overlay.mp4")], record.times, atol=2e-3)
    assert read_recording(out / "pose.bvh").fps == pytest.approx(10 / 3, rel=1e-3)
    rows = [line.split("\t") for line in (out / "pose.trc").read_text().splitlines()[6:]]
    np.testing.assert_allclose([float(row[1]) for row in rows], record.times, atol=2e-3)
    capsys.readouterr()
    command = arguments(model, video, out, "--fps", "20", "--crop", "whole", "--overwrite", "--limit", "2")
    assert run(script.main, command) == 0
    assert "its own times (10 frames/s) are replaced" in capsys.readouterr().out
    np.testing.assert_allclose(load_record(out / "poses.npz").times, [0.0, 0.05])


def test_gaps_of_keypoints_stay_gaps_and_are_said(script, tmp_path, capsys):
    path = keypoint_file(tmp_path / "k.json", [*range(10), *range(30, 40)])
    command = arguments(lifter(tmp_path), path, tmp_path / "out", "--fps", "10", "--bvh", "--angles", "--video", "none")
    assert run(script.main, command) == 0
    record = load_record(tmp_path / "out" / "poses.npz")
    assert record.frames.tolist() == [*range(10), *range(30, 40)]
    assert record.times[10] == pytest.approx(3.0)
    assert "frames 10-29" in capsys.readouterr().out
    assert len(read_recording(tmp_path / "out" / "pose.bvh")) == 40
    assert read_image(tmp_path / "out" / "angles.png").shape[2] == 3
    rows = (tmp_path / "out" / "angles.csv").read_text().splitlines()[1:]
    assert [k for k, row in enumerate(rows) if row.split(",")[1] == ""] == list(range(10, 30))


def test_everybody_has_files_or_one_is_picked_and_others_are_counted(script, tmp_path, capsys):
    path, model = keypoint_file(tmp_path / "k.json", range(12), people=2), lifter(tmp_path)
    out = tmp_path / "out"
    assert run(script.main, arguments(model, path, out, "--fps", "10", "--video", "none", "--bvh")) == 0
    assert {p.name for p in out.iterdir()} == {f"person_{k}.{kind}" for k in "01" for kind in ("npz", "json", "bvh")}
    assert run(script.main, arguments(model, path, out, "--fps", "10", "--video", "none")) == 2
    capsys.readouterr()
    command = arguments(model, path, out, "--fps", "10", "--video", "none", "--person", "1", "--overwrite")
    assert run(script.main, command) == 0
    assert "1 other people ignored" in capsys.readouterr().out
    assert {p.name for p in out.iterdir()} == {"poses.npz", "poses.json"}
    assert load_record(out / "poses.npz").joints_2d[0, 0, 0] > 300


class Two:
    """A detector of two people who drift; it fails at a frame, where told."""

    skeleton = "coco_17"

    def __init__(self, dies_at=0):
        self.count, self.dies_at, self.body = 0, dies_at, np.random.default_rng(0).uniform(5, 60, (17, 2))

    def detect(self, image, time):
        self.count += 1
        if self.count == self.dies_at:
            raise DetectorFailedError("the graph stopped")
        return [Person(self.body + shift + 0.2 * self.count, np.full(17, 0.9)) for shift in (0, 50)]

    def close(self):
        pass


def test_a_video_is_lifted_through_a_detector(script, tmp_path, monkeypatch, capsys):
    frames = np.full((30, 96, 128, 3), 90, np.uint8)
    video = write_timed(tmp_path / "a.mp4", frames, [0.04 * k for k in range(30)], rate=25)

    monkeypatch.setattr(script, "build_detector", lambda *_: detector)
    detector, out = Two(), tmp_path / "out"
    model = lifter(tmp_path)
    command = arguments(model, video, out, "--detector", "mediapipe", "--trc", "--smooth", "--repair-sides", "--ground")
    assert run(script.main, command) == 0
    assert {p.name for p in out.iterdir()} == {
        "overlay.mp4", *(f"person_{k}.{kind}" for k in "01" for kind in ("npz", "json", "trc")),
    }  # fmt: skip
    np.testing.assert_allclose(load_record(out / "person_1.npz").times, 0.04 * np.arange(30), atol=2e-3)
    assert "all 2 people are in one camera frame (root, metres); focal length 111 px at 128x96 is assumed" in (
        capsys.readouterr().out
    )
    people = [load_record(out / f"person_{k}.npz") for k in "01"]
    for one in people:
        assert np.isfinite(one.root).all()
        assert (one.focal_assumed, one.image_size) == (True, (128, 96))
    assert json.loads((out / "person_1.json").read_text())["root_frame"].startswith(
        "pelvis in the frame of the image's"
    )
    assert len(list(read_timed_frames(out / "overlay.mp4"))) == 30
    detector = Two(dies_at=21)
    command = arguments(model, video, tmp_path / "cut", "--detector", "mediapipe", "--video", "webm")
    assert run(script.main, command) == 2
    assert "the graph stopped, after 20 frames" in capsys.readouterr().err
    assert len(load_record(tmp_path / "cut" / "person_0.npz")) == 20
    assert len(list(read_timed_frames(tmp_path / "cut" / "overlay.webm"))) == 20


def test_a_lifter_and_a_video_without_a_detector_say_what_is_missing(script, scenes, tmp_path, capsys):
    assert run(script.main, arguments(lifter(tmp_path), scenes / "walk.avi", tmp_path / "out")) == 2
    assert "--detector mediapipe --detector-weights pose_landmarker_full.task" in capsys.readouterr().err


def test_frames_without_anybody_count_among_those_that_took_time(script, tmp_path, monkeypatch, capsys):
    class Late(Two):
        def detect(self, image, time):
            return super().detect(image, time) if time > 0.5 else []

    frames = np.full((30, 96, 128, 3), 90, np.uint8)
    video = write_timed(tmp_path / "a.mp4", frames, [0.04 * k for k in range(30)], rate=25)
    monkeypatch.setattr(script, "build_detector", lambda *_: Late())
    command = arguments(lifter(tmp_path), video, tmp_path / "out", "--detector", "mediapipe", "--video", "none")
    assert run(script.main, command) == 0
    assert "\n30 frames in " in capsys.readouterr().out
    assert len(load_record(tmp_path / "out" / "person_0.npz")) < 20


def test_a_webcam_is_recorded_and_then_looked_at(script, tmp_path, monkeypatch, capsys):
    frames = np.full((12, 96, 128, 3), 90, np.uint8)
    video = write_timed(tmp_path / "a.mp4", frames, [0.04 * k for k in range(12)], rate=25)
    open_file = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda number: open_file(str(video)))
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setattr(script, "build_detector", lambda *_: Two())
    command = arguments(lifter(tmp_path), "0", tmp_path / "out", "--detector", "mediapipe", "--limit", "9")
    assert run(script.main, command) == 0
    assert {"webcam.mp4", "overlay.mp4", "person_0.npz", "person_1.npz"} < {
        p.name for p in (tmp_path / "out").iterdir()
    }
    recorded = [frame.time for frame in read_timed_frames(tmp_path / "out" / "webcam.mp4")]
    assert len(recorded) == 9
    np.testing.assert_allclose(load_record(tmp_path / "out" / "person_0.npz").times, recorded, atol=2e-3)
    assert run(script.main, command) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["7", "999"])
def test_without_a_camera_one_line_tells_it(script, tmp_path, monkeypatch, capfd, name):
    monkeypatch.setattr(script, "build_detector", lambda *_: Two())
    command = arguments(lifter(tmp_path), name, tmp_path / "out", "--detector", "mediapipe")
    assert run(script.main, command) == 2
    told = capfd.readouterr().err.splitlines()
    assert len(told) == 1
    assert f"there is no camera {name} here" in told[0]
    assert not (tmp_path / "out").exists()


def test_a_missing_detector_is_told_before_the_camera_is_opened(script, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cv2, "VideoCapture", lambda number: pytest.fail("the camera was opened"))
    assert run(script.main, arguments(lifter(tmp_path), "0", tmp_path / "out")) == 2
    assert "--detector mediapipe --detector-weights" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["videos/7", "1234"])
def test_a_missing_file_with_a_number_for_a_name_is_no_camera(script, tmp_path, capsys, name):
    assert run(script.main, arguments(lifter(tmp_path), name, tmp_path / "out")) == 2
    assert f"{name}: no such file or folder" in capsys.readouterr().err
