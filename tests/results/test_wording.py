import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from hamu_ray.results.wording import runnable, shown, without_numbers
from hamu_ray.storage import RAY_JOB

LINE = "python -m hamu_ray --version"


def test_lines_name_the_interpreter_unless_python_is_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert runnable(LINE) == LINE
    monkeypatch.setenv("PATH", str(tmp_path))
    assert runnable(LINE) != LINE
    ended = subprocess.run(shlex.split(runnable(LINE)), check=True, capture_output=True, text=True)
    assert ended.stdout.startswith("hamu-ray ")


def test_the_interpreter_of_a_checkout_is_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "a folder" / "bin" / "python"
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.chdir(tmp_path)
    assert runnable(LINE) == "'a folder/bin/python' -m hamu_ray --version"


def test_reasons_differ_only_in_words() -> None:
    assert without_numbers("loss 1.5e-3 above 10") == without_numbers("loss 2 above -7.25")
    assert without_numbers("a loss") != without_numbers("a gradient")


def test_paths_are_whole_in_a_job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its working directory is not that of the person who reads its output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(RAY_JOB, raising=False)
    assert shown(tmp_path / "runs" / "a") == "runs/a"
    monkeypatch.setenv(RAY_JOB, "{}")
    assert shown(tmp_path / "runs" / "a") == str(tmp_path / "runs" / "a")
