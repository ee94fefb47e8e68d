import numpy as np
import pytest
import torch

from selfsup3d.builders.systems import build_source, build_system
from selfsup3d.config.run import Config
from selfsup3d.data.saliency.saliency import Saliency
from selfsup3d.data.sampling.clip_store import finish_store, save_clip
from selfsup3d.errors import InputError
from selfsup3d.structures.random import RandomStreams

SYSTEM = {"kind": "part_guided"}
VIDEOS = {"kind": "videos", "size": 100}


@pytest.mark.parametrize("data", [VIDEOS, [{"kind": "synthetic", "size": 64}, VIDEOS]], ids=["one", "mixture"])
def test_images_that_the_decoder_cannot_halve_are_refused_before_anything_is_prepared(data):
    config = Config.model_validate(
        {"system": {"kind": "part_guided", "preset": "small", "backbone": "test_resnet"}, "data": data}
    )
    with pytest.raises(InputError, match=r"data\.size is 100; .*preset small .*divides by 16"):
        build_system(config)


@pytest.mark.parametrize("size", [64, 104])
def test_other_sides_than_the_presets_own_are_fine(size):
    config = Config.model_validate({"data": {"kind": "videos", "size": size}})
    assert build_system(config).stage(0.0) == "pretrain"


@pytest.mark.parametrize("widths", [(48, 24, 16), (64, 32)])
def test_the_decoder_is_as_wide_as_the_settings_say(widths):
    system = build_system(Config.model_validate({"system": SYSTEM | {"textures": True, "decoder_widths": widths}}))
    assert system.decoder.widths == widths
    with pytest.raises(InputError, match="divides by 128: its decoder has 8 levels"):
        build_system(Config.model_validate({"system": SYSTEM | {"decoder_widths": (8,) * 8}}))


def test_weights_that_are_not_there_are_bad_input(tmp_path):
    system = {
        "kind": "part_guided",
        "backbone": "test_resnet",
        "backbone_weights": str(tmp_path / "absent.safetensors"),
    }
    with pytest.raises(InputError, match=r"absent\.safetensors: no such file"):
        build_system(Config.model_validate({"system": system}))


def test_other_images_bring_rendered_people_where_the_system_is_pretrained_on_them(tmp_path):
    values = {
        "system": {"kind": "part_guided", "pretrain": {"source": "people"}, "supervision": "pretrain"},
        "data": {"kind": "synthetic", "preset": "tiny-test", "size": 32, "root": str(tmp_path)},
    }
    config = Config.model_validate(values)
    batch = build_source(config, "train").batch(RandomStreams(0, 0, np.arange(3)))
    batch.require(build_system(config).requires, by="the test")
    assert batch.rendered.shape == (3, 3, 32, 32)
    assert not torch.equal(batch.rendered, batch.target)


def test_rendered_people_alone_are_their_own_images():
    config = Config.model_validate(
        {"system": {"kind": "part_guided", "preset": "compact", "pretrain": {"source": "people"},
                    "supervision": "pretrain", "pose_head": "keypoints"}, "data": {"kind": "people", "size": 32}}
    )  # fmt: skip
    batch = build_source(config, "train").batch(RandomStreams(0, 0, np.arange(2)))
    assert torch.equal(batch.rendered, batch.target)
    losses = build_system(config).train()(batch, "pretrain", 0.0)
    assert all(value.isfinite() for value in losses.values())


def keypoint_store(folder, keypoints):
    """A finished store of one clip of 32 px, as prepare-data --detector writes it, or without keypoints."""
    frames = np.random.default_rng(0).integers(0, 255, (9, 32, 32, 3), np.uint8)
    marked = np.concatenate([np.full((9, 17, 2), 12.0), np.ones((9, 17, 1))], -1) if keypoints else None
    save_clip(
        folder, "clip_00000", frames, Saliency(frames[..., 0], frames[0], "detector", True, 0.5), keypoints=marked
    )
    finish_store(folder, ["clip_00000"], {})
    return folder


def test_prepared_clips_with_a_detectors_keypoints_train_the_2d_variant(tmp_path):
    def config(folder, size=32, **system):
        settings = {"kind": "part_guided", "supervision": "2d", **system}
        return Config.model_validate({"system": settings, "data": {"kind": "videos", "root": folder, "size": size}})

    marked = keypoint_store(tmp_path / "marked", True)
    batch = build_source(config(marked), "train").batch(RandomStreams(0, 0, np.arange(4)))
    assert batch.joints_2d.shape == (4, 17, 2)
    assert (batch.confidence == 1).all()
    system = build_system(config(marked))
    terms = system.losses(batch, "pretrain", 0.0)
    assert terms["known_pose/labelled_2d"] > 0
    with pytest.raises(InputError, match="has no keypoints; prepare the clips with a detector"):
        build_source(config(keypoint_store(tmp_path / "bare", False)), "train")
    with pytest.raises(InputError, match=r"clips of 32 px, data\.size is 64; set --data\.size 32"):
        build_source(config(marked, size=64), "train")
    with pytest.raises(InputError, match="videos have no 3D labels"):
        build_source(config(marked, supervision="3d"), "train")
