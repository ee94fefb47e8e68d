"""Raw motion capture as people have it, against the right joints (SELFSUP3D_DATA; facts in its LICENSES.md)."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from selfsup3d.data.mocap.asf_amc import read_asf, read_asf_amc
from selfsup3d.data.mocap.bvh import read_bvh_recording
from selfsup3d.data.mocap.c3d_points import MARKERS, read_c3d, read_c3d_points
from selfsup3d.data.mocap.convert import find_recordings, read_recording
from selfsup3d.data.mocap.expmap import read_expmap
from selfsup3d.data.mocap.hierarchy import Hierarchy
from selfsup3d.data.mocap.joint_tables import CGSPEED
from selfsup3d.data.mocap.mocap import load_mocap
from selfsup3d.data.mocap.recording import retarget, write_mocap
from selfsup3d.geometry.kinematics import bone_lengths, inverse_kinematics

ROOT = Path(os.environ.get("SELFSUP3D_DATA", "/nonexistent"))
pytestmark = pytest.mark.skipif(not (ROOT / "raw").is_dir(), reason="SELFSUP3D_DATA is not set to the folder with raw/")
RAW = ROOT / "raw"


@pytest.fixture(scope="module")
def expected():
    with np.load(RAW / "expected_h36m17.npz", allow_pickle=False) as data:
        return {key: data[key].astype(np.float64) for key in data.files}


def worst(a, b):
    """Largest joint distance, mm."""
    return 1000 * np.linalg.norm(a - b, axis=-1).max()


def worst_rigid(a, b):
    """Largest joint distance after the best rotation and translation of each frame, mm."""
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    u, _, vt = np.linalg.svd(np.swapaxes(a, 1, 2) @ b)
    sign = np.sign(np.linalg.det(u @ vt))
    u[:, :, 2] *= sign[:, None]
    return worst(a @ (u @ vt), b)


@pytest.mark.parametrize("take", ["02_01", "09_01", "16_15", "127_08"])
def test_amc_within_a_millimetre(expected, take):
    recording = read_asf_amc(RAW / "cmu_asf_amc" / f"{take}.amc")
    assert recording.positions.shape == expected[f"amc_{take}"].shape
    assert worst(recording.positions, expected[f"amc_{take}"]) < 0.01
    assert recording.subject == f"cmu{int(take.split('_')[0]):03d}"


@pytest.mark.parametrize("take", ["02_01", "07_01", "16_15"])
def test_bvh_of_the_same_takes(expected, take):
    """The reference puts the dropped thorax straight up, we where skeletons have it: the legs are equal, all is near."""
    recording = read_bvh_recording(RAW / "cmu_bvh_cgspeed" / f"{take}.bvh")
    below = slice(0, 8)  # pelvis, legs and spine
    assert worst(recording.positions[:, below], expected[f"bvh_{take}"][:, below]) < 0.01
    assert worst(recording.positions, expected[f"bvh_{take}"]) < 5.0
    assert recording.fps == pytest.approx(120, rel=1e-4)


@pytest.mark.parametrize("take", ["02_01", "16_15"])
def test_formats_agree_within_six_millimetres(expected, take):
    """The BVH opens with a T-pose, so its frame k + 1 is the AMC's frame k. (3.03 mm: the dropped thorax of 02.)"""
    amc = read_asf_amc(RAW / "cmu_asf_amc" / f"{take}.amc")
    bvh = read_recording(RAW / "cmu_bvh_cgspeed" / f"{take}.bvh")
    assert len(amc) == len(bvh)
    assert worst(amc.positions, bvh.positions) < 3.1
    assert worst(expected[f"amc_{take}"], bvh.positions) < 3.1


def test_the_thorax_that_is_put_back_lies_near_that_of_every_skeleton():
    """Each skeleton's thorax from its other bones, by the rule; 0 = exactly there."""
    for asf in sorted((RAW / "cmu_asf_amc").glob("*.asf")):
        skeleton = read_asf(asf)
        like = skeleton.bones["upperback"].vector  # Spine1 of the BVH
        hierarchy = Hierarchy(("Spine1", "Neck"), (-1, 0), np.stack([like, np.zeros(3)]))
        table = replace(CGSPEED, inserted={"Neck": "Spine1"}, along={})
        found = table.restored(hierarchy).offsets[1]
        assert 1000 * skeleton.metres * np.linalg.norm(found - skeleton.bones["thorax"].vector) < 3.9


def test_exponential_maps_are_the_bvh_of_02_01():
    text = read_expmap(RAW / "cmu_expmap_txt" / "walking_1.txt")
    bvh = read_bvh_recording(RAW / "cmu_bvh_cgspeed" / "02_01.bvh")
    assert worst(text.positions, bvh.positions) < 0.01
    with_skeleton = read_expmap(
        RAW / "cmu_expmap_txt" / "walking_1.txt", RAW / "cmu_bvh_cgspeed" / "02_01.bvh", subject="cmu002"
    )
    assert worst(with_skeleton.positions, bvh.positions) < 0.01


