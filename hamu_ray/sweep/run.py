"""A sweep from its configuration to its front: the cluster, the slots, Tune, tracking, and what is left on disk."""

import os
import time
from pathlib import Path
from tempfile import gettempdir

import ray

from hamu_ray.config.files import ConfigError
from hamu_ray.config.sweep import SweepConfig, trials_of
from hamu_ray.preflight import RAY_JOB
from hamu_ray.reports.front.files import print_result
from hamu_ray.results.folder import SWEEP_FILE, SWEEPS, new_folder, read_records, resumable_folder
from hamu_ray.results.trial import Status, TrialRecord
from hamu_ray.results.wording import shown
from hamu_ray.storage import local_folder, storage_path
from hamu_ray.sweep.finish import leave_result
from hamu_ray.sweep.listener import SweepListener, Usage
from hamu_ray.sweep.plan import ConcurrencyLimit, groups_of, rivals_of
from hamu_ray.sweep.search import UnlearningSearch
from hamu_ray.sweep.tuner import tune_trials
from hamu_ray.terminal.console import Console
from hamu_ray.terminal.progress import SweepView
from hamu_ray.tracking.client import MlflowTracker
from hamu_ray.tracking.outbox import Delivery, Outbox, OutboxSender
from hamu_ray.tracking.ui_views import view_of
from hamu_ray.workers.capacity import usable_nodes
from hamu_ray.workers.cluster import connect
from hamu_ray.workers.pool import start_pool
from hamu_ray.workers.slot import CLOSE_SECONDS


def run_sweep(config: SweepConfig, resume: bool) -> int:
    """Run a sweep to its end, or to the interrupt, and leave its front.

    Returns the exit code: 0 when all trials are over, 1 when none of them finished, 130 after an interrupt.

    Raises:
        ConfigError: There is nothing to resume, tracking cannot be opened, or the cluster cannot hold a trial.
    """
    console = Console()
    local = local_folder(config.storage)
    folder = resumable_folder(config, local) if resume else new_folder(config, local)
    try:
        tracking = MlflowTracker.open(config.tracking.uri, config.tracking.experiment, local)
    except ValueError as error:
        raise ConfigError(f"tracking.uri: {error}") from error
    if (
        RAY_JOB in os.environ
    ):  # nodes on one machine share a job's folder, and each that joins unpacks it anew
        os.chdir(gettempdir())
    connect(groups_of(config), str(storage_path(config.storage.path)), console)
    outbox, delivery = Outbox(folder), Delivery(folder, tracking)
    outbox.start_sweep(
        folder.name, config.whole, {"algorithm": config.search.algorithm, "began": time.time()}
    )
    outbox.log_files(folder.name, [folder / SWEEP_FILE])
    for sweep in (folder.name, None):
        outbox.share_view(folder.name, **view_of(config.search.objectives, sweep))
    sender = OutboxSender(delivery)
    records, usage, complete = run_trials(config, folder, outbox, console)
    ray.shutdown()
    status = Status.FINISHED if complete else Status.INTERRUPTED
    summary = leave_result(config, outbox, folder.name, folder, records, status)
    if usage.at_once:
        outbox.log_metrics(folder.name, {"sweep_seconds": usage.seconds, "busy_share": usage.share})
    waiting = sender.close()
    print_result(summary, folder, tracking, console)
    if usage.at_once:
        console.print(
            f"time     {usage.seconds:.0f} s from the first step on, {usage.share:.0%} of it in steps and evaluation"
        )
    if waiting:
        console.print(
            f"MLflow did not answer: {waiting} records wait; python -m hamu_ray.report {shown(folder)}"
        )
    else:
        try_report(folder, tracking, delivery.runs[folder.name], console)
    if not complete:
        console.print("interrupted; to go on: the same command with --resume")
        return 130
    return 0 if any(record.status is Status.FINISHED for record in records) else 1


def try_report(folder: Path, tracking: MlflowTracker, run_id: str, console: Console) -> None:
    """Write the sweep's report into its folder and keep it with its run; a sweep is no less for want of one."""
    try:
        from hamu_ray.reports.make import leave_report

        page = leave_report(folder, tracking, run_id)
        console.print(f"report   {shown(page)}", soft_wrap=True, markup=False)
    except Exception as error:  # whatever it is, the results are safe by now
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        console.print(
            f"no report ({reason}); to make it: python -m hamu_ray.report {shown(folder)}", markup=False
        )


def run_trials(
    config: SweepConfig, folder: Path, outbox: Outbox, console: Console
) -> tuple[list[TrialRecord], Usage, bool]:
    """Run the trials that have no record yet.

    Returns the records of all, what the time went into, and whether the sweep is complete.
    """
    total = trials_of(config)
    before = read_records(folder)
    places = ConcurrencyLimit(config)
    storage = storage_path(config.storage.path)
    results = storage / SWEEPS / folder.name
    console.print(
        f"sweep {config.name}: {total} trials, {places()} at a time with {config.workers.count} workers each; "
        f"results in {shown(folder)}" + ("" if results == folder else f", models in {results}")
    )
    if before:
        console.print(f"resumed: {len(before)} trials are over")
    largest = max(groups_of(config), key=lambda group: group.count)
    left = total - len(before)
    rivals = rivals_of(config, before)
    pool = start_pool(str(storage), folder.name, rivals, config.search.concurrent, left, largest)
    with SweepView(console, total, len(before), config.search.objectives) as view:
        view.several_nodes = len(usable_nodes()) > 1
        listener = SweepListener(config, folder.name, outbox, folder, results, pool, view)
        if len(before) < total:
            search = UnlearningSearch(config, folder, before, places)
            tune_trials(config, search, listener, folder, total - len(before))
        interrupted = listener.interrupt()
    ray.wait([pool.close.remote()], timeout=CLOSE_SECONDS)
    ray.kill(pool)
    after = read_records(folder)
    complete = len(after) == total or (config.search.time_budget is not None and not interrupted)
    return [*after, *interrupted], listener.usage, complete
