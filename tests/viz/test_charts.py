import subprocess
import sys

import numpy as np
import pytest

from selfsup3d.viz.charts import curves, distinct_colours, lines, scatter


def _near(image: np.ndarray, colour, within: int = 30) -> int:
    """How many pixels have nearly a colour."""
    return int((np.abs(image.astype(int) - colour).sum(-1) < within).sum())


def test_points_are_drawn_in_the_colour_of_their_label():
    points = np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    image = scatter(points, ["a", "b", "a", ""], size=200)
    for colour in distinct_colours(2):
        assert _near(image, colour) > 10
    assert image.shape[0] == 200
    assert image.dtype == np.uint8


def test_thumbnails_do_not_cover_each_other():
    points = np.array([[0.0, 0.0], [0.01, 0.0], [1.0, 1.0]])
    images = np.zeros((3, 8, 8, 3), np.uint8)
    images[..., 0] = 255
    images[1] = (0, 0, 255)
    image = scatter(points, ["a"] * 3, thumbnails=images, size=300, side=20)
    assert _near(image, (255, 0, 0)) > 300
    assert _near(image, (0, 0, 255)) == 0, "the second point lies under the first"


@pytest.mark.parametrize("wrong", [(np.zeros((3, 3)), ["a"] * 3), (np.zeros((3, 2)), ["a"] * 2)])
def test_wrong_shapes_raise(wrong):
    with pytest.raises(ValueError, match="points"):
        scatter(*wrong)


def test_curves_have_a_panel_each_and_one_runs_through_all():
    x = np.arange(50.0)
    falling = 10.0 * np.exp(-x / 10)
    falling[3] = np.nan
    series = {"a": (x, falling), "b": (x, np.full(50, 2.0)), "c": (x, x), "d": (x[:1], x[:1]), "e": (x[:0], x[:0])}
    image = curves(series, through_all=("beta", x, x % 10), columns=2)
    assert image.shape[0] == 3 * 220
    assert _near(image, (220, 30, 30), 150) > 100
    assert _near(image, (40, 90, 220), 150) > 100
    with pytest.raises(ValueError, match="no curve"):
        curves({})


def test_lines_in_one_frame_have_their_own_colours():
    series = {
        "falling": (np.array([0.0, 10.0, 20.0]), np.array([180.0, 150.0, 140.0])),
        "longer": (np.array([5.0, 40.0]), np.array([160.0, 120.0])),
    }
    drawn = lines(series, across="minutes", up="mm")
    assert drawn.shape == (320, 640, 3)
    for colour in distinct_colours(2):
        assert _near(drawn, colour) > 5
    with pytest.raises(ValueError, match="no curve"):
        lines({}, across="minutes", up="mm")


def test_matplotlib_loads_when_a_chart_is_drawn_only():
    code = "import sys; import selfsup3d.viz.charts; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