def test_c3d_agrees_with_the_amc_of_the_same_take():
    """05_13 stands in mocap.npz from its AMC: every sixth frame, world coordinates included."""
    recording = read_c3d(RAW / "cmu_c3d" / "05_13.c3d")
    with np.load(ROOT / "mocap.npz", allow_pickle=False) as data:
        take = data["names"].tolist().index("cmu005_13")
        reference = data["positions"][data["offsets"][take] : data["offsets"][take + 1]]
    assert recording.kind == "c3d"
    assert recording.subject == "cmu005"
    assert worst(recording.positions[::6][: len(reference)], reference) < 0.5


def test_c3d_with_markers_only_is_near(tmp_path, monkeypatch):
    full = read_c3d(RAW / "cmu_c3d" / "05_13.c3d")
    file = read_c3d_points(RAW / "cmu_c3d" / "05_13.c3d")
    assert (file.units, file.up) == ("mm", "z")
    names = {n for rule in MARKERS.values() for n in rule}
    only = {name: values for name, values in file.points.items() if name in names}
    monkeypatch.setattr("selfsup3d.data.mocap.c3d_points.read_c3d_points", lambda path: replace(file, points=only))
    estimated = read_c3d(RAW / "cmu_c3d" / "05_13.c3d")
    errors = 1000 * np.linalg.norm(estimated.positions - full.positions, axis=-1).mean(0)
    assert estimated.kind == "c3d_markers"
    assert errors.mean() < 60
    assert errors.max() < 110


def test_daz_bvh_is_the_motion_of_mocap_npz():
    """salsa_09 is CMU 60_09 at its true 60 Hz; mocap.npz holds it at 20 Hz in two parts, lifted by a constant."""
    recording = read_bvh_recording(RAW / "cmu_bvh_daz" / "salsa_09.bvh", fps=60.0, skip_first=True)
    with np.load(ROOT / "mocap.npz", allow_pickle=False) as data:
        take = data["names"].tolist().index("cmu060_09_p0")
        reference = data["positions"][data["offsets"][take] : data["offsets"][take + 1]]
    lift = reference[0, 0] - recording.positions[0, 0]
    assert abs(lift[[0, 2]]).max() < 1e-4
    assert worst(recording.positions[::3][: len(reference)] + lift, reference) < 0.1


@pytest.mark.parametrize("name", ["dab", "wave_hello", "jumping"])
def test_other_bvh_by_joint_names(name):
    recording = read_bvh_recording(RAW / "fair_bvh_mit" / f"{name}.bvh")
    lengths = bone_lengths(torch.from_numpy(recording.positions)).numpy()
    assert lengths.std(0).max() < 0.06  # neck and spine bend; limbs are rigid:
    limbs = [2, 3, 5, 6, 12, 13, 15, 16]
    assert lengths[:, limbs].std(0).max() < 1e-4
    assert lengths[0, [2, 3]].sum() == pytest.approx(0.85, abs=1e-3)
    ankles = recording.positions[:, [3, 6], 1].mean(1)
    assert (recording.positions[:, 10, 1] - ankles).mean() > 1.2  # y is up
    left, right = recording.positions[:, 4], recording.positions[:, 1]
    forward = np.cross(left - right, recording.positions[:, 8] - recording.positions[:, 0])
    toes_ahead = recording.positions[:, 9] - recording.positions[:, 8]  # the head leans forward on average
    assert (forward * toes_ahead).sum(-1).mean() > 0


def test_a_folder_becomes_the_npz_that_load_mocap_reads(tmp_path):
    files = find_recordings(RAW / "cmu_asf_amc")
    assert len(files) == 6
    recordings = [read_recording(file) for file in files]
    write_mocap(tmp_path / "m.npz", recordings, fps=20)
    everything = load_mocap(tmp_path / "m.npz", split="all")
    assert set(everything.subjects) == {"cmu002", "cmu009", "cmu016", "cmu127"}
    assert everything.fps == 20
    assert set(load_mocap(tmp_path / "m.npz", split="val").subjects) == {"cmu002"}
    reference = load_mocap(ROOT / "mocap.npz", split="all")
    take = everything.names.index("02_01")
    other = reference.names.index("cmu002_01")
    a, b = everything.positions[everything.sequence == take], reference.positions[reference.sequence == other]
    assert worst(a[: len(b)], b) < 0.1


def test_retargeting_keeps_directions_and_takes_the_lengths():
    source = read_asf_amc(RAW / "cmu_asf_amc" / "02_01.amc")
    other = read_asf_amc(RAW / "cmu_asf_amc" / "127_08.amc")
    lengths = bone_lengths(torch.from_numpy(other.positions).double()).mean(0)
    moved = retarget(source, lengths.numpy())
    after = inverse_kinematics(torch.from_numpy(moved.positions).double())
    before = inverse_kinematics(torch.from_numpy(source.positions).double(), recentre=True)
    np.testing.assert_allclose(after.bone_lengths[0], lengths, atol=1e-5)
    np.testing.assert_allclose(after.local_vectors, before.local_vectors, atol=1e-4)
    same = retarget(source, bone_lengths(torch.from_numpy(source.positions).double())[0].numpy())
    assert worst(same.positions[:1], source.positions[:1]) < 0.1
