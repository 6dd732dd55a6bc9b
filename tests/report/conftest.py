"""One MLflow store for all of these tests: to make one takes seconds. Each test has an experiment of its own."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage path whose MLflow store the tests fill."""
    return tmp_path_factory.mktemp("report_store")
