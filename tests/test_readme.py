"""What README and docs say is so: code runs, commands and their flags exist, links lead somewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / ".github" / "CONTRIBUTING.md", *sorted((ROOT / "assets" / "docs").glob("*.md"))]
README = PAGES[0].read_text(encoding="utf-8")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands() -> dict[str, set[str]]:
    """Every command that the README names, with the flags that it shows."""
    found: dict[str, set[str]] = {}
    spans = re.findall(r"`([^`\n]+)`", README.replace("```", "")) + blocks(README, "bash")
    for span in spans:
        for name, rest in re.findall(r"(?:selfsup3d |launch/)([a-z0-9][a-z0-9_-]+)(?:\.py)?((?: [^&|\n]*)?)", span):
            name = name.replace("_", "-")
            rest = rest.split(" -- ")[0]
            found.setdefault(name, set()).update(re.findall(r"--[a-z0-9][a-z0-9.-]*", rest))
    return found


def test_readme_has_at_most_220_lines():
    assert len(README.splitlines()) <= 220


@pytest.mark.parametrize("name", sorted(commands()))
def test_commands_of_the_readme_exist_with_their_flags(name):
    told = subprocess.run(
        [sys.executable, "-m", "selfsup3d", name, "--help"], capture_output=True, text=True, env=ENVIRONMENT
    )
    assert told.returncode == 0, told.stderr
    missing = {flag for flag in commands()[name] if not re.search(rf"{re.escape(flag)}(?![\w.-])", told.stdout)}
    assert not missing, f"selfsup3d {name} has no {', '.join(sorted(missing))}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_and_images_lead_to_files(page):
    for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("number", range(len(blocks(README, "python"))))
def test_python_of_the_readme_runs_as_written(number):
    code = blocks(README, "python")[number]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "17" in done.stdout


def test_the_lifter_of_the_docs_trains():
    torch = pytest.importorskip("torch")
    names: dict[str, object] = {}
    exec(blocks((ROOT / "assets" / "docs" / "extending.md").read_text(encoding="utf-8"), "python")[0], names)
    from selfsup3d.structures.batch import Batch

    generator = torch.Generator().manual_seed(0)
    joints = torch.randn(64, 17, 3, generator=generator)
    batch = Batch(joints_2d=joints[..., :2] * 50 + 100, joints_3d=joints, confidence=torch.ones(64, 17),
                  seeds=torch.arange(64))  # fmt: skip
    lifter = names["LinearLifter"]()
    lifter.fit([batch])
    optimizer = torch.optim.Adam(lifter.parameters(), 0.03)
    errors = []
    for _ in range(60):
        optimizer.zero_grad()
        (loss,) = lifter(batch, "lifter", 0.0).values()
        loss.backward()
        optimizer.step()
        errors.append(float(loss.detach()))
    assert errors[-1] < 0.7 * errors[0]
    assert lifter.predict(batch).pose.shape == (64, 1, 17, 3)


@pytest.mark.slow
def test_the_main_job_of_the_readme_trains(tmp_path):
    (line,) = [line for line in blocks(README, "bash") if "quickstart.yaml" in line]
    command = line.strip().split(" && ")[-1].split()
    short = ["--trainer.steps", "20", "--trainer.images", "0", "--data.preset", "tiny-test", "--data.size", "32"]
    short += [
        "--trainer.batch-size",
        "2",
        "--data.root",
        str(tmp_path / "cache"),
        "--output-dir",
        str(tmp_path / "run"),
    ]
    short += ["--system.stages.pretrain", "0.5", "--system.stages.decoder", "0.25", "--system.stages.joint", "0.25"]
    accelerate = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1"]
    done = subprocess.run(
        [*accelerate, *command[2:], *short], capture_output=True, text=True, env=ENVIRONMENT, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(tmp_path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.read(ROOT / "assets" / "notebooks" / "quickstart.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(ROOT)}}).execute()
    images = [
        output for cell in notebook.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
    ]
    assert len(images) >= 3
