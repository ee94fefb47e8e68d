"""Every script in a process of its own, as people start it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(path.name for path in (ROOT / "launch").glob("*.py"))


def start(script: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script from a folder that has nothing to do with the project."""
    command = [sys.executable, str(ROOT / "launch" / script), *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_slip_is_refused_in_a_line(script, tmp_path):
    slipped = start(script, "--no-such-option", folder=tmp_path)
    assert slipped.returncode == 2
    assert slipped.stderr.strip()
    assert "Traceback" not in slipped.stderr + slipped.stdout
    assert not list(tmp_path.iterdir())
