"""Fixtures of the tracking tests: one MLflow store with one server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hamu_ray.tracking.client import MlflowTracker
from tests.mlflow_server import clients, serving


@pytest.fixture(scope="package")
def mlflow_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("a folder with spaces")


@pytest.fixture(scope="package")
def tracking(mlflow_folder: Path) -> Iterator[MlflowTracker]:
    """An experiment in a SQLite store, regardless of the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setenv("MLFLOW_RUN_ID", "of-someone-else")
        yield MlflowTracker.open(None, "digits", mlflow_folder)


@pytest.fixture(scope="package")
def client(tracking: MlflowTracker) -> Any:
    return clients(tracking)


@pytest.fixture(scope="package")
def server(tracking: MlflowTracker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of the UI that `ui_command` starts on the store."""
    with serving(tracking, tmp_path_factory.mktemp("server")) as uri:
        yield uri
