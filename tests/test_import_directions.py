"""Allowed dependencies: one table of rooms, with the rooms and frameworks that each may import and load.

CONTRIBUTING.md shows the same table.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import hamu_ray

PACKAGE = Path(hamu_ray.__file__).parent

FRAMEWORKS = {
    *("torch", "torchvision", "torchjd", "transformers", "peft", "datasets", "huggingface_hub", "tokenizers"),
    *(
        "safetensors",
        "sklearn",
        "scipy",
        "numpy",
        "pandas",
        "pyarrow",
        "ray",
        "optuna",
        "mlflow",
        "plotly",
        "matplotlib",
    ),
    *("cryptography", "fpdf", "rfc8785"),
    *("jinja2", "rich", "pydantic", "yaml", "upath", "fsspec", "rouge_score", "cloudpickle", "datasketch"),
}
"""Packages that count as dependencies of a room."""


class Room(NamedTuple):
    """A row of the table; names are separated by spaces."""

    knows: str
    """Other rooms that it may import."""
    uses: str
    """Frameworks that its own files may import, within functions too."""
    loads: str = ""
    """Further frameworks that importing it may load, through other rooms."""


NUMBERS = "numpy scipy"
FILES = "pydantic yaml upath fsspec"

TABLE: Mapping[str, Room] = {
    "methods": Room("", "torch torchjd", NUMBERS),
    "metrics": Room("", "torch scipy sklearn numpy rouge_score"),
    "pairing": Room("methods", "torch", NUMBERS),
    "config": Room("methods", "pydantic yaml upath"),
    "storage": Room("config", "upath", FILES),
    "results": Room("config storage metrics", "numpy scipy yaml pydantic pyarrow optuna", FILES),
    "tasks": Room(
        "config metrics storage",
        "torch torchvision transformers peft datasets huggingface_hub tokenizers safetensors sklearn numpy "
        "datasketch pyarrow",
        f"{NUMBERS} {FILES}",
    ),
    "engine": Room(
        "config methods metrics pairing results storage tasks",
        "torch safetensors numpy yaml",
        f"{NUMBERS} {FILES}",
    ),
    "footprint": Room(
        "config engine methods pairing results storage tasks",
        "torch pydantic",
        f"safetensors {NUMBERS} {FILES}",
    ),
    "interpolation": Room(
        "config engine metrics pairing results storage tasks", "torch", f"safetensors {NUMBERS} {FILES}"
    ),
    "tracking": Room("config methods metrics results storage", "mlflow pydantic yaml", f"{NUMBERS} {FILES}"),
    "terminal": Room("config metrics results storage", "rich", f"{NUMBERS} {FILES}"),
    "preflight": Room("config methods metrics results storage tasks tracking", "", f"{NUMBERS} {FILES}"),
    "workers": Room(
        "config engine pairing results storage terminal",
        "ray torch pyarrow",
        f"cloudpickle pandas rich pyarrow safetensors {NUMBERS} {FILES}",
    ),
    "reports": Room(
        "config metrics results storage terminal tracking",
        "plotly matplotlib jinja2 numpy scipy yaml optuna",
        f"cloudpickle pandas pyarrow sklearn rich {NUMBERS} {FILES}",
    ),
    "certificate": Room(
        "config metrics results storage", "cryptography fpdf rfc8785 jinja2 yaml", f"{NUMBERS} {FILES}"
    ),
    "tuning": Room(
        "config footprint preflight reports results storage tasks terminal tracking workers",
        "ray optuna numpy yaml",
        f"cloudpickle pandas rich pyarrow torch safetensors plotly matplotlib {NUMBERS} {FILES}",
    ),
    "inspection": Room(
        "config footprint metrics preflight results storage tasks",
        "datasets numpy yaml",
        f"pyarrow torch safetensors {NUMBERS} {FILES}",
    ),
    "publishing": Room("config metrics results storage tasks", "huggingface_hub", f"{NUMBERS} {FILES}"),
    "selection": Room(
        "config engine interpolation metrics preflight publishing results storage terminal tuning",
        "torch",
        f"rich safetensors {NUMBERS} {FILES}",
    ),
    "auditing": Room(
        "config engine methods metrics pairing reports results storage tasks terminal tracking workers",
        "torch numpy",
        f"rich safetensors plotly matplotlib jinja2 optuna sklearn cloudpickle pandas pyarrow {NUMBERS} {FILES}",
    ),
    "api": Room(
        "config engine methods metrics preflight results selection storage tasks tuning workers",
        "torch numpy cloudpickle",
        f"ray pandas pyarrow optuna rich safetensors plotly matplotlib mlflow {NUMBERS} {FILES}",
    ),
    "command": Room("config storage", "", FILES),
    "tune": Room("command config preflight terminal tuning", "", FILES),
    "unlearn": Room("command config footprint preflight workers", "", FILES),
    "train": Room("command config footprint preflight workers", "", FILES),
    "watch": Room("command config results storage terminal", "", f"rich {NUMBERS} {FILES}"),
    "steer": Room("command config results", "", f"{NUMBERS} {FILES}"),
    "select": Room("command config results selection", "", f"numpy {FILES}"),
    "doctor": Room("command config inspection results storage tracking workers", "", f"numpy {FILES}"),
    "report": Room("command config reports", "", FILES),
    "certify": Room("command config certificate storage", "", FILES),
    "reproduce": Room(
        "command config engine pairing results storage terminal tuning",
        "torch yaml pydantic",
        f"ray optuna cloudpickle pandas rich pyarrow safetensors plotly matplotlib {NUMBERS} {FILES}",
    ),
    "__main__": Room("config", ""),
    "audit": Room("auditing command config metrics", "", f"{NUMBERS} {FILES}"),
}
"""Rooms from the mathematics at the bottom to the commands at the top."""

LOADED = """
import importlib, pkgutil, sys
room = importlib.import_module(f"hamu_ray.{sys.argv[1]}")
for module in pkgutil.walk_packages(getattr(room, "__path__", []), f"{room.__name__}."):
    importlib.import_module(module.name)
