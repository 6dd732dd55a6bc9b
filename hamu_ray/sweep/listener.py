"""The driver's ear: what trials report goes to tracking, to the terminal and into the sweep's records."""

import json
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ray import tune

from hamu_ray.config.run import RunConfig
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.engine.checkpoint import write_atomically
from hamu_ray.engine.outcome import Outcome, Report, Status
from hamu_ray.engine.store import MODEL_FILE
from hamu_ray.engine.unlearn import HARDNESS_FILE, OUTCOME_FILE, RUN_FILE
from hamu_ray.sweep.progress import SweepView, describe
from hamu_ray.sweep.slot import Failure
from hamu_ray.sweep.tracking import Tracking
from hamu_ray.sweep.trainable import NEWS
from hamu_ray.sweep.trial import TrialRecord

RECORD_FILE = "record.json"


@dataclass
class Heard:
    """What has been heard of a trial so far."""

    parameters: dict[str, Any]
    run: RunConfig
    run_id: str
    began: float = field(default_factory=time.monotonic)
    original: dict[str, float] = field(default_factory=dict)
    reference: dict[str, float] = field(default_factory=dict)
    last_step: int = 0
    end: Outcome | Failure | None = None


class SweepListener(tune.Callback):
    """Hears every trial in the driver, which alone writes to tracking."""

    def __init__(self, config: SweepConfig, tracking: Tracking, folder: Path, view: SweepView) -> None:
        """Record trials in tracking, and their ends as files next to their models."""
        self.config = config
        self.tracking = tracking
        self.folder = folder
        self.view = view
        self.trials: dict[str, Heard] = {}
        self.records: dict[str, TrialRecord] = {}

    def __reduce__(self) -> tuple:
        """Stay in this process: Tune saves its callbacks, and a client with open connections cannot be saved."""
        return tune.Callback, ()

    @property
    def runs(self) -> dict[str, str]:
        """The tracking run of each trial."""
        return {trial_id: heard.run_id for trial_id, heard in self.trials.items()}

    def on_trial_start(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """Open the trial's run."""
        if trial.trial_id in self.trials:
            return
        run = self.config.resolve(trial.config)
        tags = {"method": run.method.name, "seed": str(run.seed), "status": "running"}
        run_id = self.tracking.start_trial(
            trial.trial_id, describe(trial.config), run.model_dump(mode="json"), tags
        )
        self.trials[trial.trial_id] = Heard(dict(trial.config), run, run_id)

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
        """Pass a trial's news on."""
        heard = self.trials[trial.trial_id]
        for news in result.get(NEWS, []):
            if isinstance(news, Report):
                self._hear(trial.trial_id, heard, news)
            else:
                heard.end = news

    def _hear(self, trial_id: str, heard: Heard, report: Report) -> None:
        self.view.news(trial_id, heard.parameters, report)
        if report.phase != "unlearning":
            if not report.total_steps:
                setattr(heard, report.phase, report.measures)
            return
        if report.measures:
            self.tracking.log_metrics(heard.run_id, report.measures, report.step)
        # After a restart from a checkpoint, steps come again that have been heard already.
        fresh = [i for i, step in enumerate(report.history_steps) if step > heard.last_step]
        if fresh:
            history = {name: [values[i] for i in fresh] for name, values in report.history.items()}
            steps = [report.history_steps[i] for i in fresh]
            self.tracking.log_history(heard.run_id, history, steps)
            heard.last_step = steps[-1]

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """Close the trial's run."""
        self._close(trial.trial_id)

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """Close the run of a trial whose actor died."""
        heard = self.trials[trial.trial_id]
        heard.end = heard.end or Failure("its trial actor died")
        self._close(trial.trial_id)

    def close_rest(self) -> None:
        """Mark the trials that the sweep's end interrupted."""
        for trial_id in self.trials.keys() - self.records.keys():
            self._close(trial_id)

    def _close(self, trial_id: str) -> None:
        heard = self.trials[trial_id]
        record = make_record(trial_id, heard, self.folder / trial_id)
        self.records[trial_id] = record
        write_atomically(self.folder / trial_id / RECORD_FILE, json.dumps(asdict(record), indent=2).encode())
        self.tracking.log_metrics(
            heard.run_id, {"trial_seconds": time.monotonic() - heard.began, **costs(heard.end)}, record.steps
        )
        files = [self.folder / trial_id / name for name in (RUN_FILE, OUTCOME_FILE, HARDNESS_FILE)]
        self.tracking.log_files(heard.run_id, [path for path in files if path.exists()])
        self.tracking.finish(heard.run_id, record.status, record.reason, {"model_path": record.model_path})
        self.view.end(record)


def make_record(trial_id: str, heard: Heard, folder: Path) -> TrialRecord:
    """Return the record of a trial from what was heard of it."""
    record = TrialRecord(
        trial_id=trial_id,
        status=Status.INTERRUPTED,
        parameters=heard.parameters,
        configuration=heard.run.model_dump(mode="json"),
        original=heard.original,
        reference=heard.reference,
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
                model_path="" if end.status is Status.INTERRUPTED else str(folder / MODEL_FILE),
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
    }
