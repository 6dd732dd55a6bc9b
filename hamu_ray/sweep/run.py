"""A sweep from its configuration to its front: the cluster, the slots, Tune, tracking, and what is left on disk."""

import os
import signal
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from tempfile import gettempdir

import ray
import yaml
from ray import tune
from ray.tune.execution.class_cache import ENV_VARS_TO_PROPAGATE
from rich.console import Console

from hamu_ray.config.files import ConfigError, load_sweep
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.engine.files import local_folder, storage_path, write_atomically
from hamu_ray.preflight import RAY_JOB
from hamu_ray.sweep.archive import Archive
from hamu_ray.sweep.capacity import ON_THE_HEAD, Places, groups_of, usable_nodes
from hamu_ray.sweep.cluster import connect
from hamu_ray.sweep.front import Objective
from hamu_ray.sweep.journal import Courier, Delivery, Journal
from hamu_ray.sweep.listener import SweepListener, Usage
from hamu_ray.sweep.pool import start_pool
from hamu_ray.sweep.preview import trials_of
from hamu_ray.sweep.progress import SweepView, shown
from hamu_ray.sweep.pruning import Rivals
from hamu_ray.sweep.records import read_records
from hamu_ray.sweep.result import leave_result, print_result
from hamu_ray.sweep.search import UnlearningSearch
from hamu_ray.sweep.slot import CLOSE_SECONDS
from hamu_ray.sweep.tracking import Tracking
from hamu_ray.sweep.trainable import run_trial
from hamu_ray.sweep.trial import Status, TrialRecord
from hamu_ray.sweep.views import view_of

SWEEPS = "sweeps"
SWEEP_FILE = "sweep.yaml"
TIME = "[0-9]" * 8 + "-" + "[0-9]" * 6
"""The end of a folder's name, as a pattern: another sweep's name may begin with this one's."""

TRIAL_RESTARTS = 3
"""How often the process of a trial that died is started again; its work goes on in the slot meanwhile."""


def run_sweep(config: SweepConfig, resume: bool) -> int:
    """Run a sweep to its end, or to the interrupt, and leave its front.

    Returns the exit code: 0 when all trials are over, 1 when none of them finished, 130 after an interrupt.

    Raises:
        ConfigError: There is nothing to resume, tracking cannot be opened, or the cluster cannot hold a trial.
    """
    console = Console(highlight=False)
    local = local_folder(config.storage)
    folder = resumable_folder(config, local) if resume else new_folder(config, local)
    try:
        tracking = Tracking.open(config.tracking.uri, config.tracking.experiment, local)
    except ValueError as error:
        raise ConfigError(f"tracking.uri: {error}") from error
    if (
        RAY_JOB in os.environ
    ):  # nodes on one machine share a job's folder, and each that joins unpacks it anew
        os.chdir(gettempdir())
    connect(groups_of(config), str(storage_path(config.storage.path)), console)
    journal, delivery = Journal(folder), Delivery(folder, tracking)
    parameters = config.whole
    journal.tell(
        "start_sweep", folder.name, parameters=parameters, tags={"algorithm": config.search.algorithm}
    )
    journal.tell("log_files", folder.name, paths=[folder / SWEEP_FILE])
    objectives = [Objective(objective.metric, objective.mode) for objective in config.search.objectives]
    for sweep in (folder.name, None):
        journal.tell("share_view", folder.name, **view_of(objectives, sweep))
    courier = Courier(delivery)
    records, usage, complete = run_trials(config, folder, journal, console)
    ray.shutdown()
    status = Status.FINISHED if complete else Status.INTERRUPTED
    summary = leave_result(config, journal, folder.name, folder, records, status)
    if usage.at_once:
        journal.tell(
            "log_metrics", folder.name, metrics={"sweep_seconds": usage.seconds, "busy_share": usage.share}
        )
    waiting = courier.close()
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
        try_report(tracking, config.tracking.experiment, folder, delivery.runs[folder.name], console)
    if not complete:
        console.print("interrupted; to go on: the same command with --resume")
        return 130
    return 0 if any(record.status is Status.FINISHED for record in records) else 1


def try_report(tracking: Tracking, experiment: str, folder: Path, run_id: str, console: Console) -> None:
    """Write the sweep's report into its folder and keep it with its run; a sweep is no less for want of one."""
    try:
        from hamu_ray.sweep.report.make import leave_report

        page = leave_report(Archive.open(tracking.uri, folder), experiment, folder, tracking, run_id)
        console.print(f"report   {shown(page)}", soft_wrap=True, markup=False)
    except Exception as error:  # whatever it is, the results are safe by now
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        console.print(
            f"no report ({reason}); to make it: python -m hamu_ray.report {shown(folder)}", markup=False
        )


