"""A sweep while it runs, as its outbox describes it; reads only, from its folder or from the copy in the storage."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hamu_ray.config.sources.document import ConfigError, parse_document
from hamu_ray.results.durable.append_log import read_lines
from hamu_ray.results.durable.lease import LEASE_FILE, PATIENCE_SECONDS, holder_of
from hamu_ray.results.durable.parts import opened_at
from hamu_ray.results.folder import OUTBOX_FILE, SWEEP_FILE
from hamu_ray.results.reader import FolderSource, validated
from hamu_ray.results.recorded_run import PAUSED_AT, TOTAL_STEPS, RunBuilder, record_of, result_of
from hamu_ray.results.sweep_result import SweepResult
from hamu_ray.results.trial import Status, TrialRecord
from hamu_ray.results.wording import shown
from hamu_ray.storage import StoragePath


@dataclass(frozen=True)
class RunningTrial:
    """A trial that has started and not ended."""

    name: str
    parameters: dict[str, Any]
    step: int
    total_steps: str
    """Empty until its first report."""
    paused: bool
    """Whether it waits at a rung."""


class LiveSweep:
    """The state of a sweep. `update` reads what was written since the last time. Times are seconds since the epoch."""

    def __init__(self, folder: StoragePath) -> None:
        """Open the sweep in a folder.

        Raises:
            ConfigError: It is not a sweep's folder, or its configuration cannot be read.
        """
        try:
            content = (folder / SWEEP_FILE).read_bytes()
        except FileNotFoundError as error:
            raise ConfigError(f"{shown(folder)}: not a sweep's folder: it has no {SWEEP_FILE}") from error
        self.document: dict[str, Any] = parse_document(content, shown(folder / SWEEP_FILE))
        self.folder = folder
        self.ended: dict[str, TrialRecord] = {}
        """Records of the trials that have ended, in order, without curves and the metrics of base models."""
        self.began = math.nan
        """When the driver started."""
        self.first_step = math.nan
        """When one of its trials first reported."""
        self.before = 0
        """Number of trials that ended under earlier drivers."""
        self.written = 0.0
        """The last time in the outbox."""
        self._config = validated(self.document)
        self._runs: dict[str, RunBuilder] = {}
        self._read = 0
        self._holder: Mapping[str, Any] | None = None
        self._renewed = -math.inf
        """When the driver last renewed its lease, as far as is known here."""

    def update(self) -> list[TrialRecord]:
        """Read what is new; return the records of the trials that ended meanwhile."""
        known = len(self.ended)
        with opened_at(self.folder, OUTBOX_FILE, self._read) as lines:
            for call, end in read_lines(lines, self._read):
                self._read = end
                if call is not None:
                    self._apply(call["run"], call["call"], call["arguments"])
        holder = holder_of(self.folder)
        if holder is not None and holder != self._holder:
            self._renewed = time.time() if self._holder else renewed(self.folder)
        self._holder = holder
        return [*self.ended.values()][known:]

    def _apply(self, name: str, call: str, arguments: Mapping[str, Any]) -> None:
        run = self._runs.setdefault(name, RunBuilder())
        run.apply(call, dict(arguments))
        self.written = max([self.written, *run.times[-1:]])
        if call == "start_sweep":
            self.began = float((arguments.get("tags") or {}).get("began", math.nan))
            self.first_step, self.before = math.nan, len(self.ended)
            for other in self._runs.values():  # a driver that was killed has not ended its trials
                other.running = other is run
        elif name != self.folder.name:
            if math.isnan(self.first_step) and call in ("log_history", "log_metrics"):
                self.first_step = run.times[-1]
            if call == "finish" and name not in self.ended:
                record = self._record(name)
                if record.status is not Status.INTERRUPTED:  # --resume runs it again
                    self.ended[name] = record

    def _record(self, name: str) -> TrialRecord:
        return record_of(self._runs[name].recorded(name), self.document, self._config)

    @property
    def running(self) -> list[RunningTrial]:
        """The trials that run, in order of their names."""
        return [
            RunningTrial(
                name=name,
                parameters=self._record(name).parameters,
                step=run.step,
                total_steps=run.tags.get(TOTAL_STEPS, ""),
                paused=bool(run.tags.get(PAUSED_AT)),
            )
            for name, run in sorted(self._runs.items())
            if run.running and name != self.folder.name and name not in self.ended
        ]

    @property
    def status(self) -> Status | None:
        """How the sweep ended: interrupted, too, if its driver ended without a word; None while it runs."""
        own = self._runs.get(self.folder.name)
        if own is not None and not own.running:
            return Status(own.tags.get("status", Status.INTERRUPTED))
        is_driven = self._holder is not None and time.time() - self._renewed < PATIENCE_SECONDS
        return None if is_driven else Status.INTERRUPTED

    @property
    def result(self) -> SweepResult:
        """The result so far; base models have metrics once the sweep has ended."""
        name = self.folder.name
        own = self._runs.get(name, RunBuilder(running=True)).recorded(name)
        source = FolderSource(Path(str(self.folder)), self.document)
        return result_of(own, self.ended.values(), self.document, "", source)


def renewed(folder: StoragePath) -> float:
    """Return when a lease that is seen for the first time was renewed; now, where only another clock says so."""
    return (folder / LEASE_FILE).stat().st_mtime if isinstance(folder, Path) else time.time()
