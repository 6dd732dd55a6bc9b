"""A sweep from its configuration to its front: connect to the cluster, track, run the trials, write the results."""

import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir

import ray

from hamu_ray.config.sources.files import ConfigError
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.config.workers import WorkersConfig
from hamu_ray.footprint.named_parts import check_named_parts, named_part_variants
from hamu_ray.preflight import distinct_runs
from hamu_ray.reports.front.files import print_result
from hamu_ray.results.durable.lease import Lease
from hamu_ray.results.durable.mirror import mirrored
from hamu_ray.results.folder import RAY_LOG, SWEEP_FILE, TRIALS, read_records
from hamu_ray.results.sweep_folders import (
    make_folder,
    mirror_of,
    new_folder,
    newest_unfinished,
    restore_folder,
    resumable_folder,
)
from hamu_ray.results.trial import Status, TrialRecord
from hamu_ray.results.wording import counted, runnable, shown
from hamu_ray.storage import RAY_JOB, local_folder, remove_partial_files
from hamu_ray.terminal.console import Console
from hamu_ray.terminal.sweep_view import SweepView
from hamu_ray.tracking.client import MlflowTracker
from hamu_ray.tracking.delivery import Delivery, OutboxSender
from hamu_ray.tracking.outbox import Outbox
from hamu_ray.tracking.ui_views import view_of
from hamu_ray.tuning.budget import Budgets, ending
from hamu_ray.tuning.finish import leave_items, leave_result
from hamu_ray.tuning.listener import SweepListener
from hamu_ray.tuning.plan import SweepPlan, plan_sweep
from hamu_ray.tuning.search.searcher import UnlearningSearch
from hamu_ray.tuning.space import space_noted
from hamu_ray.tuning.tuner import tune_trials
from hamu_ray.tuning.usage import Usage
from hamu_ray.workers.cluster import connected
from hamu_ray.workers.nodes.capacity import ConcurrencyLimit, gpu_time, usable_nodes
from hamu_ray.workers.pool import start_pool
from hamu_ray.workers.ray_output import ray_output_in
from hamu_ray.workers.rehearsal import rehearse_runs
from hamu_ray.workers.slot import CLOSE_SECONDS

logger = logging.getLogger(__name__)

RESUME = "the same command with --resume goes on"
"""How to continue a sweep that has stopped."""


AUTO = "auto"
"""Instead of a folder to resume: the newest sweep with this configuration that has trials left, otherwise a new one."""


@dataclass(frozen=True)
class SweepEnd:
    """How a sweep ended, and where its results are."""

    folder: Path
    status: Status
    """Finished or interrupted."""
    finished: int
    """Trials that finished."""
    report: Path | None
    """The report page; None where there is none."""

    @property
    def exit_code(self) -> int:
        """0 when all trials have ended, 1 when none of them finished, 130 after an interrupt."""
        if self.status is Status.INTERRUPTED:
            return 130
        return 0 if self.finished else 1


