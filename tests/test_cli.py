import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from selfsup3d.cli import run
from selfsup3d.config.flags import parse_config
from selfsup3d.errors import InputError


@pytest.fixture
def config_path(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("trainer: {steps: 30, optimizer: {lr: 1e-4}}\ndata: {kind: videos, root: /videos}\n")
    return path


def parse(path, *flags):
    return parse_config(["--config", str(path), *flags], "A test.")


def test_flags_override_the_file(config_path):
    config = parse(
        config_path, "--trainer.steps", "7", "--trainer.checkpoint-every=2", "--resume", "auto", "--seed", "3",
        "--data.root", "/my videos", "--output-dir", "out", "--trainer.optimizer.betas", "0.5", "0.9",
        "--trainer.deterministic", "--system.no-saliency",
    )  # fmt: skip
    assert (config.trainer.steps, config.trainer.checkpoint_every) == (7, 2)
    assert config.trainer.optimizer.lr == 1e-4
    assert config.trainer.optimizer.betas == (0.5, 0.9)
    assert (config.resume, config.seed) == ("auto", 3)
    assert str(config.data.root) == "/my videos"
    assert str(config.output_dir) == "out"
    assert config.trainer.deterministic
    assert not config.system.saliency


def test_underscores_and_equal_signs_work_too(config_path):
    config = parse_config([f"--config={config_path}", "--trainer.checkpoint_every", "9"], "")
    assert config.trainer.checkpoint_every == 9
    assert str(config.output_dir) == "runs/mine"


def test_members_of_a_mixture_have_flags(tmp_path):
    path = tmp_path / "both.yaml"
    path.write_text("data: [{kind: synthetic}, {kind: videos, root: /a}]")
    assert str(parse(path, "--data.parts.1.root", "/b").data.parts[1].root) == "/b"


BAD = {
    ("--trainer.stepz", "3"): "--trainer.stepz: unknown flag; did you mean '--trainer.steps'?",
    ("--data.size=64", "--datta.root", "x"): "--datta.root: unknown flag; did you mean '--data.root'?",
    ("--trainer.steps", "many"): "--trainer.steps: input should be a valid integer",
    ("--trainer.steps", "-1"): "--trainer.steps: input should be greater than or equal to 1 (got '-1')",
    ("--trainer.steps",): "--trainer.steps: a value is missing",
    ("--trainer.optimizer.kind", "adamm"): "--trainer.optimizer.kind: 'adamm' is no choice; did you mean 'adam'?",
    ("--trainer.optimizer.betas", "1", "2"): "--trainer.optimizer.betas.1: input should be less than or equal to 1",
    ("--system.stages.pretrain", "0.9"): "--system.stages: the fractions must sum to 1, they sum to 1.5",
    ("--data.kind", "synthetic"): "--data.kind: 'synthetic' is no choice; valid: videos",
    ("--trainer.steps", "7", "8"): "--trainer.steps: expected one value, found 2: 7 8",
    ("--trainer.no-steps",): "--trainer.no-steps: only switches can be turned off",
    ("--trainer.deterministic", "perhaps"): "--trainer.deterministic: input should be a valid boolean",
    ("--system", "x"): "--system: unknown flag",
    ("extra",): "unexpected argument 'extra'; flags look like",
}


@pytest.mark.parametrize(("flags", "told"), BAD.items(), ids=lambda v: " ".join(v) if isinstance(v, tuple) else "")
def test_wrong_flags_are_named(config_path, flags, told):
    with pytest.raises(InputError) as caught:
        parse(config_path, *flags)
    assert str(caught.value).splitlines()[0].startswith(told)
    assert "│" not in str(caught.value)


@pytest.mark.parametrize("argv", [[], ["--seed", "3"], ["--config"], ["--config", "--seed", "3"], ["--config="]])
def test_missing_config_is_said(argv):
    with pytest.raises(InputError, match="--config"):
        parse_config(argv, "")


def test_help_shows_the_files_values_and_every_meaning(config_path, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(config_path, "--help")
    assert caught.value.code == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "A test." in told
    assert "--trainer.steps" in told
    assert "(default: 30)" in told
    assert "stages and schedules are fractions of them" in told


def test_help_needs_no_config(capsys):
    assert run(lambda argv: parse_config(argv, "A test.") and None, ["--help"]) == 0
    assert "--trainer.steps" in capsys.readouterr().out


def raising(error):
    def main(argv):
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (InputError("a.yaml: trainer.stepz: unknown key"), 2, "a.yaml: trainer.stepz: unknown key"),
        (OSError(errno.ENOSPC, "No space left on device", "runs/x"), 2, "runs/x: No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "runs/x"), 2, "runs/x: Permission denied"),
        (FloatingPointError("stopped at step 3"), 1, "stopped at step 3"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_errors_become_one_message_and_a_code(capsys, error, code, told):
    assert run(raising(error), []) == code
    assert capsys.readouterr().err == told + "\n"


def test_other_errors_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        run(raising(ZeroDivisionError()), [])


def test_result_of_main_is_the_code():
    assert run(lambda argv: None, []) == 0
    assert run(lambda argv: 3, []) == 3
    assert run(lambda argv: len(argv), ["a", "b"]) == 2


def test_other_processes_of_a_run_stay_silent(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert run(raising(InputError("told once")), []) == 2
    assert capsys.readouterr().err == ""


def test_closed_pipe_is_no_error(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom selfsup3d.cli import run\n"
        "sys.exit(run(lambda argv: print('\\n'.join(map(str, range(100000))), flush=True)))\n"
    )
    command = f"{sys.executable} {script} | head -n 1; exit ${{PIPESTATUS[0]}}"
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=env, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")


def test_names_cannot_steer_the_terminal(capsys):
    def refuse(argv):
        raise InputError("a\x1b[2Jb.png: damaged")

    assert run(refuse, []) == 2
    assert capsys.readouterr().err == "a\\x1b[2Jb.png: damaged\n"
