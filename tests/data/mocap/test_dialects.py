"""Other people's motion files: dialects, axes, units, bodies; what is right is known by construction."""

import re

import numpy as np
import pytest

from selfsup3d.data.mocap.amass import gender_of
from selfsup3d.data.mocap.asf_amc import bone_ends, read_amc, read_asf
from selfsup3d.data.mocap.bvh import read_bvh, read_bvh_recording
from selfsup3d.data.mocap.c3d_points import JOINT_CENTRES, read_c3d
from selfsup3d.data.mocap.convert import MocapOptions, read_recording, summary
from selfsup3d.data.mocap.mocap import load_mocap
from selfsup3d.data.mocap.recording import HEAD_LENGTH, write_mocap
from selfsup3d.errors import InputError
from selfsup3d.preparation.datasets import prepare_mocap
from selfsup3d.structures.skeleton import joint_index

# A standing person by the names of the biped table: joint, parent, place against the parent (cm, y up, facing z).
BODY = [
    ("Hips", "", (0, 95, 0)),
    ("Spine", "Hips", (0, 10, 0)),
    ("Spine2", "Spine", (0, 15, 0)),
    ("Neck", "Spine2", (0, 25, 0)),
    ("Head", "Neck", (0, 10, 2)),
    *((f"{side}{joint}", parent.format(side), (sign * x, y, z))
      for side, sign in (("Left", 1), ("Right", -1))
      for joint, parent, (x, y, z) in (
          ("UpLeg", "Hips", (10, -5, 0)), ("Leg", "{}UpLeg", (0, -42, 0)), ("Foot", "{}Leg", (0, -43, 0)),
          ("Shoulder", "Spine2", (5, 20, 0)), ("Arm", "{}Shoulder", (12, 0, 0)),
          ("ForeArm", "{}Arm", (28, 0, 0)), ("Hand", "{}ForeArm", (25, 0, 0)))),
]  # fmt: skip
PLACES = {"Hips": (0, 95, 0)}
for name, parent, place in BODY[1:]:
    PLACES[name] = tuple(a + b for a, b in zip(PLACES[parent], place, strict=True))


def bvh_text(
    frames=3, head_end=(0, 12, 0), namespace="", along=None, positions="Hips", zero=(), turn=(0, 0, 0), root=None
):
    """A BVH of `BODY` standing still but for a walk of 10 cm a frame along x.

    Args:
        along: function of a place (x, y, z), for other axes at rest. positions: "Hips" or "all" joints have position
        channels. zero: joints whose OFFSET is written as 0. turn: of the root, z x y degrees. root: its place.
    """
    along = along or (lambda p: p)
    children = {name: [n for n, p, _ in BODY if p == name] for name, _, _ in BODY}
    offsets = {name: along(place) for name, _, place in BODY}
    order = []

    def lines(name, keyword):
        order.append(name)
        offset = (0, 0, 0) if name in zero else offsets[name]
        moving = name == "Hips" or positions == "all"
        channels = "6 Xposition Yposition Zposition" if moving else "3"
        below = [line for child in children[name] for line in lines(child, "JOINT")]
        if not below:
            end = along(head_end if name == "Head" else (0, -1, 0))
            below = ["End Site", "{", f"OFFSET {end[0]} {end[1]} {end[2]}", "}"]
        head = [f"{keyword} {namespace}{name}", "{", f"OFFSET {offset[0]} {offset[1]} {offset[2]}"]
        return [*head, f"CHANNELS {channels} Zrotation Xrotation Yrotation", *below, "}"]

    hierarchy = ["HIERARCHY", *lines("Hips", "ROOT")]
    rows = []
    for frame in range(frames):
        row = []
        for name in order:
            place = (root or offsets["Hips"]) if name == "Hips" else offsets[name]
            moved = np.array(place) + (np.array(along((10.0 * frame, 0, 0))) if name == "Hips" else 0)
            row += [*moved] * (name == "Hips" or positions == "all") + [*(turn if name == "Hips" else (0, 0, 0))]
        rows.append(" ".join(f"{value:g}" for value in row))
    return "\n".join([*hierarchy, "MOTION", f"Frames: {frames}", "Frame Time: 0.05", *rows]) + "\n"


