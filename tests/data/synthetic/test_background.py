from __future__ import annotations

from collections import Counter

import numpy as np

from selfsup3d.data.priors.camera_prior import look_at, pinhole
from selfsup3d.data.synthetic.background import CLEAR, FAR, make_background, render_background
from selfsup3d.data.synthetic.spec import code

BACKGROUNDS = [make_background(code("train", "background", index)) for index in range(150)]
K = pinhole(32, np.array(34.0))


def camera(azimuth: float, elevation: float = 12.0) -> tuple[np.ndarray, np.ndarray]:
    return look_at(np.array([0.0, 0.0, 0.9]), np.array(azimuth), np.array(elevation), np.array(4.4))


def test_all_kinds_occur_with_furniture_and_images() -> None:
    kinds = Counter(b.kind for b in BACKGROUNDS)
    assert set(kinds) == {"room", "ground", "backdrop"}
    assert kinds["room"] > 60
    assert any(len(b.boxes) for b in BACKGROUNDS)
    assert any(len(b.images) for b in BACKGROUNDS)


def test_nothing_stands_on_the_stage() -> None:
    for background in BACKGROUNDS:
        for low, high in background.boxes[:, :, :2]:
            nearest = np.clip(0.0, low, high)
            assert np.linalg.norm(nearest) >= CLEAR - 1e-9


def test_no_wall_and_no_box_comes_between_the_camera_and_the_stage() -> None:
    for index, background in enumerate(BACKGROUNDS[:60]):
        rotation, translation = camera(37.0 * index)
        view = render_background(background, K, rotation, translation, 32)
        assert view.depth[10:22, 10:22].min() > 4.4 - 1.3  # only the floor may come near


def test_images_are_in_range_and_textured() -> None:
    spread = []
    for background in BACKGROUNDS[:40]:
        view = render_background(background, K, *camera(80.0), 32)
        assert view.image.shape == (32, 32, 3)
        assert np.isfinite(view.image).all()
        assert view.image.min() >= 0.0
        assert view.image.max() <= 1.0
        spread.append(view.image.std())
    assert np.median(spread) > 0.04
    assert len({tuple(np.round(b.surfaces[0].colours.ravel(), 4)) for b in BACKGROUNDS}) == len(BACKGROUNDS)


def test_the_floor_is_where_it_says() -> None:
    room = next(b for b in BACKGROUNDS if b.kind == "room")
    rotation, translation = camera(10.0, 30.0)
    view = render_background(room, K, rotation, translation, 32)
    rows, columns = np.nonzero(view.floor[0] != FAR)
    assert len(rows) > 50
    world = np.stack([*view.floor[:, rows, columns], np.zeros(len(rows))], -1)
    seen = world @ rotation.T + translation
    assert np.allclose(seen[:, 2], view.depth[rows, columns], atol=1e-3)
    assert np.allclose(seen[:, 0] / seen[:, 2] * K[0, 0] + K[0, 2], columns + 0.5, atol=1e-2)
    assert np.allclose(seen[:, 1] / seen[:, 2] * K[1, 1] + K[1, 2], rows + 0.5, atol=1e-2)


def test_two_cameras_see_one_room() -> None:
    """A point of the floor has the same paint from both sides (but for sampling)."""
    room = next(b for b in BACKGROUNDS if b.kind == "room" and b.surfaces[0].pattern == "plain")
    one = render_background(room, K, *camera(0.0, 35.0), 32)
    other = render_background(room, K, *camera(90.0, 35.0), 32)

    def paint(view) -> np.ndarray:
        near = np.hypot(*view.floor) < 0.4
        return view.image[near].mean(0)

    assert np.abs(paint(one) - paint(other)).max() < 0.03
