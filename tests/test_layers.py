"""The import graph: a file imports only from layers below its own, siblings do not import one another, and no files
import each other in a circle. Imports for type checking alone count as well.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Lowest first. Units of one row are siblings; a unit is a file or a folder, and the longest that fits a file counts.
LAYERS = [
    ["errors"],
    ["structures.skeleton"],
    ["geometry"],
    ["structures", "io"],
    ["puppet", "config"],
    ["data", "viz"],
    ["preparation", "models.system", "models.schedules"],
    ["models"],
    ["evaluation"],
    ["builders", "cli"],
    ["training", "inference", "export"],
    ["experiments"],
    ["api", "benchmarks", "demo"],
    ["commands"],
    ["__main__"],
]
RANK = {unit: rank for rank, row in enumerate(LAYERS) for unit in row}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = {module_of(path): path for path in sorted((ROOT / "selfsup3d").rglob("*.py"))}


def imports(path: Path) -> set[str]:
    """Modules of this package that a file imports anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "selfsup3d":
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in FILES else node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names if alias.name.split(".")[0] == "selfsup3d")
    return found - {"selfsup3d"}


GRAPH = {module: imports(path) for module, path in FILES.items()}


def unit_of(module: str) -> str:
    name = module.removeprefix("selfsup3d.")
    units = [unit for unit in RANK if name == unit or name.startswith(f"{unit}.")]
    assert units, f"{module} has no layer: add it to LAYERS"
    return max(units, key=len)


@pytest.mark.parametrize("module", [module for module in FILES if module != "selfsup3d"])
def test_imports_point_downward(module):
    unit = unit_of(module)
    for other in GRAPH[module]:
        below = unit_of(other)
        assert below == unit or RANK[below] < RANK[unit], f"{module} imports {other}, which is not in a layer below"


def test_no_files_import_each_other_in_a_circle():
    left = {module: {other for other in found if other in FILES} for module, found in GRAPH.items()}
    while left:
        leaves = {module for module, found in left.items() if not found & left.keys()}
        assert leaves, f"these import each other in a circle: {_circle(left)}"
        left = {module: found for module, found in left.items() if module not in leaves}


def _circle(graph: dict[str, set[str]]) -> list[str]:
    """One circle of a graph in which every file has an import left."""
    walk = [next(iter(graph))]
    while walk[-1] not in walk[:-1]:
        walk.append(sorted(graph[walk[-1]] & graph.keys())[0])
    return walk[walk.index(walk[-1]) :]
