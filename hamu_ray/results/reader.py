"""Reads a sweep from its folder. Loads neither torch nor Ray nor MLflow.

The folder contains the records of ended trials; what was logged about the sweep itself, and about trials without a
record, is in its outbox.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hamu_ray.config.sources.document import read_yaml
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.results.durable.append_log import read_log
from hamu_ray.results.durable.sealed import Damaged, read_sealed
from hamu_ray.results.folder import (
    OUTBOX_FILE,
    RUN_FILE,
    SENT_FILE,
    SWEEP_FILE,
    SWEEPS,
    TRIALS,
    read_record,
    read_records,
    read_reports,
    rerun_command,
)
from hamu_ray.results.outcome import Report
from hamu_ray.results.pareto.summary import mean_measures
from hamu_ray.results.recorded_run import (
    RecordedRun,
    RunBuilder,
    durability_of,
    durable_points,
    record_of,
    result_of,
)
from hamu_ray.results.sweep_result import SweepResult
from hamu_ray.results.trial import TrialRecord, trial_of
from hamu_ray.results.wording import shown
from hamu_ray.storage import StoragePath, storage_path

HISTORY = b'{"call": "log_history"'
"""Prefix of the outbox lines with step diagnostics: most of the file, and not needed here."""

logger = logging.getLogger(__name__)


def read_sweep(folder: Path) -> SweepResult:
    """Return the result of the sweep in a folder."""
    document = read_yaml(folder / SWEEP_FILE)
    runs = read_outbox(folder)
    records = read_records(folder)
    ended = {record.trial_id for record in records}
    config = validated(document)
    others = [
        record_of(run, document, config)
        for name, run in runs.items()
        if name != folder.name and name not in ended
    ]
    own = runs.get(folder.name) or RecordedRun(folder.name, {}, {}, {}, running=not records)
    trials = [
        replace(
            record,
            measures={**record.measures, **durability_of(runs.get(record.trial_id))},
            points=durable_points(record.points, runs.get(record.trial_id)),
            original={},
            reference={},
            curve={},
        )
        for record in records
    ]
    experiment = str((document.get("tracking") or {}).get("experiment", ""))
    result = result_of(own, [*trials, *others], document, experiment, FolderSource(folder, document))
    return replace(
        result,
        original=mean_measures([record.original for record in records]),
        reference=mean_measures([record.reference for record in records]),
    )


def read_outbox(folder: Path) -> dict[str, RecordedRun]:
    """Return the runs described by a sweep's outbox, by name; empty without an outbox."""
    runs: dict[str, RunBuilder] = {}
    for call in _calls(folder / OUTBOX_FILE):
        runs.setdefault(call["run"], RunBuilder()).apply(call["call"], call["arguments"])
    return {name: run.recorded(name) for name, run in runs.items()}


@dataclass(frozen=True)
class FolderSource:
    """Reads single trials of a sweep from its folder, and from the storage that the sweep's workers wrote to."""

    folder: Path
    document: dict[str, Any]

    @property
    def address(self) -> str:
        """The folder as typed at a terminal."""
        return shown(self.folder)

    def record(self, trial: str) -> TrialRecord | None:
        """Return the record that the driver wrote at the end of a trial, also as that of one of its points."""
        record = read_record(self.folder, trial_of(trial))
        return record and record.candidate(trial)

    def history(self, trial: str, metric: str) -> dict[int, float]:
        """Return the values of a metric by step, from the reports of the trial's run."""
        values: dict[int, float] = {}
        for report in self._reports(trial):
            if metric in report.measures:
                values[report.step] = report.measures[metric]
            if metric in report.history:
                values |= zip(report.history_steps, report.history[metric], strict=True)
        return values

    def file(self, trial: str, name: str) -> bytes | None:
        """Return the content of a file of a trial's run."""
        for place in self._places(trial):
            try:
                return (place / name).read_bytes()
            except OSError:
                continue
        return None

    def run_id(self, trial: str) -> str:
        """Return the id of a trial's run in MLflow, if it was sent."""
        return str(self._run_ids.get(trial, ""))

    def rerun_command(self, trial: str) -> str:
        """Return the command that runs a trial's configuration again, from its location."""
        places = list(self._places(trial))
        place = next((place for place in places if (place / RUN_FILE).is_file()), places[0])
        return rerun_command(shown(place / RUN_FILE), self.folder.name, trial)

    def _places(self, trial: str) -> Iterator[StoragePath]:
        """Yield the folders that may contain a trial's files: the sweep's own, and the one in the storage."""
        yield self.folder / TRIALS / trial
        storage = (self.document.get("storage") or {}).get("path")
        if storage is not None:
            yield storage_path(storage) / SWEEPS / self.folder.name / TRIALS / trial

    def _reports(self, trial: str) -> list[Report]:
        """Return the reports of a trial's unlearning; empty if they were not kept."""
        for place in self._places(trial):
            try:
                return [report for report in read_reports(place) if report.phase == "unlearning"]
            except OSError:
                continue
            except Damaged as error:
                logger.warning("%s; its steps are left out", error)
        return []

    @cached_property
    def _run_ids(self) -> dict[str, str]:
        try:
            return dict(read_sealed(self.folder / SENT_FILE)["runs"])
        except (FileNotFoundError, Damaged):
            return {}


def _calls(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the calls of an outbox, without diagnostics of steps; logs how many are damaged."""
    damaged = 0
    for call, _ in read_log(path, skip=HISTORY):
        if call is None:
            damaged += 1
        else:
            yield call
    if damaged:
        logger.warning("%s: %d damaged lines are left out", shown(path), damaged)


def validated(document: dict[str, Any]) -> SweepConfig | None:
    """Return a sweep's configuration; None if this version's schema rejects it."""
    try:
        return SweepConfig.model_validate(document)
    except ValidationError:  # written by another version
        return None
