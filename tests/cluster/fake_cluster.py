"""An autoscaling cluster of processes on this machine, and jobs submitted to it."""

import contextlib
import json
import os
import shutil
import signal
import socket
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

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
MOST_NODES = 6
"""More than sweeps need: the node provider never hears that a process died, and counts it on."""


def free_port() -> int:
    """A port below those from which Ray gives its workers theirs."""
    for port in range(7000 + os.getpid() % 1000, 9990):
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise RuntimeError("no free port")


class FakeCluster:
    """`cluster/local.yaml` with short waits, at ports and in a folder of its own; starts with the head alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.dashboard = free_port(), free_port() + 1000
        config = yaml.safe_load((ROOT / "cluster" / "local.yaml").read_text())
        config |= {"idle_timeout_minutes": 0.4, "max_workers": MOST_NODES}
        config["provider"]["gcs_address"] = f"127.0.0.1:{self.port}"
        config["available_node_types"]["worker"]["max_workers"] = MOST_NODES
        file = folder / "cluster.yaml"
        file.write_text(yaml.safe_dump(config))
        self.temporary = tempfile.mkdtemp(prefix="ray-")  # short: sockets' paths have little room
        self.token = folder / "token"
        self.token.write_text("0123456789abcdef" * 4)
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "RAY_FAKE_CLUSTER": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token),
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            "RAY_memory_monitor_refresh_ms": "0",  # the memory is the machine's business
            "OMP_NUM_THREADS": "1",
        }
        command = f"""ray start --head --block --node-ip-address=127.0.0.1 --port={self.port} --num-cpus=0
            --dashboard-port={self.dashboard} --dashboard-agent-listen-port=0 --object-store-memory=100000000
            --min-worker-port=0 --max-worker-port=0 --ray-client-server-port={self.dashboard + 500}
            --temp-dir={self.temporary} --autoscaling-config={file}"""
        with (folder / "head.log").open("w") as log:
            self.head = subprocess.Popen(
                command.split(), env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        self.until(self.answers, "the head is up")

    def until(self, condition: Callable[[], Any], what: str, seconds: float = 120) -> Any:
        """Return the condition's first true value."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert self.head.poll() is None, (self.folder / "head.log").read_text()
            assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
            time.sleep(0.5)
        return value

    def job(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        """Run `ray job ...`."""
        return subprocess.run(
            ["ray", "job", arguments[0], f"--address=http://127.0.0.1:{self.dashboard}", *arguments[1:]],
            cwd=ROOT,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def submit(
        self, name: str, space: Path, *options: str, wait: bool = False
    ) -> subprocess.CompletedProcess:
        """Submit a sweep as a person would, from the repository's root."""
        ours = [] if wait else ["--no-wait"]
        tune = ["python", "-m", "hamu_ray.tune", str(space), *options]
        return self.job("submit", *ours, f"--submission-id={name}", "--working-dir=.", "--", *tune)

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
        """Ask the head's job server, which takes less of the machine than another `ray` command."""
        token = {"Authorization": f"Bearer {self.token.read_text()}"}
        url = f"http://127.0.0.1:{self.dashboard}/api/jobs/{path}"
        with urlopen(Request(url, headers=token), timeout=60) as answer:
            return json.load(answer)

    def wait_for(self, name: str, status: str, seconds: float = 240) -> str:
        """Wait until a job is over; return its log."""
        self.until(lambda: self.status(name) in ("SUCCEEDED", "FAILED", "STOPPED"), name, seconds)
        log = str(self.ask(f"{name}/logs")["logs"])
        assert self.status(name) == status, log
        return log

    def processes(self) -> list[psutil.Process]:
        """Return all processes of this cluster: each names its folder."""
        found = []
        for process in psutil.process_iter():
            try:
                if any(self.temporary in word for word in process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def raylets(self) -> Mapping[str, psutil.Process]:
        """Return the raylets of the nodes that scale, by the ends of their ids."""
        found = {}
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                node = process.environ().get("RAY_OVERRIDE_NODE_ID_FOR_TESTING", "00000")
                if process.name() == "raylet" and not node.endswith("00000"):
                    found[node] = process
        return found

    def trial_processes(self) -> list[psutil.Process]:
        """Return the processes of trials, slots and worker groups."""
        names = ("ray::ImplicitFunc", "ray::Slot", "ray::Pool", "ray::TrainController", "ray::RayTrainWorker")
        found = []
        for process in psutil.Process(self.head.pid).children(recursive=True) + self.processes():
            try:
                if process.cmdline()[:1] and process.cmdline()[0].startswith(names):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def drain(self, node: str) -> subprocess.CompletedProcess:
        """Tell a node that it will be taken away in two minutes, as a cloud does."""
        return subprocess.run(
            [
                *("ray", "drain-node", f"--address=127.0.0.1:{self.port}", f"--node-id={node}"),
                *("--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=spot"),
                "--deadline-remaining-seconds=120",
            ],
            env=self.environment,
            capture_output=True,
            text=True,
        )

    def close(self) -> None:
        """End every process of the cluster."""
        processes = [*psutil.Process(self.head.pid).children(recursive=True), *self.processes()]
        self.head.send_signal(signal.SIGTERM)
        psutil.wait_procs([self.head], timeout=10)
        for process in [*processes, *self.processes()]:
            try:
                process.kill()
            except psutil.Error:
                continue
        shutil.rmtree(self.temporary, ignore_errors=True)
