import numpy as np
import pytest

from selfsup3d.viz.charts import _ticks, curves, distinct_colours, lines, scatter


def test_points_are_drawn_in_their_label_s_colour():
    points = np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    image = scatter(points, ["a", "b", "a", ""], size=200)
    first, second = distinct_colours(2)
    for colour in (first, second):
        assert (image == np.array(colour)).all(-1).sum() > 10
    assert image.shape[0] == 200
    assert image.shape[1] > 200, "a legend stands beside"


def test_thumbnails_do_not_cover_each_other():
    points = np.array([[0.0, 0.0], [0.01, 0.0], [1.0, 1.0]])
    red = np.zeros((3, 8, 8, 3), np.uint8)
    red[..., 0] = 255
    red[1] = (0, 255, 0)
    image = scatter(points, ["a"] * 3, thumbnails=red, size=300, side=20)
    assert (image == (255, 0, 0)).all(-1).sum() > 400
    assert not (image[:, :300] == (0, 255, 0)).all(-1).any(), "the second point lies under the first"


@pytest.mark.parametrize("wrong", [(np.zeros((3, 3)), ["a"] * 3), (np.zeros((3, 2)), ["a"] * 2)])
def test_wrong_shapes_are_refused(wrong):
    with pytest.raises(ValueError, match="points"):
        scatter(*wrong)


def test_curves_have_a_panel_each_and_one_runs_through_all():
    x = np.arange(50.0)
    falling = 10.0 * np.exp(-x / 10)
    falling[3] = np.nan
    series = {"a": (x, falling), "b": (x, np.full(50, 2.0)), "c": (x, x), "d": (x[:1], x[:1])}
    image = curves(series, beside=("beta", x, x % 10), columns=2)
    assert image.shape[0] > 400
    assert (np.abs(image.astype(int) - (220, 30, 30)).sum(-1) < 150).sum() > 100
    assert curves({"a": (x, falling)}).shape[0] < image.shape[0]
    with pytest.raises(ValueError, match="no curve"):
        curves({})


def test_lines_in_one_frame_have_numbers_on_both_axes():
    x = np.array([0.0, 10.0, 20.0])
    series = {
        "falling": (x, np.array([180.0, 150.0, 140.0])),
        "longer": (np.array([5.0, 40.0]), np.array([160.0, 120.0])),
    }
    drawn = lines(series, across="minutes", up="mm")
    assert drawn.shape[0] == 320
    assert drawn.shape[1] > 480
    for colour in distinct_colours(2):
        assert (np.abs(drawn.astype(int) - colour).sum(-1) < 30).any()
    with pytest.raises(ValueError, match="no curve"):
        lines({}, across="minutes", up="mm")


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (143.2, 188.0), (0.0, 288000.0), (5.0, 5.0)])
def test_ticks_are_round_and_hold_the_range(low, high):
    ticks = _ticks(low, high)
    assert ticks[0] <= low + 1e-9
    assert ticks[-1] >= high - 1e-9
    assert 2 <= len(ticks) <= 10
