"""Detection of hung worker groups: workers send heartbeats while they make progress, the slot measures the silence.

A frozen or unreachable process is also found by Ray Train's health check. Heartbeats find what that cannot see: workers
that answer but wait for each other, or for a device or file system, for ever. One worker alone may be silent for long,
because it waits in a collective for another that trains a base model; a group hangs when all of its workers are silent.
"""

import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType

from ray.actor import ActorHandle

HANG_SECONDS = 900.0
"""A group that makes no progress for this long hangs, unless it has been silent for long before and then gone on."""

HANG_FACTOR = 3.0
"""Silence is tolerated up to this multiple of the longest interval between two signs of progress so far."""

HEALTH_CHECK_SECONDS = 180
"""A worker process that does not answer Ray Train for this long is considered dead."""


def heartbeat_interval(hang_seconds: float) -> float:
    """Return the seconds between two looks at a worker's progress."""
    return min(10.0, hang_seconds / 10)


class Heartbeat:
    """A thread in a worker that calls ``send`` at intervals if the thread that made it has moved on since.

    Progress is a change of the Python call stack, or a report. Reports matter on a GPU, where the loop is found in the
    same line whenever it waits for the device.
    """

    def __init__(self, send: Callable[[], object], seconds: float) -> None:
        """Watch the calling thread."""
        self._send = send
        self._seconds = seconds
        self._watched = threading.get_ident()
        self._reports = 0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> "Heartbeat":
        """Start sending; the first heartbeat is sent at once."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop sending."""
        self._closed.set()

    def count_report(self) -> None:
        """Count a report of the watched thread as progress."""
        self._reports += 1

    def _run(self) -> None:
        seen = None
        while not self._closed.is_set():
            progress = (self._reports, stack_position(sys._current_frames().get(self._watched)))
            if progress != seen:
                seen = progress
                self._send()
            self._closed.wait(self._seconds)


def stack_position(frame: FrameType | None) -> tuple[tuple[int, int], ...]:
    """Return where a thread is: each frame of its call stack by identity and index of the last instruction."""
    position = []
    while frame is not None:
        position.append((id(frame), frame.f_lasti))
        frame = frame.f_back
    return tuple(position)


class HangDetector:
    """The slot's record of its group's heartbeats: how long all workers are silent, and how long they may be."""

    def __init__(self, hang_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Take a group for hung after this many seconds of silence at least."""
        self._workers: dict[int, ActorHandle] = {}
        self._least = hang_seconds
        self._clock = clock
        self._longest = 0.0
        self._last = clock()

    @property
    def limit(self) -> float:
        """Seconds of silence after which the group counts as hung."""
        return max(self._least, HANG_FACTOR * self._longest)

    @property
    def silence(self) -> float:
        """Seconds since the last heartbeat of any worker, or since the measurement began."""
        return self._clock() - self._last

    @property
    def hung(self) -> bool:
        """Whether all workers of the group have been silent for longer than the limit."""
        return bool(self._workers) and self.silence > self.limit

    def begin(self) -> None:
        """Begin to measure, when a job begins: workers that wait for one are silent."""
        self._last = self._clock()

    def enroll(self, rank: int, worker: ActorHandle) -> None:
        """Add a worker of a new group."""
        self._workers[rank] = worker
        self.begin()

    def beat(self) -> None:
        """Record a heartbeat of any worker."""
        self._longest = max(self._longest, self.silence)
        self.begin()

    def give_up(self) -> list[ActorHandle]:
        """Return the workers of a hung group and forget them; the next group may be silent for twice as long.

        So a job whose workers are slow, and do not hang, gets to its end at last.
        """
        workers = list(self._workers.values())
        self._workers.clear()
        self._least *= 2
        return workers
