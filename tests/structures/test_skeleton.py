import numpy as np
import pytest

from selfsup3d.structures.joint_formats import FOREIGN, ForeignSkeleton
from selfsup3d.structures.skeleton import FK_PARENTS, H36M_17, LOCAL_JOINTS, Skeleton, fk_levels, joint_index


def test_the_drawing_tree_and_the_kinematic_tree_differ_at_the_neck_alone():
    different = [j for j, (a, b) in enumerate(zip(H36M_17.parents, FK_PARENTS, strict=True)) if a != b]
    assert different == [joint_index("neck")]
    assert FK_PARENTS[joint_index("neck")] == joint_index("pelvis")


def test_flipping_twice_changes_nothing_and_swaps_names():
    order = H36M_17.flip_order
    assert [order[order[j]] for j in range(17)] == list(range(17))
    for joint, other in enumerate(order):
        name, swapped = H36M_17.joint_names[joint], H36M_17.joint_names[other]
        assert swapped == name.replace("left", "L").replace("right", "left").replace("L", "right")


def test_adjacency_is_a_tree_with_self_loops():
    adjacency = H36M_17.adjacency
    assert (adjacency == adjacency.T).all()
    assert adjacency.sum() == 17 + 2 * 16


def test_levels_hold_every_local_joint_once_and_parents_first():
    levels = fk_levels()
    assert sorted(j for level in levels for j in level) == sorted(LOCAL_JOINTS)
    placed = {0, 1, 4, 8}
    for level in levels:
        assert all(FK_PARENTS[j] in placed for j in level)
        placed.update(level)


@pytest.mark.parametrize("skeleton", FOREIGN.values(), ids=lambda s: s.name)
def test_a_table_keeps_left_and_right(skeleton):
    # Foreign joints of the left side alone never make a right joint of ours, and the other way round.
    for ours, foreign in skeleton.table.items():
        side = ours.split("_")[0]
        if side in ("left", "right"):
            short = {"left": "l", "right": "r"}[side]
            assert all(f.startswith((side, short)) for f in foreign), (ours, foreign)


def test_h36m_32_is_the_published_selection():
    skeleton = FOREIGN["h36m_32"]
    chosen = skeleton.weights.argmax(1).tolist()
    assert chosen == [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]


def test_3dhp_tables_are_the_published_selections():
    train, test = FOREIGN["mpi_inf_3dhp_28"].weights, FOREIGN["mpi_inf_3dhp_test_17"].weights
    limbs = [j for j in range(17) if j != 0]  # our pelvis is the middle of the hips, theirs another point
    assert train.argmax(1)[limbs].tolist() == [23, 24, 25, 18, 19, 20, 3, 5, 6, 7, 9, 10, 11, 14, 15, 16]
    assert test.argmax(1)[limbs].tolist() == [8, 9, 10, 11, 12, 13, 15, 1, 16, 0, 5, 6, 7, 2, 3, 4]
    assert FOREIGN["mpi_inf_3dhp_28"].recentre


def test_absent_and_missing_joints_have_no_confidence():
    coco = FOREIGN["coco_17"]
    joints = np.arange(34, dtype=np.float32).reshape(17, 2)
    confidence = np.ones(17, np.float32)
    confidence[coco.joint_names.index("left_hip")] = 0.0
    ours, seen = coco.convert(joints, confidence)
    for name in ("head", "spine", "left_hip", "pelvis"):  # the pelvis needs both hips
        assert seen[joint_index(name)] == 0
        assert (ours[joint_index(name)] == 0).all()
    expected = joints[coco.joint_names.index("right_hip")]
    np.testing.assert_array_equal(ours[joint_index("right_hip")], expected)


def test_not_a_number_is_a_missing_joint_and_spreads_nowhere():
    coco = FOREIGN["coco_17"]
    joints = np.ones((17, 2), np.float32)
    joints[coco.joint_names.index("left_wrist")] = np.nan
    ours, seen = coco.convert(joints)
    assert np.isfinite(ours).all()
    assert seen[joint_index("left_wrist")] == 0
    assert seen[joint_index("right_wrist")] == 1


def test_wrong_number_of_joints_is_named():
    with pytest.raises(ValueError, match="coco_17 has 17 joints"):
        FOREIGN["coco_17"].convert(np.zeros((18, 2)))


@pytest.mark.parametrize("pairs", [((0, 2),), ((-1, 0),), ((0, 0),), ((0, 1), (1, 0))])
def test_pairs_are_of_joints_of_their_own(pairs):
    with pytest.raises(ValueError, match="in no other pair"):
        Skeleton("broken", ("a", "b"), (-1, 0), pairs)


@pytest.mark.parametrize(
    ("names", "parents", "match"),
    [(("a", "a"), (-1, 0), "repeat"), (("a", "b"), (-1,), "parents"), (("a", "b"), (1, -1), "precede")],
)
def test_broken_skeletons_are_refused(names, parents, match):
    with pytest.raises(ValueError, match=match):
        Skeleton("broken", names, parents, ())


def test_a_table_with_unknown_joints_is_refused():
    with pytest.raises(ValueError, match="unknown joints"):
        ForeignSkeleton("broken", ("hip",), {"pelvis": ("hips",)})
    with pytest.raises(KeyError, match="no joint"):
        joint_index("tail")
