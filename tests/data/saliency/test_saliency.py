import cv2
import numpy as np
import pytest

from selfsup3d.data.saliency.background_model import camera_is_still
from selfsup3d.data.saliency.saliency import clean_mask, fill_holes, mask_iou, video_saliency
from selfsup3d.errors import InputError


def test_walking_figure_before_a_still_background(toy_clip):
    frames, true = toy_clip
    result = video_saliency(frames)
    assert result.static_camera
    assert result.method == "background"
    assert result.saliency.shape == true.shape
    assert result.background.shape == frames.shape[1:]
    assert mask_iou(result.saliency > 127, true) > 0.85


def test_the_background_is_the_background(toy_clip):
    frames, true = toy_clip
    background = video_saliency(frames).background.astype(float)
    behind = np.where(true[..., None], np.nan, frames.astype(float))
    seen = ~true.all(0)
    error = np.abs(background - np.nanmedian(behind, axis=0))[seen].mean()
    assert error < 3.0


def test_a_brightening_image_is_not_a_person(toy_clip):
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
    assert result.background.shape == frames.shape
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
    assert result.saliency.dtype == result.background.dtype == np.uint8


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
        assert np.array_equal(first.background, second.background)


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


def test_still_and_moving_cameras(toy_clip):
    frames, _ = toy_clip
    rng = np.random.default_rng(0)
    assert camera_is_still(frames)
    assert camera_is_still(np.clip(frames + rng.normal(0, 6, frames.shape), 0, 255).astype(np.uint8))
    coarse = rng.integers(60, 200, (12, 24, 3), dtype=np.uint8)
    wide = cv2.resize(coarse, (192, 64), interpolation=cv2.INTER_CUBIC)
    assert not camera_is_still(np.stack([wide[:, 4 * t : 4 * t + 64] for t in range(24)]))
    assert camera_is_still(np.full((20, 64, 64, 3), 90, np.uint8))


def test_shadows_are_not_people(toy_clip):
    frames, true = toy_clip
    shaded = frames.astype(np.float64)
    for image, mask in zip(shaded, true, strict=True):
        cast = np.roll(mask, (2, 12), axis=(0, 1)).astype(np.float32)
        darkness = 0.3 * cv2.GaussianBlur(cast, (5, 5), 1.2) * ~mask
        image *= 1 - darkness[..., None]
    result = video_saliency(shaded.astype(np.uint8))
    assert result.method == "background"
    assert mask_iou(result.saliency > 127, true) > 0.8


def linger(frames: int = 30, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Somebody who stands on one spot and waves: body at the same place in every frame."""
    rng = np.random.default_rng(3)
    background = cv2.resize(
        rng.integers(90, 150, (8, 8, 3), dtype=np.uint8), (size, size), interpolation=cv2.INTER_CUBIC
    )
    images, masks = [], []
    for t in range(frames):
        mask = np.zeros((size, size), np.uint8)
        sway = round(2 * np.sin(0.4 * t))
        cv2.ellipse(mask, (32 + sway, 36), (8, 18), 0, 0, 360, 1, -1)
        cv2.circle(mask, (32 + sway, 13), 6, 1, -1)
        for side in (-1, 1):
            hand = (32 + side * 20, int(26 - 12 * np.sin(0.6 * t + side)))
            cv2.line(mask, (32 + side * 6, 24), hand, 1, 4)
        image = background + rng.normal(0, 1, background.shape)
        image[mask > 0] = (220, 60, 40)
        images.append(np.clip(image, 0, 255).astype(np.uint8))
        masks.append(mask > 0)
    return np.stack(images), np.stack(masks)


def test_people_who_stay_on_one_spot_are_found():
    frames, true = linger()
    plain = video_saliency(frames, "background")
    assert mask_iou(plain.saliency > 127, true) < 0.6  # the median shows the body
    result = video_saliency(frames)
    assert result.method == "static"
    assert mask_iou(result.saliency > 127, true) > 0.85
    body = true.all(0)
    assert (
        np.abs(result.background[body].astype(float) - (220, 60, 40)).max(-1).min() > 40
    )  # no body left in the background


def test_empty_frames_of_the_same_view_help():
    frames, true = linger()
    rng = np.random.default_rng(3)
    background = cv2.resize(rng.integers(90, 150, (8, 8, 3), dtype=np.uint8), (64, 64), interpolation=cv2.INTER_CUBIC)
    empty = np.clip(background + rng.normal(0, 1, (8, 64, 64, 3)), 0, 255).astype(np.uint8)
    result = video_saliency(frames, empty=empty)
    assert result.method == "background"
    assert mask_iou(result.saliency > 127, true) > 0.93
    # Frames that are not empty after all are seen through.
    assert video_saliency(frames, empty=frames[::4]).method == "static"