def read(tmp_path, text, **options):
    (tmp_path / "a.bvh").write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_bvh_recording(tmp_path / "a.bvh", **options)


def check_standing(recording, frames=3):
    """The person of `BODY`, in metres, y up, walking along x."""
    assert len(recording) == frames
    for ours, theirs in (("left_ankle", "LeftFoot"), ("right_wrist", "RightHand"), ("neck", "Neck"), ("nose", "Head")):
        expected = np.array(PLACES[theirs]) + np.arange(frames)[:, None] * (10, 0, 0)
        np.testing.assert_allclose(recording.positions[:, joint_index(ours)], expected * 0.01, atol=1e-5, err_msg=ours)
    assert recording.fps == pytest.approx(20)


TEXT = bvh_text()


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TEXT.replace("\n{", " {"),
        TEXT.replace("\n{\n", "{"),
        TEXT.replace("\n", "\r\n"),
        TEXT.replace("\n", "\r"),
        "\n\n" + TEXT.replace(" ", "\t"),
        "\ufeff" + TEXT,
        TEXT.replace("ROOT", "Root").replace("JOINT", "Joint").replace("End Site", "END SITE").replace("MOTION", "Motion"),
        TEXT.replace("Frames: ", "Frames:").replace("Frame Time: ", "Frame Time :\t"),
        TEXT.replace("}\nMOTION", "} MOTION"),
        TEXT.replace("Xposition", "XPOSITION").replace("Zrotation", "zrotation"),
        bvh_text(namespace="mixamorig7:"),
        bvh_text(namespace="Character1_"),
        bvh_text(namespace="ns|rig_a:My_Person_"),
        bvh_text(positions="all"),
        bvh_text(positions="all", zero=[name for name, _, _ in BODY]),
        bvh_text(zero=["Hips"]),
    ],
    ids=range(17),
)  # fmt: skip
def test_dialects_of_bvh_read_alike(tmp_path, text):
    check_standing(read(tmp_path, text, unit=0.01))


def test_rows_wrapped_over_lines_read_alike(tmp_path):
    head, rows = TEXT[: TEXT.index("0.05\n") + 5], TEXT[TEXT.index("0.05\n") + 5 :].split()
    wrapped = "\n".join(" ".join(rows[k : k + 7]) for k in range(0, len(rows), 7))
    check_standing(read(tmp_path, head + wrapped, unit=0.01))
    with pytest.raises(InputError, match="no whole rows"):
        read(tmp_path, head + wrapped[:-10])


def test_a_joint_that_moves_against_its_parent_is_followed(tmp_path):
    """Half of the channels of a joint: x moves, y and z keep the OFFSET."""
    text = """HIERARCHY ROOT A { OFFSET 5 6 7 CHANNELS 1 Yposition
        JOINT B { OFFSET 1 2 3 CHANNELS 2 Xposition Zrotation End Site { OFFSET 0 1 0 } } }
        MOTION Frames: 2 Frame Time: 1
        10 40 0
        20 50 90"""
    (tmp_path / "a.bvh").write_text(text)
    positions, _ = read_bvh(tmp_path / "a.bvh").joints()
    np.testing.assert_allclose(positions[0], [(5, 10, 7), (45, 12, 10), (45, 13, 10)], atol=1e-12)
    np.testing.assert_allclose(positions[1], [(5, 20, 7), (55, 22, 10), (54, 22, 10)], atol=1e-12)


@pytest.mark.parametrize(("announced", "rows"), [(2, 3), (4, 3), (3, 3)])
def test_a_row_more_or_fewer_than_announced_is_noted(tmp_path, announced, rows):
    recording = read(tmp_path, TEXT.replace("Frames: 3", f"Frames: {announced}"), unit=0.01)
    check_standing(recording, rows)
    assert bool(recording.notes) == (announced != rows)
    assert all(f"announces {announced}" in note for note in recording.notes)


def test_a_cut_last_row_is_left_out_and_noted(tmp_path):
    recording = read(tmp_path, TEXT[:-30], unit=0.01)
    check_standing(recording, 2)
    assert "left out" in " ".join(recording.notes)


