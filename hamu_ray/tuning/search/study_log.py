"""Optuna's log of operations in an `AppendLog`, which a full disk or a power loss does not leave half-written."""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from hamu_ray.config.space import Scalar
from hamu_ray.results.durable.append_log import AppendLog, read_log
from hamu_ray.results.durable.sealed import Damaged
from hamu_ray.results.folder import STUDY_FILE
from hamu_ray.results.reader import read_sweep
from hamu_ray.results.wording import shown

logger = logging.getLogger(__name__)


class StudyLog(BaseJournalBackend):
    """A backend of Optuna's `JournalStorage` for one process, the driver of the sweep.

    A line of the file holds the operations of a transaction, so that none of them is there without the others.
    """

    def __init__(self, path: Path) -> None:
        """Open the log, or begin one; raises `Damaged` where an operation in it cannot be read."""
        self._log = AppendLog(path)
        self._operations: list[dict[str, Any]] = []
        self._written = 0
        self._open = False
        for number, (line, _) in enumerate(read_log(path), start=1):
            if line is None:  # the operations behind it count studies and trials from it on
                raise Damaged(f"{shown(path)}: damaged at line {number}")
            self._operations += line["operations"]
        self._written = len(self._operations)

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """Return the operations from a number on, counted from 0."""
        return self._operations[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append operations, at the end of the transaction if there is one."""
        self._operations += json.loads(json.dumps(logs))
        if not self._open:
            self._write()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Within, operations are kept; they are written together at the end, and not at all after an error.

        A transaction within another is a part of it.
        """
        if self._open:
            yield
            return
        self._open = True
        try:
            yield
        finally:
            self._open = False
        self._write()

    def _write(self) -> None:
        self._log.append([json.dumps({"operations": self._operations[self._written :]})])
        self._written = len(self._operations)


def has_studies(path: Path) -> bool:
    """Whether a log has operations, and all of them can be read."""
    lines = [line for line, _ in read_log(path)]
    return bool(lines) and None not in lines


def open_log(folder: Path) -> tuple[StudyLog, Mapping[int, Mapping[str, Scalar]]]:
    """Open the log of a sweep's studies.

    Also returns the parameters of the trials that were started before, by their numbers, where the log was damaged and
    begins anew.
    """
    path = folder / STUDY_FILE
    try:
        return StudyLog(path), {}
    except Damaged as error:
        aside = path.with_name(f"{path.name}.damaged")
        path.replace(aside)
        logger.warning("%s; made again from the trials, the old one is %s", error, aside.name)
    started = read_sweep(folder).trials
    return StudyLog(path), {int(trial.trial_id): trial.parameters for trial in started}
