"""`scripts/gpu_check` with nothing but the packages that it asks for, and what those require."""

import json
import os
import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.gpu.run import PARTS

ROOT = Path(__file__).parents[2]

ASKED_FOR = ("torch", "transformers", "peft", "safetensors", "scikit-learn", "numpy")
SOMETIMES = {"pydantic", "pydantic-core"}
"""What some versions of huggingface_hub require: absent here too, so that nothing but transformers needs it."""

BLOCKER = """
from importlib.machinery import PathFinder

ABSENT = frozenset({names!r})
found = PathFinder.find_spec


def find_spec(name, path=None, target=None):
    return None if name.partition(".")[0] in ABSENT else found(name, path, target)


PathFinder.find_spec = staticmethod(find_spec)
"""
"""What makes packages look as if they were not installed, to Python itself and to those that ask for them."""


def required() -> set[str]:
    """The distributions that are asked for and those that they require, of which this environment has them."""
    found: set[str] = set()
    left = list(ASKED_FOR)
    while left:
        name = canonicalize_name(left.pop())
        if name in found:
            continue
        found.add(name)
        for requirement in map(Requirement, requires(name) or []):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                left.append(requirement.name)
    return found


@pytest.fixture
def lean(tmp_path: Path) -> dict[str, str]:
    """The environment of a process, and of those that it starts, which finds no other package."""
    kept = required() - SOMETIMES
    names = sorted(
        module
        for module, owners in packages_distributions().items()
        if module != "hamu_ray" and not kept & {canonicalize_name(owner) for owner in owners}
    )
    assert {"ray", "mlflow", "optuna", "pydantic", "upath", "datasets", "torchjd", "pandas"} <= set(names)
    (tmp_path / "sitecustomize.py").write_text(BLOCKER.format(names=names))
    return {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}


def test_all_parts_import_what_is_there(lean: dict[str, str]) -> None:
    modules = ", ".join(f"scripts.gpu.parts.{part}" for part in PARTS)
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {modules}, scripts.gpu.capture"
    subprocess.run([sys.executable, "-c", code], env=lean, check=True)
    blocked = subprocess.run([sys.executable, "-c", "import ray"], env=lean, capture_output=True, text=True)
    assert "No module named 'ray'" in blocked.stderr


def test_it_runs_and_writes_what_it_found(lean: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "gpu_check"), "--device", "cpu", "--out", "found"]
    result = subprocess.run(
        [*command, "--parts", "golden", "memory", "hours"],
        cwd=tmp_path,
        env=lean,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    found = json.loads((tmp_path / "found" / "gpu_check.json").read_text())
    by_name = {(record["part"], record["name"]): record for record in found["records"]}
    assert by_name["golden", "float32"]["numbers"]["cases"] == 92
    assert {by_name["golden", dtype]["status"] for dtype in ("float32", "float64")} == {"passed"}
    assert by_name["hours", "CIFAR-10"]["status"] == "not run"
    table = (tmp_path / "found" / "gpu_check.md").read_text()
    assert table.count("| golden |") == 2
