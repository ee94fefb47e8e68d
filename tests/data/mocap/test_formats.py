"""Small motion-capture files with answers known by hand or from another library, and damaged ones."""

import numpy as np
import pytest
import torch

from selfsup3d.config.choices import UP_AXES
from selfsup3d.data.mocap.amass import load_body_model, read_amass
from selfsup3d.data.mocap.asf_amc import bone_ends, read_amc, read_asf, read_asf_amc
from selfsup3d.data.mocap.bvh import read_bvh, read_bvh_recording
from selfsup3d.data.mocap.c3d_points import read_c3d
from selfsup3d.data.mocap.convert import MocapOptions, find_recordings, read_recording, subjects_of
from selfsup3d.data.mocap.expmap import default_hierarchy, read_expmap
from selfsup3d.data.mocap.joint_tables import TABLES, load_table
from selfsup3d.data.mocap.mocap import load_mocap
from selfsup3d.data.mocap.recording import Recording, resample, to_y_up, write_mocap
from selfsup3d.errors import InputError
from selfsup3d.structures.skeleton import H36M_17

BVH = """HIERARCHY
ROOT Hips
{{
  OFFSET 1 0 0
  CHANNELS 6 Xposition Yposition Zposition {order}
  JOINT Arm
  {{
    OFFSET 0 2 0
    CHANNELS 3 {order}
    End Site
    {{
      OFFSET 0 0 3
    }}
  }}
}}
MOTION
Frames: 2
Frame Time: 0.04
0 0 0 0 0 0 0 0 0
10 0 0 {angles} 0 0 0
"""


@pytest.mark.parametrize(
    ("order", "angles", "arm", "end"),
    [
        # One turn of 90 degrees about z takes (0, 2, 0) to (-2, 0, 0); z stays.
        ("Zrotation Yrotation Xrotation", "90 0 0", (-2, 0, 0), (-2, 0, 3)),
        # Rz Rx: first about x, (0, 2, 0) -> (0, 0, 2), (0, 0, 3) -> (0, -3, 0); then about z, the latter -> (3, 0, 0).
        ("Zrotation Yrotation Xrotation", "90 0 90", (0, 0, 2), (3, 0, 2)),
        # Rx Rz: first about z, (0, 2, 0) -> (-2, 0, 0); then about x, (0, 0, 3) -> (0, -3, 0).
        ("Xrotation Yrotation Zrotation", "90 0 90", (-2, 0, 0), (-2, -3, 0)),
    ],
)
def test_bvh_applies_rotations_in_the_order_of_its_channels(tmp_path, order, angles, arm, end):
    (tmp_path / "a.bvh").write_text(BVH.format(order=order, angles=angles))
    bvh = read_bvh(tmp_path / "a.bvh")
    positions, _ = bvh.joints()
    assert bvh.hierarchy.names == ("Hips", "Arm", "Arm_end")
    assert bvh.fps == pytest.approx(25)
    np.testing.assert_allclose(positions[0], [(0, 0, 0), (0, 2, 0), (0, 2, 3)], atol=1e-12)
    np.testing.assert_allclose(positions[1] - positions[1, 0], [(0, 0, 0), arm, end], atol=1e-12)
    np.testing.assert_allclose(positions[1, 0], (10, 0, 0))  # the channels' place, not the rest pose's on top of it


GOOD = BVH.format(order="Zrotation Yrotation Xrotation", angles="0 0 0")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "HIERARCHY\n",
        GOOD[: GOOD.index("MOTION")],
        GOOD[:-40],
        GOOD.replace("Frames: 2", "Frames: 4"),
        GOOD.replace("Frames: 2", "Images: 2"),
        GOOD.replace("0 0 0 0 0 0 0 0 0", "0 0 0 0 0 0 0 0"),
        GOOD.replace("JOINT Arm", "JOINT Hips"),
        GOOD.replace("0.04", "0,04"),
        GOOD.replace("0.04", "0"),
        GOOD.replace("OFFSET 0 2 0", "OFFSET 0 two 0"),
        GOOD.replace("10 0 0", "nan 0 0"),
        GOOD.replace("}\nMOTION", "MOTION"),
        GOOD.replace("MOTION", "ROOT Other\n{\n}\nMOTION"),
        "\x00\xff binary",
    ],
)
def test_damaged_bvh_names_itself(tmp_path, text):
    (tmp_path / "a.bvh").write_text(text, encoding="latin1")
    with pytest.raises(InputError, match=r"a\.bvh"):
        read_bvh(tmp_path / "a.bvh")


