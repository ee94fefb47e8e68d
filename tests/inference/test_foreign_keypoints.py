"""Keypoint files as people bring them: gaps, ids, bystanders, units and dialects."""

import json

import numpy as np
import pytest

from selfsup3d.errors import InputError
from selfsup3d.inference.keypoint_files import read_keypoints, read_people
from selfsup3d.inference.keypoint_formats import numbers_in_names
from selfsup3d.structures.skeleton import joint_index

BODY = np.random.default_rng(0).uniform((0, 0), (80, 200), (17, 2))  # px


def flat(shift=0.0, joints=17, scale=1.0):
    points = np.zeros((joints, 3))
    points[:17, :2], points[:, 2] = (BODY + np.array([shift, 0.0])) * scale, 0.9
    points[17:, :2] = 50.0 * scale
    return points.reshape(-1).tolist()


def write(path, value, encoding="utf-8"):
    path.write_text(json.dumps(value), encoding=encoding)
    return path


def shift_of(sequence):
    return sequence.joints[:, joint_index("left_wrist"), 0] - BODY[9, 0]


# ---- gaps ----


@pytest.mark.parametrize("name", ["{}.jpg", "walk_{:06d}.png", "cam2/frame {} of 9.png", "v{}_cam1.jpg"])
def test_frame_numbers_of_names_keep_gaps(tmp_path, name):
    numbers = [0, 1, 2, 30, 31]
    entries = [{"image_id": name.format(n), "keypoints": flat(0.1 * n)} for n in numbers]
    (found, *others) = read_people(write(tmp_path / "k.json", entries))
    assert found.frames.tolist() == numbers
    assert not others


def test_whole_number_ids_keep_gaps(tmp_path):
    entries = [{"image_id": n, "keypoints": flat()} for n in (3, 4, 80)]
    assert read_keypoints(write(tmp_path / "k.json", entries)).frames.tolist() == [3, 4, 80]


def test_landmarks_keep_the_numbers_that_frames_state(tmp_path):
    marks = [{"x": 0.5, "y": 0.5}] * 33
    frames = [{"frame": n, "landmarks": marks} for n in (4, 9)] + [{"frame": 12, "landmarks": []}]
    found = read_keypoints(write(tmp_path / "k.json", {"width": 64, "height": 48, "frames": frames}))
    assert found.frames.tolist() == [4, 9]


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["cam01_000002", "cam01_000005"], [2, 5]),
        (["cam01.0000.json", "cam01.0007.json"], [0, 7]),
        (["f_3_v2.json", "f_4_v2.json"], [3, 4]),
        (["a.jpg", "b.jpg"], None),
        (["1_1", "1_1"], None),
    ],
)
def test_numbers_in_names(names, numbers):
    assert numbers_in_names(names) == numbers


# ---- the right person ----


def two_people(name, ids=(None, None), leaves=range(20, 30)):
    """Anna walks slowly; a bystander stands 300 px away; in some frames Anna is not found."""
    entries = []
    for n in range(60):
        for who, shift in ((0, 0.5 * n), (1, 300.0)):
            if who == 0 and n in leaves:
                continue
            entry = {"image_id": f"{n}.jpg", "keypoints": flat(shift)}
            entries.append(entry | ({} if ids[who] is None else {name: ids[who]}))
    return entries


@pytest.mark.parametrize(("name", "ids"), [("idx", (1, 2)), ("track_id", (7, 3)), ("idx", (None, None))])
def test_a_person_who_is_not_found_is_not_replaced_by_a_bystander(tmp_path, name, ids):
    people = read_people(write(tmp_path / "k.json", two_people(name, ids)))
    assert [len(p) for p in people] == [60, 50]  # the bystander is seen more
    anna = people[1]
    np.testing.assert_allclose(shift_of(anna), 0.5 * anna.frames, atol=1e-3)
    assert not set(anna.frames) & set(range(20, 30))
    assert anna.others == 1
    if ids[0] is not None:
        assert anna.person == str(ids[0])
        assert read_keypoints(tmp_path / "k.json", person=str(ids[0])).frames.tolist() == anna.frames.tolist()


def test_a_person_of_no_such_name_is_an_error(tmp_path):
    write(tmp_path / "k.json", two_people("idx", (1, 2)))
    with pytest.raises(InputError, match=r"nobody is called '5'; the people are 2, 1"):
        read_keypoints(tmp_path / "k.json", person="5")


