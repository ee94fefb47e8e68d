import cv2
import pytest
import torch

from selfsup3d.cli import run
from selfsup3d.io import pretrained


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("novel_view")


def arguments(model, image, output, *more):
    return ["--checkpoint", str(model), "--image", str(image), "--output", str(output), "--device", "cpu", *more]


def test_a_sheet_of_views_and_the_way_round(script, model, scenes, tmp_path, capsys):
    more = ["--count", "3", "--elevation", "-10", "20", "--frames", "5", "--background", "background"]
    assert run(script.main, arguments(model, scenes / "a.png", tmp_path, *more)) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / "views.png"), str(tmp_path / "views.gif")]
    sheet = cv2.imread(str(tmp_path / "views.png"))
    assert sheet.shape[:2] == (2 + 2 * 276, 2 + 5 * 258)  # image, pose and 3 views of 256 px with titles, in two rows
    views = [sheet[20:276, 2 + 258 * k : 258 + 258 * k] for k in (2, 3, 4)]
    assert (views[0] != views[1]).any()
    assert (views[1] != views[2]).any()
    animation = cv2.VideoCapture(str(tmp_path / "views.gif"))
    count = 0
    while animation.read()[0]:
        count += 1
    assert count == 8  # there and back


def test_backgrounds_videos_and_overwriting(script, model, scenes, tmp_path, capsys):
    more = [
        "--count",
        "1",
        "--frames",
        "3",
        "--video",
        "webm",
        "--background",
        str(scenes / "b.png"),
        "--origin",
        "body",
    ]
    command = arguments(model, scenes / "a.png", tmp_path, *more)
    assert run(script.main, command) == 0
    assert run(script.main, command) == 2
    assert "views.png (and 1 more) exists already" in capsys.readouterr().err
    assert run(script.main, [*command, "--overwrite"]) == 0


def test_the_way_round_as_a_film_of_the_person_in_a_box(script, model, scenes, tmp_path):
    (tmp_path / "box.csv").write_text("frame,x,y,width,height\n0,20,6,24,48\n")
    more = ["--count", "2", "--frames", "4", "--video", "mp4", "--scale", "1", "--boxes", str(tmp_path / "box.csv")]
    assert run(script.main, arguments(model, scenes / "a.png", tmp_path / "box", *more)) == 0
    video, frames = cv2.VideoCapture(str(tmp_path / "box" / "views.mp4")), []
    while (read := video.read())[0]:
        frames.append(read[1])
    assert [frame.shape for frame in frames] == [(64, 64, 3)] * 6  # there and back
    assert run(script.main, arguments(model, scenes / "a.png", tmp_path / "whole", *more[:-2])) == 0
    sheets = [cv2.imread(str(tmp_path / name / "views.png")) for name in ("box", "whole")]
    assert (sheets[0][20:84, 2:66] != sheets[1][20:84, 2:66]).any()  # the box was cut out


def test_several_images_and_a_video_over_nothing_at_all(script, model, scenes, tmp_path):
    more = ["--image", str(scenes / "a.png"), str(scenes / "b.png"), str(scenes / "walk.avi"), "--scale", "1"]
    more += ["--background", "transparent", "--video", "webm", "--count", "2", "--frames", "3", "--textures"]
    assert run(script.main, arguments(model, scenes / "a.png", tmp_path, *more)) == 0
    sheet = cv2.imread(str(tmp_path / "views.png"), cv2.IMREAD_UNCHANGED)
    assert sheet.shape[2] == 4
    views = sheet[20:84, 2 + 2 * 66 :, 3]
    assert views.min() == 0  # the background
    assert (views > 200).any()  # the person
    assert run(script.main, arguments(model, scenes / "a.png", tmp_path / "gif", *more, "--video", "gif")) == 2


def test_a_model_of_poses_alone_draws_textures(script, model, scenes, tmp_path, capsys):
    from selfsup3d.builders.systems import load_system

    system, config = load_system(model)
    torch.nn.init.zeros_(system.decoder.to_image.weight)  # as if it was never trained
    pretrained.save_pretrained(tmp_path / "poses", system, config.to_dict(), "poses alone")
    more = ["--count", "1", "--video", "none", "--scale", "1"]
    assert run(script.main, arguments(tmp_path / "poses", scenes / "a.png", tmp_path / "out", *more)) == 2
    assert "with textures it draws the parts" in capsys.readouterr().err
    assert run(script.main, arguments(tmp_path / "poses", scenes / "a.png", tmp_path / "out", *more, "--textures")) == 0


def test_the_pose_is_that_of_another_model(script, model, scenes, tmp_path, capsys):
    from selfsup3d.builders.systems import load_system

    system, config = load_system(model)
    with torch.no_grad():
        for weight in system.encoder.head.parameters():
            weight.mul_(-1.0)
    pretrained.save_pretrained(tmp_path / "other", system, config.to_dict(), "another reader")
    more = ["--count", "1", "--video", "none", "--scale", "1", "--textures"]
    sheets = {}
    for name, poses in {
        "own": [],
        "itself": ["--poses", str(model)],
        "other": ["--poses", str(tmp_path / "other")],
    }.items():
        assert run(script.main, arguments(model, scenes / "a.png", tmp_path / name, *more, *poses)) == 0
        sheets[name] = cv2.imread(str(tmp_path / name / "views.png"))
    assert (sheets["own"] == sheets["itself"]).all()
    assert (sheets["own"] != sheets["other"]).any()
    assert run(script.main, arguments(model, scenes / "a.png", tmp_path / "no", *more, "--poses", "lifter")) == 2
    assert "--poses lifter: a part_guided system draws the poses of another" in capsys.readouterr().err


def test_a_box_of_another_frame_or_place_is_told(script, model, scenes, tmp_path, capsys):
    for row in ("7,1,2,30,40", "0,9000,2,30,40"):
        (tmp_path / "b.csv").write_text(f"frame,x,y,width,height\n{row}\n")
        command = arguments(model, scenes / "a.png", tmp_path / "out", "--boxes", str(tmp_path / "b.csv"))
        assert run(script.main, command) == 2
        assert "b.csv: no box of a frame that lies in" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--count", "0"], "--count 0: must be at least 1"),
        (["--distance", "-1"], "--distance -1.0"),
        (["--azimuth", "nan", "90"], "angles must be finite"),
        (["--background", "beach"], "--background beach: neither"),
        (["--image", "nowhere.png"], "nowhere.png"),
        (["--boxes", "nowhere.csv"], "nowhere.csv"),
        (["--checkpoint", "nowhere"], "nowhere"),
        (["--azimut", "1", "2"], "--azimut"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(script, model, scenes, tmp_path, capsys, more, words):
    assert run(script.main, arguments(model, scenes / "a.png", tmp_path / "out", *more)) == 2
    err = capsys.readouterr().err
    assert words in err.splitlines()[0]
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()
