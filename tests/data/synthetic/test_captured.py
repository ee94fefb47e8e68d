from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from selfsup3d.data.mocap.mocap import TEST_SUBJECTS, VALIDATION_SUBJECTS
from selfsup3d.data.synthetic.cache import prepare
from selfsup3d.data.synthetic.captured import CLIPS_A_SUBJECT, captured_motion, mocap_preset
from selfsup3d.data.synthetic.chain import BONES, clearance
from selfsup3d.data.synthetic.dataset import SyntheticTruth
from selfsup3d.data.synthetic.motion import make_motion
from selfsup3d.data.synthetic.scene import make_scene
from selfsup3d.data.synthetic.spec import PRESETS, Code, code, spec_hash
from selfsup3d.errors import InputError
from selfsup3d.structures.skeleton import H36M_17


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A motion-capture file with made-up recordings of subjects of all splits, y up, in a room 3 m away."""
    positions, subjects = [], (VALIDATION_SUBJECTS[0], TEST_SUBJECTS[0], TEST_SUBJECTS[1], "cmu999")
    for index in range(len(subjects)):
        motion = make_motion(Code(code("prior", "motion", index)), 70)
        z_up = motion.joints() + np.array([3.0, -2.0, 0.0])
        positions.append(np.stack([z_up[..., 1], z_up[..., 2], z_up[..., 0]], -1))
    path = tmp_path_factory.mktemp("mocap") / "mocap.npz"
    np.savez(
        path,
        positions=np.concatenate(positions).astype(np.float32),
        offsets=np.arange(len(subjects) + 1) * 70,
        names=np.array([f"take {s}" for s in subjects]),
        subjects=np.array(subjects),
        actions=np.array(["walk"] * len(subjects)),
        joint_names=np.array(H36M_17.joint_names),
        up_axis=np.array("y"),
        units=np.array("m"),
        fps=np.array(20.0, dtype=np.float32),
    )
    return path


def test_only_held_out_subjects_are_shown(recordings: Path) -> None:
    preset = mocap_preset(recordings)
    assert preset.train == 0
    assert preset.val == 1
    assert preset.test == 2
    with pytest.raises(InputError, match="val and test"):
        captured_motion(recordings, "train", 0)


def test_captured_poses_stand_on_the_stage_with_the_persons_bones(recordings: Path) -> None:
    preset = mocap_preset(recordings)
    scene = make_scene(preset, "test", 1, 64)
    parents = np.maximum(H36M_17.parents, 0)
    lengths = np.linalg.norm(scene.joints - scene.joints[:, parents], axis=-1)
    assert np.allclose(lengths, scene.person.bones, atol=1e-6)
    assert clearance(scene.joints).min() == pytest.approx(0.0, abs=1e-9)
    assert np.abs(scene.joints[:, 0, :2]).max() <= 0.51
    px = scene.camera.project(scene.camera.view(scene.joints))
    assert ((px > 0) & (px < 64)).all(-1).mean() > 0.97


def test_directions_of_bones_are_as_captured(recordings: Path) -> None:
    mocap_preset(recordings)
    motion = captured_motion(recordings, "test", 0)
    made, parents = motion.joints(BONES), np.maximum(H36M_17.parents, 0)
    for bone in (2, 3, 12, 13):
        one = made[:, bone] - made[:, parents[bone]]
        other = motion.world[:, bone] - motion.world[:, parents[bone]]
        cosine = (one * other).sum(-1) / np.linalg.norm(one, axis=-1) / np.linalg.norm(other, axis=-1)
        assert cosine.min() > 1 - 1e-6


def test_people_and_places_are_not_those_of_the_other_splits(recordings: Path) -> None:
    preset = mocap_preset(recordings)
    assert preset.namespace("test") == "mocap-test"
    captured, drawn = (make_scene(p, "test", 0, 32) for p in (preset, PRESETS["v1"]))
    assert not np.array_equal(captured.person.bones, drawn.person.bones)


def test_the_cache_holds_it_like_any_other_preset(recordings: Path, tmp_path: Path) -> None:
    preset = mocap_preset(recordings)
    prepare(tmp_path, preset, 32, ("val", "test"), workers=0, progress=False)
    test = SyntheticTruth(tmp_path, preset, 32, "test", name="synth-mocap")
    batch = test.frames(np.arange(len(test)))
    assert batch.meta[0]["dataset"] == "synth-mocap"
    assert batch.meta[0]["action"] == "walk"
    assert batch.transfer is not None


def test_another_file_is_another_specification(recordings: Path, tmp_path: Path) -> None:
    with np.load(recordings) as stored:
        arrays = dict(stored)
    arrays["positions"] = arrays["positions"] + np.float32(0.01)
    np.savez(tmp_path / "other.npz", **arrays)
    assert spec_hash(mocap_preset(recordings)) != spec_hash(mocap_preset(tmp_path / "other.npz"))


@pytest.mark.skipif("SELFSUP3D_DATA" not in os.environ, reason="SELFSUP3D_DATA (real motion capture) is not set")
def test_real_motion_capture_gives_a_benchmark() -> None:
    preset = mocap_preset(Path(os.environ["SELFSUP3D_DATA"]) / "mocap.npz")
    assert preset.test <= CLIPS_A_SUBJECT * len(TEST_SUBJECTS)
    scenes = [make_scene(preset, "test", clip, 64) for clip in range(preset.test)]
    assert sum(len(scene) for scene in scenes) >= 1000
    inside = [scene.camera.project(scene.camera.view(scene.joints)) for scene in scenes]
    assert np.mean([((px > 0) & (px < 64)).all(-1).mean() for px in inside]) > 0.97