def test_ids_that_swap_places_are_followed(tmp_path):
    """Two people cross; by nearness alone they would be exchanged."""
    folder = tmp_path / "k"
    folder.mkdir()
    for n in range(20):
        people = [
            {"person_id": [who], "pose_keypoints_2d": (flat(shift, 18))}
            for who, shift in ((1, 20.0 * n), (2, 380.0 - 20.0 * n))
        ]
        write(folder / f"v_{n}_keypoints.json", {"people": people if n % 2 else people[::-1]})
    for person in ("1", "2"):
        found = read_keypoints(folder, person=person)
        steps = np.diff(found.joints[:, joint_index("left_wrist"), 0])
        np.testing.assert_allclose(steps, 20.0 if person == "1" else -20.0, atol=1e-3)


def test_people_who_cross_without_ids_keep_their_way(tmp_path):
    entries = []
    for n in range(40):
        entries += [{"image_id": n, "keypoints": flat(s)} for s in (10.0 * n, 401.0 - 10.0 * n)]
    people = read_people(write(tmp_path / "k.json", entries))
    assert [len(p) for p in people] == [40, 40]
    assert sorted(round(float(np.ptp(shift_of(p)))) for p in people) == [390, 390]


def test_a_jump_larger_than_a_body_begins_another_person(tmp_path):
    entries = [{"image_id": n, "keypoints": flat(0.0 if n < 10 else 400.0)} for n in range(30)]
    people = read_people(write(tmp_path / "k.json", entries))
    assert [len(p) for p in people] == [20, 10]


def test_an_id_twice_in_a_frame_is_counted(tmp_path):
    entries = [{"image_id": 0, "keypoints": flat(s), "idx": 1} for s in (0.0, 300.0)]
    found = read_keypoints(write(tmp_path / "k.json", entries))
    assert len(found) == 1
    assert any("1 people repeat the id" in note for note in found.notes)


# ---- units ----


@pytest.mark.parametrize("scale", [1 / 400, 1 / 200])
def test_coordinates_that_cannot_be_pixels_ask_for_the_size(tmp_path, scale):
    path = write(tmp_path / "k.json", [{"image_id": 0, "keypoints": flat(scale=scale)}])
    with pytest.raises(InputError, match=r"k\.json: .*shares of the image.*--image-size WIDTHxHEIGHT"):
        read_keypoints(path)
    found = read_keypoints(path, size=(400, 400))
    assert "0 ... 1" in found.notes[0]
    np.testing.assert_allclose(found.joints[0, joint_index("left_wrist")], BODY[9] * scale * 400, rtol=1e-5)


def test_signed_shares_are_openposes(tmp_path):
    points = np.zeros((25, 3))
    points[:, 2], points[:, 0], points[:, 1] = 0.9, np.linspace(-0.8, 0.8, 25), np.linspace(-0.5, 0.5, 25)
    path = write(tmp_path / "v_0_keypoints.json", {"people": [{"pose_keypoints_2d": points.reshape(-1).tolist()}]})
    found = read_keypoints(path, size=(200, 100))
    np.testing.assert_allclose(found.joints[0, joint_index("left_ankle")], 0.5 * (points[14, :2] + 1) * [200, 100])
    assert "-1 ... 1" in found.notes[0]


def test_landmarks_in_pixels_are_not_scaled(tmp_path):
    marks = [{"x": 10.0 * k, "y": 100.0, "visibility": 1} for k in range(33)]
    found = read_keypoints(write(tmp_path / "k.json", [{"landmarks": marks}]))
    assert found.joints[0, joint_index("left_wrist"), 0] == pytest.approx(150)


# ---- dialects ----


@pytest.mark.parametrize(("joints", "name"), [(26, "halpe_26"), (136, "halpe_26"), (133, "coco_17")])
def test_sets_of_more_joints_are_known(tmp_path, joints, name):
    found = read_keypoints(write(tmp_path / "k.json", [{"image_id": "0.jpg", "keypoints": flat(joints=joints)}]))
    assert found.skeleton == name
    np.testing.assert_allclose(found.joints[0, joint_index("left_wrist")], BODY[9], rtol=1e-5)
    assert (found.confidence[0, joint_index("head")] > 0) == (name == "halpe_26")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks(tmp_path, encoding):
    assert len(read_keypoints(write(tmp_path / "k.json", [{"image_id": 0, "keypoints": flat()}], encoding))) == 1