def test_unknown_joint_names_are_listed_and_a_table_helps(tmp_path):
    (tmp_path / "a.bvh").write_text(GOOD)
    with pytest.raises(InputError, match=r"no known table fits its joints \(Hips, Arm\).*YAML"):
        read_bvh_recording(tmp_path / "a.bvh")
    table = "joints:\n" + "".join(f"  {j}: Arm\n" for j in H36M_17.joint_names) + "unit: 0.01\nup: z\n"
    (tmp_path / "t.yaml").write_text(table)
    recording = read_bvh_recording(tmp_path / "a.bvh", load_table(tmp_path / "t.yaml"))
    np.testing.assert_allclose(recording.positions[0, 3], (0.02, 0, 0), atol=1e-6)  # (x, y, z) -> (y, z, x)
    (tmp_path / "t.yaml").write_text(table.replace("  neck: Arm\n", ""))
    with pytest.raises(InputError, match="no rule for neck"):
        load_table(tmp_path / "t.yaml")
    (tmp_path / "t.yaml").write_text(table.replace("up: z", "above: z"))
    with pytest.raises(InputError, match="above"):
        load_table(tmp_path / "t.yaml")


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("up: sky", "up is 'sky'"),
        ("unit: -1", "unit is -1.0"),
        ("unit: inch", "could not convert"),
        ("lean: .nan", "all of them finite"),
        ("offsets: {neck: [0, 1]}", "three numbers each"),
        ("offsets: {nose_tip: [0, 0, 1]}", "nose_tip"),
        ("along: 3", "no attribute 'items'"),
        ("telling: {a: *b}", "aliases"),
        ("x: " + "[" * 100_000, "nested too deeply"),
        ("inserted: {Arm: Leg}", "lacks the joints Leg of table 't'"),
        ("along: {Leg: 2}", "lacks the joints Leg"),
        ("unit: 1.0e+308", "not finite"),
    ],
)
def test_wrong_rules_of_a_table_are_named(tmp_path, rule, told):
    (tmp_path / "a.bvh").write_text(GOOD)
    table = "joints:\n" + "".join(f"  {j}: Arm\n" for j in H36M_17.joint_names)
    (tmp_path / "t.yaml").write_text(table + rule)
    with pytest.raises(InputError, match=told):
        read_bvh_recording(tmp_path / "a.bvh", load_table(tmp_path / "t.yaml"))


def test_a_missing_table_is_told(tmp_path):
    with pytest.raises(InputError, match=r"t\.yaml: no such file; expected a joint table"):
        load_table(tmp_path / "t.yaml")


def test_tables_are_told_apart():
    for table in TABLES.values():
        fitting = [t.name for t in TABLES.values() if t.needed.union(t.telling) <= table.needed.union(table.telling)]
        assert fitting[0] == table.name


ASF = """# comment
:version 1.10
:units
  mass 1.0
  length {length}
  angle {angle}
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
     axis 0 0 {quarter} XYZ
    dof rx rz
    limits (-1 1)
           (-1 1)
  end
  begin
     id 2
     name lower
     direction 0 1 0
     length 3
     axis 0 0 0 XYZ
  end
:hierarchy
  begin
    root upper
    upper lower
  end
"""
AMC = ":FULLY-SPECIFIED\n1\nroot 1 2 3 0 0 0\nupper {a} 0\n2\nroot 1 2 3 0 0 {a}\nupper 0 {a}\n"


