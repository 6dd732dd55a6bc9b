"""Memory that a function allocates, measured in a process of its own: no thread of another test counts."""

import ctypes
import multiprocessing
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from threading import Event, Thread
from typing import Any


def apart(measure: Callable[..., Any], *arguments: Any) -> Any:
    """Return ``measure(*arguments)`` of a new process; the function belongs to a module."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(measure, *arguments).result()


def peak_of(make: Callable[[], Any]) -> int:
    """Return the most bytes that Python objects and arrays of this process took meanwhile."""
    tracemalloc.start()
    make()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def private_peak_of(make: Callable[[], Any]) -> int:
    """Return the most bytes that this process took meanwhile for itself, on Linux: without pages of files.

    The memory is looked at all the time, so that a peak of less than some milliseconds is missed.
    """
    ctypes.CDLL(None).malloc_trim(0)  # what is free could be used again
    before = peak = _private()
    ended = Event()

    def look() -> None:
        nonlocal peak
        while not ended.wait(0.002):
            peak = max(peak, _private())

    looking = Thread(target=look)
    looking.start()
    try:
        made = make()
        peak = max(peak, _private())
        del made
    finally:
        ended.set()
        looking.join()
    return peak - before


def _private() -> int:
    """Return the bytes of this process's resident memory that are not of files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))
