"""The driver's ear: what trials report goes to tracking, to the terminal and into the sweep's records."""

import math
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ray import tune
from ray.actor import ActorHandle

from hamu_ray.config.run import RunConfig
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.reports.front.palette import colour_of
from hamu_ray.results.folder import (
    HARDNESS_FILE,
    MODEL_FILE,
    OUTCOME_FILE,
    RUN_FILE,
    TRIALS,
    trial_name,
    write_record,
)
from hamu_ray.results.front import Point
from hamu_ray.results.outcome import Failure, Outcome, Report, Status
from hamu_ray.results.pruning import curve_of
from hamu_ray.results.trial import TrialRecord
from hamu_ray.results.wording import describe
from hamu_ray.storage import StoragePath
from hamu_ray.sweep.search import NUMBER, PARAMETERS
from hamu_ray.sweep.trainable import NEWS
from hamu_ray.terminal.progress import SweepView
from hamu_ray.tracking.client import COLOUR
from hamu_ray.tracking.encoding import flatten
from hamu_ray.tracking.labels import labels_of
from hamu_ray.tracking.outbox import Outbox, SentState
from hamu_ray.workers.messages import Started


@dataclass
class TrialState:
    """What has been heard of a trial so far."""

    name: str
    parameters: dict[str, Any]
    run: RunConfig
    told: SentState
    """What is in the journal already."""
    curve: dict[int, Point] = field(default_factory=dict)
    """The two objectives by step."""
    began: float = field(default_factory=time.monotonic)
    bases: dict[str, dict[str, float]] = field(default_factory=dict)
    """Measures of the original and of the reference."""
    nodes: list[str] = field(default_factory=list)
    """Those that its workers were on."""
    end: Outcome | Failure | None = None


@dataclass
class Usage:
    """What the time of a sweep went into."""

    began: float = math.nan
    """When the first trial's unlearning began, by the monotonic clock."""
    ended: float = math.nan
    """When the last trial ended."""
    worked: float = 0.0
    """Seconds of gradient steps and evaluation, of all trials that ended."""
    at_once: int = 0
    """Most trials that ran at the same time."""

    @property
    def seconds(self) -> float:
        """From the first trial's first step to the last trial's end; NaN where none ran."""
        return self.ended - self.began

    @property
    def share(self) -> float:
        """The share of it that went into gradient steps and evaluation."""
        return self.worked / (self.seconds * self.at_once) if self.at_once else math.nan


