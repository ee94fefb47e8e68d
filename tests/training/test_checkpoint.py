import json
import os
import shutil

import pytest
import torch

from selfsup3d.errors import InputError
from selfsup3d.io import pretrained
from selfsup3d.training import checkpoint
from selfsup3d.training.checkpoint import check, find_checkpoint, newest, rotate
from selfsup3d.training.loop import train
from tests.training.toy import Autoencoder, Noise, config


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    train(config(folder, steps=6, checkpoint_every=2), Autoencoder(), Noise())
    return folder


@pytest.fixture
def run(finished, tmp_path):
    """A copy of a run with checkpoints at steps 2, 4 and 6."""
    return shutil.copytree(finished, tmp_path / "run")


def names(run):
    return sorted(p.name for p in (run / "checkpoints").iterdir())


def test_as_many_as_wanted_are_kept(tmp_path):
    train(config(tmp_path, checkpoint_every=1, keep_checkpoints=2), Autoencoder(), Noise())
    assert names(tmp_path) == ["step-00000007", "step-00000008"]
    rotate(tmp_path / "checkpoints", 1)
    assert names(tmp_path) == ["step-00000008"]


def test_a_checkpoint_is_a_model_for_the_hub(run):
    again = pretrained.from_pretrained(run / "checkpoints" / "step-00000004", lambda told, version: Autoencoder())
    assert torch.isfinite(again.decoder.weight).all()
    assert pretrained.read_config(run / "checkpoints" / "step-00000004")[0]["trainer"]["steps"] == 6


def cut(path):
    path.write_bytes(path.read_bytes()[:-5])


def alter(path):
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def remove(path):
    path.unlink()


def empty(path):
    path.write_bytes(b"")


FILES = ("model.safetensors", "training.safetensors", "optimizers.safetensors", "state.json", "config.json")


@pytest.mark.parametrize("damage", [cut, alter, remove, empty])
@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_damaged_newest_one_is_named_and_the_one_before_is_used(run, damage, name):
    if (damage, name) == (alter, "manifest.json"):
        pytest.skip("a changed digit of the manifest is damage to the file that it names")
    damage(run / "checkpoints" / "step-00000006" / name)
    told = []
    assert newest(run / "checkpoints", told.append).name == "step-00000004"
    assert len(told) == 1
    assert "step-00000006 is damaged" in told[0]
    assert name in told[0]


def test_every_file_is_in_the_manifest(run):
    folder = run / "checkpoints" / "step-00000006"
    listed = set(json.loads((folder / "manifest.json").read_text()))
    assert listed == {p.name for p in folder.iterdir()} - {"manifest.json"} == set(FILES)


def test_all_damaged_means_from_the_start(run, capsys):
    for folder in (run / "checkpoints").iterdir():
        cut(folder / "model.safetensors")
    assert find_checkpoint("auto", run) is None
    assert capsys.readouterr().err.count("is damaged") == 3


def test_a_run_goes_on_from_the_last_whole_checkpoint(run, capsys):
    whole = {
        name: {k: v.clone() for k, v in pretrained.read_tensors(run / "checkpoints" / "step-00000006" / name).items()}
        for name in FILES[:3]
    }
    alter(run / "checkpoints" / "step-00000006" / "training.safetensors")
    train(config(run, steps=6, checkpoint_every=2, resume="auto"), Autoencoder(), Noise())
    assert "training.safetensors was altered after it was written" in capsys.readouterr().err
    for name, tensors in whole.items():
        for key, value in pretrained.read_tensors(run / "checkpoints" / "step-00000006" / name).items():
            assert torch.equal(value, tensors[key]), (name, key)


def test_what_resume_can_name(run, tmp_path):
    step = run / "checkpoints" / "step-00000002"
    assert find_checkpoint("never", run) is None
    assert find_checkpoint("auto", tmp_path / "new") is None
    assert find_checkpoint("auto", run).name == "step-00000006"
    assert find_checkpoint(str(run), tmp_path).name == "step-00000006"
    assert find_checkpoint(str(run / "checkpoints"), tmp_path).name == "step-00000006"
    assert find_checkpoint(str(step), tmp_path) == step


def test_what_resume_cannot_name(run, tmp_path):
    with pytest.raises(InputError, match="--resume atuo: no such file or folder"):
        find_checkpoint("atuo", run)
    with pytest.raises(InputError, match="holds no checkpoint"):
        find_checkpoint(str(tmp_path), run)
    remove(run / "checkpoints" / "step-00000002" / "state.json")
    with pytest.raises(InputError, match=r"damaged: state.json is missing"):
        find_checkpoint(str(run / "checkpoints" / "step-00000002"), run)


def test_weights_of_another_architecture_are_refused(run):
    class Wider(Autoencoder):
        def __init__(self):
            super().__init__()
            self.more = torch.nn.Linear(2, 2)

    with pytest.raises(InputError, match=r"of another architecture.*missing more.weight, more.bias"):
        train(config(run, resume="auto"), Wider(), Noise())


def test_optimizers_of_another_system_are_refused(run):
    class Regrouped(Autoencoder):
        def parameter_groups(self):
            return {"encoder": self.encoder.parameters(), "painter": self.decoder.parameters()}

    with pytest.raises(InputError, match=r"optimizers.safetensors: does not fit this system: 'decoder'"):
        train(config(run, steps=9, resume="auto"), Regrouped(), Noise())


@pytest.mark.parametrize("call", range(3))
def test_a_write_that_fails_leaves_nothing_and_keeps_the_older_ones(tmp_path, monkeypatch, call):
    """A full disk at the second checkpoint, while each of its three tensor files is written."""
    write, calls = pretrained.write_tensors, []

    def full(path, tensors):
        calls.append(path)
        write(path, tensors)
        if len(calls) == 4 + call:
            raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(pretrained, "write_tensors", full)
    with pytest.raises(OSError, match="No space left"):
        train(config(tmp_path), Autoencoder(), Noise())
    assert names(tmp_path) == ["step-00000003"]
    assert check(tmp_path / "checkpoints" / "step-00000003") is None


def test_leftovers_of_a_killed_writer_are_never_taken_for_a_checkpoint(run):
    left = run / "checkpoints" / ".partial-abc"
    shutil.copytree(run / "checkpoints" / "step-00000006", left)
    assert newest(run / "checkpoints").name == "step-00000006"
    shutil.rmtree(run / "checkpoints" / "step-00000006")
    assert newest(run / "checkpoints").name == "step-00000004"


def test_rights_are_the_usual_ones(run):
    umask = os.umask(0)
    os.umask(umask)
    folder = run / "checkpoints" / "step-00000006"
    assert folder.stat().st_mode & 0o777 == 0o777 & ~umask
    for path in folder.iterdir():
        assert path.stat().st_mode & 0o777 == 0o666 & ~umask, path.name


def test_nothing_is_pickled(run):
    for path in run.rglob("*"):
        if path.is_file():
            assert path.suffix in (".safetensors", ".json", ".jsonl") or ".tfevents." in path.name, path


def test_printing_is_the_default_complaint(capsys):
    checkpoint._print("told")
    assert capsys.readouterr().err == "told\n"
