import numpy as np
import pytest

from selfsup3d.data.synthetic.prior import ProceduralPrior
from selfsup3d.inference.drawing import people_overlays
from selfsup3d.inference.records import PoseRecord
from selfsup3d.io.video import VideoFrame
from selfsup3d.viz.colours import PEOPLE


def somebody(number):
    """A person in frame 0, somewhere in an image of 300 x 300 px."""
    joints = ProceduralPrior(4).poses[number] * [1, -1, 1]
    pixels = 60.0 * joints[:, :2] + (60 + 60 * number, 150)
    one = [value[None].astype(np.float32) for value in (joints, pixels, np.zeros(3))]
    return PoseRecord(*one, np.zeros(1, int), np.array([[0, 0, 300]]))


@pytest.mark.parametrize(("count", "top", "bottom"), [(2, 75, 225), (3, 0, 300), (4, 0, 300)])
def test_several_people_have_a_colour_each_and_poses_in_the_middle_beside(count, top, bottom):
    frame = VideoFrame(0, 0.0, np.zeros((300, 300, 3), np.uint8))
    (drawn,) = people_overlays([frame], [somebody(k) for k in range(count)])
    image, panels = drawn[:, :300], drawn[:, 300:]
    for colour in PEOPLE[:count]:
        assert (np.abs(image.astype(int) - colour).max(-1) < 8).any()
    used = np.flatnonzero((panels != 250).any((1, 2)))
    assert top <= used.min() < used.max() < bottom
    assert (used.min() < top + 75, used.max() > bottom - 75) == (True, True)
