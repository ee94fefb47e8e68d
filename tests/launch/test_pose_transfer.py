import json

import av
import cv2
import numpy as np
import pytest

from selfsup3d.builders.systems import build_system
from selfsup3d.cli import run
from selfsup3d.config.run import Config
from selfsup3d.data.mocap.recording import Recording, write_mocap
from selfsup3d.export.bvh import write_bvh
from selfsup3d.io import pretrained


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("pose_transfer")


def arguments(model, appearance, driving, output, *more):
    return [
        "--checkpoint", str(model), "--appearance", *map(str, appearance), "--driving", *map(str, driving),
        "--output", str(output), "--device", "cpu", *more,
    ]  # fmt: skip


def count_frames(path):
    capture, count = cv2.VideoCapture(str(path)), 0
    while capture.read()[0]:
        count += 1
    return count


def test_a_image_drives_a_image(script, model, scenes, tmp_path, capsys):
    assert run(script.main, arguments(model, [scenes / "a.png"], [scenes / "b.png"], tmp_path)) == 0
    sheet = cv2.imread(str(tmp_path / "transfer.png"))
    assert sheet.shape[:2] == (2 + 2 * 276, 2 + 2 * 258)
    assert capsys.readouterr().out.strip() == str(tmp_path / "transfer.png")
    assert run(script.main, arguments(model, [scenes / "a.png"], [scenes / "b.png"], tmp_path)) == 2
    assert "exists already" in capsys.readouterr().err


def test_a_grid_of_people_and_poses(script, model, scenes, tmp_path):
    people = [scenes / "a.png", scenes / "walk.avi"]
    command = arguments(model, people, [scenes / "b.png", scenes / "a.png"], tmp_path, "--scale", "1")
    assert run(script.main, command) == 0
    sheet = cv2.imread(str(tmp_path / "grid.png"))
    assert sheet.shape[:2] == (2 + 3 * 84, 2 + 3 * 66)
    assert (sheet[20:84, 2:66] == 255).all()  # the corner is empty
    assert (sheet[104:168, 68:132] != sheet[188:252, 68:132]).any()  # the people differ


def test_a_video_drives_a_video(script, model, scenes, tmp_path):
    command = arguments(model, [scenes / "walk.avi"], [scenes / "walk.avi"], tmp_path, "--limit", "6", "--smooth")
    assert run(script.main, [*command, "--crop", "whole"]) == 0
    assert count_frames(tmp_path / "transfer.mp4") == 6


def test_recorded_motion_drives_a_image(script, model, scenes, tmp_path, motion_poses):
    y_up = motion_poses.numpy()[:, :, [1, 2, 0]]
    write_mocap(tmp_path / "m.npz", [Recording(y_up, 20.0, "walk", "a")])
    write_bvh(tmp_path / "m.bvh", y_up * [1, -1, -1], 20.0)
    for name, more in (("m.npz", ["--every", "2"]), ("m.bvh", ["--camera", "appearance", "--limit", "6"])):
        out = tmp_path / name.replace(".", "_")
        command = arguments(model, [scenes / "a.png"], [tmp_path / name], out, "--video", "gif", *more)
        assert run(script.main, command) == 0
        assert count_frames(out / "transfer.gif") == 6


def test_a_motion_drives_one_person_of_several_images_as_a_transparent_video(
    script, model, scenes, tmp_path, motion_poses
):
    write_bvh(tmp_path / "m.bvh", motion_poses.numpy()[:, :, [1, 2, 0]] * [1, -1, -1], 20.0)
    people = [scenes / "a.png", scenes / "walk.avi", "--one-person"]
    more = ["--limit", "3", "--scale", "1", "--textures", "--background", "transparent", "--stills", "2"]
    command = arguments(model, people, [tmp_path / "m.bvh"], tmp_path / "out", *more)
    assert run(script.main, command) == 2  # mp4 has no transparency
    assert run(script.main, [*command, "--video", "webm"]) == 0
    with av.open(str(tmp_path / "out" / "transfer.webm")) as container:
        stream = container.streams.video[0]
        assert (stream.metadata | container.metadata).get("ALPHA_MODE", stream.metadata.get("alpha_mode")) == "1"
        assert sum(1 for _ in container.decode(stream)) == 3
    stills = cv2.imread(str(tmp_path / "out" / "transfer.png"), cv2.IMREAD_UNCHANGED)
    assert stills.shape == (2 + 2 * 84, 2 + 3 * 66, 4)


