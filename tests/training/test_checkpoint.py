import json
import os
import shutil

import pytest
import torch

from selfsup3d.errors import InputError
from selfsup3d.io import pretrained
from selfsup3d.io.stored_arrays import file_digest
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


@pytest.mark.parametrize("resume", ["auto", "the run"])
def test_all_damaged_is_refused_until_starting_over_is_asked_for(run, resume):
    for folder in (run / "checkpoints").iterdir():
        cut(folder / "model.safetensors")
    log, checkpoints = (run / "scalars.jsonl").read_bytes(), names(run)
    given = str(run) if resume == "the run" else resume
    with pytest.raises(InputError, match=r"all checkpoints are damaged.*start over: --overwrite"):
        train(config(run, steps=6, resume=given), Autoencoder(), Noise())
    assert (run / "scalars.jsonl").read_bytes() == log
    assert names(run) == checkpoints
    train(config(run, steps=6, checkpoint_every=6, overwrite=True), Autoencoder(), Noise())
    assert names(run) == ["step-00000006"]


def test_rotation_sets_damaged_ones_aside_and_never_removes_the_newest_whole_one(run):
    """After any number of steps beside damaged checkpoints of higher numbers, as many whole ones stand as wanted."""
    for step in (4, 6):
        cut(run / "checkpoints" / f"step-0000000{step}" / "optimizers.safetensors")
    train(config(run, steps=30, checkpoint_every=1, keep_checkpoints=2, resume="auto"), Autoencoder(), Noise())
    assert names(run) == ["damaged-00000004", "damaged-00000006", "step-00000029", "step-00000030"]


def test_a_checkpoint_damaged_meanwhile_does_not_count(run):
    folder = run / "checkpoints"
    shutil.copytree(folder / "step-00000006", folder / "step-00000099")
    cut(folder / "step-00000099" / "model.safetensors")
    rotate(folder, 1, folder / "step-00000006")
    assert names(run) == ["damaged-00000099", "step-00000006"]


def test_going_back_sets_later_checkpoints_aside(run):
    start = run / "checkpoints" / "step-00000002"
    train(config(run, steps=5, keep_checkpoints=1, resume=str(start)), Autoencoder(), Noise())
    assert names(run) == ["later-00000004", "later-00000006", "step-00000005"]
    assert find_checkpoint("auto", run).name == "step-00000005"


@pytest.mark.parametrize("steps", [4, 9])
def test_a_refused_resumption_changes_no_file(run, steps):
    """Beyond its end, or of another architecture."""

    class Wider(Autoencoder):
        def __init__(self):
            super().__init__()
            self.more = torch.nn.Linear(2, 2)

    before = {p: (p.stat().st_mtime_ns, p.is_file() and p.read_bytes()) for p in sorted(run.rglob("*"))}
    with pytest.raises(InputError):
        train(config(run, steps=steps, resume="auto"), Autoencoder() if steps == 4 else Wider(), Noise())
    assert {p: (p.stat().st_mtime_ns, p.is_file() and p.read_bytes()) for p in sorted(run.rglob("*"))} == before


@pytest.mark.parametrize("name", ["model.safetensors", "training.safetensors", "optimizers.safetensors"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(run, name, value):
    folder = run / "checkpoints" / "step-00000006"
    tensors = {key: tensor.clone() for key, tensor in pretrained.read_tensors(folder / name).items()}
    key = next(key for key, tensor in tensors.items() if tensor.numel() > 1)
    tensors[key].view(-1)[0] = value
    pretrained.write_tensors(folder / name, tensors)
    files = json.loads((folder / "manifest.json").read_text())
    files[name] = {"size": (folder / name).stat().st_size, "sha256": file_digest(folder / name)}
    (folder / "manifest.json").write_text(json.dumps(files))
    assert check(folder) is None
    with pytest.raises(InputError, match=rf"{name}: .* hold NaN or Inf"):
        train(config(run, steps=9, resume="auto"), Autoencoder(), Noise())
    if name == "model.safetensors":
        with pytest.raises(InputError, match="hold NaN or Inf"):
            pretrained.from_pretrained(folder, lambda told, version: Autoencoder())
        with pytest.raises(InputError, match="hold NaN or Inf"):
            train(config(run.parent / "new", weights=folder), Autoencoder(), Noise())


def test_a_state_that_is_not_finite_is_never_saved(tmp_path):
    class Diverging(Autoencoder):
        def losses(self, batch, update, progress):
            if progress >= 0.5:
                self.unused.weight.data.fill_(float("nan"))  # no loss and no gradient shows it
            return super().losses(batch, update, progress)

    with pytest.raises(FloatingPointError, match=r"step 6: unused.weight holds NaN or Inf; this state is not saved"):
        train(config(tmp_path), Diverging(), Noise())
    assert names(tmp_path) == ["step-00000003"]
    assert pretrained.nonfinite(pretrained.read_tensors(tmp_path / "checkpoints" / "step-00000003" / FILES[0])) == []


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
            assert path.suffix in (".safetensors", ".json", ".jsonl", ".yaml") or ".tfevents." in path.name, path


def test_printing_is_the_default_complaint(capsys):
    checkpoint._print("told")
    assert capsys.readouterr().err == "told\n"
