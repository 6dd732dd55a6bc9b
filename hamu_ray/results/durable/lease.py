"""A lease on a folder: only one process at a time writes it, on any machine. That of a sweep belongs to its driver.

On one machine, and on network file systems with file locks, the lease is a lock of the operating system, which ends
with its process. Elsewhere, as in buckets, it is a heartbeat: a file that the holder creates, and rewrites every few
seconds. Other drivers watch the file, so that clocks of different machines are never compared. Of two that write it at
the same moment the last one holds the lease: both look again a little later.
"""

import fcntl
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import uuid4

from hamu_ray.config.sources.files import ConfigError
from hamu_ray.results.durable.sealed import Damaged, read_sealed, seal, write_sealed
from hamu_ray.results.wording import shown
from hamu_ray.storage import StoragePath, create

LEASE_FILE = "driver.json"
"""File with the holder and its heartbeat."""
LOCK_FILE = "driver.lock"
"""File that the operating system locks."""
BEAT_SECONDS = 10.0
PATIENCE_SECONDS = 35.0
"""Time without a heartbeat after which a driver on another machine counts as dead, in seconds."""
CLAIM_SECONDS = 1.0
"""Time between the first heartbeat and the look whether another driver wrote one in the same moment, in seconds."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Held(ConfigError):
    """Another driver holds the lease; the message is one line that names it."""


class Lease:
    """The lease on a folder, as a context manager."""

    def __init__(
        self,
        folder: StoragePath,
        on_loss: Callable[[], None] = lambda: None,
        *,
        work: str = "runs this sweep",
    ) -> None:
        """Prepare to acquire the lease of a folder.

        Args:
            folder: the sweep's folder, or another one.
            on_loss: called in another thread if another driver has acquired the lease, which is possible after this
                process was stopped for longer than `PATIENCE_SECONDS`.
            work: what the holder does, for messages.
        """
        self._folder = folder
        self._on_loss = on_loss
        self._work = work
        self._lock: int | None = None
        self._closing = threading.Event()
        self._own = {
            "host": socket.gethostname(),
            "machine": _machine(),
            "process": os.getpid(),
            "since": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
            "token": uuid4().hex,
        }
        self._beats = 0
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> "Lease":
        """Acquire the lease; raises `Held`."""
        locked = self._take_lock()
        holder = self._holder()
        unknown = locked is None or (holder is not None and holder["machine"] != self._own["machine"])
        held = locked is False or (holder and unknown and self._beats_on(holder))
        if held or not self._claim(holder, alone=locked is True):
            self._release_lock()
            raise Held(_refusal(self._folder, self._holder() or holder, self._work))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Release the lease."""
        self._closing.set()
        self._thread.join()
        with suppress(Exception):  # without an answer, the next driver watches the heartbeat
            if self._is_own():
                (self._folder / LEASE_FILE).unlink(missing_ok=True)
        self._release_lock()

    def _keep(self) -> None:
        while not self._closing.wait(BEAT_SECONDS):
            try:
                if not self._is_own():
                    self._on_loss()
                    return
                self._beat()
            except (
                Exception
            ):  # disk full: other writers report it; fsspec's file systems raise different types
                continue

    def _beat(self) -> None:
        self._beats += 1
        write_sealed(self._folder / LEASE_FILE, {**self._own, "beats": self._beats})

    def _claim(self, dead: dict[str, Any] | None, alone: bool) -> bool:
        """Write the first heartbeat, in place of that of a dead holder; return whether the lease is this process's.

        ``alone``: the operating system's lock keeps others away.
        """
        if alone:
            self._beat()
            return True
        if not create(self._folder / LEASE_FILE, seal({**self._own, "beats": self._beats})):
            if self._holder() not in (None, dead):  # None: it is damaged
                return False
            self._beat()
        time.sleep(CLAIM_SECONDS)
        holder = self._holder()
        return holder is not None and holder["token"] == self._own["token"]

    def _is_own(self) -> bool:
        holder = self._holder()
        return holder is None or holder["token"] == self._own["token"]

    def _holder(self) -> dict[str, Any] | None:
        return holder_of(self._folder)

    def _beats_on(self, before: dict[str, Any]) -> bool:
        """Watch the holder's heartbeat until it counts as dead."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            time.sleep(min(1.0, PATIENCE_SECONDS / 10))
            holder = self._holder()
            if holder is None:
                return False
            if holder != before:
                return True
        return False

    def _take_lock(self) -> bool | None:
        """Acquire the operating system's lock; False if another process has it, None where there are no locks."""
        if not isinstance(self._folder, Path):
            return None
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self._folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return None
        return True

    def _release_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def holder_of(folder: StoragePath) -> dict[str, Any] | None:
    """Return the holder of a folder's lease with its heartbeat, or None."""
    try:
        return read_sealed(folder / LEASE_FILE)
    except (OSError, Damaged):
        return None


def _machine() -> str:
    """Return an identifier of this machine until its next boot; host names are not unique."""
    return BOOT_ID.read_text().strip() if BOOT_ID.is_file() else socket.gethostname()


def _refusal(folder: StoragePath, holder: dict[str, Any] | None, work: str) -> str:
    who = (
        f"process {holder['process']} on {holder['host']} {work} since {holder['since']}"
        if holder
        else f"another process {work}"
    )
    return f"{shown(folder)}: {who}; wait until it ends, or stop it"
