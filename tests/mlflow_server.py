"""MLflow's own server on a store, started with the command for the UI."""

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from hamu_ray.tracking.client import MlflowTracker


@contextmanager
def serving(tracking: MlflowTracker, folder: Path) -> Iterator[str]:
    """Within this context, the UI of `ui_command` on the store is available at this URI."""
    command = [*shlex.split(tracking.ui_command()), "--workers", "1"]
    with running(command, int(command[command.index("--port") + 1]), folder) as uri:
        yield uri


@contextmanager
def running(command: Sequence[str], port: int, folder: Path, **environment: str) -> Iterator[str]:
    """Within this context, the server of a command that runs in a folder is available at this URI."""
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **environment},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    uri = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 300
        while not answers(uri):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.2)
        yield uri
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=20)


def answers(uri: str) -> bool:
    """Whether a server responds, which it does without an account, too."""
    try:
        return urlopen(f"{uri}/health", timeout=10).status == 200
    except OSError:
        return False


def clients(tracking: MlflowTracker) -> Any:
    """Return MLflow's own client of the store."""
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking.uri)
