"""Four network namespaces as four hosts: workers spread over them, and a host that does not share the storage."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import torch
import yaml
from safetensors.torch import load_file

from hamu_ray.config.run import RunConfig
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.unlearn import unlearn
from hamu_ray.pairing.group import Alone
from hamu_ray.results.folder import MODEL_FILE
from hamu_ray.results.outcome import Outcome, Verdict
from tests.cluster.fake_cluster import BIN, ROOT
from tests.runs import small_run

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1200)]

HOSTS = 4
NAME = f"hr{os.getpid() % 100000}"
NETWORK = f"10.{200 + os.getpid() % 50}.7"
PORT = 6399


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@dataclass
class Hosts:
    """Hosts with addresses 1, 2, ... in their own network; each has one CPU for Ray. The first is the head."""

    folder: Path
    private: Path
    """A folder that only the last host sees."""
    temporary: str = field(default_factory=lambda: tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    """Ray's temporary folder; socket paths have at most 107 bytes."""
    processes: dict[int, subprocess.Popen] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        token = self.folder / "token"
        token.write_text("0123456789abcdef" * 4)
        return {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "GLOO_SOCKET_IFNAME": "eth0",
            "OMP_NUM_THREADS": "1",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_USAGE_STATS_ENABLED": "0",
        }

    def connect(self, host: int) -> None:
        """Create a host and connect it to the others."""
        name, wire = f"{NAME}-{host}", f"{NAME}v{host}"
        ip("netns", "add", name)
        ip("link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("link", "set", wire, "master", NAME, "up")
        ip("-n", name, "addr", "add", f"{NETWORK}.{host}/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            ip("-n", name, "link", "set", device, "up")

    def start(self, host: int) -> None:
        """Start Ray on a host."""
        role = (
            f"--head --port={PORT} --include-dashboard=false"
            if host == 1
            else f"--address={NETWORK}.1:{PORT}"
        )
        command = f"""ray start --block --node-ip-address={NETWORK}.{host} --num-cpus=1
            --object-store-memory=100000000 --temp-dir={self.temporary}/{host} {role}"""
        hide = f"mount -t tmpfs none {self.private} && " if host == HOSTS else ""
        inside = ["unshare", "-m", "sh", "-c", f"{hide}exec {' '.join(command.split())}"]
        with (self.folder / f"log{host}").open("w") as log:
            self.processes[host] = subprocess.Popen(
                ["ip", "netns", "exec", f"{NAME}-{host}", *inside],
                env=self.environment(), stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def run(self, *command: str) -> subprocess.CompletedProcess:
        """Run a command on the head."""
        return subprocess.run(
            ["ip", "netns", "exec", f"{NAME}-1", *command],
            env=self.environment() | {"RAY_ADDRESS": f"{NETWORK}.1:{PORT}"},
            cwd=self.folder, capture_output=True, text=True, timeout=900,
        )  # fmt: skip

    def wait(self, host: int) -> None:
        """Wait until a host has joined the cluster; Ray's limit of 30 s for a start is short for a busy machine."""
        log, deadline = self.folder / f"log{host}", time.monotonic() + 600
        while "Ray runtime started" not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()
            if self.processes[host].poll() is not None:
                assert "timed out during startup" in log.read_text(), log.read_text()
                self.start(host)
            time.sleep(0.1)

    def close(self) -> None:
        """Stop the processes and remove the network."""
        for process in self.processes.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in psutil.Process(process.pid).children(recursive=True):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        child.kill()
            process.kill()
            process.wait()
        for host in range(1, HOSTS + 1):
            subprocess.run(["ip", "netns", "del", f"{NAME}-{host}"], capture_output=True)
        subprocess.run(["ip", "link", "del", NAME], capture_output=True)
        shutil.rmtree(self.temporary, ignore_errors=True)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    try:
        ip("link", "add", NAME, "type", "bridge")
        ip("link", "set", NAME, "up")
        subprocess.run(["unshare", "-m", "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"this machine gives tests no network of their own: {error}")
    folder = tmp_path_factory.mktemp("hosts")
    made = Hosts(folder, folder / "private")
    made.private.mkdir()
    try:
        for host in range(1, HOSTS + 1):
            made.connect(host)
        made.start(1)
        made.wait(1)  # the others join it
        for host in range(2, HOSTS + 1):
            made.start(host)
        for host in range(2, HOSTS + 1):
            made.wait(host)
        yield made
    finally:
        made.close()


def test_workers_on_four_hosts_give_the_numbers_of_one(hosts: Hosts, tmp_path: Path) -> None:
    sections = {"batch": {"retain": 63, "forget": 34}, "workers": {"count": HOSTS, "cpus": 1.0}}
    document = small_run(hosts.folder / "runs", **sections)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(document))
    several = hosts.run(sys.executable, "-m", "hamu_ray.unlearn", str(tmp_path / "run.yaml"))
    assert several.returncode == 0, several.stdout + several.stderr
    (folder,) = (hosts.folder / "runs" / "runs").glob("small-hamu-q-*")
    found = load_file(folder / MODEL_FILE)

    run = RunConfig.model_validate({**document, "workers": {"count": 1}})
    resident = Resident(hosts.folder / "runs", torch.device("cpu"))
    outcome = unlearn(run, resident, Alone(), tmp_path / "one", lambda report: Verdict.GO_ON)
    assert isinstance(outcome, Outcome)
    expected = load_file(tmp_path / "one" / MODEL_FILE)
    one, four = (
        torch.cat([tensors[name].double().flatten() for name in sorted(expected)])
        for tensors in (expected, found)
    )
    assert (four - one).norm() <= 1e-5 * one.norm()


def test_a_storage_that_one_host_does_not_share_is_refused(hosts: Hosts, tmp_path: Path) -> None:
    document = small_run(hosts.private / "runs", workers={"count": 2, "cpus": 1.0})
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(document))
    refused = hosts.run(sys.executable, "-m", "hamu_ray.unlearn", str(tmp_path / "run.yaml"))
    assert refused.returncode == 2, refused.stdout + refused.stderr
    (line,) = refused.stderr.splitlines()
    assert line.startswith(f"error: storage.path: node {NETWORK}.{HOSTS}/")
    assert "give a folder that all nodes share" in line
