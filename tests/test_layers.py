"""The import graph: a file imports only from layers below its own; siblings of one layer do not import one another."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "selfsup3d"

# Lowest first. Units of one row are siblings.
LAYERS = [
    ["errors"],
    ["files", "documents", "skeleton"],
    ["geometry"],
    ["batch", "draws"],
    ["parts"],
    ["data", "viz", "objectives", "schedules"],
    ["system", "hub"],
    ["models", "heads"],
    ["lifters", "cross_modal"],
    ["evaluation"],
    [
        "config_base",
        "config_cross_modal",
        "config_datasets",
        "config_lifters",
        "config",
        "config_file",
    ],  # describes everything, imports next to nothing; read by builders, training and launch
    ["cli"],
    ["training"],
    ["prediction"],
    ["synthesis", "export"],
    ["demo", "benchmarks"],
]
RANK = {unit: rank for rank, row in enumerate(LAYERS) for unit in row}
WITHIN_ROW = {  # the file reader builds the config, which is put together from sections
    ("config_file", "config"),
    ("config", "config_base"),
    ("config", "config_cross_modal"),
    ("config", "config_datasets"),
    ("config", "config_lifters"),
    ("config_datasets", "config_base"),
    ("config_lifters", "config_base"),
    ("config_cross_modal", "config_base"),
}


def unit_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def imports(path: Path) -> set[str]:
    """Modules of this package that a file imports at run time (imports for type checking alone are left out)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("selfsup3d"):
            names = [f"{node.module}.{a.name}" for a in node.names] if node.module == "selfsup3d" else [node.module]
            found.update(names)
        elif isinstance(node, ast.Import):
            found.update(a.name for a in node.names if a.name.startswith("selfsup3d"))
    return found


FILES = sorted(p for p in PACKAGE.rglob("*.py") if p.name != "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_downward(path):
    unit = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert unit in RANK, f"{unit} has no layer: add it to LAYERS"
    for module in imports(path):
        other = unit_of(module)
        if other in ("", unit) or module == "selfsup3d.__version__" or (unit, other) in WITHIN_ROW:
            continue
        assert RANK[other] < RANK[unit], f"{unit} imports {module}, which is not in a layer below"