@pytest.mark.parametrize(("angle", "quarter"), [("deg", "90"), ("rad", "1.5707963267948966")])
@pytest.mark.parametrize("length", ["1.0", "0.45"])
def test_asf_amc_by_hand(tmp_path, angle, quarter, length):
    (tmp_path / "a.asf").write_text(ASF.format(length=length, angle=angle, quarter=quarter))
    (tmp_path / "a_01.amc").write_text(AMC.format(a=quarter))
    skeleton = read_asf(tmp_path / "a.asf")
    motion, degrees = read_amc(tmp_path / "a_01.amc")
    assert degrees is None
    ends = bone_ends(skeleton, motion)
    unit = 0.0254 / float(length)
    start = np.array([1.0, 2, 3])
    # Frame 1: 90 degrees about the bone's own x, which its axis (a quarter turn about z) lays along the world's y:
    # (2, 0, 0) -> (0, 0, -2). The lower bone points along y and stays.
    np.testing.assert_allclose(ends["upper"][0] / unit, start + np.array([0, 0, -2]), atol=1e-9)
    np.testing.assert_allclose(ends["lower"][0] / unit, start + np.array([0, 3, -2]), atol=1e-9)
    # Frame 2: the root turns a quarter about z, the bone another: (2, 0, 0) -> (-2, 0, 0), (0, 3, 0) -> (0, -3, 0).
    np.testing.assert_allclose(ends["upper"][1] / unit, start + np.array([-2, 0, 0]), atol=1e-9)
    np.testing.assert_allclose(ends["lower"][1] / unit, start + np.array([-2, -3, 0]), atol=1e-9)
    with pytest.raises(InputError, match="lacks the bones"):
        read_asf_amc(tmp_path / "a_01.amc")


@pytest.mark.parametrize(
    ("asf", "amc"),
    [
        (ASF.replace(":hierarchy", ":tree"), AMC),
        (ASF.replace("direction 1 0 0", "direction 1 zero 0"), AMC),
        (ASF.replace("upper lower", "other lower"), AMC),
        (ASF.replace("name lower", "name unknown"), AMC),
        (ASF, "1\nroot 0 0 0 0 0 0\nupper {a} 0\n2\nroot 0 0 0 0 0 0\n"),
        (ASF, ""),
        (ASF, "1\nroot a b c\n"),
    ],
)
def test_damaged_asf_amc(tmp_path, asf, amc):
    (tmp_path / "a.asf").write_text(asf.format(length=1, angle="deg", quarter=90))
    (tmp_path / "a_01.amc").write_text(amc.format(a=90))
    with pytest.raises(InputError, match=r"a\.asf|a_01\.amc"):
        read_asf_amc(tmp_path / "a_01.amc")


def test_amc_without_skeleton(tmp_path):
    (tmp_path / "a_01.amc").write_text(AMC.format(a=90))
    with pytest.raises(InputError, match=r"expected a\.asf"):
        read_asf_amc(tmp_path / "a_01.amc")


def test_expmap_at_rest_is_the_skeleton(tmp_path):
    rows = np.zeros((2, 117))
    rows[:, :3] = (1, 2, 3)
    np.savetxt(tmp_path / "a.txt", rows, delimiter=",")
    recording = read_expmap(tmp_path / "a.txt")
    unit = 0.0254 / 0.45
    hierarchy = default_hierarchy()
    knee = hierarchy.names.index("LeftLeg")
    expected = np.array([1, 2, 3]) + hierarchy.offsets[knee] + hierarchy.offsets[knee - 1] + hierarchy.offsets[knee - 2]
    np.testing.assert_allclose(recording.positions[0, 5], expected * unit, atol=1e-6)
    for text in ("", "1,2,3\n", "1,2,a\n", ",".join(["nan"] * 117)):
        (tmp_path / "b.txt").write_text(text)
        with pytest.raises(InputError, match=r"b\.txt"):
            read_expmap(tmp_path / "b.txt")


