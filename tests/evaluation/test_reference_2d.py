import numpy as np
import pytest

from selfsup3d.errors import InputError
from selfsup3d.evaluation.reference_2d import (
    Reference2D,
    halves,
    joined,
    load_reference,
    measure_2d,
    numbers_2d,
    sides_by_reference,
)
from selfsup3d.structures.skeleton import H36M_17, joint_index

FLIP = list(H36M_17.flip_order)
SIZE = (200, 200)


def person(count=3, spread=30.0):
    """Frames of a person whose torso is 50 px long, its left limbs `spread` px right of its right ones."""
    pixels = np.full((count, 17, 2), 100.0)
    pixels[:, joint_index("neck"), 1] = 50.0
    for j, name in enumerate(H36M_17.joint_names):
        pixels[:, j, 0] += {"l": spread / 2, "r": -spread / 2}.get(name[0], 0.0) if "_" in name else 0.0
    return Reference2D(pixels, np.ones((count, 17)))


def exchanged(pixels, *limbs):
    """Pixels (17, 2) with left and right of these limbs exchanged."""
    joints = [joint_index(f"{side}_{name}") for side in ("left", "right") for name in limbs]
    found = pixels.copy()
    found[joints] = pixels[[FLIP[j] for j in joints]]
    return found


def test_shifted_joints_have_errors_in_torso_lengths():
    reference = person()
    moved = reference.pixels + np.array([6.0, 8.0])  # 10 px of a torso of 50
    row = numbers_2d(measure_2d(moved, reference, SIZE))
    assert row["error"] == pytest.approx(0.2)
    assert row["pck_0.5"] == 1.0
    moved[:, :4] += 30.0
    assert numbers_2d(measure_2d(moved, reference, SIZE))["pck_0.5"] == pytest.approx(13 / 17)


def test_hidden_unknown_and_outside_joints_do_not_count():
    reference = person(1)
    reference.visibility[0, 1] = 0.4
    reference.pixels[0, 2] = np.nan
    reference.pixels[0, 3] = [-1.0, 50.0]
    wrong = reference.pixels.copy()
    wrong[0, 1:4] = 1e3
    accuracy = measure_2d(wrong, reference, SIZE)
    assert np.isnan(accuracy.error[0, 1:4]).all()
    assert numbers_2d(accuracy)["pck_0.2"] == 1.0


def test_a_joint_that_is_not_predicted_is_wrong_and_counted():
    reference = person(1)
    predicted = reference.pixels.copy()
    predicted[0, 5] = np.nan
    row = numbers_2d(measure_2d(predicted, reference, SIZE))
    assert row["pck_0.5"] == pytest.approx(16 / 17)
    assert row["missing"] == 1
    assert row["error"] == 0.0


def test_exchanged_limbs_are_left_right_errors_of_their_pair_alone():
    reference = person(4)
    arms = [joint_index(f"{s}_{n}") for s in ("left", "right") for n in ("shoulder", "elbow", "wrist")]
    predicted = reference.pixels.copy()
    predicted[0] = predicted[0, FLIP]  # everything
    predicted[1, arms] = reference.pixels[1][[FLIP[j] for j in arms]]  # the arms alone
    row = numbers_2d(measure_2d(predicted, reference, SIZE))
    assert row["left_right_arms"] == 0.5
    assert row["left_right_legs"] == 0.25
    assert row["left_right_frames"] == 0.25  # with the legs right, exchanging all helps nothing
    assert row["decidable_frames"] == 4


def test_overlapping_limbs_are_not_decidable():
    reference = person(2, spread=5.0)  # a tenth of the torso
    row = numbers_2d(measure_2d(reference.pixels[:, FLIP], reference, SIZE))
    assert row["decidable_legs"] == row["decidable_frames"] == 0
    assert row["left_right_frames"] is None


def test_a_foreshortened_torso_is_at_least_half_the_median():
    reference = person(5)
    reference.pixels[0, joint_index("neck")] = reference.pixels[0, 0]
    assert reference.torso().tolist() == [25.0, 50.0, 50.0, 50.0, 50.0]


def test_clips_are_joined_frame_by_frame():
    near, far = person(1), person(3)
    parts = [measure_2d(near.pixels, near, SIZE), measure_2d(far.pixels + 100.0, far, SIZE)]
    assert numbers_2d(joined(parts))["pck_0.2"] == 0.25


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"a/pixels": np.zeros((2, 17, 2))}, "not both pixels and visibility"),
        ({"a/pixels": np.zeros((2, 16, 2)), "a/visibility": np.zeros((2, 16))}, r"pixels \(2, 16, 2\)"),
        ({"a/pixels": np.zeros((2, 17, 2)), "a/visibility": np.zeros((3, 17))}, r"visibility \(3, 17\)"),
        ({}, "holds no clips"),
        ({"a/pixels": np.array([{}], dtype=object)}, "cannot be read"),
    ],
)
def test_a_wrong_reference_is_refused(tmp_path, arrays, told):
    np.savez(tmp_path / "reference.npz", **arrays)
    with pytest.raises(InputError, match=told):
        load_reference(tmp_path / "reference.npz")


def test_a_missing_reference_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_reference(tmp_path / "none.npz")


def test_sides_by_reference_exchange_a_limb_where_it_is_nearer_in_each_frame_or_in_most_of_a_clip():
    reference = person(4)
    reference.visibility[3] = 0.0  # counts for nothing
    predicted = reference.pixels + 3.0
    arms, legs = ("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")
    wrong = predicted.copy()
    for k, limbs in ((0, arms), (1, arms), (2, legs)):
        wrong[k] = exchanged(predicted[k], *limbs)
    wrong[3] = exchanged(predicted[3], *arms)
    by_frame = sides_by_reference(wrong, reference, SIZE, "frame")
    np.testing.assert_array_equal(by_frame[:3], predicted[:3])
    np.testing.assert_array_equal(by_frame[3], wrong[3])
    by_clip = sides_by_reference(wrong, reference, SIZE, "clip")
    np.testing.assert_array_equal(by_clip[0], predicted[0])
    np.testing.assert_array_equal(by_clip[2], exchanged(exchanged(predicted[2], *legs), *arms))
    wrong[0, 5] = np.nan
    assert np.isnan(sides_by_reference(wrong, reference, SIZE, "frame")).sum() == 2


def test_halves_part_the_counted_joints_by_confidence_and_joints_that_nobody_saw_are_unsure():
    reference = person(2)
    reference.visibility[0, :5] = 0.0
    predicted = reference.pixels.copy()
    predicted[1, 9:] += 100.0
    predicted[0, 16] = np.nan
    confidence = np.full((2, 17), 0.9)
    confidence[1, 9:], confidence[0, 16], confidence[0, :5] = 0.1, np.nan, 0.95
    confidence[1, :9] -= np.arange(9) * 0.01
    surer, other = (numbers_2d(half) for half in halves(measure_2d(predicted, reference, SIZE), confidence))
    assert surer["pck_0.5"] == 1.0
    assert surer["left_right_frames"] is None
    assert other["missing"] == 1
    assert other["pck_0.5"] < 0.6
