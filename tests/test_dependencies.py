"""pyproject.toml declares what is imported, and nothing else."""

import ast
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]

# Where a package is imported by another name than it is installed by.
NAMES = {
    "PIL": "pillow", "cv2": "opencv-python", "yaml": "PyYAML", "umap": "umap-learn", "pillow_heif": "pillow-heif",
}  # fmt: skip
# Come with what is declared, whose interfaces are theirs: gradio's server, gradio's client.
WITH_OTHERS = {"starlette": "gradio", "httpx": "gradio", "uvicorn": "gradio", "nbformat": "nbclient"}
# Of `dev` and `docs`, which are programs: nobody imports them.
PROGRAMS = {"ruff", "mypy", "types-PyYAML", "pre-commit", "pytest-cov", "pytest-xdist", "hatchling", "ipykernel"}
# Loaded by name in a loop (export/onnx.py), or by torch, which writes TensorBoard's files.
LOADED_BY_NAME = {"tensorboard", "onnx", "onnxruntime", "onnxscript"}


def declared(lines):
    found = {re.match(r"[\w.-]+", line)[0] for line in lines}
    return found - {PROJECT["name"]}


def imported(*folders):
    """Distributions that files of the folders import, anywhere in them."""
    names = set()
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add((node.module or "").split(".")[0])
            elif isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in (
                "import_module", "optional", "importorskip",
            ):  # fmt: skip
                first = node.args[0] if node.args else None
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    names.add(first.value.split(".")[0])
    own = {"selfsup3d", "tests", "", "a_library_that_nobody_wrote"}
    return {NAMES.get(name, name) for name in names - own - set(sys.stdlib_module_names)}


# Another detector that people bring themselves; the message that misses it says how.
BROUGHT = {"rtmlib"}

RUN = imported("selfsup3d", "launch") - BROUGHT
TESTED = imported("tests") - BROUGHT
PEOPLE = declared(PROJECT["dependencies"])
OPTIONAL = {name for extra, lines in EXTRAS.items() if extra not in ("test", "dev", "docs") for name in declared(lines)}


def test_what_people_run_is_declared():
    benchmarks = imported("selfsup3d/benchmarks") & declared(EXTRAS["test"])  # peers, which may be missing
    assert RUN - set(WITH_OTHERS) - benchmarks <= PEOPLE | OPTIONAL


def test_every_dependency_is_imported_by_what_people_run():
    assert PEOPLE <= RUN | LOADED_BY_NAME
    assert OPTIONAL <= RUN | LOADED_BY_NAME


def test_what_tests_need_is_declared_and_used():
    everything = PEOPLE | OPTIONAL | declared(EXTRAS["test"]) | declared(EXTRAS["dev"])
    assert TESTED - set(WITH_OTHERS) <= everything | {"playwright"}  # which the tests in a browser skip without
    assert declared(EXTRAS["test"]) | declared(EXTRAS["dev"]) <= TESTED | RUN | PROGRAMS
