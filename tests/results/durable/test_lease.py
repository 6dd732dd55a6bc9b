"""One driver at a time has a sweep's folder: in this process, in others, on other machines, and after their deaths."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fsspec import AbstractFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from hamu_ray.results.durable import lease
from hamu_ray.results.durable.lease import LEASE_FILE, Held, Lease
from hamu_ray.results.durable.sealed import read_sealed, write_sealed
from hamu_ray.storage import storage_path

HOLD = """
import sys, time
from pathlib import Path
from hamu_ray.results.durable.lease import Lease
with Lease(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(lease, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(lease, "CLAIM_SECONDS", 0.3)


def elsewhere(folder: Path, beats: int) -> None:
    """Write the lease of a driver on another machine."""
    holder = {"host": "node7", "machine": "another", "process": 12, "since": "2026-01-01 12:00:00 UTC"}
    write_sealed(folder / LEASE_FILE, {**holder, "token": "its own", "beats": beats})


def test_the_second_is_refused_in_one_line(tmp_path: Path) -> None:
    with (
        Lease(tmp_path),
        pytest.raises(Held, match=rf"process {os.getpid()} on .* since 20.* UTC; wait") as error,
    ):
        Lease(tmp_path).__enter__()
    assert "\n" not in str(error.value)
    with Lease(tmp_path):
        pass  # it was given back
    assert not (tmp_path / LEASE_FILE).exists()


def test_a_driver_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    holder.send_signal(signal.SIGSTOP)  # it still holds it, whether or not its heart beats
    with pytest.raises(Held, match=f"process {holder.pid} on "):
        Lease(tmp_path).__enter__()
    holder.kill()
    holder.wait()
    assert read_sealed(tmp_path / LEASE_FILE)["process"] == holder.pid
    with Lease(tmp_path):
        assert read_sealed(tmp_path / LEASE_FILE)["process"] == os.getpid()


def test_a_heart_that_beats_on_another_machine(tmp_path: Path) -> None:
    elsewhere(tmp_path, 1)
    over = threading.Event()

    def beat() -> None:
        for beats in range(2, 1000):
            if over.wait(0.05):
                return
            elsewhere(tmp_path, beats)

    other = threading.Thread(target=beat)
    other.start()
    with pytest.raises(Held, match="process 12 on node7 runs this sweep since 2026-01-01 12:00:00 UTC"):
        Lease(tmp_path).__enter__()
    over.set()
    other.join()
    with Lease(tmp_path):
        assert read_sealed(tmp_path / LEASE_FILE)["process"] == os.getpid(), "it beats no more"


def test_a_driver_that_was_taken_for_dead_stops(tmp_path: Path) -> None:
    lost = threading.Event()
    with Lease(tmp_path, on_loss=lost.set):
        elsewhere(tmp_path, 1)
        assert lost.wait(10)
    assert read_sealed(tmp_path / LEASE_FILE)["host"] == "node7", "it leaves the other's alone"


@pytest.mark.parametrize("content", [b"", b"{", bytes(100)])
def test_a_damaged_lease_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / LEASE_FILE).write_bytes(content)
    with Lease(tmp_path):
        assert read_sealed(tmp_path / LEASE_FILE)["process"] == os.getpid()


def test_without_locks_the_heartbeat_decides_on_one_machine_too() -> None:
    bucket = storage_path("memory://bucket/sweep")
    with Lease(bucket) as first:
        with pytest.raises(Held, match=f"memory://bucket/sweep: process {os.getpid()} on "):
            Lease(bucket).__enter__()
        first._closing.set()  # as if it were killed
        with Lease(bucket):
            pass
    assert not (bucket / LEASE_FILE).exists()


@pytest.mark.parametrize("conditional", [True, False], ids=["conditional writes", "look and write"])
def test_of_several_drivers_at_the_same_moment_one_gets_a_bucket(
    conditional: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = MemoryFileSystem

    def open_later(self: MemoryFileSystem, *args: Any, **kwargs: Any) -> Any:
        time.sleep(0.05)  # the latency of a bucket: all see that there is no holder before one writes
        return opened(self, *args, **kwargs)

    opened = files._open
    monkeypatch.setattr(files, "_open", open_later)
    if not conditional:
        monkeypatch.setattr(files, "pipe_file", AbstractFileSystem.pipe_file)
    bucket, start, done = storage_path("memory://bucket/race"), threading.Barrier(4), threading.Barrier(4)

    def take(_: int) -> bool:
        start.wait()
        try:
            with Lease(bucket):
                done.wait()
                return True
        except Held:
            done.wait()
            return False

    with ThreadPoolExecutor(4) as drivers:
        assert sum(drivers.map(take, range(4))) == 1
    assert not (bucket / LEASE_FILE).exists()
