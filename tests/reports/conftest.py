"""One MLflow store for all of these tests: to make one takes seconds. Each test has an experiment of its own."""

from pathlib import Path

import pytest

from hamu_ray.tracking.reader import Archive, ArchivedSweep
from tests.made_store import fill, sweep_config, uri_of


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage path whose MLflow store the tests fill."""
    return tmp_path_factory.mktemp("report_store")


@pytest.fixture(scope="session")
def study(store: Path) -> ArchivedSweep:
    """A sweep of three methods over three seeds, read back; its experiment and its name are `study`."""
    fill(store, sweep_config(), name="study", experiment="study")
    (found,) = Archive.open(uri_of(store), store).sweeps("study")
    return found
