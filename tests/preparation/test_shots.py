import numpy as np

from selfsup3d.preparation.shots import CutDetector


def _cuts(frames: np.ndarray) -> list[int]:
    detector = CutDetector()
    return [k for k, frame in enumerate(frames) if detector.is_cut(frame)]


def test_cuts_between_scenes_are_found(toy_clips):
    shots = [frames for frames, _ in toy_clips]
    assert _cuts(np.concatenate(shots)) == [12, 32]


def test_a_walking_person_a_pan_and_a_flicker_are_no_cuts(toy_clip):
    frames, _ = toy_clip
    assert _cuts(frames) == []
    wide = np.concatenate([frames[0]] * 3, axis=1)
    assert _cuts(np.stack([wide[:, k : k + 64] for k in range(0, 100, 4)])) == []
    rng = np.random.default_rng(0)
    gain = 1 + 0.05 * rng.standard_normal(24)
    assert _cuts(np.clip(frames * gain[:, None, None, None], 0, 255).astype(np.uint8)) == []