def run_sweep(config: SweepConfig, resume: str | None = None) -> SweepEnd:
    """Run a sweep until it completes or is interrupted, and write its front.

    Args:
        config: The sweep's configuration.
        resume: The folder of the sweep to resume, empty for the newest with trials left to run; `AUTO` starts a new
            sweep if there is none with this configuration. None starts a new sweep, whose folder is created once its
            first trial can start.

    Raises:
        ConfigError: There is nothing to resume, another driver runs it, tracking cannot be opened, or the cluster
            cannot hold a trial.
    """
    console = Console()
    local = local_folder(config.storage)
    with ExitStack() as held:
        resumed = folder_to_resume(config, local, resume, console.text)
        folder = resumed or new_folder(config, local)
        if resumed:
            hold(config, folder, held)
            restore_folder(config, folder)
            for place in (folder, *(folder / TRIALS).glob("*/")):
                remove_partial_files(place)
        plan = plan_sweep(config, folder)
        with console.waiting("building the model, and opening MLflow"):
            check_named_parts(named_part_variants(config))
            rehearse_runs(distinct_runs(config), plan.storage)
            tracker = open_tracker(config)
        leave_job_folder()
        held.enter_context(space_noted(plan))
        patience = plan.config.search.wait_for_nodes
        starting = held.enter_context(ExitStack())
        starting.enter_context(console.waiting("starting Ray, or connecting to it"))
        with (
            connected(groups_to_start(plan), str(plan.storage), console.text, patience, RESUME),
            ExitStack() as running,
        ):
            starting.close()
            if not resumed:
                make_folder(folder, config)
                hold(config, folder, held)
            is_kept = held.enter_context(mirrored(folder, mirror_of(config, folder)))
            running.enter_context(ray_output_in(folder / RAY_LOG, console.text))
            outbox, delivery = Outbox(plan.folder), Delivery(plan.folder, tracker, tracker.store)
            start_tracking(plan, outbox)
            sender = OutboxSender(delivery, tracker.send_seconds)
            records, usage, is_budget_spent = run_trials(plan, outbox, console, is_kept)
        status, reason = ending(plan, records, is_budget_spent)
        if usage.at_once:
            outbox.log_metrics(plan.name, {"sweep_seconds": usage.seconds, "busy_share": usage.share})
        with console.waiting("writing the front, measuring its examples, and sending records to MLflow"):
            summary = leave_result(plan, outbox, records, status, reason)
            if status is Status.FINISHED:
                leave_items(plan, outbox, summary)
            waiting = sender.close()
        print_result(summary, plan.folder, tracker, console)
        print_remarks(usage, delivery, waiting, sender.obstacle, console)
        if reason:
            limits = ("search.gpu_hours", "search.budget.seconds")
            larger = "".join(f"a larger {key} and " for key in limits if key in reason)
            console.print(f"budget   {reason}; continue with {larger}--resume")
        report = None if waiting else try_report(plan.folder, tracker, delivery.runs[plan.name], console)
        if status is Status.INTERRUPTED:
            console.print("interrupted; to resume, repeat the command with --resume")
    finished = sum(record.status is Status.FINISHED for record in records)
    return SweepEnd(plan.folder, status, finished, report)


def print_remarks(usage: Usage, delivery: Delivery, waiting: int, obstacle: str, console: Console) -> None:
    """Print how well the workers were used, and which records MLflow does not have and why."""
    if usage.at_once:
        console.print(
            f"time     {usage.seconds:.0f} s since the first step, {usage.share:.0%} of it in steps and evaluation"
        )
    if usage.gpu_seconds_held:
        held = usage.gpu_seconds_held / 60
        console.print(
            f"GPUs     {usage.idle_gpu_minutes:.0f} idle GPU minutes of {held:.0f} while trials ran"
        )
    if delivery.refused:
        console.print(
            f"MLflow refused {delivery.refused} records: {shown(delivery.refused_file)}", markup=False
        )
    if waiting:
        console.print(
            f"{obstacle}: {waiting} records are waiting; send them with "
            + runnable(f"python -m hamu_ray.report {shown(delivery.folder)}"),
            markup=False,
        )


def groups_to_start(plan: SweepPlan) -> Sequence[WorkersConfig]:
    """Return the worker groups for which the cluster needs room: none if no trial may start."""
    return plan.groups if Budgets(plan, plan.records).affordable() >= 1 else ()


def folder_to_resume(
    config: SweepConfig, local: Path, resume: str | None, log: Callable[[str], None]
) -> Path | None:
    """Return the folder of the sweep to resume, None to start a new one; see `run_sweep`."""
    if resume == AUTO:
        return newest_unfinished(config, local, log)
    return None if resume is None else resumable_folder(config, local, resume or None)


def hold(config: SweepConfig, folder: Path, held: ExitStack) -> None:
    """Acquire the leases of a sweep: of its folder, and of the copy, which drivers on other machines see.

    Raises:
        ConfigError: Another driver runs it.
    """
    for place in (mirror_of(config, folder), folder):
        if place is not None:
            held.enter_context(Lease(place, on_loss=interrupt))


def interrupt() -> None:
    """Interrupt the main thread, as Ctrl-C does."""
    logger.warning("another driver has taken this sweep over, so this one stops")
    signal.raise_signal(signal.SIGINT)


