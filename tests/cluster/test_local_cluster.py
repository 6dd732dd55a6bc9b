"""`cluster/local.yaml` for real: a head that asks for a token, and jobs that are submitted to it as the manual says."""

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil
import pytest
import yaml

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[2]
RAY = str(Path(sys.executable).with_name("ray"))


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@dataclass(frozen=True)
class Head:
    """A running head."""

    address: str
    dashboard: str
    token: str
    environment: Mapping[str, str]

    def submit(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Submit a job from the project's folder."""
        return subprocess.run(
            [RAY, "job", "submit", "--address", self.dashboard, "--working-dir", ".", "--", *command],
            cwd=ROOT, env=dict(self.environment), capture_output=True, text=True, timeout=200,
        )  # fmt: skip


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    folder = tmp_path_factory.mktemp("local")
    port, dashboard, agent, client = free_ports(4)
    config = yaml.safe_load((ROOT / "cluster" / "local.yaml").read_text())
    config["provider"]["gcs_address"] = f"127.0.0.1:{port}"
    (folder / "local.yaml").write_text(yaml.safe_dump(config))
    (folder / "token").write_text(token := secrets.token_hex(32))
    inherited = {
        key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "PYTHONPATH"))
    }
    environment = {
        **inherited,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        "STORAGE_OF_THE_HEAD": str(folder / "runs"),
    }
    temporary = tempfile.mkdtemp(prefix="ray-")  # short: sockets' paths have little room
    command = [RAY, "start", "--head", "--block", "--num-cpus=0", f"--autoscaling-config={folder / 'local.yaml'}",
               f"--port={port}", f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}",
               f"--ray-client-server-port={client}", f"--temp-dir={temporary}"]  # fmt: skip
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, env={**environment, "RAY_FAKE_CLUSTER": "1"}, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 150
        while "will now block" not in (folder / "log").read_text():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.2)
        yield Head(f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}", token, environment)
    finally:
        children = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        process.wait(timeout=60)
        _, left = psutil.wait_procs(children, timeout=20)
    assert not left, "the head takes all its processes along"


def test_strangers_are_turned_away(head: Head) -> None:
    url = f"{head.dashboard}/api/jobs/"
    for headers, code in (({}, 401), ({"Authorization": "Bearer of-nothing"}, 403)):
        with pytest.raises(HTTPError) as error:
            urlopen(Request(url, headers=headers), timeout=30)
        assert error.value.code == code
    with urlopen(Request(url, headers={"Authorization": f"Bearer {head.token}"}), timeout=30) as answer:
        assert answer.status == 200


def test_a_job_brings_the_project_and_finds_the_environment_of_the_head(head: Head) -> None:
    line = (
        "python -m hamu_ray.tune search_spaces/digits.yaml --dry-run --set storage.path=$STORAGE_OF_THE_HEAD"
    )
    done = head.submit("bash", "-c", line)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"path: {head.environment['STORAGE_OF_THE_HEAD']}" in done.stdout


def test_a_job_that_fails_says_so_with_its_own_code_and_last_lines(head: Head) -> None:
    done = head.submit("python", "-m", "hamu_ray.tune", "search_spaces/digits.yaml", "--set", "seeed=1")
    assert done.returncode == 1
    assert "exit code 2" in done.stdout + done.stderr
    assert "seeed: unknown key; did you mean seed?" in done.stdout
