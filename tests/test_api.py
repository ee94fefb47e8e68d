"""`import selfsup3d`: cheap, and a model from a name or a path, used in a line."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from torch import nn

import selfsup3d
from selfsup3d.builders.systems import build_system
from selfsup3d.config.run import Config
from selfsup3d.data.synthetic.prior import ProceduralPrior
from selfsup3d.geometry.kinematics import bone_lengths
from selfsup3d.io import pretrained
from selfsup3d.io.resources import example_people, shipped_configs, shipped_models
from selfsup3d.structures.skeleton import H36M_17
from selfsup3d.viz.sheets import write_png

SIZE = 64


def saved(folder, trained=True, **system):
    config = Config.model_validate({"system": system} if system else {})
    torch.manual_seed(0)
    network = build_system(config)
    if hasattr(network, "decoder"):
        network.bone_lengths.copy_(bone_lengths(torch.from_numpy(ProceduralPrior(2).poses)).mean(0))
        if trained:
            nn.init.normal_(network.decoder.to_image.weight, std=0.05)
    pretrained.save_pretrained(folder, network, config.to_dict(), "a test")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return selfsup3d.load(saved(tmp_path_factory.mktemp("image")), device="cpu")


@pytest.fixture(scope="module")
def lifter(tmp_path_factory):
    return selfsup3d.load(saved(tmp_path_factory.mktemp("lifter"), kind="martinez"), device="cpu")


@pytest.fixture
def image():
    return cv2.resize(np.random.default_rng(0).integers(0, 255, (9, 7, 3), np.uint8), (140, 180))


def test_importing_the_package_imports_nothing_of_it():
    code = "import sys, selfsup3d; dir(selfsup3d); print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in loaded if name.split(".")[0] == "selfsup3d"] == ["selfsup3d"]
    assert not {"torch", "numpy", "cv2", "pydantic"} & set(loaded)


def test_loading_a_shipped_model_imports_nothing_that_it_does_not_use():
    code = "import sys, selfsup3d; selfsup3d.load('synth-v1', device='cpu'); print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "torch" in loaded
    heavy = {"timm", "torchvision", "kornia", "lpips", "gradio", "accelerate", "torchmetrics", "tensorboard", "tyro"}
    assert not heavy & set(loaded)


@pytest.mark.parametrize("name", [name for name in selfsup3d.__all__ if name != "__version__"])
def test_every_public_name_is_there_and_documented(name):
    assert getattr(selfsup3d, name).__doc__
    assert name in dir(selfsup3d)


def test_other_names_are_an_attribute_error():
    with pytest.raises(AttributeError, match="lod"):
        selfsup3d.lod  # noqa: B018


def test_poses_are_in_the_pixels_of_the_image_that_was_given(model, image, tmp_path):
    write_png(tmp_path / "a.png", image)
    once, twice = model(image), model(cv2.resize(image, (280, 360), interpolation=cv2.INTER_NEAREST))
    assert once.joint_names == H36M_17.joint_names
    assert once.unit == "m"
    assert once.joints_3d.shape == (1, 17, 3)
    assert once.joints_2d.shape == (1, 17, 2)
    np.testing.assert_allclose(2 * once.joints_2d, twice.joints_2d, atol=1.0)
    np.testing.assert_allclose(model(tmp_path / "a.png").joints_3d, once.joints_3d, atol=1e-5)
    both = model([image, str(tmp_path / "a.png")])
    np.testing.assert_allclose(both.joints_2d, np.repeat(once.joints_2d, 2, 0), atol=1e-3)
    assert both.frames.tolist() == [0, 1]


def test_novel_views_and_transfer_are_the_synthesizers(model, image):
    views = model.novel_view(image, azimuth=[-60, 0, 60], elevation=10)
    assert views.shape == (3, SIZE, SIZE, 3)
    assert views.dtype == np.uint8
    assert not np.array_equal(views[0], views[2])
    alone = model.novel_view(image, azimuth=60, elevation=10)
    np.testing.assert_allclose(alone.astype(int), views[2:], atol=1)
    frames = model.transfer(image, driving=[image, image[:, ::-1]])
    assert frames.shape == (2, SIZE, SIZE, 3)
    assert not np.array_equal(frames[0], frames[1])


def test_motion_capture_drives(model, image, tmp_path):
    from selfsup3d.export.bvh import write_bvh

    poses = ProceduralPrior(2).poses[:5]
    write_bvh(tmp_path / "walk.bvh", poses, 20.0)
    assert len(model.transfer(image, driving=str(tmp_path / "walk.bvh"))) == 5


def test_a_lifter_takes_arrays_and_files(lifter, tmp_path):
    joints = np.random.default_rng(0).uniform(100, 300, (2, 17, 2))
    poses = lifter(joints)
    assert poses.joints_3d.shape == (2, 17, 3)
    assert poses.confidence.tolist() == np.ones((2, 17)).tolist()
    np.testing.assert_allclose(lifter(joints[1]).joints_3d, poses.joints_3d[1:], atol=1e-5)
    joints[0, 3] = np.nan
    assert lifter(joints).confidence[0].tolist() == [1, 1, 1, 0] + [1] * 13
    (tmp_path / "k.json").write_text(json.dumps([{"image_id": 1, "keypoints": [5.0, 6.0, 1.0] * 16 + [9.0, 9.0, 1.0]}]))
    assert lifter(tmp_path / "k.json").joints_3d.shape == (1, 17, 3)


def test_what_a_model_cannot_do_is_a_line(model, lifter, image, tmp_path):
    untrained = selfsup3d.load(saved(tmp_path / "untrained", trained=False), device="cpu")
    assert untrained(image).joints_3d.shape == (1, 17, 3)
    for call, words in (
        (lambda: untrained.novel_view(image, 30), "untrained: the decoder of this model was never trained"),
        (lambda: untrained.transfer(image, image), "untrained: the decoder of this model was never trained"),
        (lambda: lifter.novel_view(image, 30), "a lifter makes no images"),
        (lambda: lifter(np.zeros((17, 3))), "expected keypoints"),
        (lambda: lifter(np.full((17, 2), np.nan)), "no joint of frame 0 is known"),
        (lambda: lifter(np.ones((17, 2)), confidence=np.full(17, 2.0)), "expected a confidence"),
        (lambda: model(np.zeros((4, 4))), "expected a file or an array"),
        (lambda: model("absent.png"), "absent.png"),
        (lambda: model.novel_view(image, [1, 2], [1, 2, 3]), "2 azimuths and 3 elevations"),
        (lambda: model.novel_view(image, float("nan")), "finite"),
        (lambda: selfsup3d.load("synth-v2"), "did you mean the shipped model 'synth-v1'"),
        (lambda: selfsup3d.load("synth-v1", device="cuda:99"), "not usable here"),
    ):
        with pytest.raises(selfsup3d.InputError) as caught:
            call()
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)


def test_the_shipped_model_finds_a_shipped_person():
    person = sorted(example_people().glob("*.*"))[0]
    poses = selfsup3d.load("synth-v1", device="cpu")(person)
    pixels = cv2.imread(str(person))
    assert poses.joints_2d.min() > 0
    assert poses.joints_2d.max() < max(pixels.shape)
    head, feet = (poses.joints_2d[0, [H36M_17.joint_names.index(n) for n in names], 1].mean() for names in
                  (["head"], ["right_ankle", "left_ankle"]))  # fmt: skip
    assert head < feet


def test_what_is_shipped_has_names():
    assert "synth-v1" in shipped_models()
    assert {"quickstart", "lifters/martinez", "synth_v1/results"} <= set(shipped_configs())
    assert not any("accelerate" in name for name in shipped_configs())
