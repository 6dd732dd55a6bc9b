"""Detection of hung worker groups: workers send heartbeats while they make progress.

A frozen or unreachable process is also detected by Ray Train's health check. Heartbeats detect workers that respond but
wait forever, for each other, a device or a file system. A single worker may be silent for long, because it waits in a
collective for another that trains a base model; a group hangs if all of its workers are silent.
"""

import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType

from ray.actor import ActorHandle

HANG_SECONDS = 900.0
"""Minimum silence after which a group counts as hung. It is raised if the group has resumed after longer silences."""

HANG_FACTOR = 3.0
"""Tolerated silence as a multiple of the longest interval so far between two signs of progress."""

HEALTH_CHECK_SECONDS = 180
"""A worker process that does not respond to Ray Train for this long is considered dead."""


def heartbeat_interval(hang_seconds: float) -> float:
    """Return the interval between two checks of a worker's progress, in seconds."""
    return min(10.0, hang_seconds / 10)


class Heartbeat:
    """A thread in a worker that periodically calls ``send`` if the thread that created it has made progress.

    Progress is a change of the Python call stack, or a report. Reports matter on a GPU, where the training loop is
    usually found on the same line, waiting for the device.
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
        """Start sending; the first heartbeat is sent immediately."""
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
    """Return the position of a thread: the identity and last instruction of each frame of its call stack."""
    position = []
    while frame is not None:
        position.append((id(frame), frame.f_lasti))
        frame = frame.f_back
    return tuple(position)


class HangDetector:
    """The slot's record of its group's heartbeats: for how long all workers are silent, and the limit."""

    def __init__(self, hang_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Create a detector; ``hang_seconds`` is the minimum silence of a hung group."""
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
        """Seconds since the last heartbeat of any worker, or since the measurement started."""
        return self._clock() - self._last

    @property
    def hung(self) -> bool:
        """Whether all workers of the group have been silent for longer than the limit."""
        return bool(self._workers) and self.silence > self.limit

    def begin(self) -> None:
        """Start measuring when a job starts: workers that wait for a job are silent."""
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
        """Return the workers of a hung group and remove them; double the limit for the next group.

        Thus a job whose workers are slow but not hung eventually completes.
        """
        workers = list(self._workers.values())
        self._workers.clear()
        self._least *= 2
        return workers
