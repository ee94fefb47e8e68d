from __future__ import annotations

import numpy as np

from selfsup3d.data.synthetic.body import SOLIDS, People, body_solids, make_person
from selfsup3d.data.synthetic.chain import BONES
from selfsup3d.data.synthetic.motion import make_motion
from selfsup3d.data.synthetic.spec import Code, code
from selfsup3d.data.synthetic.wardrobe import MATERIALS, PATTERNS
from selfsup3d.puppet.puppet import default_puppet
from selfsup3d.structures.skeleton import joint_index

PERSONS = [make_person(code("train", "person", index)) for index in range(300)]


def test_bodies_stay_within_their_ranges_and_use_them() -> None:
    bones = np.array([p.bones[1:] / BONES[1:] for p in PERSONS])
    girth = np.array([p.girth for p in PERSONS])
    assert np.abs(bones - 1).max() <= 0.08
    assert bones.std(0).min() > 0.02
    assert np.abs(girth - 1).max() <= 0.25
    assert np.ptp(girth[:, 0]) > 0.3


def test_both_sides_of_a_body_are_alike() -> None:
    for person in PERSONS[:20]:
        assert np.array_equal(person.bones[[4, 5, 6, 11, 12, 13]], person.bones[[1, 2, 3, 14, 15, 16]])


def test_outfits_vary_and_are_mostly_symmetric() -> None:
    outfits = [p.outfit for p in PERSONS]
    left, right = MATERIALS.index("sleeve_left"), MATERIALS.index("sleeve_right")
    odd = np.mean([not np.array_equal(o.colours[left], o.colours[right]) for o in outfits])
    assert 0.0 < odd < 0.15
    shirts = [o.pattern[MATERIALS.index("shirt")] for o in outfits]
    assert set(shirts) == set(range(len(PATTERNS)))
    colours = np.array([o.colours for o in outfits])
    assert colours.min() >= 0.0
    assert colours.max() <= 1.0
    assert len({tuple(o.colours[MATERIALS.index("shirt"), 0].round(3)) for o in outfits}) > 250


def test_every_part_of_the_puppet_has_a_solid() -> None:
    assert {kind.part for kind in SOLIDS} == set(default_puppet().names)
    assert len({kind.name for kind in SOLIDS}) == len(SOLIDS)


def test_solids_follow_the_limbs() -> None:
    motion = make_motion(Code(code("train", "motion", 3)), 20)
    person = PERSONS[3]
    joints = motion.joints(person.bones)
    solids = body_solids(People.of([person]), np.zeros(20, dtype=int), joints)
    names = [kind.name for kind in SOLIDS]
    forearm = names.index("left_forearm")
    elbow, wrist = joints[:, joint_index("left_elbow")], joints[:, joint_index("left_wrist")]
    assert np.allclose(solids.centre[:, forearm], elbow)
    end = solids.centre[:, forearm] + solids.frame[:, forearm, 2] * solids.length[:, forearm, None]
    assert np.allclose(end, wrist)
    frames = solids.frame
    assert np.allclose(frames @ frames.swapaxes(-1, -2), np.eye(3), atol=1e-9)
    assert np.allclose(np.linalg.det(frames), 1.0)


def test_the_face_looks_where_the_nose_points() -> None:
    motion = make_motion(Code(code("train", "motion", 1)), 20)
    joints = motion.joints()
    solids = body_solids(People.of([PERSONS[0]]), np.zeros(20, dtype=int), joints)
    skull = [kind.name for kind in SOLIDS].index("skull")
    ahead = joints[:, joint_index("nose")] - (joints[:, joint_index("neck")] + joints[:, joint_index("head")]) / 2
    assert ((ahead * solids.frame[:, skull, 0]).sum(-1) > 0.01).all()


def test_a_pose_without_a_nose_or_with_straight_limbs_is_drawn_all_the_same() -> None:
    joints = make_motion(Code(code("train", "motion", 1)), 3).joints()
    joints[:, joint_index("nose")] = (joints[:, joint_index("neck")] + joints[:, joint_index("head")]) / 2
    joints[:, joint_index("left_wrist")] = joints[:, joint_index("left_elbow")]  # a vanished forearm
    solids = body_solids(People.of([PERSONS[0]]), np.zeros(3, dtype=int), joints)
    for name in ("centre", "frame", "scale", "length", "first", "second"):
        assert np.isfinite(getattr(solids, name)).all(), name
