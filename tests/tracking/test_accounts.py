"""An MLflow server with accounts, as docs/cluster.md sets it up: two people, each with sweeps of their own."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from hamu_ray.tracking.client import MlflowTracker
from hamu_ray.tracking.delivery import Delivery
from hamu_ray.tracking.outbox import Outbox
from tests.mlflow_server import clients, running
from tests.ports import free_ports
from tests.postgres import postgres, program

pytestmark = pytest.mark.server

PASSWORDS = {"admin": "an administrator", "alice": "alice's password", "bob": "bob's own password"}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def accounts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of the server, on which Alice and Bob have accounts."""
    folder: Path = tmp_path_factory.mktemp("accounts")
    with ExitStack() as stack:
        store = f"sqlite:///{folder}/mlflow.db"
        if request.param == "postgresql":
            if program("initdb") is None:
                pytest.skip("Postgres is not installed")
            store = stack.enter_context(postgres())
        uri = stack.enter_context(serving(folder, store))
        with pytest.MonkeyPatch.context() as patch:
            become(patch, "admin")
            for name in ("alice", "bob"):
                administrator(uri).create_user(name, PASSWORDS[name])
        yield uri


@contextmanager
def serving(folder: Path, store: str) -> Iterator[str]:
    """Within this context, a server with accounts is available at this URI."""
    (port,) = free_ports(1)
    command = f"-m mlflow server --host 127.0.0.1 --port {port} --workers 1 --app-name basic-auth"
    secrets = {
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "of this test",
        "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORDS["admin"],
    }
    server = [sys.executable, *command.split(), "--backend-store-uri", store]
    with running(
        server, port, folder, **secrets
    ) as uri:  # the folder gets the accounts' database and artifacts
        yield uri


def become(patch: pytest.MonkeyPatch, name: str) -> None:
    """Use the account of a person from now on."""
    patch.setenv("MLFLOW_TRACKING_USERNAME", name)
    patch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORDS[name])


def administrator(uri: str) -> Any:
    from mlflow.server import get_app_client

    return get_app_client("basic-auth", uri)


def record_sweep(uri: str, experiment: str, folder: Path) -> list[Any]:
    """Record a sweep of one trial, and return the runs of the experiment."""
    tracker = MlflowTracker.open(uri, experiment, folder)
    tracker.check_writable()
    outbox = Outbox(folder)
    outbox.start_sweep("sweep", {"seed": 1})
    outbox.start_trial("0000", "sweep", "hamu-q", {"seed": 1})
    outbox.log_metrics("0000", {"retain_utility": 0.9}, 1)
    outbox.finish("0000", "finished")
    outbox.finish("sweep", "finished")
    delivery = Delivery(folder, tracker, tracker.store)
    delivery.send()
    assert delivery.waiting == delivery.refused == 0
    return list(clients(tracker).search_runs([tracker.experiment_id]))


def test_two_people_record_sweeps(accounts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("alice", "bob"):
        become(monkeypatch, name)
        runs = record_sweep(accounts, f"of-{name}", tmp_path / name)
        assert sorted(run.info.run_name for run in runs) == ["hamu-q", "sweep"]


def test_a_reader_is_refused_until_the_permission_is_granted(
    accounts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    become(monkeypatch, "alice")
    experiment = MlflowTracker.open(accounts, "shared", tmp_path).experiment_id
    become(monkeypatch, "bob")
    with pytest.raises(ValueError, match=r"\(403\); ask for the permission EDIT") as error:
        record_sweep(accounts, "shared", tmp_path / "refused")
    assert "to bob" in str(error.value)
    become(monkeypatch, "admin")
    administrator(accounts).grant_user_permission("bob", "experiment", experiment, "EDIT")
    become(monkeypatch, "bob")
    runs = record_sweep(accounts, "shared", tmp_path / "granted")
    assert {"hamu-q", "sweep"} <= {run.info.run_name for run in runs}


def test_without_the_password(accounts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    become(monkeypatch, "alice")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "a guess of someone")
    with pytest.raises(ValueError, match="401"):
        record_sweep(accounts, "of-alice", tmp_path)
