import numpy as np
import pytest

from selfsup3d.data.saliency import clean_mask, fill_holes, mask_iou, video_saliency
from selfsup3d.errors import InputError


def test_walking_figure_before_a_still_background(toy_clip):
    frames, true = toy_clip
    result = video_saliency(frames)
    assert result.static_camera
    assert result.method == "background"
    assert result.saliency.shape == true.shape
    assert result.plate.shape == frames.shape[1:]
    assert mask_iou(result.saliency > 127, true) > 0.85


def test_the_plate_is_the_background(toy_clip):
    frames, true = toy_clip
    plate = video_saliency(frames).plate.astype(float)
    background = np.where(true[..., None], np.nan, frames.astype(float))
    seen = ~true.all(0)
    error = np.abs(plate - np.nanmedian(background, axis=0))[seen].mean()
    assert error < 3.0


def test_a_brightening_picture_is_not_a_person(toy_clip):
    frames, true = toy_clip
    gain = np.linspace(0.95, 1.05, len(frames))[:, None, None, None]
    result = video_saliency(np.clip(frames * gain, 0, 255).astype(np.uint8))
    assert mask_iou(result.saliency > 127, true) > 0.8


def test_moving_camera_falls_back_on_the_centre():
    random = np.random.default_rng(0)
    frames = random.integers(0, 255, (6, 48, 48, 3)).astype(np.uint8)
    frames[:, 8:40, 18:30] = (200, 30, 30)
    result = video_saliency(frames)
    assert not result.static_camera
    assert result.method == "grabcut"
    assert result.plate.shape == frames.shape
    true = np.zeros((6, 48, 48), dtype=bool)
    true[:, 8:40, 18:30] = True
    assert mask_iou(result.saliency > 127, true) > 0.7


@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (1, 16, 16, 3), (2, 3, 5, 3), (7, 16, 9, 3)])
@pytest.mark.parametrize("method", ["auto", "background", "grabcut"])
@pytest.mark.parametrize("value", [0, 255, None])
def test_degenerate_clips_give_something_finite(shape, method, value):
    if value is None:
        frames = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    else:
        frames = np.full(shape, value, dtype=np.uint8)
    result = video_saliency(frames, method)
    assert result.saliency.shape == shape[:3]
    assert result.saliency.dtype == result.plate.dtype == np.uint8


@pytest.mark.parametrize(
    "frames", [np.zeros((0, 8, 8, 3), np.uint8), np.zeros((3, 8, 8), np.uint8), np.zeros((3, 8, 8, 3), np.float32)]
)
def test_wrong_frames_are_refused(frames):
    with pytest.raises(InputError, match="expected uint8"):
        video_saliency(frames)


def test_unknown_method_is_refused(toy_clip):
    with pytest.raises(InputError, match="background"):
        video_saliency(toy_clip[0], "magic")  # type: ignore[arg-type]


def test_same_frames_give_the_same_masks(toy_clip):
    for method in ("background", "grabcut"):
        first, second = video_saliency(toy_clip[0], method), video_saliency(toy_clip[0], method)
        assert np.array_equal(first.saliency, second.saliency)
        assert np.array_equal(first.plate, second.plate)


def test_specks_go_and_small_holes_close():
    distance = np.zeros((64, 64), np.float32)
    distance[20:50, 20:40] = 30.0
    distance[30, 30] = 0.0
    distance[5:7, 5:7] = 30.0
    mask = clean_mask(distance, 4.0)
    assert mask[30, 30]
    assert not mask[:15, :15].any()
    hollow = np.ones((64, 64), bool)
    hollow[20:40, 20:40] = False
    assert not fill_holes(hollow)[30, 30]


def test_iou():
    a = np.array([True, True, False])
    assert mask_iou(a, np.array([True, False, False])) == 0.5
    assert mask_iou(~a & a, ~a & a) == 1.0
