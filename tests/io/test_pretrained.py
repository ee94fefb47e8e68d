import json

import pytest
import torch
from torch import nn

from selfsup3d.errors import InputError
from selfsup3d.io import pretrained


class Net(nn.Module):
    def __init__(self, width=3, tied=False):
        super().__init__()
        self.first = nn.Conv2d(2, width, 3)
        self.second = nn.BatchNorm2d(width)
        if tied:
            self.again = self.first
        self.to(memory_format=torch.channels_last)


def build(config, version):
    return Net(**config)


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    net = Net(4)
    pretrained.save_pretrained(tmp_path / "model", net, {"width": 4}, "# card\n")
    return net, tmp_path / "model"


def test_what_is_loaded_is_what_was_saved(saved):
    net, folder = saved
    again = pretrained.from_pretrained(folder, build)
    assert not again.training
    for name, value in net.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
        assert again.state_dict()[name].dtype == value.dtype
    image = torch.rand(2, 2, 8, 8)
    assert torch.equal(again.first(image), net.first(image))
    assert (folder / "README.md").read_text() == "# card\n"
    assert sorted(p.name for p in folder.parent.iterdir()) == ["model"]


def test_half_precision_halves_the_file_and_loads_as_single(saved, tmp_path):
    net, _ = saved
    pretrained.save_pretrained(tmp_path / "half", net, {"width": 4}, "", half=True)
    again = pretrained.from_pretrained(tmp_path / "half", build)
    assert again.first.weight.dtype == torch.float32
    torch.testing.assert_close(again.first.weight, net.first.weight, rtol=1e-3, atol=1e-4)
    assert again.second.num_batches_tracked.dtype == torch.int64
    stored = pretrained.read_tensors(tmp_path / "half" / "model.safetensors")
    assert stored["first.weight"].dtype == torch.float16


def test_tied_weights_are_saved(tmp_path):
    pretrained.save_pretrained(tmp_path / "m", Net(tied=True), {"tied": True}, "")
    again = pretrained.from_pretrained(tmp_path / "m", build)
    assert again.again is again.first


def test_a_model_is_found_from_its_run_its_checkpoint_and_its_file(saved, tmp_path):
    _, folder = saved
    assert pretrained.locate_model(folder) == folder
    assert pretrained.locate_model(tmp_path) == folder
    assert pretrained.locate_model(folder / "model.safetensors") == folder
    for step in (5, 40):
        pretrained.save_pretrained(tmp_path / "run" / "checkpoints" / f"step-{step:08d}", Net(4), {"width": 4}, "")
    assert pretrained.locate_model(tmp_path / "run").name == "step-00000040"


def test_replacing_a_model_replaces_all_of_it(saved):
    _, folder = saved
    (folder / "old.txt").write_text("x")
    pretrained.save_pretrained(folder, Net(5), {"width": 5}, "new")
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert pretrained.from_pretrained(folder, build).first.weight.shape[0] == 5


def cut(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-20])


def empty(folder):
    (folder / "model.safetensors").write_bytes(b"")


def text(folder):
    (folder / "model.safetensors").write_text("these are not weights " * 50)


def no_weights(folder):
    (folder / "model.safetensors").unlink()


def narrow(folder):
    edit(folder, lambda told: told["config"].update(width=3))


def newer(folder):
    edit(folder, lambda told: told.update(format=99, selfsup3d="9.0.0"))


def no_json(folder):
    (folder / "config.json").write_text("{")


def other_json(folder):
    (folder / "config.json").write_text('["a"]')


def odd_version(folder):
    edit(folder, lambda told: told.update(format="one"))


def tied(folder):
    edit(folder, lambda told: told["config"].update(tied=True))


def edit(folder, change):
    told = json.loads((folder / "config.json").read_text())
    change(told)
    (folder / "config.json").write_text(json.dumps(told))


DAMAGE = {
    cut: "model.safetensors: damaged or truncated",
    empty: "model.safetensors: damaged or truncated",
    text: "model.safetensors: damaged or truncated",
    no_weights: "holds no model; expected model.safetensors and config.json",
    narrow: r"of another architecture.*other shapes: first.weight is \(4, 2, 3, 3\), expected \(3, 2, 3, 3\).* and 3 more",
    tied: "of another architecture.*missing again.weight, again.bias",
    newer: "format 99, written by selfsup3d 9.0.0; this is .*: upgrade selfsup3d",
    no_json: "config.json: damaged, or not the config of a model",
    other_json: "config.json: damaged, or not the config of a model",
    odd_version: "config.json: damaged, or not the config of a model",
}


@pytest.mark.parametrize(("damage", "told"), DAMAGE.items(), ids=lambda v: getattr(v, "__name__", ""))
def test_damage_is_named(saved, damage, told):
    _, folder = saved
    damage(folder)
    with pytest.raises(InputError, match=told):
        pretrained.from_pretrained(folder, build)


def test_missing_path_is_named(tmp_path):
    with pytest.raises(InputError, match="nothing: no such file or folder"):
        pretrained.from_pretrained(tmp_path / "nothing", build)
    with pytest.raises(InputError, match="holds no model"):
        pretrained.from_pretrained(tmp_path, build)


def test_a_failed_write_leaves_the_old_model(saved, monkeypatch):
    net, folder = saved

    def full(*args, **kwargs):
        raise pretrained.SafetensorError("Error while serializing: I/O error: No space left on device")

    monkeypatch.setattr(pretrained, "save_file", full)
    with pytest.raises(OSError, match="No space left on device"):
        pretrained.save_pretrained(folder, Net(5), {"width": 5}, "new")
    assert torch.equal(pretrained.from_pretrained(folder, build).first.weight, net.first.weight)
    assert [p.name for p in folder.parent.iterdir()] == ["model"]


def test_from_a_pickle_nothing_is_read(saved):
    _, folder = saved
    torch.save({"first.weight": torch.zeros(1)}, folder / "model.safetensors")
    with pytest.raises(InputError, match="damaged or truncated"):
        pretrained.from_pretrained(folder, build)
