import cv2
import numpy as np
import pytest
import torch

from selfsup3d.viz.sheets import sheet, tile, to_uint8, write_png


def test_to_uint8_rounds_clips_and_moves_channels():
    image = torch.tensor([-1.0, 0.5, 2.0]).view(1, 3, 1, 1).expand(1, 3, 4, 5)
    shown = to_uint8(image)
    assert shown.shape == (1, 4, 5, 3)
    assert shown[0, 0, 0].tolist() == [0, 128, 255]
    assert to_uint8(torch.full((3, 1, 1), float("nan"))).max() == 0


def test_tile_centres_smaller_images_and_takes_ragged_rows():
    big, small = np.full((10, 12, 3), 10, np.uint8), np.full((4, 4, 3), 200, np.uint8)
    canvas = tile([[big, small], [small]], gap=2, paper=(255, 0, 0))
    assert canvas.shape == (2 + 2 * 12, 2 + 2 * 14, 3)
    assert (canvas[2:12, 2:14] == 10).all()
    assert (canvas[5:9, 20:24] == 200).all()
    assert tuple(canvas[20, 20]) == (255, 0, 0)
    with pytest.raises(ValueError, match="at least one"):
        tile([[]])


def test_sheet_looks_as_stored(matches_golden):
    ramp = torch.linspace(0, 1, 32).view(1, 1, 1, 32).expand(2, 3, 32, 32)
    checks = ((torch.arange(32)[:, None] // 4 + torch.arange(32) // 4) % 2).float().expand(2, 3, 32, 32)
    matches_golden(sheet({"ramp": ramp, "checks": checks}, cell=48, titles=False), "sheet")


def test_sheet_enlarges_by_whole_factors_without_blur():
    image = torch.rand(1, 3, 16, 16)
    shown = sheet({"a": image}, cell=64, titles=False)[2:66, 2:66]
    np.testing.assert_array_equal(shown, to_uint8(image)[0].repeat(4, 0).repeat(4, 1))


def test_titles_add_a_strip_and_rows_can_be_limited():
    images = torch.zeros(5, 3, 64, 64)
    plain = sheet({"a": images, "b": images}, titles=False, limit=3)
    titled = sheet({"a": images, "b": images}, row_titles=list("vwxyz"), limit=3)
    assert plain.shape[0] == 2 + 3 * 66
    assert titled.shape[0] == plain.shape[0] + 18
    assert (titled[:18] < 128).any()  # something is written
    assert (titled[18:] > 200).sum() > (plain > 200).sum()


def test_columns_of_different_length_are_refused():
    with pytest.raises(ValueError, match=r"'a': 1.*'b': 2"):
        sheet({"a": torch.zeros(1, 3, 4, 4), "b": torch.zeros(2, 3, 4, 4)})
    with pytest.raises(ValueError, match="columns"):
        sheet({})


def test_png_is_written_whole_in_rgb(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (9, 7, 3)).astype(np.uint8)
    write_png(tmp_path / "deep" / "a.png", image)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "deep" / "a.png"))[..., ::-1], image)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["a.png"]
