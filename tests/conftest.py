"""What tests share: the environment, one Ray cluster and one storage path a session."""

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

settings.register_profile("shared machine", deadline=None)  # an example's time is the machine's business
settings.load_profile("shared machine")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Before torch is imported: models this small do not gain from threads, which wait for each other on a busy machine.
os.environ["OMP_NUM_THREADS"] = "1"

NO_CLUSTER = "127.0.0.1:1"
"""Nothing is at this address. It is for tests without the marker `ray`: one that starts Ray all the same fails."""

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def pytest_configure(config: pytest.Config) -> None:
    """Give this session's clusters a folder: no test joins another cluster of this machine."""
    os.environ["RAY_TMPDIR"] = tempfile.mkdtemp(
        prefix="ray-", dir="/tmp"
    )  # socket paths have at most 107 bytes


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let Ray start where a test is marked as needing it, and nowhere else."""
    if item.get_closest_marker("ray"):
        os.environ.pop("RAY_ADDRESS", None)
    else:
        os.environ["RAY_ADDRESS"] = NO_CLUSTER


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Keep the logs of Ray where tests failed."""
    folder = os.environ["RAY_TMPDIR"]
    if exitstatus == pytest.ExitCode.TESTS_FAILED and any(Path(folder).iterdir()):
        session.config.get_terminal_writer().line(f"\nlogs of Ray: {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)


CLUSTER_CPUS = 8
"""Logical: groups of up to eight workers run on however few cores there are."""


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """A Ray cluster of this process."""
    import ray

    from hamu_ray.workers.cluster import ENVIRONMENT

    os.environ |= {name: value for name, value in ENVIRONMENT.items() if name not in os.environ}
    ray.init(num_cpus=CLUSTER_CPUS, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The Chromium of the system, driven by Playwright."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium: chromium, chromium-browser or google-chrome")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Root has no sandbox, as in most containers; the pages are our own and those of our own server.
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage path that the session's runs share, so that base models are trained once."""
    return tmp_path_factory.mktemp("storage")


@pytest.fixture(scope="session")
def text_corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A tiny text data set on disk; prepared data sets are kept out of the user's cache, in child processes too."""
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
    """A storage path whose MLflow store the tests fill, each an experiment of its own: to make one takes seconds."""
    return tmp_path_factory.mktemp("report_store")


@pytest.fixture(scope="session")
def study(store: Path) -> "SweepResult":
    """A sweep of three methods over three seeds, read back; its experiment and its name are `study`."""
    from hamu_ray.tracking.reader import MlflowReader
    from tests.made_store import fill, sweep_config, uri_of

    fill(store, sweep_config(), name="study", experiment="study")
    (found,) = MlflowReader.open(uri_of(store), store).sweeps("study")
    return found
