"""A real cluster from `cluster/local.yaml`: autoscaled processes on this machine, and jobs submitted to it."""

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import psutil
import yaml

from tests.metadata_service import MetadataService
from tests.ports import free_ports

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
HEAD = {"RAY_CLOUD_INSTANCE_ID": "f" * 51 + "00000", "RAY_NODE_TYPE_NAME": "ray.head.default"}
"""Who the head is to version 2 of the autoscaler; KubeRay sets the same variables."""
PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
"""The provider `fake_multinode` by its class: by its name, version 2 needs a file that Ray's wheel lacks."""
OURS = ("ray::ImplicitFunc", "ray::Slot", "ray::Pool", "ray::TrainController", "ray::RayTrainWorker")
"""Titles of the processes of trials, slots and worker groups."""
MAX_NODES = 6
"""More than sweeps need: the node provider keeps counting nodes whose process died."""


class FakeCluster:
    """The cluster of `cluster/local.yaml`, with its own ports and folder; starts with only the head.

    `cluster/local.yaml` runs version 1 of Ray's autoscaler, KubeRay runs version 2.
    """

    def __init__(self, folder: Path, autoscaler: int = 2) -> None:
        self.folder = folder
        self.port, self.dashboard, agent, client = free_ports(4)
        config = yaml.safe_load((ROOT / "cluster" / "local.yaml").read_text())
        config |= {"idle_timeout_minutes": 0.2, "max_workers": MAX_NODES}
        config["provider"]["gcs_address"] = f"127.0.0.1:{self.port}"
        if autoscaler == 2:
            config["provider"] |= {"type": "external", "module": PROVIDER}
        config["available_node_types"]["worker"]["max_workers"] = MAX_NODES
        file = folder / "cluster.yaml"
        file.write_text(yaml.safe_dump(config))
        self.temporary = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # socket paths have at most 107 bytes
        self.cloud = MetadataService()
        self.token = secrets.token_hex(32)
        (folder / "token").write_text(self.token)
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "PYTHONPATH"))}
        self.environment = inherited | {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            "RAY_memory_monitor_refresh_ms": "0",  # other processes may fill this machine's memory
            "OMP_NUM_THREADS": "1",
            "HAMU_RAY_SPOT_NOTICES": f"aws={self.cloud.address}",
            "RAY_enable_autoscaler_v2": str(autoscaler - 1),
            "HAMU_RAY_STORAGE": str(folder / "runs"),
            "RAY_JOB_STOP_WAIT_TIME_S": "120",
        }
        command = f"""ray start --head --block --node-ip-address=127.0.0.1 --port={self.port} --num-cpus=0
            --dashboard-port={self.dashboard} --dashboard-agent-listen-port={agent}
            --ray-client-server-port={client} --min-worker-port=0 --max-worker-port=0
            --object-store-memory=100000000 --temp-dir={self.temporary} --autoscaling-config={file}"""
        with (folder / "head.log").open("w") as log:
            self.head = subprocess.Popen(
                command.split(),
                cwd=ROOT,  # the folder of jobs without an upload
                env={**self.environment, "RAY_FAKE_CLUSTER": "1", **HEAD},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.until(self.answers, "the head is up")

    def until(self, condition: Callable[[], Any], what: str, seconds: float = 600) -> Any:
        """Return the condition's first true value."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert self.head.poll() is None, (self.folder / "head.log").read_text()
            assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
            time.sleep(0.2)
        return value

    def job(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `ray job ...`."""
        return subprocess.run(
            ["ray", "job", arguments[0], f"--address={self.url}", *arguments[1:]],
            cwd=ROOT,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=600,
        )

    def submit(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Submit a job from the repository's root, without waiting for it to end."""
        return self.job("submit", "--no-wait", f"--submission-id={name}", "--working-dir=.", "--", *command)

    def sweep(self, name: str, space: Path, *options: str) -> None:
        """Submit a sweep as a job."""
        submitted = self.submit(name, "python", "-m", "hamu_ray.tune", str(space), *options)
        assert submitted.returncode == 0, submitted.stdout + submitted.stderr

    @property
    def url(self) -> str:
        """The dashboard's URL."""
        return f"http://127.0.0.1:{self.dashboard}"

    def status(self, name: str) -> str:
        """Return a job's status, such as SUCCEEDED."""
        return str(self.ask(name)["status"])

    def answers(self) -> bool:
        """Whether jobs can be submitted."""
        try:
            return self.ask() is not None
        except OSError:
            return False

    def ask(self, path: str = "") -> Any:
        """Query the head's job server, which is cheaper than another `ray` command."""
        token = {"Authorization": f"Bearer {self.token}"}
        with urlopen(Request(f"{self.url}/api/jobs/{path}", headers=token), timeout=60) as answer:
            return json.load(answer)

    def wait_for(self, name: str, status: str) -> str:
        """Wait until a job has ended; return its log."""
        self.until(lambda: self.status(name) in ("SUCCEEDED", "FAILED", "STOPPED"), name, 900)
        log = str(self.ask(f"{name}/logs")["logs"])
        assert self.status(name) == status, log
        return log

    def processes(self) -> list[psutil.Process]:
        """Return all processes of this cluster: the head's, and others that refer to the cluster's folder."""
        found = {process.pid: process for process in psutil.Process(self.head.pid).children(recursive=True)}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if any(self.temporary in word for word in process.cmdline()):
                    found[process.pid] = process
        return list(found.values())

    def raylets(self) -> Mapping[str, psutil.Process]:
        """Return the raylets of the nodes that the autoscaler started, by Ray node id."""
        found = {}
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                node = process.environ().get("RAY_OVERRIDE_NODE_ID_FOR_TESTING", "00000")
                if process.name() == "raylet" and not node.endswith("00000"):
                    found[node] = process
        return found

    def trial_processes(self) -> list[psutil.Process]:
        """Return the processes of trials, slots and worker groups."""
        return [process for process in self.processes() if has_title(process, *OURS)]

    def lose(self, node: str) -> None:
        """Kill a node's raylet and workers at once, as if its machine were gone."""
        raylet = self.raylets()[node]
        for process in (raylet, *(child for child in raylet.children() if has_title(child, "ray::"))):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def close(self) -> list[psutil.Process]:
        """Stop the head as with Ctrl-C; return the processes of trials that were left over.

        All are killed. Ray leaves log monitors and agents of lost nodes behind.
        """
        members, of_trials = self.processes(), self.trial_processes()
        try:
            self.head.terminate()
            self.head.wait(timeout=120)
            return [process for process in psutil.wait_procs(of_trials, timeout=60)[1] if runs(process)]
        finally:
            for process in (self.head, *members):
                with contextlib.suppress(psutil.Error):
                    process.kill()
            self.cloud.close()
            shutil.rmtree(self.temporary, ignore_errors=True)


def has_title(process: psutil.Process, *titles: str) -> bool:
    """Whether a process has one of these titles, as Ray sets them."""
    try:
        return " ".join(process.cmdline()).startswith(titles)
    except psutil.Error:
        return False


def runs(process: psutil.Process) -> bool:
    """Whether a process runs: one that has ended stays until its parent, or init, has asked for its exit code."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
