"""What Ray prints in the driver goes to a file; the terminal gets one line for each error.

Ray writes in three ways: with Python's logging, with `print`, and from C++ directly to the standard error.
"""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hamu_ray.results.wording import shown
from hamu_ray.workers.ray_private import log_printed_errors

STDERR = 2
LONGEST_LINE = 160
"""Maximum number of characters of an error on the terminal."""


@contextmanager
def ray_output_in(path: Path, log: Callable[[str], None]) -> Iterator[None]:
    """Within, append Ray's output to a file, and ``log`` one line for each error, which names the file."""
    logger = logging.getLogger("ray")
    before, propagates = logger.handlers[:], logger.propagate
    log_printed_errors(logger)
    with path.open("a") as file, _native_errors_in(file.fileno()):
        in_file = logging.StreamHandler(file)
        in_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logger.handlers, logger.propagate = [in_file, FirstLines(path, log)], False
        try:
            yield
        finally:
            logger.handlers, logger.propagate = before, propagates


class FirstLines(logging.Handler):
    """Passes on the first line of errors, each text once."""

    def __init__(self, path: Path, log: Callable[[str], None]) -> None:
        """Name a file in each line."""
        super().__init__(logging.ERROR)
        self._place = shown(path)
        self._log = log
        self._known: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Log the first line of a record."""
        line = record.getMessage().strip().partition("\n")[0].partition(". ")[0][:LONGEST_LINE]
        if line not in self._known:
            self._known.add(line)
            self._log(f"Ray: {line} (details: {self._place})")


@contextmanager
def _native_errors_in(descriptor: int) -> Iterator[None]:
    """Within, the standard error of C++ code is a file, and that of Python is what it was."""
    terminal = os.dup(STDERR)
    python = sys.stderr
    try:
        redirected = python.fileno() == STDERR
    except (OSError, ValueError, AttributeError):  # not a file, as in a notebook
        redirected = False
    if redirected:
        sys.stderr = os.fdopen(os.dup(STDERR), "w", buffering=1)
    os.dup2(descriptor, STDERR)
    try:
        yield
    finally:
        os.dup2(terminal, STDERR)
        os.close(terminal)
        if redirected:
            sys.stderr.close()
            sys.stderr = python
