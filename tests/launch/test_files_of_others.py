"""Small files that people could bring, each against what is right for it (SELFSUP3D_DATA; its cases/README.md)."""

import os
from pathlib import Path

import numpy as np
import pytest

from selfsup3d.data.mocap.convert import MocapOptions, read_recording
from selfsup3d.errors import InputError
from selfsup3d.inference.keypoint_files import holds_keypoints, read_keypoints
from selfsup3d.inference.records import PoseRecord
from selfsup3d.inference.timeline import steady_motion
from selfsup3d.io.images import is_image, read_image
from selfsup3d.io.video import read_timed_frames, video_info
from selfsup3d.preparation.boxes import read_boxes
from selfsup3d.preparation.datasets import prepare_mocap
from selfsup3d.structures.skeleton import joint_index

CASES = Path(os.environ.get("SELFSUP3D_DATA", "/nonexistent")) / "cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="SELFSUP3D_DATA is not set to the folder with cases/")


@pytest.mark.parametrize("name", ["brace", "wrapped", "extra_frame", "zero_offsets", "ns"])
def test_bvh_of_another_dialect_has_the_joints_of_the_reference(name):
    base, other = (read_recording(CASES / "bvh" / f"{stem}.bvh") for stem in ("base", name))
    np.testing.assert_allclose(other.positions, base.positions, atol=1e-5)
    assert any("announces 11 frames and has 12" in note for note in other.notes) == (name == "extra_frame")


def test_bvh_keeps_its_up_axis_and_names_a_missing_rate():
    trunk = {}
    for name in ("base", "lying_back", "handstand"):
        joints = read_recording(CASES / "bvh" / f"{name}.bvh").positions
        along = joints[:, joint_index("neck")] - joints[:, 0]
        trunk[name] = (along[:, 1] / np.linalg.norm(along, axis=1)).mean()
    assert trunk["base"] > 0.9
    assert abs(trunk["lying_back"]) < 0.3
    assert trunk["handstand"] < -0.9
    with pytest.raises(InputError, match="Frame Time"):
        read_recording(CASES / "bvh" / "noframetime.bvh")
    assert read_recording(CASES / "bvh" / "noframetime.bvh", MocapOptions(fps=100.0)).fps == 100.0


def test_a_folder_of_amass_loses_the_bad_take_alone(tmp_path):
    models = {gender: CASES / "amass" / f"{gender}.npz" for gender in ("male", "female", "neutral")}
    recordings, failed = prepare_mocap(CASES / "amass", tmp_path / "m.npz", MocapOptions(body_models=models), 20.0)
    bodies = {Path(recording.name).name.split("_")[0]: recording for recording in recordings}
    assert set(bodies) == {"betas1x16", "betasTx10", "upper", "strbytes", "nogender"}
    assert [Path(name).parent.name for name in failed if "poses" in Path(name).name] == ["nan"]
    assert all("female" in bodies[name].taken for name in ("upper", "strbytes"))
    assert any("no gender" in note for note in bodies["nogender"].notes)


def test_c3d_says_its_up_axis():
    recording = read_recording(CASES / "c3d" / "yup.c3d")
    assert "y up (POINT:Y_SCREEN)" in recording.taken
    height = recording.positions[:, joint_index("head"), 1] - recording.positions[:, joint_index("left_ankle"), 1]
    assert height.mean() > 1.2


@pytest.mark.parametrize(
    ("name", "count", "gap"),
    [
        ("alphapose_gap.json", 40, (9, 30)),
        ("gap_int.json", 30, (19, 80)),
        ("alphapose_halpe26.json", 30, None),
        ("bom.json", 5, None),
        ("mp_upper.json", 5, None),
        ("mp_messagetodict.json", 5, None),
        ("mm_folder", 5, None),
        ("cam01_json", 30, None),
        ("emptybody", 20, None),
    ],
)
def test_keypoints_keep_their_frame_numbers(name, count, gap):
    assert holds_keypoints(CASES / "keypoints" / name)
    found = read_keypoints(CASES / "keypoints" / name, size=(1088, 1920))
    assert len(found) == count
    steps = np.diff(found.frames)
    assert [(found.frames[k], found.frames[k + 1]) for k in np.flatnonzero(steps > 1)] == ([gap] if gap else [])
    still = PoseRecord(np.zeros((count, 17, 3)), found.joints, np.zeros((count, 3)), found.frames,
                       np.ones((count, 3), int), fps=25.0)  # fmt: skip
    motion = steady_motion(still)
    assert len(motion) == found.frames[-1] - found.frames[0] + 1
    assert bool(motion.notes) == bool(gap)


def test_shares_of_an_image_ask_for_its_size():
    with pytest.raises(InputError, match="--image-size"):
        read_keypoints(CASES / "keypoints" / "scaled")
    assert read_keypoints(CASES / "keypoints" / "scaled", size=(1088, 1920)).joints.max() > 100


def test_hidden_colours_of_a_transparent_picture_never_show():
    white, *others = (read_image(CASES / "images" / f"a_{name}.png") for name in ("white", "black", "garb", "grey"))
    for other in others:
        np.testing.assert_array_equal(other, white)


@pytest.mark.parametrize("name", ["photo.tif", "photo.jfif", "photo.heic"])
def test_pictures_are_known_by_content(name):
    assert is_image(CASES / "images" / name)
    try:
        told = f"{read_image(CASES / 'images' / name).ndim} dimensions"
    except InputError as error:
        told = str(error)
    assert told == "3 dimensions" or (name == "photo.heic" and "pillow-heif" in told)  # the reader of HEIC is optional


@pytest.mark.parametrize("name", ["bom", "caps", "spaces", "semi", "semicomma", "mot", "sparse"])
def test_box_tables_of_other_tools_give_the_same_boxes(name):
    (track,) = read_boxes(CASES / "boxes" / f"{name}.csv", max_gap=40)
    assert (track.first, len(track)) == (0, 32)
    assert np.ptp(track.boxes, axis=0).max() == 0
    np.testing.assert_array_equal(track.boxes[0], [72.5 if name == "semicomma" else 72, 0, 256, 256])


def test_a_named_person_keeps_the_name_over_a_gap():
    tracks = read_boxes(CASES / "boxes" / "gap.csv")
    assert [(track.person, track.first, len(track)) for track in tracks] == [("a", 0, 5), ("a", 25, 7)]


def test_videos_have_square_pixels_and_their_own_times():
    squeezed, wide = ([f.image for f in read_timed_frames(CASES / "videos" / f"{name}.mp4")] for name in ("dv", "wide"))
    assert squeezed[0].shape == wide[0].shape
    assert np.abs(np.stack(squeezed).astype(float) - np.stack(wide)).mean() < 4  # two encodings; 1 px beside: more
    times = [frame.time for frame in read_timed_frames(CASES / "videos" / "vfr.mp4")]
    np.testing.assert_allclose([times[0], times[9], times[10], times[-1]], [0.0, 0.9, 1.2, 3.0], atol=2e-3)
    info = video_info(CASES / "videos" / "b1000.webm")
    assert info.fps == pytest.approx(10.0)
    assert "states no frame rate" in info.note
