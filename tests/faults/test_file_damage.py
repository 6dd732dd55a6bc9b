"""Every file of a finished sweep, damaged: the doctor names it and repairs the sweep, and reading the sweep goes on."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hamu_ray import doctor
from hamu_ray.command import run_command
from hamu_ray.config.sources.files import ConfigError
from hamu_ray.results.diagnosis.diagnose import Diagnosis, diagnose, repair
from hamu_ray.results.durable.lease import Lease
from hamu_ray.results.folder import read_records
from hamu_ray.results.reader import read_sweep
from hamu_ray.results.wording import shown
from tests.faults.made_sweep import TRIALS_MADE, make_sweep
from tests.faults.table import DOCUMENT, FILES, FileFault, with_tables


def flipped(content: bytes) -> bytes:
    """Flip a bit of the first letter or digit after the middle."""
    place = next(i for i in range(len(content) // 2, len(content)) if content[i : i + 1].isalnum())
    return content[:place] + bytes([content[place] ^ 2]) + content[place + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut short": lambda content: content[: len(content) // 2],
    "zeros": lambda content: content[: len(content) // 2].ljust(len(content), b"\0"),
    "a flipped bit": flipped,
}
UNNOTICED = {("mlflow.db", "a flipped bit")}
"""SQLite's files have no digests: only their structure can be verified."""

CASES = [
    (fault, pattern, damage)
    for fault in FILES
    for pattern in fault.files
    for damage in DAMAGE
    if (pattern, damage) not in UNNOTICED
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A finished sweep's folder, and a copy of its storage."""
    storage = tmp_path_factory.mktemp("made") / "runs"
    folder = make_sweep(storage)
    shutil.copytree(storage, storage.with_name("copy"))
    return folder, storage.with_name("copy")


def restore(folder: Path, copy: Path) -> None:
    """Make a folder equal to its copy."""
    for path in folder.rglob("*"):
        if path.is_file() and not (copy / path.relative_to(folder)).exists():
            path.unlink()
    for path in copy.rglob("*"):
        place = folder / path.relative_to(copy)
        if path.is_file() and not (place.exists() and place.stat().st_mtime_ns == path.stat().st_mtime_ns):
            shutil.copy2(path, place)


@pytest.fixture
def sweep(made: tuple[Path, Path]) -> Iterator[Path]:
    """The sweep's folder, restored after the test."""
    folder, copy = made
    yield folder
    restore(folder.parent.parent, copy)


def test_the_sweep_is_sound(sweep: Path) -> None:
    diagnosis = diagnose(sweep)
    assert diagnosis == Diagnosis([], TRIALS_MADE, [])


def test_every_file_is_in_the_table(sweep: Path) -> None:
    """Except locks, copies of files in MLflow's artifacts, and the other trials and tables."""
    storage = sweep.parent.parent
    known = {path.name for fault in FILES for pattern in fault.files for path in storage.glob(pattern)}
    known |= {
        "step-000000002.safetensors",
        "front_small.png",
        "hypervolume.csv",
        "measures.csv",
        "comparisons.csv",
    }
    files = (path for path in storage.rglob("*") if path.is_file() and "artifacts" not in path.parts)
    assert {path.name for path in files if path.suffix != ".lock"} <= known


@pytest.mark.parametrize(
    ("fault", "pattern", "damage"), CASES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_damage_is_found_and_repaired(sweep: Path, fault: FileFault, pattern: str, damage: str) -> None:
    path = sorted(sweep.parent.parent.glob(pattern))[0]
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    trials = {record.trial_id for record in read_records(sweep)}
    try:
        assert len(read_sweep(sweep).trials) == TRIALS_MADE, "what the records lack is in the outbox"
    except ConfigError:
        assert path.name == "sweep.yaml"

    diagnosis = diagnose(sweep)
    (problem,) = [problem for problem in diagnosis.problems if problem.path == path]
    assert problem.consequence == fault.doctor.replace("FOLDER", shown(sweep))
    assert "\n" not in str(problem)
    assert diagnosis.reruns == (["0000"] if fault.reruns else [])
    with Lease(sweep):
        aside = repair(diagnosis)
    if path.name == "mlflow.db":  # belongs to several sweeps
        assert not aside
        return
    assert path.with_name(f"{path.name}.damaged") in aside or path in aside
    after = diagnose(sweep)
    assert after.problems == []
    again = {"0000"} if fault.reruns else set()
    assert {record.trial_id for record in read_records(sweep)} == trials - again
    assert set(after.unfinished) == again


def test_several_damaged_files_at_once(sweep: Path) -> None:
    for pattern in (
        "*/trials/0000/model.safetensors",
        "*/trials/0000/run.yaml",
        "*/trials/0001/record.json",
        "*/sweep.yaml",
    ):
        (path,) = sweep.parent.glob(pattern)
        path.write_bytes(DAMAGE["cut short"](path.read_bytes()))
    diagnosis = diagnose(sweep)
    assert diagnosis.reruns == ["0000"]
    repair(diagnosis)
    after = diagnose(sweep)
    assert after.problems == []
    assert after.unfinished == ["0000"], "the other trial has an outcome"


@pytest.mark.parametrize("options", [(), ("--repair",)])
def test_the_command(
    sweep: Path, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run() -> tuple[int, list[str]]:
        monkeypatch.setattr(sys, "argv", ["doctor", str(sweep), *options])
        with pytest.raises(SystemExit) as ended:
            run_command(doctor.main)
        said = capsys.readouterr()
        assert said.err == ""
        assert isinstance(ended.value.code, int)
        return ended.value.code, said.out.splitlines()

    assert run() == (0, [f"{sweep} is sound", f"trials   {TRIALS_MADE}, 0 not ended"])
    path = sweep / "trials" / "0001" / "model.safetensors"
    path.write_bytes(DAMAGE["zeros"](path.read_bytes()))
    code, lines = run()
    assert code == 1
    assert lines[0] == f"{path}: damaged; `--resume` runs the trial again, with the same result"
    assert lines[1] == ("1 problem; set 3 files aside" if options else "1 problem; repair with --repair")
    assert lines[-1] == "--resume runs 0001 again" + ("" if options else " after a repair")
    assert run()[0] == (0 if options else 1)


def test_no_repair_while_a_driver_runs(
    sweep: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["doctor", str(sweep), "--repair"])
    with Lease(sweep), pytest.raises(SystemExit) as ended:
        run_command(doctor.main)
    assert ended.value.code == 2
    assert "runs this sweep since" in capsys.readouterr().err


def test_the_document_has_the_tables() -> None:
    text = DOCUMENT.read_text()
    assert text == with_tables(text), "run: python -m tests.faults.table"
