from __future__ import annotations

import numpy as np
import pytest
import torch

from selfsup3d.data.priors.camera_prior import CameraRanges
from selfsup3d.data.synthetic.chain import BONES
from selfsup3d.data.synthetic.scene import make_scene, transfers
from selfsup3d.data.synthetic.spec import PRESETS
from selfsup3d.geometry.kinematics import body_frame
from selfsup3d.structures.skeleton import H36M_17, joint_index

SIZE = 64
SCENES = [make_scene(PRESETS["v1"], split, clip, SIZE) for split in ("train", "val", "test") for clip in range(24)]


def test_people_stay_in_the_image() -> None:
    for name in ("camera", "second"):
        inside = []
        for scene in SCENES:
            cameras = getattr(scene, name)
            px = cameras.project(cameras.view(scene.joints))
            inside.append(((px > 0) & (px < SIZE)).all(-1).mean())
        assert np.mean(inside) > 0.97


def test_standing_people_fill_most_of_the_height() -> None:
    heights = []
    for scene in SCENES:
        px = scene.camera.project(scene.camera.view(scene.joints))
        upright = scene.joints[:, 10, 2] > 0.93 * scene.joints[:, 10, 2].max()
        heights += list((np.ptp(px[upright, :, 1], axis=1) + 0.1 * SIZE) / SIZE)
    assert np.percentile(heights, 10) > 0.55
    assert np.percentile(heights, 90) < 0.8


def test_people_are_seen_from_all_round() -> None:
    turns, falls = [], []
    for scene in SCENES:
        rotation, _ = body_frame(torch.from_numpy(scene.camera.view(scene.joints)))
        ahead = rotation[:, :, 0].numpy()
        turns += list(np.rad2deg(np.arctan2(ahead[:, 0], -ahead[:, 2])))
        down = scene.camera.rotation[0] @ np.array([0.0, 0.0, -1.0])
        falls.append(np.rad2deg(np.arcsin(down[2])))
    counts, _ = np.histogram(turns, bins=8, range=(-180, 180))
    assert counts.min() > 0.05 * len(turns)
    low, high = CameraRanges().elevation
    assert min(falls) >= low - 1e-6
    assert max(falls) <= high + 1e-6
    assert np.ptp(falls) > 35.0


def test_cameras_stay_above_the_floor_and_stand_still() -> None:
    for scene in SCENES:
        eye = -np.einsum("tji,tj->ti", scene.camera.rotation, scene.camera.translation)
        assert scene.background.kind == "backdrop" or eye[:, 2].min() > 0.1
        assert scene.static
        assert np.ptp(eye, axis=0).max() == 0.0


def test_some_cameras_move_where_the_preset_says_so() -> None:
    scenes = [make_scene(PRESETS["v1-moving"], "train", clip, SIZE) for clip in range(40)]
    moving = [scene for scene in scenes if not scene.static]
    assert 4 <= len(moving) <= 20
    for scene in moving:
        assert np.ptp(scene.camera.translation, axis=0).max() > 0.02
        px = scene.camera.project(scene.camera.view(scene.joints))
        assert ((px > 0) & (px < SIZE)).all(-1).mean() > 0.85


def test_a_small_preset_is_the_beginning_of_a_large_one() -> None:
    one, other = (make_scene(PRESETS[name], "train", 7, SIZE) for name in ("quickstart", "v1"))
    assert np.array_equal(one.joints, other.joints)
    assert np.array_equal(one.camera.translation, other.camera.translation)
    assert np.array_equal(one.person.outfit.colours, other.person.outfit.colours)


@pytest.mark.parametrize("kind", ["person", "background", "motion"])
def test_splits_share_nobody_and_nothing(kind: str) -> None:
    def signature(scene) -> tuple[float, ...]:
        values = {
            "person": scene.person.bones,
            "background": scene.background.surfaces[0].grid,
            "motion": scene.motion.angles[0],
        }[kind]
        return tuple(np.ravel(values).round(9).tolist())

    assert len({signature(scene) for scene in SCENES}) == len(SCENES)


def test_transfers_put_anothers_pose_on_this_body_at_this_place() -> None:
    scene = SCENES[30]
    other = transfers(PRESETS["v1"], scene)
    assert other.joints.shape == scene.joints.shape
    assert (other.clip != scene.clip).all()
    parents = np.maximum(H36M_17.parents, 0)
    lengths = np.linalg.norm(other.joints - other.joints[:, parents], axis=-1)
    assert np.allclose(lengths, scene.person.bones, atol=1e-9)
    assert np.allclose(other.joints[:, 0, :2], scene.joints[:, 0, :2], atol=1e-9)
    relative = [j - j[:, :1] for j in (other.joints, scene.joints)]
    assert np.linalg.norm(relative[0] - relative[1], axis=-1).mean() > 0.1
    assert not np.allclose(scene.person.bones[1:], BONES[1:])


def test_the_second_camera_is_elsewhere() -> None:
    for scene in SCENES:
        between = scene.camera.rotation[0] @ scene.second.rotation[0].T
        angle = np.rad2deg(np.arccos(np.clip((np.trace(between) - 1) / 2, -1, 1)))
        assert angle > 30.0


def test_heads_are_up_in_the_image() -> None:
    for scene in SCENES[:10]:
        px = scene.camera.project(scene.camera.view(scene.joints))
        upright = scene.joints[:, joint_index("neck"), 2] - scene.joints[:, 0, 2] > 0.4
        assert (px[upright, joint_index("head"), 1] < px[upright, 0, 1]).all()
