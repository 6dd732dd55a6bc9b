"""The results of an audit of a sweep in MLflow, in the runs of its trials, and in the sweep's report."""

from collections.abc import Mapping
from pathlib import Path

from hamu_ray.config.sources.files import ConfigError, load_sweep
from hamu_ray.metrics.attacks.names import DURABLE
from hamu_ray.reports.front.files import write_files
from hamu_ray.reports.make import leave_report
from hamu_ray.results.audit.finding import Audit
from hamu_ray.results.folder import AUDIT_FILE, OUTBOX_FILE, SWEEP_FILE, SWEEPS, TRIALS
from hamu_ray.results.reader import read_sweep
from hamu_ray.results.recorded_run import audited_tag
from hamu_ray.results.trial import step_of, trial_of
from hamu_ray.results.wording import runnable, shown
from hamu_ray.storage import StoragePath, storage_path
from hamu_ray.terminal.console import Console
from hamu_ray.tracking.client import MlflowTracker
from hamu_ray.tracking.delivery import Delivery, OutboxSender
from hamu_ray.tracking.outbox import Outbox
from hamu_ray.tracking.tracker import Tracker


def deliver(folder: Path, audits: Mapping[str, Audit], console: Console) -> None:
    """Log the numbers of audited trials through the sweep's outbox, and write its front's files and report again.

    Raises:
        ConfigError: The tracking store cannot be opened; the results are in the trials' folders, and in the outbox.
    """
    if not (folder / OUTBOX_FILE).is_file():
        return
    config = load_sweep(folder / SWEEP_FILE)
    record(Outbox(folder), storage_path(config.storage.path) / SWEEPS / folder.name / TRIALS, audits)
    try:
        tracker = MlflowTracker.open(config.tracking.uri, config.tracking.experiment, folder.parent.parent)
    except ValueError as error:
        raise ConfigError(f"tracking.uri: {error}") from error
    delivery = Delivery(folder, tracker, tracker.store)
    waiting = OutboxSender(delivery).close()
    if waiting:
        console.text(
            f"MLflow did not respond: {waiting} records are waiting; send them with "
            + runnable(f"python -m hamu_ray.report {shown(folder)}")
        )
    elif folder.name in delivery.runs:
        run = delivery.runs[folder.name]
        tracker.log_files(run, write_files(read_sweep(folder).summary, folder))
        console.fields({"report": shown(leave_report(folder, tracker, run))})


def record(tracker: Tracker, trials: StoragePath, audits: Mapping[str, Audit]) -> None:
    """Log the numbers and files of audits to the runs of their trials, whose folders are in ``trials``.

    The numbers of a point on a trial's way are in a tag of the trial's run, and its file is in a folder of its name.
    """
    for name, audit in audits.items():
        trial, step = trial_of(name), step_of(name)
        tracker.log_files(trial, [str(trials / name / AUDIT_FILE)], "" if step is None else name)
        if step is not None:
            tracker.set_tags(trial, audited_tag(step, audit.metrics))
            continue
        tracker.log_metrics(trial, audit.metrics)
        if audit.durable is not None:
            tags = {DURABLE: str(audit.durable).lower(), f"{DURABLE}_by": ", ".join(audit.deciding)}
            tracker.set_tags(trial, tags)
