import numpy as np
import pytest

from selfsup3d.preparation.tracks import Track, blobs, find_tracks, follow, is_part_of, motion_energy, square_windows


def two_walkers(frames: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """(T, 90, 160, 3) frames with two figures, and their true boxes (2, T, 4): one comes late and leaves early."""
    rng = np.random.default_rng(0)
    background = np.repeat(np.repeat(rng.integers(80, 180, (9, 16, 3)), 10, 0), 10, 1)
    images = np.tile(background, (frames, 1, 1, 1)) + rng.normal(0, 1, (frames, 90, 160, 3))
    boxes = np.full((2, frames, 4), np.nan)
    for t in range(frames):
        for who, (x, y, w, h, seen) in enumerate(((10 + 2 * t, 20, 14, 50, True), (130 - t, 30, 12, 45, 8 <= t < 34))):
            if seen:
                images[t, y : y + h, x : x + w] = (250, 20, 20) if who else (20, 20, 250)
                boxes[who, t] = x, y, w, h
    return np.clip(images, 0, 255).astype(np.uint8), boxes


def test_two_people_give_two_tracks():
    frames, true = two_walkers()
    tracks = [t for t in find_tracks(frames, fps=10.0) if len(t) >= 8]
    assert len(tracks) == 2
    for track in tracks:
        where = slice(track.first, track.first + len(track))
        errors = []
        for boxes in true:
            centre = boxes[where, :2] + 0.5 * boxes[where, 2:]
            found = track.boxes[:, :2] + 0.5 * track.boxes[:, 2:]
            errors.append(np.nanmedian(np.abs(found - centre)) if np.isfinite(centre).any() else np.inf)
        assert min(errors) < 6


def test_nothing_moves():
    frames = np.tile(np.random.default_rng(0).integers(0, 255, (1, 60, 80, 3)), (20, 1, 1, 1)).astype(np.uint8)
    assert find_tracks(frames, fps=10.0) == []


def test_blobs_join_pieces_of_one_person():
    mask = np.zeros((100, 100), bool)
    mask[20:40, 40:52] = True
    mask[46:80, 41:50] = True  # six rows below: the belt looked like the background
    mask[5, 5] = True
    assert blobs(mask).tolist() == [[40, 20, 12, 60]]
    assert blobs(np.zeros((50, 50), bool)).shape == (0, 4)


def test_following_bridges_gaps_and_ends_after_patience():
    box = np.array([10.0, 10, 10, 30])
    frames = [box[None] + [k, 0, 0, 0] for k in range(6)]
    frames += [np.zeros((0, 4))] * 2 + [box[None] + [8, 0, 0, 0]]
    (track,) = follow(frames, patience=3)
    assert (track.first, len(track)) == (0, 9)
    assert track.boxes[6, 0] == pytest.approx(10 + 5 + 1)
    frames += [np.zeros((0, 4))] * 6 + [box[None] + [8, 0, 0, 0]]
    assert sorted(len(t) for t in follow(frames, patience=3)) == [1, 9]


def test_people_who_pass_far_from_each_other_are_not_joined():
    a, b = np.array([0.0, 0, 10, 30]), np.array([60.0, 0, 10, 30])
    right = np.array([1.0, 0, 0, 0])
    tracks = follow([np.stack([a + k * right, b - k * right]) for k in range(20)], patience=3)
    assert sorted(t.boxes[0, 0] for t in tracks) == [0, 60]
    assert all(len(t) == 20 for t in tracks)


def test_a_loose_arm_is_part_of_its_body():
    body = Track(0, np.tile([20.0, 10, 20, 60], (30, 1)))
    windows = square_windows(body, 10.0, (160, 90))
    arm = Track(5, np.tile([38.0, 30, 8, 12], (10, 1)))
    neighbour = Track(5, np.tile([45.0, 10, 20, 58], (10, 1)))
    assert is_part_of(arm, body, windows)
    assert not is_part_of(neighbour, body, windows)
    assert not is_part_of(body, arm, square_windows(arm, 10.0, (160, 90)))


def test_windows_are_smooth_and_hold_the_person():
    rng = np.random.default_rng(0)
    x = np.linspace(0, 400, 80) + rng.normal(0, 3, 80)
    boxes = np.column_stack([x, 20 + rng.normal(0, 2, 80), np.full(80, 30.0), np.full(80, 80.0)])
    windows = square_windows(Track(0, boxes), 10.0, (640, 360))
    assert np.ptp(windows[:, 2]) == 0
    jumps, raw = (np.abs(np.diff(path, 2))[15:] for path in (windows[:, 0], x))  # at first the image's edge holds
    assert jumps.max() < 0.25 * raw.max()
    centre = boxes[:, :2] + 0.5 * boxes[:, 2:]
    inside = (centre > windows[:, :2]) & (centre < windows[:, :2] + windows[:, 2:])
    assert inside.all()
    assert (windows[:, :2] >= 0).all()


def test_someone_who_stays_gets_a_window_that_stands_still():
    boxes = np.column_stack([100 + 5 * np.sin(np.arange(50)), np.full(50, 40.0), np.full(50, 30.0), np.full(50, 90.0)])
    windows = square_windows(Track(0, boxes), 10.0, (320, 240))
    assert np.ptp(windows, axis=0).max() == 0


def test_motion_energy():
    frames, true = two_walkers()
    walking = Track(10, true[1, 10:30])
    standing = Track(10, np.tile([140.0, 0, 15, 15], (20, 1)))
    assert np.median(motion_energy(frames, walking)) > 0.05
    assert np.median(motion_energy(frames, standing)) < 0.01
    assert motion_energy(frames, Track(0, true[0, :1])).shape == (1,)
