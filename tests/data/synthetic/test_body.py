from __future__ import annotations

from dataclasses import replace

import numpy as np

from selfsup3d.data.synthetic.body import SOLIDS, People, body_solids, make_person
from selfsup3d.data.synthetic.chain import BONES
from selfsup3d.data.synthetic.motion import make_motion
from selfsup3d.data.synthetic.spec import Code, code
from selfsup3d.data.synthetic.texture import albedo
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


def _painted(solid: str, q: np.ndarray, **looks: float) -> np.ndarray:
    """(F, 3) colours of points (F, 3) of a solid of one person with these looks."""
    person = PERSONS[0]
    people = People.of([replace(person, outfit=replace(person.outfit, brim=0.0, **looks))])
    solids = body_solids(
        people, np.zeros(1, dtype=int), make_motion(Code(code("train", "motion", 3)), 1).joints(person.bones)
    )
    zeros = np.zeros(len(q), dtype=int)
    row = [kind.name for kind in SOLIDS].index(solid)
    return albedo(people, zeros, zeros + row, q.T.astype(np.float32), solids, zeros).T


def test_ears_and_locks_are_there_only_where_somebody_has_them() -> None:
    rows = [row for row, kind in enumerate(SOLIDS) if kind.name.endswith(("_ear", "_lock"))]
    person, pose = PERSONS[0], make_motion(Code(code("train", "motion", 3)), 1)
    for size, there in ((0.0, False), (0.3, True)):
        looks = replace(person.outfit, ears=size, locks=size)
        solids = body_solids(
            People.of([replace(person, outfit=looks)]), np.zeros(1, dtype=int), pose.joints(person.bones)
        )
        assert (solids.first[:, rows] > 0).all() == there


def test_faces_and_hair_are_painted_where_they_are() -> None:
    brow, chin, behind = np.array([[0.9, 0.4, 0.02], [0.85, 0.0, -0.4], [-0.9, 0.0, 0.2]])
    points = np.stack([brow, chin, behind])
    none = {"face": 0.0, "beard": 0.0}
    plain = _painted("skull", points, **none)
    for looks, changed in (
        ({"glasses": 1.0}, [True, False, False]),
        ({"sockets": 1.0}, [True, False, False]),
        ({"mask": 1.0}, [False, True, False]),
        ({"cropped": 1.0}, [False, False, True]),
    ):
        other = _painted("skull", points, **none, **looks)
        assert (np.abs(other - plain).max(1) > 0.02).tolist() == changed, looks


def test_hair_has_strands_and_ends_in_its_second_colour() -> None:
    turn = np.linspace(-np.pi, np.pi, 60)
    around = np.stack([np.cos(turn), np.sin(turn), np.zeros(60)], 1)
    hair = PERSONS[0].outfit.colours[MATERIALS.index("hair")]
    assert np.ptp(_painted("hair", around), axis=0).max() < 1e-6
    strands = _painted("hair", around, streaks=1.0)
    assert np.ptp(strands, axis=0).max() > 0.5 * np.abs(hair[1] - hair[0]).max()
    down = np.stack([np.full(5, 0.05), np.zeros(5), np.array([0.0, 0.1, 0.25, 0.35, 0.4])], 1)
    ends = _painted("tail", down, tail=0.5, ends=0.2)
    np.testing.assert_allclose(ends[:2], np.tile(hair[0], (2, 1)), atol=1e-6)
    np.testing.assert_allclose(ends[3:], np.tile(hair[1], (2, 1)), atol=1e-6)