@pytest.fixture
def body_model(tmp_path):
    """A random tree of 24 joints and 60 vertices in the layout of SMPL's npz."""
    rng = np.random.default_rng(0)
    parents = np.array([-1, *[rng.integers(0, j) for j in range(1, 24)]])
    regressor = rng.random((24, 60))
    regressor /= regressor.sum(1, keepdims=True)
    arrays = {
        "J_regressor": regressor,
        "v_template": rng.normal(size=(60, 3)),
        "shapedirs": 0.1 * rng.normal(size=(60, 3, 10)),
        "kintree_table": np.stack([np.where(parents < 0, 2**32 - 1, parents), np.arange(24)]).astype(np.uint32),
    }
    np.savez(tmp_path / "model.npz", **arrays)
    return tmp_path / "model.npz", arrays, parents


def test_amass_joints_agree_with_smplx(tmp_path, body_model):
    lbs = pytest.importorskip("smplx.lbs")
    path, arrays, parents = body_model
    rng = np.random.default_rng(1)
    poses, betas, trans = rng.normal(size=(5, 156)), rng.normal(size=16), rng.normal(size=(5, 3))
    (tmp_path / "Subject").mkdir()
    file = tmp_path / "Subject" / "walk_poses.npz"
    np.savez(file, poses=poses, betas=betas, trans=trans, mocap_framerate=np.array(120.0), gender=np.array("male"))
    recording = read_amass(file, load_body_model(path))

    shaped = arrays["v_template"] + arrays["shapedirs"] @ betas[:10]
    rest = torch.from_numpy(arrays["J_regressor"] @ shaped)[None].expand(5, -1, -1)
    turns = lbs.batch_rodrigues(torch.from_numpy(poses[:, :72].reshape(-1, 3))).view(5, 24, 3, 3)
    joints, _ = lbs.batch_rigid_transform(turns, rest, torch.from_numpy(parents))
    joints = joints.numpy() + trans[:, None]
    for ours, smpl in (
        ("left_knee", 4),
        ("right_ankle", 8),
        ("left_wrist", 20),
        ("neck", 12),
        ("head", 15),
        ("spine", 6),
    ):
        expected = joints[:, smpl][:, [1, 2, 0]]  # AMASS has z up
        np.testing.assert_allclose(
            recording.positions[:, H36M_17.joint_names.index(ours)], expected, atol=1e-5, err_msg=ours
        )
    assert recording.subject == "Subject"
    assert recording.fps == 120
    options = MocapOptions(body_models={"male": path})
    np.testing.assert_array_equal(read_recording(file, options).positions, recording.positions)
    with pytest.raises(InputError, match="--body-model"):
        read_recording(file)


def test_amass_as_it_is_unpacked(tmp_path, body_model):
    """Files of body shapes are passed over; CMU's subjects keep the names that splits know."""
    motion = {"poses": np.zeros((3, 156)), "trans": np.zeros((3, 3)), "mocap_framerate": 60.0}
    for name in ("CMU/05/05_01_poses", "CMU/127/127_08_stageii", "SFU/0005/0005_Walking001_poses", "KIT/3/912_3_poses"):
        (tmp_path / "amass" / name).parent.mkdir(parents=True)
        np.savez(tmp_path / "amass" / f"{name}.npz", **motion)
    for name in ("CMU/05/shape.npz", "CMU/127/neutral_stagei.npz"):
        np.savez(tmp_path / "amass" / name, betas=np.zeros(16), gender=np.array("male"))
    found = find_recordings(tmp_path / "amass")
    options = MocapOptions(body_models={"neutral": body_model[0]})
    assert [read_recording(p, options).subject for p in found] == ["cmu005", "cmu127", "3", "0005"]
    with pytest.raises(InputError, match="not an AMASS file"):
        read_recording(tmp_path / "amass/CMU/05/shape.npz")