def test_a_missing_frame_time_is_named_and_can_be_given(tmp_path):
    text = TEXT.replace("Frame Time: 0.05\n", "")
    with pytest.raises(InputError, match=r"no `Frame Time:`.*--source-fps"):
        read(tmp_path, text)
    check_standing(read(tmp_path, text, fps=20.0, unit=0.01))
    assert read(tmp_path, TEXT.replace("0.05", "0"), fps=20.0).fps == 20


def test_mixamo_heads_end_in_a_joint_of_their_own(tmp_path):
    text = TEXT.replace("End Site\n{\nOFFSET 0 12 0\n}", "JOINT HeadTop_End\n{\nOFFSET 0 12 0\nCHANNELS 0\n}")
    recording = read(tmp_path, text.replace("Hips", "mixamorig:Hips"), unit=0.01)
    assert recording.kind == "mixamo_bvh"
    check_standing(recording)


# ---- axes


def test_a_lying_and_a_handstanding_person_stay_so(tmp_path):
    """y is up, whatever the motion shows: turned back by 90 degrees about x, by 180."""
    lying = read(tmp_path, bvh_text(turn=(0, -90, 0)), unit=0.01)
    rise = lying.positions[:, joint_index("head")] - lying.positions[:, joint_index("left_ankle")]
    assert abs(rise[:, 1]).max() < 0.3
    assert rise[:, 2].max() < -1
    hands = read(tmp_path, bvh_text(turn=(0, 180, 0)), unit=0.01)
    rise = hands.positions[:, joint_index("head")] - hands.positions[:, joint_index("left_ankle")]
    assert rise[:, 1].max() < -1
    assert "y up (the rest pose stands so)" in lying.taken


AXES = {
    "x": lambda p: (p[1], p[2], p[0]),
    "z": lambda p: (p[2], p[0], p[1]),
    "-y": lambda p: (p[0], -p[1], -p[2]),
}


@pytest.mark.parametrize("up", AXES)
def test_the_rest_pose_says_which_axis_is_up(tmp_path, up):
    recording = read(tmp_path, bvh_text(along=AXES[up]), unit=0.01)
    check_standing(recording)
    assert f"{up} up (the rest pose stands so)" in recording.taken


def test_a_rest_pose_without_a_person_leaves_y_and_says_so(tmp_path):
    text = bvh_text(positions="all", zero=[name for name, _, _ in BODY])
    assert "y up (assumed" in read(tmp_path, text).taken
    forced = read(tmp_path, text, up="z", unit=0.01)
    assert "z up (given)" in forced.taken
    assert forced.positions[0, joint_index("nose"), 2] < forced.positions[0, joint_index("nose"), 1] + 1.5
    assert "legs scaled" in read(tmp_path, text).taken
    assert "1 unit = 0.01 m (given)" in forced.taken


def test_a_head_of_no_length_gets_its_usual_one(tmp_path):
    recording = read(tmp_path, bvh_text(head_end=(0, 0, 0)), unit=0.01)
    neck, nose, head = (recording.positions[:, joint_index(name)] for name in ("neck", "nose", "head"))
    np.testing.assert_allclose(np.linalg.norm(head - nose, axis=-1), HEAD_LENGTH, atol=1e-6)
    np.testing.assert_allclose(np.cross(head - nose, nose - neck), 0, atol=1e-6)
    assert "head ends in a site of no length" in recording.notes[0]
    write_mocap(tmp_path / "m.npz", [recording], 20)
    assert len(load_mocap(tmp_path / "m.npz", "all")) == 3


# ---- ASF/AMC

ASF = """:units
 length 1
 angle deg
:root
 order TX TY TZ RX RY RZ
 axis XYZ
 position 0 0 0
 orientation 0 0 0
:bonedata
 begin
  id 1
  name upper
  direction 1 0 0
  length 2
  axis 0 0 0 XYZ
  dof rz l
 end
:hierarchy
 begin
  root upper
 end
"""


