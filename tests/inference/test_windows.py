import json

import cv2
import numpy as np
import pytest
import torch

from selfsup3d.errors import InputError
from selfsup3d.inference.windows import WindowOptions, cut, find_windows, whole_frame
from selfsup3d.viz.sheets import write_png


def test_the_whole_of_a_wide_image_is_kept_with_its_edge_repeated():
    image = np.zeros((20, 40, 3), np.uint8)
    image[:, :20] = 200
    image[0], image[-1] = 50, 90
    window = whole_frame(image)
    assert window.tolist() == [0, -10, 40]
    crop = cut(image, window, 40)
    assert (crop[:10] == 50).all()
    assert (crop[30:] == 90).all()
    assert (crop[15, :20] == 200).all()
    assert (crop[15, 20:] == 0).all()


@pytest.mark.parametrize("window", [(0, 0, 64), (-7, 3, 20), (50, 50, 40), (-30, -30, 200), (63, 63, 5), (80, 80, 10)])
@pytest.mark.parametrize("size", [16, 32, 70])
def test_a_point_of_the_frame_is_where_the_window_says(window, size):
    y, x = np.mgrid[:64, :64]
    image = np.stack([4 * x, 4 * y, 0 * x], -1).astype(np.uint8)
    crop = cut(image, np.array(window), size).astype(float)
    assert crop.shape == (size, size, 3)
    at = (np.arange(size) + 0.5) * window[2] / size - 0.5  # pixel of the frame, centre at whole numbers
    grey = max(4.0 * window[2] / size, 4.0)  # to one pixel of the crop
    np.testing.assert_allclose(crop[..., 0], np.clip(4 * (at + window[0]), 0, 252)[None].repeat(size, 0), atol=grey)
    np.testing.assert_allclose(crop[..., 1], np.clip(4 * (at + window[1]), 0, 252)[:, None].repeat(size, 1), atol=grey)


def test_who_moves_is_found_and_followed(walker):
    windows = find_windows(walker, WindowOptions("auto"))
    frame = np.zeros((64, 96, 3), np.uint8)
    for k in (0, 12, 29):
        x, y, side = windows(k, frame)
        assert x - 4 <= 8 + 2 * k
        assert 20 + 2 * k <= x + side + 4
        assert y - 4 <= 16
        assert y + side + 4 >= 55
        assert side < 96


def test_boxes_beside_a_video_come_first(walker):
    box = {"frame": 3, "x": 30, "y": 5, "width": 20, "height": 40}
    walker.with_name("walker.boxes.json").write_text(json.dumps({"boxes": [box, {**box, "frame": 6}]}))
    windows = find_windows(walker, WindowOptions("auto"))
    frame = np.zeros((64, 96, 3), np.uint8)
    assert windows(2, frame) is None
    assert windows(7, frame) is None
    x, y, side = windows(4, frame)
    assert x + side / 2 == pytest.approx(40, abs=2)
    assert y + side / 2 == pytest.approx(25, abs=10)


@pytest.mark.parametrize(("frames", "middle"), [(None, 70), (30, 70), (8, 30)])
def test_who_is_seen_most_in_what_is_looked_at_is_followed(walker, frames, middle):
    early = [{"frame": k, "x": 25, "y": 5, "width": 10, "height": 40, "person": "early"} for k in range(6)]
    late = [{"frame": k, "x": 65, "y": 5, "width": 10, "height": 40, "person": "late"} for k in range(7, 30)]
    walker.with_name("walker.boxes.json").write_text(json.dumps({"boxes": early + late}))
    windows = find_windows(walker, WindowOptions("boxes", frames=frames))
    at = 3 if middle == 30 else 20
    x, _, side = windows(at, np.zeros((64, 96, 3), np.uint8))
    assert x + side / 2 == pytest.approx(middle, abs=2)


def test_a_still_scene_and_missing_files_are_told(tmp_path, walker):
    writer = cv2.VideoWriter(str(tmp_path / "still.avi"), cv2.VideoWriter.fourcc(*"FFV1"), 10, (96, 64))
    for _ in range(12):
        writer.write(np.full((64, 96, 3), 90, np.uint8))
    writer.release()
    with pytest.raises(InputError, match="nobody moves; use --crop whole"):
        find_windows(tmp_path / "still.avi", WindowOptions("auto"))
    with pytest.raises(InputError, match="--boxes FILE"):
        find_windows(walker, WindowOptions("boxes"))
    with pytest.raises(InputError, match="needs --detector"):
        find_windows(walker, WindowOptions("detector"))
    with pytest.raises(InputError, match=r"missing\.pth: no such file"):
        find_windows(walker, WindowOptions("detector", detector=tmp_path / "missing.pth"))
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="not a state dict of ssdlite320"):
        find_windows(walker, WindowOptions("detector", detector=tmp_path / "other.pth"))


