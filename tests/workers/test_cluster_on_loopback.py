"""A cluster that a command starts: its ports, its files, its output, and its end."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ray

from hamu_ray.workers.ray_output import ray_output_in

START = """
import json, os, stat, sys
from pathlib import Path
import psutil, ray
from hamu_ray.workers.cluster import connected
from hamu_ray.config.workers import WorkersConfig

def mode(path):
    return oct(stat.S_IMODE(os.stat(path).st_mode))

said = []
with connected([WorkersConfig(count=1)], sys.argv[1], said.append):
    ray.get(ray.remote(lambda: None).remote())
    addresses = {
        connection.laddr.ip
        for process in psutil.Process().children(recursive=True)
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
    session = Path(os.environ["RAY_TMPDIR"]) / "ray" / "session_latest"
    token = Path.home() / ".ray" / "auth_token"
    found = {"addresses": sorted(addresses), "session": mode(session), "token": token.exists() and mode(token)}
    print(json.dumps({**found, "said": said}), flush=True)
    if len(sys.argv) > 2:
        raylets = [p for p in psutil.Process().children(recursive=True) if p.name() == sys.argv[2]]
        raylets[0].kill()
        import time
        time.sleep(120)
"""


def started(
    folder: Path, *arguments: str, **environment: str
) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """Start a cluster in a process with its own home."""
    ended = subprocess.run(
        [sys.executable, "-c", START, str(folder / "runs"), *arguments],
        env={**os.environ, "HOME": str(folder), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout, ended.stderr
    return ended, json.loads(ended.stdout.splitlines()[0])


@pytest.mark.ray
@pytest.mark.parametrize("mode", ["token", "disabled"])
def test_it_is_for_this_user_on_this_machine(tmp_path: Path, mode: str) -> None:
    given = {"RAY_AUTH_MODE": mode} if mode == "disabled" else {}
    ended, found = started(tmp_path, **given)
    assert ended.returncode == 0, ended.stderr
    assert set(found["addresses"]) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert found["session"] == "0o700"
    assert found["token"] in (False, "0o600")
    assert len(found["said"]) == (mode == "disabled")


@pytest.mark.ray
@pytest.mark.parametrize("process", ["raylet", "gcs_server"])
def test_a_cluster_that_dies_is_one_line(tmp_path: Path, process: str) -> None:
    ended, _ = started(tmp_path, process)
    assert ended.returncode == 1
    lines = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert lines[0].startswith(f"error: Ray has stopped: its {process} ended; see its logs in ")
    assert lines[0].endswith("the same command goes on")


def test_errors_are_one_line_on_the_terminal_and_whole_in_the_file(tmp_path: Path) -> None:
    path, said = tmp_path / "ray.log", []
    logger = logging.getLogger("ray.tune")
    before = logging.getLogger("ray").handlers
    with ray_output_in(path, said.append):
        for _ in range(2):
            try:
                raise RuntimeError("its actor died")
            except RuntimeError:
                logger.exception("Trial task failed")
        logger.warning("a warning")
        os.write(2, b"from C++\n")
    assert said == [f"Ray: Trial task failed (details: {path})"]
    text = path.read_text()
    assert text.count("RuntimeError: its actor died") == 2
    assert "a warning" in text
    assert "from C++" in text
    assert logging.getLogger("ray").handlers == before


def test_more_processes_than_cores_are_no_error(tmp_path: Path) -> None:
    """Ray counts them again each time; other errors of the cluster are said."""
    path, said = tmp_path / "ray.log", []
    more = (
        "WARNING: {} PYTHON worker processes have been started on node: 1439 with address: 127.0.0.1, which"
    )
    with ray_output_in(path, said.append):
        for text in (more.format(8), more.format(10), "WARNING: The autoscaler failed"):
            ray._private.worker.print_to_stdstream({"lines": [text]}, False)
    assert said == [f"Ray: WARNING: The autoscaler failed (details: {path})"]
    assert path.read_text().count("PYTHON worker processes") == 2