def test_damaged_amass(tmp_path, body_model):
    model = load_body_model(body_model[0])
    np.savez(tmp_path / "a.npz", poses=np.zeros((3, 10)), trans=np.zeros((3, 3)), mocap_framerate=60.0)
    np.savez(tmp_path / "b.npz", trans=np.zeros((3, 3)))
    np.savez(tmp_path / "c.npz", poses=np.array([{}], dtype=object))
    (tmp_path / "d.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:100])
    for name in "abcde":
        with pytest.raises(InputError, match=f"{name}.npz"):
            read_amass(tmp_path / f"{name}.npz", model)
        with pytest.raises(InputError, match=f"{name}.npz"):
            load_body_model(tmp_path / f"{name}.npz")


def test_damaged_c3d(tmp_path):
    pytest.importorskip("c3d")
    (tmp_path / "a.c3d").write_bytes(b"\x02\x50" + bytes(600))
    (tmp_path / "b.c3d").write_text("no")
    for name in "abc":
        with pytest.raises(InputError, match=f"{name}.c3d"):
            read_c3d(tmp_path / f"{name}.c3d")


def test_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "c3d", None)
    (tmp_path / "a.c3d").write_bytes(b"x")
    with pytest.raises(InputError, match=r"pip install -e '\.\[datasets\]'"):
        read_c3d(tmp_path / "a.c3d")


# ---- recordings ----


def person(count=40, fps=120.0, name="a", subject="cmu100"):
    rng = np.random.default_rng(3)
    joints = rng.normal(size=(1, 17, 3)) * 0.3 + rng.normal(size=(count, 1, 3))
    joints[:, 0] = 0.5 * (joints[:, 1] + joints[:, 4])
    joints[:, 8] = joints[:, 0] + (0, 0.5, 0)
    return Recording(joints.astype(np.float32), fps, name, subject)


def test_resampling_picks_the_nearest_frames():
    recording = person(121, 120.0)
    thinned = resample(recording, 25.0)
    assert thinned.fps == 25
    steps = [int(np.abs(recording.positions - p).sum((1, 2)).argmin()) for p in thinned.positions]
    assert steps[:6] == [0, 5, 10, 14, 19, 24]  # 4.8 frames apart
    assert resample(recording, 200) is recording


def test_axes_turn_and_never_mirror():
    corner = np.eye(3)
    assert np.linalg.det(to_y_up(corner, "z")) == pytest.approx(1)
    np.testing.assert_array_equal(to_y_up(np.array([[0.0, 0, 1]]), "z"), [[0, 1, 0]])
    for up in UP_AXES:
        axis = np.eye(3)["xyz".index(up[-1])] * (-1 if up.startswith("-") else 1)
        assert np.linalg.det(to_y_up(corner, up)) == pytest.approx(1)
        np.testing.assert_array_equal(to_y_up(axis, up), [0, 1, 0])
    with pytest.raises(ValueError, match="up must be"):
        to_y_up(corner, "auto")


def test_written_npz_loads(tmp_path):
    write_mocap(tmp_path / "m.npz", [person(name="a"), person(name="b", subject="cmu101")], fps=20)
    loaded = load_mocap(tmp_path / "m.npz", split="all")
    assert loaded.names == ("a", "b")
    assert len(loaded) == 14
    assert subjects_of([person(), person(subject="x")]) == {"cmu100": 40, "x": 40}
    with pytest.raises(InputError, match="no recordings"):
        write_mocap(tmp_path / "m.npz", [])
    with pytest.raises(InputError, match="a: 10 frames/s"):
        write_mocap(tmp_path / "m.npz", [person(fps=10)])


def test_recordings_refuse_what_is_no_person():
    for joints in (np.zeros((0, 17, 3)), np.zeros((3, 16, 3)), np.full((2, 17, 3), np.nan)):
        with pytest.raises(InputError, match="walk"):
            Recording(joints, 20.0, "walk", "s")


def test_folders_without_motion(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        find_recordings(tmp_path / "absent")
    (tmp_path / "readme.txt").write_text("hello")
    with pytest.raises(InputError, match="no motion capture"):
        find_recordings(tmp_path)
    (tmp_path / "w.txt").write_text("-1.5, 2, 3")
    assert [p.name for p in find_recordings(tmp_path)] == ["w.txt"]
    with pytest.raises(InputError, match="not a known"):
        read_recording(tmp_path / "a.fbx")
