"""Everything that is written agrees with the times of the source."""

import numpy as np
import pytest

from selfsup3d.errors import InputError
from selfsup3d.inference.records import PoseRecord, load_record
from selfsup3d.inference.timeline import steady_motion


def record(frames, times=None, fps=0.0):
    """A body that goes 1 m to the right each second, by true times."""
    frames = np.asarray(frames)
    count = len(frames)
    seconds = np.asarray(times if times is not None else frames / (fps or 10.0))
    pose = np.random.default_rng(0).normal(0, 0.3, (17, 3))
    root = np.column_stack([seconds, np.zeros(count), np.full(count, 4.0)])
    return PoseRecord(
        np.tile(pose - pose[0], (count, 1, 1)), np.zeros((count, 17, 2)), root, frames, np.ones((count, 3), int), fps,
        times=None if times is None else np.asarray(times, float),
    )  # fmt: skip


def test_even_times_are_kept_as_they_are():
    given = record(range(20), fps=25.0)
    motion = steady_motion(given)
    assert motion.fps == pytest.approx(25.0)
    np.testing.assert_array_equal(motion.joints, given.world())
    assert not motion.notes


@pytest.mark.parametrize("tick", [1e-3, 1 / 90_000])
def test_rounded_times_of_a_long_video_are_even(tick):
    frames = np.arange(0, 9000, 3)
    times = np.rint(frames / 29.97 / tick) * tick
    motion = steady_motion(record(frames, times, fps=29.97 / 3))
    assert len(motion) == 3000
    assert motion.fps == pytest.approx(29.97 / 3, rel=1e-5)
    assert motion.seen.all()


def test_varying_times_are_resampled_and_said():
    times = [0.0, 0.9, 1.0, 1.1, 1.2, 1.3, 3.0]
    motion = steady_motion(record(range(7), times, fps=2.3), max_gap=5.0)
    at = motion.start + np.arange(len(motion)) / motion.fps
    np.testing.assert_allclose(motion.joints[:, 0, 0], at, atol=1e-6)  # a metre a second, still
    assert at[-1] == pytest.approx(3.0, abs=0.5 / motion.fps)
    assert "resampled" in motion.notes[0]


def test_short_gaps_are_interpolated_and_long_ones_held():
    frames = [*range(10), 12, 13, *range(40, 50)]
    motion = steady_motion(record(frames, fps=10.0), max_gap=0.5)
    assert len(motion) == 50
    np.testing.assert_allclose(motion.joints[:14, 0, 0], np.arange(14) / 10)
    np.testing.assert_allclose(motion.joints[14:40, 0, 0], 1.3)  # held
    assert np.flatnonzero(~motion.seen).tolist() == list(range(14, 40))
    assert "2 frames in gaps of up to 0.5 s are interpolated" in motion.notes[0]
    assert "frames 14-39" in motion.notes[1]


def test_a_source_without_a_rate_says_what_is_assumed():
    given = record(range(5), times=[np.nan] * 5)
    motion = steady_motion(given)
    assert motion.fps == pytest.approx(12.0)
    assert "12 frames/s are assumed (--fps)" in motion.notes[0]
    assert steady_motion(given, fps=50.0).fps == pytest.approx(50.0)
    assert not steady_motion(given, fps=50.0).notes


def test_ids_that_are_no_frames_make_no_animation():
    with pytest.raises(InputError, match="make no animation"):
        steady_motion(record([3, 397_133, 397_134, 900_000], fps=10.0))


def test_times_and_confidences_are_saved_and_thinned(tmp_path):
    given = record([0, 1, 2, 5, 6, 7, 8], [0.0, 0.9, 1.0, 1.1, 1.2, 1.5, 3.0], fps=2.0)
    thinned = given.thinned(every=2)
    assert thinned.frames.tolist() == [0, 2, 6, 8]
    assert thinned.times.tolist() == [0.0, 1.0, 1.2, 3.0]
    assert thinned.fps == 1.0
    thinned.save(tmp_path / "a.npz")
    np.testing.assert_array_equal(load_record(tmp_path / "a.npz").times, thinned.times)
    assert load_record(tmp_path / "a.npz").confidence.shape == (4, 17)
