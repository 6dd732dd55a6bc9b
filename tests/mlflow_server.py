"""MLflow's own server on a store, started with the command for the UI."""

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hamu_ray.tracking import store
from hamu_ray.tracking.client import MlflowTracker


@contextmanager
def serving(tracking: MlflowTracker, folder: Path) -> Iterator[str]:
    """Within this context, the UI of `ui_command` on the store is available at this URI."""
    command = [*shlex.split(tracking.ui_command()), "--workers", "1"]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    uri = f"http://127.0.0.1:{command[command.index('--port') + 1]}"
    try:
        deadline = time.monotonic() + 300
        while not answers(uri):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.2)
        yield uri
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=20)


def answers(uri: str) -> bool:
    """Whether a server responds."""
    try:
        store.probe(uri)
    except ValueError:
        return False
    return True


def clients(tracking: MlflowTracker) -> Any:
    """Return MLflow's own client of the store."""
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking.uri)
