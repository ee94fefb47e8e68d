import os
import subprocess
import sys
from pathlib import Path

import pytest
from accelerate import Accelerator

from selfsup3d.config.load import load_config
from selfsup3d.config.run import Config
from selfsup3d.errors import InputError
from selfsup3d.io.locks import LOCK
from selfsup3d.training.run_folder import begin, claimed


def files(folder: Path):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def claim(config, accelerator):
    """A run that starts and ends at once."""
    with claimed(config, accelerator):
        begin(config, None)


@pytest.fixture
def accelerator():
    return Accelerator(cpu=True)


def test_a_new_folder_gets_the_merged_config(tmp_path, accelerator):
    config = Config(output_dir=tmp_path / "a" / "b", seed=5)
    claim(config, accelerator)
    assert load_config(tmp_path / "a" / "b" / "config.yaml") == config


def test_an_earlier_run_is_never_overwritten_silently(tmp_path, accelerator):
    claim(Config(output_dir=tmp_path, seed=5), accelerator)
    before = files(tmp_path)
    with pytest.raises(InputError, match=r"holds an earlier run: add --resume auto .* --output-dir DIR .* --overwrite"):
        claim(Config(output_dir=tmp_path, seed=6), accelerator)
    assert load_config(tmp_path / "config.yaml").seed == 5
    assert files(tmp_path) == before


def test_checkpoints_alone_are_a_run_too(tmp_path, accelerator):
    (tmp_path / "checkpoints" / "step-00000001").mkdir(parents=True)
    with pytest.raises(InputError, match="holds an earlier run"):
        claim(Config(output_dir=tmp_path), accelerator)


def test_overwrite_removes_the_run_and_nothing_else(tmp_path, accelerator):
    claim(Config(output_dir=tmp_path), accelerator)
    for name in ("checkpoints/step-00000001", "tensorboard", "model"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_text("x")
    for name in ("metrics.json", "scalars.jsonl", "grid.png", "my notes.txt"):
        (tmp_path / name).write_text("x")
    claim(Config(output_dir=tmp_path, seed=6, overwrite=True), accelerator)
    assert files(tmp_path) == ["checkpoints", "config.yaml", "my notes.txt"]
    assert load_config(tmp_path / "config.yaml").seed == 6


def test_resuming_keeps_the_run_and_takes_the_new_settings(tmp_path, accelerator, capsys):
    claim(Config(output_dir=tmp_path), accelerator)
    (tmp_path / "checkpoints" / ".partial-x").mkdir()
    (tmp_path / ".partial-y.yaml").write_text("x")
    claim(Config.model_validate({"output_dir": tmp_path, "resume": "auto", "trainer": {"steps": 77}}), accelerator)
    assert load_config(tmp_path / "config.yaml").trainer.steps == 77
    assert files(tmp_path) == ["checkpoints", "config.yaml"]
    assert capsys.readouterr().err == f"{tmp_path}: resumed with other settings: trainer.steps 10000 -> 77\n"


def test_resume_wins_over_overwrite(tmp_path, accelerator):
    claim(Config(output_dir=tmp_path), accelerator)
    (tmp_path / "metrics.json").write_text("x")
    claim(Config(output_dir=tmp_path, resume="auto", overwrite=True), accelerator)
    assert (tmp_path / "metrics.json").exists()


def test_another_system_cannot_be_resumed(tmp_path, accelerator):
    claim(Config(output_dir=tmp_path), accelerator)
    other = {"output_dir": tmp_path, "resume": "auto", "system": {"kind": "part_guided", "preset": "small"}}
    with pytest.raises(InputError, match=r"started with another system.preset \(tiny, now small\)"):
        claim(Config.model_validate(other), accelerator)
    assert load_config(tmp_path / "config.yaml").system.preset == "tiny"


def test_a_refused_run_changes_no_file(tmp_path, accelerator):
    """Neither a resumption that does not fit nor an --overwrite whose own data turn out to be bad."""
    claim(Config(output_dir=tmp_path, seed=5), accelerator)
    (tmp_path / "metrics.json").write_text("x")
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in files(tmp_path)}
    for settings in ({"resume": "auto"}, {"overwrite": True}):
        config = Config(output_dir=tmp_path, seed=6, **settings)
        with pytest.raises(InputError, match="bad data"), claimed(config, accelerator):
            raise InputError("bad data")
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in files(tmp_path)} == before


def test_a_second_run_in_the_folder_is_refused_while_the_first_lives(tmp_path, accelerator):
    holder = subprocess.Popen(
        [sys.executable, "-c", f"import time; from selfsup3d.io.locks import locked\n"
         f"with locked({str(tmp_path)!r}): print('held', flush=True); time.sleep(60)"],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match=rf"another run is at work in it \(process {holder.pid} on .*--output-dir"):
            claim(Config(output_dir=tmp_path), accelerator)
        assert files(tmp_path) == [LOCK]
    finally:
        holder.kill()
        holder.wait()
    assert (tmp_path / LOCK).exists()  # stale: it was killed
    claim(Config(output_dir=tmp_path), accelerator)
    assert files(tmp_path) == ["checkpoints", "config.yaml"]


def test_all_damaged_checkpoints_refuse_a_resumption(tmp_path, accelerator):
    claim(Config(output_dir=tmp_path), accelerator)
    (tmp_path / "checkpoints" / "step-00000005").mkdir()
    with pytest.raises(
        InputError, match=r"all checkpoints are damaged .*manifest.json is missing.*start over: --overwrite"
    ):
        claim(Config(output_dir=tmp_path, resume="auto"), accelerator)
    assert (tmp_path / "checkpoints" / "step-00000005").exists()
    claim(Config(output_dir=tmp_path, overwrite=True), accelerator)  # as the message advises
    assert not list((tmp_path / "checkpoints").iterdir())


def test_a_file_in_the_way_is_named(tmp_path, accelerator):
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(InputError, match=r"--output-dir .*taken: cannot be written: (File exists|Not a directory)"):
        claim(Config(output_dir=tmp_path / "taken"), accelerator)
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_named(tmp_path, accelerator):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot be written: Permission denied"):
        claim(Config(output_dir=tmp_path / "run"), accelerator)


def test_a_write_error_is_named(tmp_path, accelerator, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(InputError, match="cannot be written: Read-only file system"):
        claim(Config(output_dir=tmp_path / "run"), accelerator)