def run_trials(
    config: SweepConfig, folder: Path, journal: Journal, console: Console
) -> tuple[list[TrialRecord], Usage, bool]:
    """Run the trials that have no record yet.

    Returns the records of all, what the time went into, and whether the sweep is complete.
    """
    total = trials_of(config)
    before = read_records(folder)
    places = Places(config)
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
        listener = SweepListener(config, folder.name, journal, folder, results, pool, view)
        if len(before) < total:
            search = UnlearningSearch(config, folder, before, places)
            tune_trials(config, search, listener, folder, total - len(before))
        interrupted = listener.interrupt()
    ray.wait([pool.close.remote()], timeout=CLOSE_SECONDS)
    ray.kill(pool)
    after = read_records(folder)
    complete = len(after) == total or (config.search.time_budget is not None and not interrupted)
    return [*after, *interrupted], listener.usage, complete


def tune_trials(
    config: SweepConfig,
    search: UnlearningSearch,
    listener: SweepListener,
    folder: Path,
    count: int,
) -> None:
    """Let Tune run trials, until the end, the time budget, or Ctrl-C (a SIGTERM is taken for one)."""
    trainable = tune.with_parameters(
        run_trial, sweep=config, pool=listener.pool, results=str(listener.results)
    )
    tuner = tune.Tuner(
        tune.with_resources(trainable, ON_THE_HEAD),
        tune_config=tune.TuneConfig(
            search_alg=search,
            num_samples=count,
            reuse_actors=True,
            time_budget_s=config.search.time_budget,
        ),
        run_config=tune.RunConfig(
            name=f"tune-{datetime.now():%Y%m%d-%H%M%S}",
            storage_path=str(folder),
            callbacks=[listener],
            failure_config=tune.FailureConfig(max_failures=TRIAL_RESTARTS),
            verbose=0,
            log_to_file=False,
        ),
    )
    # Tune would copy these into the trials' runtime environment, which Ray logs; nodes have credentials of their own.
    ENV_VARS_TO_PROPAGATE.difference_update(
        {name for name in ENV_VARS_TO_PROPAGATE if name.startswith("AWS_")}
    )
    previous = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        tuner.fit()  # takes an interrupt as the wish to end, and returns
    finally:
        signal.signal(signal.SIGTERM, previous)


def rivals_of(config: SweepConfig, before: Sequence[TrialRecord]) -> Rivals | None:
    """Return whom trials are held against at the start, or None where none is to be pruned."""
    if config.search.pruning is None:
        return None
    first, second = config.search.objectives
    return Rivals(
        metrics=(first.metric, second.metric),
        maximise=(first.mode == "max", second.mode == "max"),
        margin=config.search.pruning.margin,
        grace_steps=config.search.pruning.grace_steps,
        curves=tuple(record.curve for record in before if record.status is Status.FINISHED and record.curve),
    )


def new_folder(config: SweepConfig, local: Path) -> Path:
    """Make the folder of a new sweep, with its resolved configuration, which runs the same sweep again."""
    folder = local / SWEEPS / f"{config.name}-{datetime.now():%Y%m%d-%H%M%S}"
    document = config.whole
    write_atomically(folder / SWEEP_FILE, yaml.safe_dump(document, sort_keys=False).encode())
    return folder


def newest_folder(name: str, local: Path) -> Path | None:
    """Return the folder of the newest sweep of a name, if there is one."""
    files = sorted((local / SWEEPS).glob(f"{name}-{TIME}/{SWEEP_FILE}"))
    return files[-1].parent if files else None


def resumable_folder(config: SweepConfig, local: Path) -> Path:
    """Return the folder of the newest sweep of this name; raises `ConfigError` if it is another sweep's."""
    folder = newest_folder(config.name, local)
    if folder is None:
        raise ConfigError(
            f"--resume: no sweep of the name {config.name} in {shown(local)}; leave --resume out"
        )
    earlier, now = load_sweep(folder / SWEEP_FILE).whole, config.whole
    for key in sorted(earlier.keys() | now.keys()):
        if earlier.get(key) != now.get(key) and key not in ("tracking", "storage"):
            raise ConfigError(
                f"--resume: {key} differs from {shown(folder / SWEEP_FILE)}: "
                "take the configuration back, or leave --resume out"
            )
    return folder
