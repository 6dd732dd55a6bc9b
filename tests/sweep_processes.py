"""The main command in its own process, and the processes of its cluster."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.runs import small_run

SPACE: Mapping[str, Any] = {
    "method.name": {"grid": ["hamu-q", "gdiff"]},
    "optimizer.learning_rate": {"loguniform": [1e-3, 1e-1]},
    "method.constraint_ratio": {"uniform": [0.05, 0.5]},
}


def write_space(folder: Path, storage: str, search: Mapping[str, Any], **sections: Any) -> Path:
    """Write a search space of short runs on two workers, tracked in a file; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    defaults = {"space": dict(SPACE), "workers": {"count": 2, "cpus": 0.5}}
    document = small_run(Path("unused"), name="tiny", **{**defaults, **sections})
    document["storage"] = {"path": storage, "local": str(folder / "runs")}
    document["search"] = dict(search)
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def start(space: Path, *options: str) -> subprocess.Popen:
    """Start the sweep in its own cluster; it writes to `log` in the folder of the space."""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    with log_of(space).open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "hamu_ray.tune", str(space), *options],
            cwd=space.parent,
            env=environment,
            stdout=log,
            stderr=log,
        )


def log_of(space: Path) -> Path:
    return space.parent / "log"


def wait_until(
    condition: Callable[[], Any], driver: subprocess.Popen, space: Path, seconds: float = 900
) -> Any:
    """Return the condition's first true value; fails with the log if the driver ends or time is up."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert driver.poll() is None, log_of(space).read_text()
        assert time.monotonic() < deadline, log_of(space).read_text()
        time.sleep(0.05)
    return value


def ray_processes(title: str, root: int | None = None) -> list[psutil.Process]:
    """The Ray processes of an actor class below a process (by default this one), and thus of its cluster.

    The oldest is first: it may belong to an actor that is already being stopped.
    """
    found = []
    for process in psutil.Process(root).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.cmdline()[:1] and process.cmdline()[0].startswith(f"ray::{title}"):
                found.append(process)
    return sorted(found, key=lambda process: process.create_time())
