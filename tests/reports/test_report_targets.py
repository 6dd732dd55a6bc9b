"""The targets of the command, where it searches, and its errors."""

import json
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient
from rich.console import Console

from hamu_ray.config.sources.files import ConfigError
from hamu_ray.reports.make import REPORT_FILE
from hamu_ray.reports.targets import REPORTS, file_name, report
from hamu_ray.results.durable.sealed import read_sealed, write_sealed
from hamu_ray.results.folder import OUTBOX_FILE, SENT_FILE
from hamu_ray.results.sweep_result import SweepResult
from hamu_ray.storage import write_atomically
from hamu_ray.tracking.client import MlflowTracker
from hamu_ray.tuning.run import try_report
from tests.made_store import fill, sweep_config, uri_of

SPACE = {"method.name": {"grid": ["hamu-q", "gdiff"]}}


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and no store in the environment."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("by_environment", [False, True])
def test_an_experiment(
    study: SweepResult, elsewhere: Path, by_environment: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by_environment:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", study.source.uri)
    assert report(["study"], None if by_environment else study.source.uri, None) == 0
    page = elsewhere / "runs" / REPORTS / "study" / REPORT_FILE
    assert "Best balance" in page.read_text()


def test_several_sweeps_by_name(store: Path, elsewhere: Path) -> None:
    for name in ("one-20260101", "two-20260102"):
        fill(store, sweep_config(SPACE), name=name, experiment="several", hardness=False)
    assert report(["one-20260101", "two-20260102", "one-20260101"], uri_of(store), "out") == 0
    text = (elsewhere / "out" / REPORT_FILE).read_text()
    assert "A.0000" in text
    assert "B.0001" in text
    assert "C.0000" not in text, "a sweep that is named twice is there once"


def test_an_experiment_without_sweeps(store: Path, elsewhere: Path) -> None:
    MlflowTracker.open(uri_of(store), "void", store)
    assert report(["void"], uri_of(store), "out") == 0
    assert "No sweeps yet" in (elsewhere / "out" / REPORT_FILE).read_text()


def test_an_unknown_target_names_those_that_exist(study: SweepResult, elsewhere: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^studi: no experiment.* experiments study.* sweeps study"
    ) as error:
        report(["studi"], study.source.uri, None)
    assert "\n" not in str(error.value)
    assert not list(elsewhere.iterdir())


def test_no_store(elsewhere: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--tracking: there is no MLflow store sqlite:.*runs/mlflow.db"):
        report(["study"], None, None)


@pytest.mark.parametrize("tracking", [None, "mlruns", "sqlite:///elsewhere/mlflow.db"])
def test_a_report_that_fails_leaves_no_store(elsewhere: Path, tracking: str | None) -> None:
    with pytest.raises(ConfigError, match=r"^--tracking: ") as error:
        report(["study"], tracking, None)
    assert "\n" not in str(error.value)
    assert not list(elsewhere.iterdir())


def test_a_folder_that_cannot_be_reported_on_gets_no_store(elsewhere: Path) -> None:
    folder = elsewhere / "runs" / "sweeps" / "x"
    write_atomically(folder / "sweep.yaml", yaml.safe_dump(sweep_config(SPACE).whole).encode())
    before = set(elsewhere.rglob("*"))
    with pytest.raises(ConfigError, match=r"runs/sweeps/x: ") as error:
        report([str(folder)], None, None)
    assert "\n" not in str(error.value)
    assert set(elsewhere.rglob("*")) == before


def test_a_damaged_record_and_a_half_line_do_not_stop_a_report(store: Path, elsewhere: Path) -> None:
    fill(store, sweep_config(SPACE, tracking={"experiment": "hurt"}), name="hurt", experiment="hurt")
    folder = store / "sweeps" / "hurt"
    write_atomically(folder / "trials" / "0000" / "record.json", b"{")
    with (folder / OUTBOX_FILE).open("ab") as file:
        file.write(b'{"call": "log_met')
    assert report([str(folder)], None, None) == 0
    assert "0000" in (folder / "trials.csv").read_text(), "tracking has its metrics"
    assert "Best balance" in (folder / REPORT_FILE).read_text()


def test_a_folder_is_delivered_and_drawn_first(store: Path, elsewhere: Path) -> None:
    fill(store, sweep_config(SPACE, tracking={"experiment": "late"}), name="late", experiment="late")
    folder = store / "sweeps" / "late"
    sent = read_sealed(folder / SENT_FILE)
    journal = (folder / "tracking.jsonl").read_bytes()
    last = journal.rstrip(b"\n").rfind(b"\n") + 1
    write_sealed(folder / SENT_FILE, {**sent, "offset": last})
    (folder / "front.png").unlink()

    assert report([str(folder)], None, None) == 0
    assert (folder / "front.png").exists()
    assert json.loads((folder / SENT_FILE).read_text())["offset"] == len(journal)
    assert "Best balance" in (folder / REPORT_FILE).read_text()
    client = MlflowClient(tracking_uri=uri_of(store))
    assert REPORT_FILE in {file.path for file in client.list_artifacts(sent["runs"]["late"])}


def test_a_report_that_cannot_be_made_fails_no_sweep(
    store: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = sweep_config(SPACE)
    tracking = fill(store, config, name="broken", experiment="broken", hardness=False)
    folder = store / "sweeps" / "broken"
    (folder / REPORT_FILE).mkdir()  # prevents the file from being written
    (run_id,) = [
        run for name, run in json.loads((folder / SENT_FILE).read_text())["runs"].items() if name == "broken"
    ]
    try_report(folder, tracking, run_id, Console(width=10_000))
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert printed.startswith("no report (")
    assert f"python -m hamu_ray.report {folder}" in printed


def test_names_of_folders() -> None:
    assert file_name("a/b c, d") == "a-b-c--d"
    assert file_name("../..") == "-"
    assert file_name("") == "report"
    assert yaml.safe_load(file_name("plain-1.0_x")) == "plain-1.0_x"
