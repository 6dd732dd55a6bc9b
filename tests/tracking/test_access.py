"""A server with accounts: what it refuses is one line before a sweep, and waits for a permission during it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hamu_ray.tracking import delivery
from hamu_ray.tracking.client import MlflowTracker
from hamu_ray.tracking.delivery import Delivery, OutboxSender
from hamu_ray.tracking.outbox import Outbox
from tests.mlflow_gate import Gate, gated


@pytest.fixture
def gate(server: str) -> Iterator[Gate]:
    with gated(server) as gate:
        yield gate


def test_the_check_leaves_no_run(gate: Gate, client: Any, tmp_path: Path) -> None:
    tracker = MlflowTracker.open(gate.uri, "checked", tmp_path)
    tracker.check_writable()
    assert client.search_runs([tracker.experiment_id]) == []


def test_who_may_not_delete_leaves_one_run(gate: Gate, client: Any, tmp_path: Path) -> None:
    tracker = MlflowTracker.open(gate.uri, "without-deletion", tmp_path)
    gate.refused["runs/delete"] = 403
    for _ in range(2):
        tracker.check_writable()
    assert len(client.search_runs([tracker.experiment_id])) == 1
    gate.refused = {}
    tracker.check_writable()
    assert client.search_runs([tracker.experiment_id]) == []


def test_a_reader_is_told_what_to_ask_for(
    gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "bob")
    tracker = MlflowTracker.open(gate.uri, "of-alice", tmp_path)
    gate.refused["runs/create"] = 403
    with pytest.raises(ValueError, match=r"^cannot write to .*\(403\); ask for the permission EDIT") as error:
        tracker.check_writable()
    assert "'of-alice'" in str(error.value)
    assert "to bob" in str(error.value)
    gate.refused = {"get-by-name": 403}
    with pytest.raises(ValueError, match=r"^cannot open .*\(403\)"):
        MlflowTracker.open(gate.uri, "of-alice", tmp_path)


def test_without_an_account(gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME", raising=False)
    gate.refused["get-by-name"] = 401
    with pytest.raises(ValueError, match=r"refuses requests without an account \(401\); set both variables"):
        MlflowTracker.open(gate.uri, "checked", tmp_path)


def test_a_permission_that_comes_later(
    gate: Gate, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(delivery, "RETRY_SECONDS", 0.05)
    tracker = MlflowTracker.open(gate.uri, "late", tmp_path)
    gate.refused = {"log-batch": 403}
    outbox = Outbox(tmp_path / "sweep")
    outbox.start_sweep("sweep", {"seed": 1})
    outbox.log_metrics("sweep", {"loss": 1.0})
    sender = OutboxSender(Delivery(tmp_path / "sweep", tracker, tracker.store))
    assert sender.close() > 0
    assert sender.obstacle.startswith("MLflow refuses access: ")
    assert "403" in sender.obstacle
    assert len(caplog.records) == 1, "once, however often it is tried"
    gate.refused = {}
    sender = OutboxSender(Delivery(tmp_path / "sweep", tracker, tracker.store))
    assert (sender.close(), sender.obstacle) == (0, "")
    (run,) = client.search_runs([tracker.experiment_id])
    assert run.data.metrics == {"loss": 1.0}
