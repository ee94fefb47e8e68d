import pytest

from selfsup3d.builders.systems import build_system
from selfsup3d.config.run import Config
from selfsup3d.errors import InputError

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


def test_weights_that_are_not_there_are_bad_input(tmp_path):
    system = {
        "kind": "part_guided",
        "backbone": "test_resnet",
        "backbone_weights": str(tmp_path / "absent.safetensors"),
    }
    with pytest.raises(InputError, match=r"absent\.safetensors: no such file"):
        build_system(Config.model_validate({"system": system}))
