"""Memory that a function allocates, measured in a process of its own: no thread of another test counts."""

import multiprocessing
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
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
