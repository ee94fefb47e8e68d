import cv2
import numpy as np
import pytest

from selfsup3d.errors import InputError
from selfsup3d.preparation.cropping import Dropped, PersonClip
from selfsup3d.preparation.person_clips import CropSettings, person_clips


def _results(path, **settings) -> tuple[list[PersonClip], list[Dropped]]:
    results = list(person_clips(path, CropSettings(work=64, **settings)))
    return [r for r in results if isinstance(r, PersonClip)], [r for r in results if isinstance(r, Dropped)]


def test_two_people_give_two_clips_with_the_right_colours(street_video):
    clips, _ = _results(street_video, mode="motion")
    assert len(clips) == 2
    for clip, strong in zip(sorted(clips, key=lambda c: c.boxes[0, 0]), (0, 2), strict=True):
        assert clip.frames.shape[1:] == (64, 64, 3)
        assert len(clip.frames) == len(clip.boxes) == len(clip.numbers) == len(clip.saliency.saliency)
        assert len(clip.frames) >= 20
        person = clip.frames[clip.saliency.saliency > 200].astype(float)
        share = (person[:, strong] > person[:, 2 - strong] + 60).mean()
        other = (person[:, 2 - strong] > person[:, strong] + 60).mean()
        assert share > 0.3
        assert share > 3 * other  # they come close only at the end
        assert clip.statistics["crop_moves"]
        assert clip.saliency.method == "background"
        assert clip.saliency.background.shape in ((64, 64, 3), clip.frames.shape)


def test_crops_follow_the_person(street_video):
    (clips, _) = _results(street_video, mode="motion")
    for clip in clips:
        mask = clip.saliency.saliency > 127
        x = (mask.sum(1) * np.arange(64)).sum(1) / np.maximum(mask.sum((1, 2)), 1)
        assert np.abs(x - 32).mean() < 8


def test_box_file_wins_and_names_people(street_video):
    rows = "\n".join(f"{t},{5 + 4.2 * t},15,30,100,anna" for t in range(5, 30))
    street_video.with_name("street.boxes.csv").write_text(f"frame,x,y,width,height,person\n{rows}\n")
    clips, dropped = _results(street_video)
    assert [c.person for c in clips] == ["anna"]
    assert dropped == []
    assert clips[0].numbers[0] >= 5
    assert clips[0].numbers[-1] <= 29


def test_boxes_without_a_file(street_video):
    with pytest.raises(InputError, match=r"street\.boxes\.json"):
        _results(street_video, mode="boxes")


def test_whole_takes_the_middle_square(street_video, street):
    (clip,), _ = _results(street_video, mode="whole", static_seconds=99.0)
    assert len(clip.frames) == 40
    expected = cv2.resize(street()[7][:, 140:260], (64, 64), interpolation=cv2.INTER_AREA)
    assert np.abs(clip.frames[7].astype(int) - expected).mean() < 4
    assert clip.boxes[0].tolist() == [140, 0, 120, 120]


def test_square_images_were_cut_by_somebody_already(tmp_path, toy_clip, save_video):
    (clip,), _ = _results(save_video(tmp_path / "a.avi", toy_clip[0]))
    assert len(clip.frames) == 24


def test_a_cut_ends_a_track(tmp_path, street, save_video):
    both = np.concatenate([street(25, seed=0), street(25, seed=5)])
    clips, _ = _results(save_video(tmp_path / "a.avi", both), mode="motion")
    assert len(clips) == 4
    assert sorted({int(c.numbers[0] >= 25) for c in clips}) == [0, 1]
    assert not any(c.numbers[0] < 25 <= c.numbers[-1] for c in clips)


def test_still_stretches_and_empty_videos_are_dropped(tmp_path, street, save_video):
    frames = street(40)
    pause = np.repeat(frames[20:21], 30, axis=0)
    stopped = np.concatenate([frames[:20], pause, frames[20:]])
    clips, _ = _results(save_video(tmp_path / "stop.avi", stopped), mode="motion")
    assert clips
    for clip in clips:
        assert not ((clip.numbers > 25) & (clip.numbers < 45)).any()
        assert clip.statistics["static_frames_dropped"] >= 25
        assert clip.numbers[-1] <= 25 or clip.numbers[0] >= 45  # who comes after a standstill may be somebody else
    before, after = ([c for c in clips if (c.numbers[0] >= 45) == late] for late in (False, True))
    assert len(before) == len(after) == 2
    empty = np.repeat(frames[:1], 20, axis=0)
    clips, dropped = _results(save_video(tmp_path / "empty.avi", empty), mode="motion")
    assert clips == []
    assert dropped[0].reason == "nothing moves"


def test_a_box_file_knows_who_stands_still(tmp_path, street, save_video):
    frames = street(40)
    path = save_video(
        tmp_path / "stop.avi", np.concatenate([frames[:20], np.repeat(frames[20:21], 30, 0), frames[20:]])
    )
    at = [*range(20), *[20] * 30, *range(20, 40)]
    rows = "\n".join(f"{n},{5 + 4.2 * t},15,30,100,anna" for n, t in enumerate(at))
    path.with_name("stop.boxes.csv").write_text(f"frame,x,y,width,height,person\n{rows}\n")
    (clip,), _ = _results(path)
    assert clip.person == "anna"
    assert clip.numbers[0] < 20
    assert clip.numbers[-1] > 50


def test_moving_cameras_are_told_or_taken_whole(tmp_path, save_video):
    random = np.random.default_rng(0)
    wide = cv2.resize(random.integers(0, 255, (16, 80, 3), dtype=np.uint8), (900, 120))
    pan = np.stack([wide[:, 8 * t : 8 * t + 240] for t in range(30)])
    path = save_video(tmp_path / "pan.avi", pan)
    clips, dropped = _results(path, mode="motion")
    assert clips == []
    assert "camera moves" in dropped[0].reason
    (clip,), _ = _results(path, mode="auto")
    assert not clip.saliency.static_camera
    assert clip.saliency.method == "grabcut"


def test_fast_videos_are_thinned(tmp_path, street, save_video):
    clips, _ = _results(save_video(tmp_path / "a.avi", street(40), 30.0), mode="whole", static_seconds=99.0)
    assert clips[0].numbers.tolist() == list(range(0, 40, 2))
    assert clips[0].fps == pytest.approx(15)


def test_very_short_videos(tmp_path, street, save_video):
    clips, dropped = _results(save_video(tmp_path / "a.avi", street(4)), mode="motion")
    assert clips == []
    assert dropped[0].reason.startswith("too short")


def test_people_at_the_edge_are_padded(tmp_path, street_video):
    rows = "\n".join(f"{t},-20,70,60,60,edge" for t in range(20))
    street_video.with_name("street.boxes.csv").write_text(f"frame,x,y,width,height,person\n{rows}\n")
    results = list(person_clips(street_video, CropSettings(work=64, static_seconds=99)))
    for result in results:
        assert isinstance(result, Dropped) or result.frames.shape[1:] == (64, 64, 3)