def open_tracker(config: SweepConfig) -> MlflowTracker:
    """Open the tracking store, and check that it can be written.

    Raises:
        ConfigError: It cannot.
    """
    try:
        tracker = MlflowTracker.open(
            config.tracking.uri, config.tracking.experiment, local_folder(config.storage)
        )
        tracker.check_writable()
        return tracker
    except ValueError as error:
        raise ConfigError(f"tracking.uri: {error}") from error


def leave_job_folder() -> None:
    """Leave the folder of a submitted job, which Ray replaces whenever a node on the same machine joins."""
    if RAY_JOB in os.environ:
        os.chdir(gettempdir())


def start_tracking(plan: SweepPlan, outbox: Outbox) -> None:
    """Start the sweep's run, with its configuration and the views of its front."""
    tags = {"algorithm": plan.choice.algorithm, "began": time.time()}
    outbox.start_sweep(plan.name, plan.config.whole, tags)
    outbox.log_files(plan.name, [plan.folder / SWEEP_FILE])
    for sweep in (plan.name, None):
        outbox.share_view(plan.name, **view_of(plan.objectives, sweep))


def run_trials(
    plan: SweepPlan, outbox: Outbox, console: Console, is_kept: Callable[[], bool]
) -> tuple[list[TrialRecord], Usage, bool]:
    """Run the trials that have no record yet; ``is_kept`` returns whether the folder is copied to the storage.

    Returns the records of all trials, interrupted ones last, how the time was used, and whether a budget ended
    the search.
    """
    limit = ConcurrencyLimit(plan.groups, plan.concurrent)
    size = f"{counted(plan.trials, 'trial')}, {limit()} at a time with {counted(plan.config.workers.count, 'worker')}"
    places = {"results": shown(plan.folder)} | (
        {} if plan.results == plan.folder else {"models": str(plan.results)}
    )
    console.fields({"sweep": f"{plan.config.name}: {size} each", **places})
    if plan.choice.reason:
        console.fields({"search": f"{plan.choice.algorithm}: {plan.choice.reason}"})
    if plan.warm_start:
        console.fields({"known": str(plan.warm_start)})
    if plan.records:
        console.print(f"resumed: {len(plan.records)} trials have already ended")
    patience = plan.config.search.wait_for_nodes
    pool = start_pool(
        str(plan.storage), plan.name, plan.concurrent, plan.remaining, plan.largest_group, patience
    )
    constraints = plan.config.search.constraints
    with (
        SweepView(
            console, plan.trials + len(plan.clones), plan.records, plan.objectives, constraints
        ) as view,
        gpu_time() as gpus,
    ):
        view.rows.several_nodes = len(usable_nodes()) > 1
        listener = SweepListener(plan, outbox, pool, view)
        hours, give_up, spent = listener.budget.gpus, listener.give_up, listener.budget.spent
        search = UnlearningSearch(plan, limit, is_kept, hours.affordable, give_up, spent)
        if remaining := listener.remaining():
            ray.get(pool.set_remaining.remote(remaining))
            tune_trials(plan, search, listener, pool)
            search.close()
        interrupted = listener.interrupt()
    listener.usage.gpu_seconds_held = gpus.seconds
    ray.wait([pool.close.remote()], timeout=CLOSE_SECONDS)
    ray.kill(pool)
    return [*read_records(plan.folder), *interrupted], listener.usage, search.is_budget_spent or not remaining


def try_report(folder: Path, tracker: MlflowTracker, run_id: str, console: Console) -> Path | None:
    """Write the sweep's report into its folder, log it and return its path; a sweep is complete without one, too."""
    try:
        from hamu_ray.reports.make import leave_report

        page = leave_report(folder, tracker, run_id)
        console.print(f"report   {shown(page)}", soft_wrap=True, markup=False)
        return page
    except Exception as error:  # whatever happens, the results have already been written
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        again = runnable(f"python -m hamu_ray.report {shown(folder)}")
        console.print(f"no report ({reason}); to create it: {again}", markup=False)
        return None
