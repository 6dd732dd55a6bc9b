"""Shared test fixtures: the environment, one Ray cluster and one storage path per session."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from hamu_ray.results.sweep_result import SweepResult

settings.register_profile("shared machine", deadline=None)  # example times depend on the machine's load
settings.load_profile("shared machine")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Before torch is imported: models this small do not benefit from threads, which contend on a busy machine.
os.environ["OMP_NUM_THREADS"] = "1"

NO_CLUSTER = "127.0.0.1:1"
"""Nothing listens at this address. It is used in tests without the marker `ray`, which fail if they start Ray."""

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def pytest_configure(config: pytest.Config) -> None:
    """Set a folder for this session's clusters, so that no test joins another cluster on this machine."""
    os.environ["RAY_TMPDIR"] = tempfile.mkdtemp(
        prefix="ray-", dir="/tmp"
    )  # socket paths have at most 107 bytes


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Allow Ray to start only in tests that are marked as needing it."""
    if item.get_closest_marker("ray"):
        os.environ.pop("RAY_ADDRESS", None)
    else:
        os.environ["RAY_ADDRESS"] = NO_CLUSTER


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Keep Ray's logs if tests failed."""
    folder = os.environ["RAY_TMPDIR"]
    if exitstatus == pytest.ExitCode.TESTS_FAILED and any(Path(folder).iterdir()):
        session.config.get_terminal_writer().line(f"\nlogs of Ray: {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)


CLUSTER_CPUS = 8
"""Logical CPUs: groups of up to eight workers run on any number of cores."""


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """A Ray cluster for this process."""
    import ray

    from hamu_ray.workers.cluster import ENVIRONMENT

    os.environ |= {name: value for name, value in ENVIRONMENT.items() if name not in os.environ}
    ray.init(num_cpus=CLUSTER_CPUS, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The system's Chromium, controlled by Playwright."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium: chromium, chromium-browser or google-chrome")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Root has no sandbox, as in most containers; the pages are our own.
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage path shared by the session's runs, so that base models are trained once."""
    return tmp_path_factory.mktemp("storage")


@pytest.fixture(scope="session")
def text_corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A tiny text data set on disk; caches are kept out of the user's home, also in child processes."""
    import datasets.config

    from tests.made_texts import write_corpus

    folder = tmp_path_factory.mktemp("texts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "prepared")
        patch.setenv("HF_DATASETS_CACHE", str(folder / "prepared"))
        yield write_corpus(folder / "corpus")


@pytest.fixture(scope="session")
def text_checkpoint(text_corpus: Path) -> Path:
    """A tiny checkpoint with random weights and a tokenizer that has a chat template."""
    from tests.made_texts import write_checkpoint

    return write_checkpoint(text_corpus.with_name("checkpoint"), text_corpus, chat=True)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage path with one MLflow store for all tests, each with its own experiment."""
    return tmp_path_factory.mktemp("report_store")


@pytest.fixture(scope="session")
def study(store: Path) -> "SweepResult":
    """A sweep of three methods over three seeds, read back; experiment and name are `study`."""
    from hamu_ray.tracking.reader import MlflowReader
    from tests.made_store import fill, sweep_config, uri_of

    fill(store, sweep_config(), name="study", experiment="study")
    (found,) = MlflowReader.open(uri_of(store), store).sweeps("study")
    return found
