import json

import numpy as np
import pytest

from selfsup3d.errors import InputError
from selfsup3d.inference.keypoint_files import read_keypoints
from selfsup3d.structures.skeleton import joint_index

WRIST, ANKLE, HEAD, NECK, PELVIS = (joint_index(n) for n in ("left_wrist", "right_ankle", "head", "neck", "pelvis"))

COCO = {"left_shoulder": 5, "right_shoulder": 6, "left_wrist": 9, "left_hip": 11, "right_hip": 12, "right_ankle": 16}
BODY_25 = {"left_shoulder": 5, "right_shoulder": 2, "left_wrist": 7, "left_hip": 12, "right_hip": 9, "right_ankle": 11}
COCO_18 = {"left_shoulder": 5, "right_shoulder": 2, "left_wrist": 7, "left_hip": 11, "right_hip": 8, "right_ankle": 10}
MEDIAPIPE = {
    "left_shoulder": 11, "right_shoulder": 12, "left_wrist": 15, "left_hip": 23, "right_hip": 24, "right_ankle": 28,
}  # fmt: skip
PLACES = {
    "left_shoulder": (60, 20), "right_shoulder": (40, 22), "left_wrist": (70, 50), "left_hip": (55, 60),
    "right_hip": (45, 62), "right_ankle": (44, 98),
}  # fmt: skip


def points(order, count, shift=0.0):
    """(count, 3) with the places above in a tool's own order, as its manual gives it; others are not marked."""
    rows = np.zeros((count, 3))
    for name, (x, y) in PLACES.items():
        rows[order[name]] = (x + shift, y, 0.9)
    return rows


def check(found, frames=(0,), shift=0.0):
    assert found.frames.tolist() == list(frames)
    np.testing.assert_allclose(found.joints[0, WRIST], [70 + shift, 50], atol=1e-4)
    np.testing.assert_allclose(found.joints[0, ANKLE], [44 + shift, 98], atol=1e-4)
    np.testing.assert_allclose(found.joints[0, PELVIS], [50 + shift, 61], atol=1e-4)
    np.testing.assert_allclose(found.joints[0, NECK], [50 + shift, 21], atol=1e-4)
    assert found.confidence[0, HEAD] == 0.0
    assert found.confidence[0, WRIST] > 0.5
    assert np.isfinite(found.joints).all()


def write(path, value):
    path.write_text(json.dumps(value))
    return path


def test_coco_results_and_annotations(tmp_path):
    flat = points(COCO, 17).reshape(-1).tolist()
    results = [{"image_id": 7, "category_id": 1, "keypoints": flat, "score": 0.8}]
    check(read_keypoints(write(tmp_path / "a.json", results)), frames=[7])
    whole = points(COCO, 17)
    whole[:, 2] = np.where(whole[:, 2] > 0, 2, 0)
    annotations = {
        "images": [{"id": 5, "file_name": f"{n}.jpg", "width": 120, "height": 100} for n in ("f2", "f10")],
        "annotations": [{"image_id": 6, "keypoints": whole.reshape(-1).tolist()}],
    }
    annotations["images"][1]["id"] = 6
    found = read_keypoints(write(tmp_path / "b.json", annotations))
    check(found, frames=[10])  # of its file name
    assert found.size == (120, 100)


@pytest.mark.parametrize(("order", "count", "name"), [(BODY_25, 25, "body_25"), (COCO_18, 18, "coco_18")])
def test_openpose_files_and_folders(tmp_path, order, count, name):
    one = {"version": 1.3, "people": [{"pose_keypoints_2d": points(order, count).reshape(-1).tolist()}]}
    found = read_keypoints(write(tmp_path / "one_keypoints.json", one))
    check(found)
    assert (found.format, found.skeleton) == ("openpose", name)
    folder = tmp_path / "folder"
    folder.mkdir()
    for k in (0, 1, 2, 10):
        write(folder / f"v_{k}_keypoints.json", one if k != 1 else {"version": 1.3, "people": []})
    check(read_keypoints(folder), frames=[0, 2, 10])


def test_mmpose_videos_and_images(tmp_path):
    rows = points(COCO, 17)
    person = {"keypoints": rows[:, :2].tolist(), "keypoint_scores": rows[:, 2].tolist()}
    video = {
        "meta_info": {"dataset_name": "coco"},
        "instance_info": [{"frame_id": k, "instances": [person]} for k in (1, 2)],
    }
    check(read_keypoints(write(tmp_path / "v.json", video)), frames=[0, 1])
    check(read_keypoints(write(tmp_path / "p.json", [person])))
    video["meta_info"]["dataset_name"] = "h36m"
    assert read_keypoints(write(tmp_path / "h.json", video)).skeleton == "h36m_17"


def test_mediapipe_needs_the_size_of_the_image(tmp_path):
    rows = points(MEDIAPIPE, 33)
    landmarks = [{"x": x / 200, "y": y / 100, "z": 0.0, "visibility": c} for x, y, c in rows]
    for value in (
        landmarks,
        [landmarks, landmarks],
        {"frames": [{"landmarks": landmarks}]},
        {"pose_landmarks": [landmarks]},
    ):
        path = write(tmp_path / "m.json", value)
        with pytest.raises(InputError, match="give its size with --image-size"):
            read_keypoints(path)
        found = read_keypoints(path, size=(200, 100))
        check(found, frames=range(len(found)))
    told = write(tmp_path / "t.json", {"width": 200, "height": 100, "frames": [[], landmarks]})
    check(read_keypoints(told), frames=[1])


def test_one_of_several_people_is_followed(tmp_path):
    frames = []
    for k in range(4):
        near, far = points(BODY_25, 25, shift=2.0 * k), points(BODY_25, 25, shift=200.0)
        far[:, 2] *= 0.5 if k == 0 else 1.1
        people = [{"pose_keypoints_2d": p.reshape(-1).tolist()} for p in ((far, near) if k % 2 else (near, far))]
        frames.append({"people": people})
    found = read_keypoints(write(tmp_path / "a.json", frames))
    np.testing.assert_allclose(found.joints[:, WRIST, 0], [70, 72, 74, 76], atol=1e-4)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "cannot be read as JSON"),
        ("{}", "neither COCO, OpenPose, MediaPipe nor MMPose"),
        ("[]", "neither COCO"),
        ("3", "neither COCO"),
        ('{"people": []}', "nobody is marked"),
        ('{"people": [{"pose_keypoints_2d": [1, 2, 3]}]}', "people of"),
        ('{"people": [{}]}', "damaged, or not openpose"),
        ('[{"image_id": 1, "keypoints": [1, 2]}]', "people of 0.6667 joints"),
        ('[{"keypoints": [[1, 2]], "keypoint_scores": [1]}]', "people of 1 joints"),
        (json.dumps([{"keypoints": [[1, 2]] * 17, "keypoint_scores": [1] * 16}]), "keypoint_scores of shape"),
        ("[" * 100_000, "nested too deeply"),
        (json.dumps([[{"x": 0.5, "y": 0.5}] * 33]), "--image-size"),
    ],
)
def test_what_is_no_keypoints_is_told(tmp_path, text, words):
    (tmp_path / "k.json").write_text(text)
    with pytest.raises(InputError, match=words) as error:
        read_keypoints(tmp_path / "k.json")
    assert "k.json" in str(error.value)


def test_missing_files_folders_and_formats_are_told(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_keypoints(tmp_path / "k.json")
    with pytest.raises(InputError, match="no JSON in this folder"):
        read_keypoints(tmp_path)
    with pytest.raises(InputError, match="format 'alphapose' is unknown"):
        read_keypoints(tmp_path, "alphapose")