print(*{name.partition(".")[0] for name in sys.modules})
"""


def files_of(room: str) -> list[Path]:
    return sorted((PACKAGE / room).rglob("*.py")) or [PACKAGE / f"{room}.py"]


def imported_by(path: Path) -> Iterator[list[str]]:
    """Yield the imports of a file as parts of the full name, including imports within functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where they point"
            yield from (f"{node.module}.{alias.name}".split(".") for alias in node.names)


@cache
def modules() -> dict[str, set[str]]:
    """Return the modules of the package with their imports; packages only re-export names."""
    names = {
        ".".join(["hamu_ray", *path.relative_to(PACKAGE).with_suffix("").parts]): path
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py"
    }
    found: dict[str, set[str]] = {}
    for name, path in names.items():
        imported = list(imported_by(path))
        candidates = {".".join(parts) for parts in imported} | {".".join(parts[:-1]) for parts in imported}
        found[name] = candidates & names.keys() - {name}
    return found


def test_every_room_has_a_row() -> None:
    entries = (path for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file())
    assert {path.stem for path in entries} - {"__init__"} == set(TABLE)


def test_the_table_has_no_cycle() -> None:
    above: list[str] = []
    for room, row in TABLE.items():
        assert set(row.knows.split()) <= set(above), f"{room} knows a room that does not stand above its row"
        above.append(room)


@pytest.mark.parametrize("room", TABLE)
def test_files_import_what_the_table_allows(room: str) -> None:
    row = TABLE[room]
    for path in files_of(room):
        parts = list(imported_by(path))
        rooms = {p[1] for p in parts if p[0] == "hamu_ray" and len(p) > 1} - {room}
        assert rooms <= set(row.knows.split()), path
        assert {p[0] for p in parts} & FRAMEWORKS <= set(row.uses.split()), path


@pytest.mark.parametrize("room", TABLE)
def test_an_import_loads_what_the_table_allows(room: str) -> None:
    command = [sys.executable, "-c", LOADED, room]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    row = TABLE[room]
    assert set(result.stdout.split()) & FRAMEWORKS <= set(f"{row.uses} {row.loads}".split())


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {name: set(imported) for name, imported in modules().items()}
    while leaves := [name for name, imported in graph.items() if not imported & graph.keys()]:
        for name in leaves:
            del graph[name]
    assert not graph, "in circles, or above one"