def test_keypoints_drive_through_a_lifter(script, model, scenes, tmp_path, capsys):
    config = Config.model_validate({"system": {"kind": "martinez"}})
    pretrained.save_pretrained(tmp_path / "lifter", build_system(config), config.to_dict(), "random weights")
    points = np.random.default_rng(0).uniform(10, 90, (4, 17, 3))
    results = [{"image_id": k, "keypoints": p.reshape(-1).tolist()} for k, p in enumerate(points)]
    (tmp_path / "k.json").write_text(json.dumps(results))
    command = arguments(model, [scenes / "a.png"], [tmp_path / "k.json"], tmp_path / "out", "--video", "gif")
    assert run(script.main, command) == 2
    assert "need --lifter CHECKPOINT" in capsys.readouterr().err
    assert run(script.main, [*command, "--lifter", str(tmp_path / "lifter")]) == 0
    assert count_frames(tmp_path / "out" / "transfer.gif") == 4


def test_a_folder_of_keypoints_of_any_name_drives_with_its_gaps(script, model, scenes, tmp_path, capsys):
    config = Config.model_validate({"system": {"kind": "martinez"}})
    pretrained.save_pretrained(tmp_path / "lifter", build_system(config), config.to_dict(), "random weights")
    (tmp_path / "k").mkdir()
    points = np.random.default_rng(0).uniform(10, 90, (25, 2)).tolist()
    near, far = ([[x + shift, y, 0.9] for x, y in points] for shift in (0, 300))
    for number in (0, 1, 2, 15, 16):  # two people at first, then one
        people = [{"pose_keypoints_2d": np.ravel(one).tolist()} for one in ([near, far] if number < 2 else [near])]
        (tmp_path / "k" / f"cam01.{number:04}.json").write_text(json.dumps({"people": people}))
    command = arguments(model, [scenes / "a.png"], [tmp_path / "k"], tmp_path / "out", "--fps", "10")
    assert run(script.main, [*command, "--lifter", str(tmp_path / "lifter")]) == 0
    assert count_frames(tmp_path / "out" / "transfer.mp4") == 17
    told = capsys.readouterr().out
    assert "1 other people ignored" in told
    assert "frames 3-14" in told


def test_a_recording_that_the_file_does_not_hold(script, model, scenes, tmp_path, motion_poses, capsys):
    write_mocap(tmp_path / "m.npz", [Recording(motion_poses.numpy()[:, :, [1, 2, 0]], 20.0, "walk", "a")])
    command = arguments(model, [scenes / "a.png"], [tmp_path / "m.npz"], tmp_path / "out", "--sequence", "run")
    assert run(script.main, command) == 2
    assert "m.npz: no sequence 'run'; it has walk" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("driving", "more", "words"),
    [
        ("nowhere.mp4", [], "nowhere.mp4: no such file"),
        ("note.txt", [], "note.txt: cannot drive"),
        ("broken.npz", [], "broken.npz"),
        ("broken.bvh", [], "broken.bvh"),
        ("b.png", ["--scale", "0"], "--scale 0: must be at least 1"),
        ("b.png", ["--background", "beach"], "--background beach"),
        ("b.png", ["--checkpoint", "nowhere"], "nowhere"),
        ("b.png", ["--camera", "none"], "--camera"),
        ("b.png", ["--azimuth", "nan"], "--azimuth nan: must be finite"),
        ("walk.avi", ["--appearance", "a.png", "b.png"], "no such file"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(script, model, scenes, tmp_path, capsys, driving, more, words):
    for name in ("note.txt", "broken.npz", "broken.bvh"):
        (tmp_path / name).write_text("nothing")
    path = scenes / driving if (scenes / driving).exists() else tmp_path / driving
    assert run(script.main, arguments(model, [scenes / "a.png"], [path], tmp_path / "out", *more)) == 2
    err = capsys.readouterr().err
    assert words in err.splitlines()[0]
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_a_grid_takes_images_only(script, model, scenes, tmp_path, capsys):
    people = [scenes / "a.png", scenes / "b.png"]
    assert run(script.main, arguments(model, people, [scenes / "walk.avi"], tmp_path)) == 2
    assert "a grid needs images" in capsys.readouterr().err