class SweepListener(tune.Callback):
    """Hears every trial in the driver, which alone writes to tracking."""

    def __init__(
        self,
        config: SweepConfig,
        sweep: str,
        journal: Outbox,
        folder: Path,
        results: StoragePath,
        pool: ActorHandle,
        view: SweepView,
    ) -> None:
        """Record trials under the sweep's run, and their ends in its folder; workers leave theirs in ``results``."""
        self.config = config
        self.sweep = sweep
        self.journal = journal
        self.folder = folder
        self.results = results
        self.pool = pool
        self.view = view
        self.open: dict[str, TrialState] = {}
        self.usage = Usage()
        self._told = journal.told()

    def __reduce__(self) -> tuple:
        """Stay in this process: Tune saves its callbacks, and these open files cannot be saved."""
        return tune.Callback, ()

    def on_trial_start(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """Open the trial's run."""
        if trial.trial_id in self.open:
            return
        self.usage.at_once = max(self.usage.at_once, len(self.open) + 1)
        name, parameters = trial_name(trial.config[NUMBER]), trial.config[PARAMETERS]
        run = self.config.resolve(parameters)
        labels = labels_of(run)
        colour = colour_of(run.method.name, self.config.methods)
        self.open[trial.trial_id] = TrialState(name, parameters, run, self._told[name])
        self.journal.tell(
            "start_trial",
            name,
            parent=self.sweep,
            name=describe(parameters),
            parameters={**flatten(run.model_dump(mode="json")), **labels},
            tags={**labels, "sweep": self.sweep, "status": "running", COLOUR: colour},
        )

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
        """Pass a trial's news on."""
        heard = self.open[trial.trial_id]
        for news in result.get(NEWS, []):
            if isinstance(news, Report):
                self._hear(heard, news)
            elif isinstance(news, Started):
                heard.nodes += [node for node in news.nodes if node not in heard.nodes]
            else:
                heard.end = news

    def _hear(self, heard: TrialState, report: Report) -> None:
        self.view.news(heard.name, heard.parameters, report)
        if report.phase != "unlearning":
            if not report.total_steps:
                heard.bases[report.phase] = report.measures
            return
        if math.isnan(self.usage.began):
            self.usage.began = time.monotonic()
        heard.curve |= curve_of([report], self.config)
        evaluation = (report.step, len(report.measures))
        if report.measures and evaluation not in heard.told.evaluations:
            heard.told.evaluations.add(evaluation)
            self.journal.tell("log_metrics", heard.name, metrics=report.measures, step=report.step)
        # After a restart from a checkpoint, steps come again that have been heard already.
        fresh = [i for i, step in enumerate(report.history_steps) if step > heard.told.last_step]
        if fresh:
            history = {name: [values[i] for i in fresh] for name, values in report.history.items()}
            steps = [report.history_steps[i] for i in fresh]
            self.journal.tell("log_history", heard.name, history=history, steps=steps)
            heard.told.last_step = steps[-1]

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """Close the trial's run."""
        self._close(self.open.pop(trial.trial_id))

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """Close the run of a trial whose own process died too often, and free its slot."""
        heard = self.open.pop(trial.trial_id)
        heard.end = heard.end or Failure("its trial actor died")
        self.pool.release.remote(heard.name, False)
        self._close(heard)

    def interrupt(self) -> list[TrialRecord]:
        """Mark the trials that the sweep's end interrupted; they have no record, so that they can be resumed."""
        records = [make_record(heard, self.results) for heard in self.open.values()]
        for record in records:
            self.journal.tell("finish", record.trial_id, status=record.status, reason=record.reason)
            self.view.end(record)
        self.open.clear()
        return records

    def _close(self, heard: TrialState) -> None:
        record = make_record(heard, self.results)
        self.usage.ended = time.monotonic()
        self.usage.worked += sum(s for s in (record.unlearning_seconds, record.evaluation_seconds) if s == s)
        place = self.results / TRIALS / heard.name
        seconds = time.monotonic() - heard.began
        metrics = {"trial_seconds": seconds, **costs(heard.end)}
        self.journal.tell("log_metrics", heard.name, metrics=metrics, step=record.steps)
        files = [place / name for name in (RUN_FILE, OUTCOME_FILE, HARDNESS_FILE)]
        self.journal.tell("log_files", heard.name, paths=[str(path) for path in files if path.exists()])
        tags = {"model_path": record.model_path, "on_front": "false", "node": ", ".join(record.nodes)}
        self.journal.tell("finish", heard.name, status=record.status, reason=record.reason, tags=tags)
        write_record(self.folder, record)
        self.view.end(record)
        self.pool.expect.remote(self.view.total - self.view.ended)


def make_record(heard: TrialState, results: StoragePath) -> TrialRecord:
    """Return the record of a trial from what was heard of it."""
    record = TrialRecord(
        trial_id=heard.name,
        status=Status.INTERRUPTED,
        parameters=heard.parameters,
        configuration=heard.run.model_dump(mode="json"),
        original=heard.bases.get("original", {}),
        reference=heard.bases.get("reference", {}),
        curve=heard.curve,
        nodes=heard.nodes,
        reason="the sweep ended before it",
    )
    match heard.end:
        case Failure(reason):
            return replace(record, status=Status.FAILED, reason=reason)
        case Outcome() as end:
            return replace(
                record,
                status=end.status,
                reason=end.reason,
                measures=dict(end.measures),
                steps=end.steps,
                unlearning_seconds=end.seconds,
                evaluation_seconds=end.evaluation_seconds,
                model_path=str(results / TRIALS / heard.name / MODEL_FILE),
            )
    return record


def costs(end: Outcome | Failure | None) -> dict[str, float]:
    """Return what a run cost, by the names of its metrics."""
    if not isinstance(end, Outcome):
        return {}
    return {
        "unlearning_seconds": end.seconds,
        "steps": end.steps,
        "gradient_computations": end.gradient_computations,
        "evaluation_seconds": end.evaluation_seconds,
        "exchange_bytes": end.exchange_bytes,
    }