def test_amc_says_radians_itself_and_lengths_are_not_dropped(tmp_path):
    (tmp_path / "a.asf").write_text(ASF)
    skeleton = read_asf(tmp_path / "a.asf")
    (tmp_path / "a.amc").write_text(f":RADIANS\n1\nroot 0 0 0 0 0 0\nupper {np.pi / 2} 0\n")
    ends = bone_ends(skeleton, *read_amc(tmp_path / "a.amc"))
    np.testing.assert_allclose(ends["upper"][0] / 0.0254, (0, 2, 0), atol=1e-9)
    (tmp_path / "a.amc").write_text(":DEGREES\n1\nroot 0 0 0 0 0 0\nupper 90 0.5\n")
    with pytest.raises(ValueError, match="upper changes its length"):
        bone_ends(skeleton, *read_amc(tmp_path / "a.amc"))
    (tmp_path / "a.amc").write_text("1\nroot 0 0 0 0 0 0\nupper 90 0\ntail 3\n")
    with pytest.raises(ValueError, match="lacks: tail"):
        bone_ends(skeleton, *read_amc(tmp_path / "a.amc"))


# ---- C3D


def c3d_file(path, order=(2, 0, 1), units="mm ", screen=("+X", "+Z"), factor=10.0, prefix="", others=0):
    """Two frames of `BODY` at CMU's joint centres.

    Args:
        order: of the file's axes, from ours (y up). factor: file units per centimetre. screen: X_SCREEN and Y_SCREEN.
        others: so many people more, of the same labels.
    """
    c3d = pytest.importorskip("c3d")
    theirs = {"spine": "Spine2", "neck": "Neck", "nose": "Head"}
    for side in ("left", "right"):
        names = {"hip": "UpLeg", "knee": "Leg", "ankle": "Foot", "shoulder": "Arm", "elbow": "ForeArm", "wrist": "Hand"}
        theirs |= {f"{side}_{ours}": side.capitalize() + name for ours, name in names.items()}
    places = {JOINT_CENTRES[ours][0]: np.array(PLACES[name], float) for ours, name in theirs.items()}
    places["HED0"] = places["UNK0"] + (0, 12, 0)
    labels, points = list(places), np.zeros(((1 + others) * len(places), 5), np.float32)
    points[:, :3] = np.tile(np.stack(list(places.values()))[:, list(order)] * factor, (1 + others, 1))
    writer = c3d.Writer(point_rate=20, point_units=units)
    writer.set_point_labels([f"P{k}:{prefix}{label}" for k in range(1 + others) for label in labels])
    if screen:
        writer.set_screen_axis(*screen)
    writer.add_frames([(points, np.zeros((0, 0), np.float32))] * 2)
    with path.open("wb") as handle:
        writer.write(handle)
    return path


@pytest.mark.parametrize(
    ("written", "taken"),
    [
        ({}, ("z up (POINT:Y_SCREEN)", "0.001 m (POINT:UNITS)")),
        ({"order": (0, 1, 2), "screen": ("+X", "+Y")}, ("y up (POINT:Y_SCREEN)",)),
        ({"order": (1, 2, 0), "screen": ("+Y", "+X")}, ("x up (POINT:Y_SCREEN)",)),
        ({"units": "m  ", "factor": 0.01}, ("1 unit = 1 m (POINT:UNITS)",)),
        ({"units": "inch", "factor": 1 / 2.54}, ("0.0254 m (POINT:UNITS)",)),
        ({"screen": None, "units": "   "}, ("z up (assumed", "0.001 m (assumed")),
    ],
)
@pytest.mark.filterwarnings("ignore:missing parameter")
def test_c3d_takes_unit_and_axis_from_its_parameters(tmp_path, written, taken):
    recording = read_c3d(c3d_file(tmp_path / "a.c3d", **written))
    for ours, theirs in (("left_ankle", "LeftFoot"), ("right_wrist", "RightHand"), ("neck", "Neck"), ("nose", "Head")):
        np.testing.assert_allclose(
            recording.positions[0, joint_index(ours)], np.array(PLACES[theirs]) * 0.01, atol=1e-4, err_msg=ours
        )
    assert all(words in recording.taken for words in taken)


@pytest.mark.filterwarnings("ignore:missing parameter")
def test_c3d_that_contradicts_itself_or_is_overruled(tmp_path):
    path = c3d_file(tmp_path / "a.c3d", screen=("+Z", "-Z"))
    with pytest.raises(InputError, match="expected two axes"):
        read_c3d(path)
    path = c3d_file(tmp_path / "a.c3d", units="furl")
    with pytest.raises(InputError, match=r"'furl'.*--unit"):
        read_c3d(path)
    recording = read_recording(path, MocapOptions(unit=0.002, up="-z", fps=30.0))
    assert recording.positions[0, joint_index("nose"), 1] == pytest.approx(-20 * 1.55 / 10, abs=1e-4)
    assert recording.fps == 30
    with pytest.raises(InputError, match=r"several points are called LBK0 .subjects: P0, P1"):
        read_c3d(c3d_file(tmp_path / "a.c3d", others=1))