MARKS = [{"x": 0.01 * k, "y": 0.5, "visibility": 0.9} for k in range(33)]
BIG = [{key.capitalize(): value for key, value in mark.items()} for mark in MARKS]


@pytest.mark.parametrize(
    "value",
    [
        [MARKS, MARKS],
        [BIG, BIG],
        [{"landmark": MARKS}] * 2,
        [{"pose_landmarks": {"landmark": MARKS}}] * 2,
        [{"poseLandmarks": MARKS}] * 2,
        {"frames": [{"pose_landmarks": [MARKS]}] * 2},
        [{"Landmarks": BIG}] * 2,
    ],
)
def test_landmarks_however_they_are_wrapped(tmp_path, value):
    found = read_keypoints(write(tmp_path / "k.json", value), size=(100, 100))
    assert found.frames.tolist() == [0, 1]
    np.testing.assert_allclose(found.joints[1, joint_index("left_wrist")], [15, 50], rtol=1e-5)


@pytest.mark.parametrize("name", ["{:04d}.json", "img_{}.json", "cam01.{:04d}.json"])
def test_folders_of_one_file_an_image_are_read_by_content(tmp_path, name):
    mm = [{"keypoints": BODY.tolist(), "keypoint_scores": [0.9] * 17}]
    openpose = {"people": [{"person_id": [-1], "pose_keypoints_2d": flat(joints=18)}]}
    for kind, value in (("mmpose", mm), ("openpose", openpose)):
        folder = tmp_path / kind
        folder.mkdir()
        for n in (0, 1, 5):
            write(folder / name.format(n), value)
        found = read_keypoints(folder)
        assert found.format == kind
        assert found.frames.tolist() == [0, 1, 5]


def test_files_of_a_folder_that_cannot_be_read_are_counted(tmp_path):
    for n in range(4):
        write(tmp_path / f"{n}.json", {"people": [{"pose_keypoints_2d": flat(joints=18)}]})
    (tmp_path / "2.json").write_text("{ damaged")
    write(tmp_path / "info.json", {"camera": 1})
    found = read_keypoints(tmp_path)
    assert found.frames.tolist() == [0, 1, 3]
    assert any("2 of 5 files hold no openpose keypoints and are skipped (2.json, info.json)" in n for n in found.notes)


def test_people_without_keypoints_are_skipped_and_counted(tmp_path):
    bodies = [{"pose_keypoints_2d": flat(joints=18)}, {"pose_keypoints_2d": []}, {"pose_keypoints_2d": [0.0] * 54}]
    found = read_keypoints(write(tmp_path / "v_0_keypoints.json", {"people": bodies}))
    assert found.others == 0
    assert any("2 people without a single keypoint are skipped" in note for note in found.notes)


@pytest.mark.parametrize("kind", ["coco", "openpose", "mmpose", "mediapipe"])
def test_one_person_of_other_joints_does_not_end_all(tmp_path, kind):
    joints = {"coco": 17, "openpose": 25, "mmpose": 17, "mediapipe": 33}[kind]
    points = np.random.default_rng(0).uniform(100, 400, (20, joints, 2)).round(1)
    people = [row if k != 7 else row[:-2] for k, row in enumerate(points.tolist())]
    flat = [[v for x, y in row for v in (x, y, 0.9)] for row in people]
    value = {
        "coco": [{"image_id": k, "keypoints": row} for k, row in enumerate(flat)],
        "openpose": [{"people": [{"pose_keypoints_2d": row}]} for row in flat],
        "mmpose": {
            "instance_info": [{"frame_id": k, "instances": [{"keypoints": row}]} for k, row in enumerate(people)]
        },
        "mediapipe": [[{"x": x, "y": y} for x, y in row] for row in people],
    }[kind]
    (tmp_path / "k.json").write_text(json.dumps(value))
    found = read_keypoints(tmp_path / "k.json")
    assert found.frames.tolist() == [k for k in range(20) if k != 7]
    assert "1 people of another number of joints" in found.notes[0]


def test_detections_of_another_form_are_not_taken_for_landmarks(tmp_path):
    one = {"name": "person", "confidence": 0.9, "keypoints": {"x": [1.0], "y": [2.0], "visible": [0.9]}}
    (tmp_path / "k.json").write_text(json.dumps([[one, one], [one]]))
    with pytest.raises(InputError, match="neither COCO, OpenPose, MediaPipe nor MMPose"):
        read_keypoints(tmp_path / "k.json")
