import numpy as np
import pytest

from selfsup3d.errors import InputError
from selfsup3d.evaluation.reference_2d import Reference2D, joined, load_reference, measure_2d, numbers_2d
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