def test_boxes_beside_the_image_hold_nobody(walker):
    rows = [{"frame": k, "x": 500, "y": 2, "width": 8, "height": 30} for k in range(30)]
    walker.with_name("walker.boxes.json").write_text(json.dumps({"boxes": rows}))
    assert find_windows(walker, WindowOptions("boxes"))(3, np.zeros((64, 96, 3), np.uint8)) is None


def test_the_folder_that_one_stands_in_is_looked_at(tmp_path, monkeypatch):
    (tmp_path / "images").mkdir()
    write_png(tmp_path / "images" / "a.png", np.zeros((40, 60, 3), np.uint8))
    monkeypatch.chdir(tmp_path / "images")
    image = np.zeros((40, 60, 3), np.uint8)
    assert find_windows(".", WindowOptions())(0, image).tolist() == [0, -10, 60]
    (tmp_path / "images.boxes.csv").write_text("frame,x,y,width,height\n0,5,5,20,30\n")
    assert find_windows(".", WindowOptions())(0, image)[2] < 60


def test_what_is_named_comes_before_what_stands_beside_and_is_never_ignored(tmp_path, walker):
    row = {"frame": 0, "x": 1, "y": 2, "width": 8, "height": 30}
    walker.with_name("walker.boxes.json").write_text(json.dumps({"boxes": [row]}))
    weights = tmp_path / "missing.pth"
    with pytest.raises(InputError, match=r"missing\.pth: no such file"):
        find_windows(walker, WindowOptions("auto", detector=weights))
    for options in (
        WindowOptions("whole", boxes=tmp_path / "b.json"),
        WindowOptions("motion", boxes=tmp_path / "b.json"),
        WindowOptions("whole", detector=weights),
        WindowOptions("auto", boxes=tmp_path / "b.json", detector=weights),
    ):
        with pytest.raises(InputError, match="does not look at it; leave one of them out"):
            find_windows(walker, options)


def test_a_detector_is_read_from_its_weights(tmp_path, monkeypatch):
    from torchvision.models import detection

    class Fake(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.shift = torch.nn.Parameter(torch.zeros(()))

        def forward(self, images):
            seen = bool(images[0].max() > 0)
            boxes = torch.tensor([[0.0, 0, 4, 4], [10.0, 10, 20, 40], [1.0, 1, 3, 3]]) + self.shift
            scores = torch.tensor([0.99, 0.9 if seen else 0.1, 0.6 if seen else 0.1])
            return [{"boxes": boxes, "labels": torch.tensor([3, 1, 1]), "scores": scores}]

    monkeypatch.setattr(detection, "ssdlite320_mobilenet_v3_large", lambda **_: Fake())
    torch.save({"shift": torch.tensor(5.0)}, tmp_path / "weights.pth")
    windows = find_windows(tmp_path, WindowOptions("detector", detector=tmp_path / "weights.pth"))
    x, y, side = windows(0, np.full((64, 64, 3), 9, np.uint8))
    assert (x + side / 2, y + side / 2) == pytest.approx((20, 30), abs=1)
    assert windows(1, np.zeros((64, 64, 3), np.uint8)) is None


def test_a_named_person_is_followed_over_gaps_and_others_are_counted(walker):
    rows = [(0, "bo"), (3, "anna"), (4, "anna"), (7, "bo"), (25, "anna"), (28, "anna")]
    boxes = [{"frame": f, "x": 30, "y": 5, "width": 20, "height": 40, "person": who} for f, who in rows]
    walker.with_name("walker.boxes.json").write_text(json.dumps({"boxes": boxes}))
    lines = []
    windows = find_windows(walker, WindowOptions("auto"), lines.append)
    frame = np.zeros((64, 96, 3), np.uint8)
    assert [f for f in range(30) if windows(f, frame) is not None] == [0, 1, 2, 3, 4, 5, 6, 7]
    assert "bo is followed; 1 other people ignored" in lines[0]
    lines.clear()
    windows = find_windows(walker, WindowOptions("auto", person="anna"), lines.append)
    assert [f for f in range(30) if windows(f, frame) is not None] == [3, 4, 25, 26, 27, 28]
    assert "no box in frames 5-24" in lines[1]
    windows = find_windows(walker, WindowOptions("auto", person="anna", box_gap=30), lines.append)
    assert [f for f in range(30) if windows(f, frame) is not None] == list(range(3, 29))
    with pytest.raises(InputError, match="nobody is called 'cy'; the people are anna, bo"):
        find_windows(walker, WindowOptions("auto", person="cy"))
