"""Tracking loses nothing while its store is down: a real MLflow server is killed and restarted."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from mlflow import MlflowClient

from hamu_ray.tracking.client import MlflowTracker
from hamu_ray.tracking.outbox import Delivery, Outbox, OutboxSender
from tests.ports import free_port

pytestmark = [pytest.mark.server, pytest.mark.timeout(900)]

STEPS = 30


class Server:
    """An MLflow server on a SQLite file, in its own processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db", "--workers", "1"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        with (self.folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 300
        while True:
            try:
                urlopen(f"{self.uri}/health", timeout=2).close()
                return
            except (URLError, OSError):
                assert self.process.poll() is None, (self.folder / "server.log").read_text()
                assert time.monotonic() < deadline, (self.folder / "server.log").read_text()
                time.sleep(0.2)

    def kill(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    server.start()
    yield server
    server.kill()


def losses_of(server: Server) -> list[int]:
    """Return the steps whose losses the server has, for one trial."""
    client = MlflowClient(tracking_uri=server.uri)
    experiment = client.get_experiment_by_name("killed")
    assert experiment is not None
    trials = client.search_runs([experiment.experiment_id], "tags.kind = 'trial'")
    return [m.step for trial in trials for m in client.get_metric_history(trial.info.run_id, "loss")]


def wait_for_losses(server: Server) -> None:
    """Wait until the server has some of them, so that it is killed between or during deliveries."""
    deadline = time.monotonic() + 300
    while not losses_of(server):
        assert time.monotonic() < deadline, "nothing was delivered"
        time.sleep(0.02)


def test_a_killed_server_gets_what_it_missed(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr("hamu_ray.tracking.outbox.RETRY_SECONDS", 0.5)
    folder = tmp_path / "sweep"
    outbox = Outbox(folder)
    sender = OutboxSender(Delivery(folder, MlflowTracker.open(server.uri, "killed", tmp_path)))
    outbox.start_sweep("sweep", {"seed": 1})
    outbox.start_trial("0000", "sweep", "first", {"method": "gdiff"})
    for step in range(1, STEPS + 1):
        outbox.log_metrics("0000", {"loss": 1 / step}, step)
        if step == STEPS // 3:
            wait_for_losses(server)
            server.kill()
    assert sender.close() > 0, "what the dead server did not take waits"

    (tmp_path / "note.txt").write_text("recorded while the server was down")
    outbox.log_files("0000", [tmp_path / "note.txt"])
    outbox.finish("0000", "finished")
    outbox.finish("sweep", "finished")
    server.start()
    tracker = MlflowTracker.open(server.uri, "killed", tmp_path)  # like a later process
    assert OutboxSender(Delivery(folder, tracker)).close() == 0

    client = MlflowClient(tracking_uri=server.uri)
    experiment = client.get_experiment_by_name("killed")
    assert experiment is not None
    runs = {run.data.tags["kind"]: run for run in client.search_runs([experiment.experiment_id])}
    assert sorted(runs) == ["sweep", "trial"], "each run once"
    assert sorted(losses_of(server)) == list(range(1, STEPS + 1)), "every step once"
    assert [file.path for file in client.list_artifacts(runs["trial"].info.run_id)] == ["note.txt"]
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert Delivery(folder, tracker).waiting == 0
