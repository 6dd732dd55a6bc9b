"""Who may know whom: imports point one way, and the core runs on a bare torch machine."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import hamu_ray

PACKAGE = Path(hamu_ray.__file__).parent

MAY_IMPORT = {
    "methods": set(),
    "metrics": set(),
    "config": {"methods"},
    "pairing": {"methods"},
    "tasks": {"config", "metrics"},
    "engine": {"config", "methods", "pairing", "tasks"},
}
"""Rooms to the other rooms that they may know. Sweep and the commands, above them all, may know any."""

CORE_CODE = """
import importlib, pkgutil, sys
import hamu_ray
for room in sys.argv[1:]:
    package = importlib.import_module(f"hamu_ray.{room}")
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
print(sorted({name.partition(".")[0] for name in sys.modules} & {"ray", "mlflow", "optuna"}))
"""


def imported_by(path: Path) -> Iterator[str]:
    """Yield the full names of what a file imports, within functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where they point"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_point_one_way(room: str) -> None:
    files = list((PACKAGE / room).rglob("*.py"))
    assert files
    for path in files:
        names = [name.split(".") for name in imported_by(path)]
        rooms = {parts[1] for parts in names if parts[0] == "hamu_ray" and len(parts) > 1}
        assert rooms <= MAY_IMPORT[room] | {room}, path
        assert not {parts[0] for parts in names} & {"ray", "mlflow", "optuna"}, path


def test_the_core_loads_no_framework_of_sweeps() -> None:
    command = [sys.executable, "-c", CORE_CODE, *MAY_IMPORT]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