# ---- AMASS


def body_models(tmp_path, betas=4):
    """Three bodies whose joints lie where `BODY` has them, of 100, 90 and 80 % of its size; one beta adds 10 %."""
    smpl = ["Hips", "LeftUpLeg", "RightUpLeg", "Spine", "LeftLeg", "RightLeg", "Spine", "LeftFoot", "RightFoot", "Spine2",
            "LeftFoot", "RightFoot", "Neck", "LeftShoulder", "RightShoulder", "Head", "LeftArm", "RightArm",
            "LeftForeArm", "RightForeArm", "LeftHand", "RightHand", "LeftHand", "RightHand"]  # fmt: skip
    parents = [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21]
    joints = np.array([PLACES[name] for name in smpl], float) * 0.01
    models = {}
    for gender, scale in (("neutral", 1.0), ("male", 0.9), ("female", 0.8)):
        shapes = np.zeros((24, 3, betas))
        shapes[..., 0] = 0.1 * joints
        models[gender] = tmp_path / f"{gender}.npz"
        np.savez(
            models[gender], J_regressor=np.eye(24), v_template=scale * joints, shapedirs=shapes,
            kintree_table=np.stack([np.array(parents), np.arange(24)]),
        )  # fmt: skip
    return models


def amass(path, frames=4, **arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    poses = np.zeros((frames, 156))
    poses[:, :3] = (np.pi / 2, 0, 0)  # the body's y to the world's z
    given = {"poses": poses, "trans": np.zeros((frames, 3)), "mocap_framerate": 60.0, "betas": np.zeros(4)} | arrays
    np.savez(path, **{key: value for key, value in given.items() if value is not None})
    return path


def leg(recording):
    a, b = (recording.positions[0, joint_index(name)] for name in ("left_hip", "left_ankle"))
    return float(np.linalg.norm(a - b))


@pytest.mark.parametrize(
    ("betas", "size"),
    [((0.0,) * 4, 1.0), (((1.0, 0, 0, 0),), 1.1), (((2.0, 0, 0, 0),) * 4, 1.2), ((1.0,) * 16, 1.1), (None, 1.0)],
)
def test_shapes_of_betas(tmp_path, betas, size):
    file = amass(
        tmp_path / "s/a_poses.npz", betas=None if betas is None else np.array(betas), gender=np.array("neutral")
    )
    recording = read_recording(file, MocapOptions(body_models=body_models(tmp_path)))
    assert leg(recording) == pytest.approx(0.85 * size, abs=1e-5)
    rise = recording.positions[0, joint_index("head")] - recording.positions[0, joint_index("left_ankle")]
    assert rise[1] == pytest.approx(1.5 * size, abs=0.01)
    assert any("12 of its 16 betas" in note for note in recording.notes) == (betas is not None and len(betas) == 16)


def test_betas_that_change_are_refused(tmp_path):
    file = amass(tmp_path / "s/a_poses.npz", betas=np.arange(16.0).reshape(4, 4))
    with pytest.raises(InputError, match=r"betas .4, 4. change over time"):
        read_recording(file, MocapOptions(body_models=body_models(tmp_path)))


@pytest.mark.parametrize(
    ("gender", "expected"),
    [
        (np.array("female"), "female"), (np.array("Female"), "female"), (np.array(b"female"), "female"),
        (np.array("b'female'"), "female"), (np.array(["MALE "]), "male"), (np.array("f"), "female"),
        (np.array("neutral"), "neutral"), (np.array("unknown"), ""), (np.array(3), ""), (None, ""),
    ],
)  # fmt: skip
def test_gender_however_it_is_spelled(tmp_path, gender, expected):
    file = amass(tmp_path / "s/a_poses.npz", gender=gender)
    assert gender_of("" if gender is None else gender) == expected
    recording = read_recording(file, MocapOptions(body_models=body_models(tmp_path)))
    assert leg(recording) == pytest.approx(0.85 * {"male": 0.9, "female": 0.8}.get(expected, 1.0), abs=1e-5)
    assert f"body model {expected or 'neutral'}" in recording.taken
    assert any("names no gender: the neutral body is taken" in note for note in recording.notes) == (expected == "")


def test_another_body_is_never_taken_in_silence(tmp_path):
    models = body_models(tmp_path)
    file = amass(tmp_path / "s/a_poses.npz", gender=np.array("female"))
    with pytest.raises(InputError, match=r"no female model was given, and no neutral one .given: male.*neutral=FILE"):
        read_recording(file, MocapOptions(body_models={"male": models["male"]}))
    recording = read_recording(file, MocapOptions(body_models={"neutral": models["neutral"]}))
    assert recording.notes == ("no female model was given: the neutral body is taken",)
    assert "note: no female model" in "\n".join(summary([recording]))
    write_mocap(tmp_path / "m.npz", [recording], 20)
    with np.load(tmp_path / "m.npz") as data:
        assert data["notes"].tolist() == ["no female model was given: the neutral body is taken"]
        assert "body model neutral (neutral.npz)" in data["taken"][0]


# ---- a folder


def test_bad_takes_are_left_out_by_name_and_the_rest_loads(tmp_path):
    """Whatever is wrong with one file, the folder's others are written, and the loader reads what was written."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "good.bvh").write_text(TEXT)
    (folder / "flat_head.bvh").write_text(bvh_text(head_end=(0, 0, 0)))
    (folder / "no_hand.bvh").write_text(bvh_text(zero=["LeftHand"]))
    (folder / "in_line.bvh").write_text(
        TEXT.replace("OFFSET 10 -5 0", "OFFSET 0 10 0").replace("OFFSET -10 -5 0", "OFFSET 0 -9 0")
    )
    (folder / "cut.bvh").write_text(TEXT[:300])
    (folder / "slow.bvh").write_text(TEXT.replace("0.05", "0.5"))
    (folder / "no_legs.bvh").write_text(
        TEXT.replace("OFFSET 0 -42 0", "OFFSET 0 0 0").replace("OFFSET 0 -43 0", "OFFSET 0 0 0")
    )
    poses = np.zeros((4, 156))
    poses[2, 5] = np.nan
    amass(folder / "s/nan_poses.npz", poses=poses)
    amass(folder / "s/good_poses.npz", gender=np.array("male"))
    amass(folder / "s/giant_poses.npz", betas=np.array((90.0, 0, 0, 0)))
    amass(folder / "s/shape_poses.npz", betas=np.zeros((2, 2, 2)))
    np.savez(folder / "s/other.npz", a=np.zeros(3))
    (folder / "s/text.txt").write_text("1 2 3\n")
    options = MocapOptions(body_models=body_models(tmp_path))
    recordings, failed = prepare_mocap(folder, tmp_path / "m.npz", options, progress=False)
    assert sorted(r.name for r in recordings) == ["flat_head", "good", "s_good_poses"]
    reasons = "\n".join(failed.values())
    for name, why in [
        ("no_hand", "left_wrist has no length"), ("in_line", "parallel"), ("cut", "no MOTION|early"),
        ("slow", "2 frames/s, less than the 20"), ("no_legs", "legs have no length"), ("nan_poses", "not finite"),
        ("giant_poses", "apart"), ("shape_poses", "betas"), ("other", "not|lacks|poses"), ("text", "117"),
    ]:  # fmt: skip
        assert re.search(f"{name}.*({why})", reasons), f"{name}: {reasons}"
    loaded = load_mocap(tmp_path / "m.npz", "all")
    assert loaded.names == ("flat_head", "good", "s_good_poses")


def test_retargeting_leaves_out_one_take_not_all(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.bvh").write_text(TEXT)
    (tmp_path / "in/b.bvh").write_text(TEXT.replace("OFFSET 0 10 2", "OFFSET 0 0 0"))
    write_mocap(tmp_path / "body.npz", [read(tmp_path, TEXT)], 20)
    recordings, failed = prepare_mocap(
        tmp_path / "in", tmp_path / "m.npz", MocapOptions(), progress=False, body=tmp_path / "body.npz"
    )
    assert [r.name for r in recordings] == ["a"]
    assert len(failed) == 1
