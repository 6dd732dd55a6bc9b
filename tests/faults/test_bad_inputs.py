"""Bad inputs end a command with one line that names the key or file and the remedy, and exit code 2, before Ray starts.

`tests/config/mistakes.py` has more mistakes that the schema detects.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from hamu_ray import report, select, train, tune, unlearn
from hamu_ray.command import run_command
from tests.faults.bad_inputs import BAD, LEARNING_RATE, Bad, Sections
from tests.runs import small_run

MAINS = {main.__name__.rpartition(".")[2]: main.main for main in (tune, unlearn, train, select, report)}


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    errors: str


Command = Callable[..., Ended]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command of the package as a user does, but in this process, where the imports are loaded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def run(name: str, *arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        with pytest.raises(SystemExit) as ended:
            run_command(MAINS[name])
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, capsys.readouterr().err)

    return run


def write(bad: Bad, folder: Path) -> None:
    """Write the configuration and the files of a bad input."""
    path = folder / "given.yaml"
    if isinstance(bad.given, str | bytes):
        path.write_bytes(bad.given if isinstance(bad.given, bytes) else bad.given.encode())
        return
    given = bad.given(folder / "files") if callable(bad.given) else bad.given
    path.write_text(yaml.safe_dump(document(folder, given)))


def document(folder: Path, given: Sections) -> Sections:
    """A small sweep, with these sections changed; None removes the space."""
    sections = {"space": {LEARNING_RATE: {"grid": [0.01]}}, **given}
    storage = {"path": str(folder / "runs"), **sections.pop("storage", {})}
    space = sections.pop("space")
    merged = {**small_run(folder, **sections), "storage": storage}
    return merged if space is None else {**merged, "space": space}


def assert_one_line(ended: Ended, names: str, remedy: str) -> None:
    assert ended.code == 2, ended.errors
    assert ended.errors.startswith("error: ")
    assert ended.errors.count("\n") == 1, ended.errors
    assert names in ended.errors
    assert remedy.lower() in ended.errors.lower()
    assert len(ended.errors) < 1000


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name: str, tmp_path: Path, command: Command, caplog: pytest.LogCaptureFixture) -> None:
    """Tests without a cluster cannot start Ray, so a command that gets that far fails otherwise."""
    bad = BAD[name]
    write(bad, tmp_path)
    before = {path.name for path in tmp_path.glob("runs/sweeps/*")}
    assert_one_line(command(bad.command, *bad.arguments), bad.names, bad.remedy)
    assert {path.name for path in tmp_path.glob("runs/sweeps/*")} == before
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_they_are_many() -> None:
    assert len(BAD) >= 50


@pytest.mark.parametrize("name", ["images of mixed sizes", "an original with other classes"])
@pytest.mark.parametrize("other", ["unlearn", "train"])
def test_other_commands_detect_it_too(name: str, other: str, tmp_path: Path, command: Command) -> None:
    bad = BAD[name]
    write(bad._replace(given=lambda folder: {**bad.given(folder), "space": None}), tmp_path)
    assert_one_line(command(other, "given.yaml"), bad.names, bad.remedy)


def test_a_cluster_that_does_not_respond(tmp_path: Path, command: Command) -> None:
    write(Bad({"space": None, "workers": {"count": 2}}, "", ""), tmp_path)
    ended = command("unlearn", "given.yaml")
    assert_one_line(ended, f"RAY_ADDRESS: no Ray cluster responds at {os.environ['RAY_ADDRESS']}", "start it")


@pytest.mark.ray
@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("workers", [{"gpus": 1}, {"cpus": 1000}, {"gpus": 0.5, "accelerator": "H999"}])
def test_workers_that_do_not_fit(workers: Sections, tmp_path: Path, command: Command) -> None:
    write(Bad({"space": None, "workers": {"count": 2, **workers}}, "", ""), tmp_path)
    ended = command("unlearn", "given.yaml")
    assert_one_line(ended, "workers: 2 workers of ", "lower workers.count, workers.cpus or workers.gpus")


START = """
from hamu_ray.config.sources.files import ConfigError
from hamu_ray.workers.cluster import join_or_start
try:
    join_or_start(print)
except ConfigError as error:
    print(error)
"""


def test_a_ray_that_cannot_start(tmp_path: Path) -> None:
    """Its sockets cannot have a path of this length."""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment |= {"RAY_TMPDIR": str(tmp_path / ("x" * 120)), "RAY_AUTH_MODE": "disabled"}
    ended = subprocess.run(
        [sys.executable, "-c", START], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    said, line = ended.stdout.splitlines()
    assert said.startswith("RAY_AUTH_MODE is disabled: ")
    assert line.startswith("Ray cannot start: ")
