"""A sweep from its configuration to its front: the cluster, the slots, Tune, tracking, and what is left on disk."""

import signal
import sys
from datetime import datetime
from pathlib import Path

import ray
import yaml
from ray import tune
from rich.console import Console

from hamu_ray.config.sweep import SweepConfig
from hamu_ray.engine.checkpoint import write_atomically
from hamu_ray.sweep.cluster import connect
from hamu_ray.sweep.listener import SweepListener
from hamu_ray.sweep.pool import start_pool
from hamu_ray.sweep.preview import trials_of
from hamu_ray.sweep.progress import SweepView, shown
from hamu_ray.sweep.result import leave_result
from hamu_ray.sweep.search import make_search
from hamu_ray.sweep.tracking import Tracking
from hamu_ray.sweep.trainable import run_trial
from hamu_ray.sweep.trial import Status

TRIAL_RESOURCES = {"node:__internal_head__": 0.0001}
"""A trial only waits for its slot: it takes nothing that workers need."""


def run_sweep(config: SweepConfig) -> int:
    """Run a sweep to its end, or to the interrupt, and leave its front; return the exit code.

    The code is 0 when all trials ended, 1 when none finished, 130 after an interrupt.
    """
    console = Console(highlight=False)
    began = datetime.now()
    storage = Path(config.storage.path).expanduser().absolute()
    folder = storage / "sweeps" / f"{config.name}-{began:%Y%m%d-%H%M%S}"
    tracking = Tracking.open(config.tracking.uri, config.tracking.experiment, storage)
    write_sweep_file(config, folder)
    places = min(connect(config.workers), config.search.concurrent or sys.maxsize)
    total = trials_of(config)
    console.print(
        f"sweep {config.name}: {total} trials, {places} at a time on {config.workers.count} workers each; "
        f"results in {shown(folder)}"
    )
    parent = tracking.start_sweep(
        folder.name, config.model_dump(mode="json"), {"algorithm": config.search.algorithm}
    )
    tracking.log_files(parent, [folder / "sweep.yaml"])
    with SweepView(console, total, config.search.objectives) as view:
        listener = SweepListener(config, tracking, folder, view)
        tune_trials(config, listener, folder, places, total)
        listener.close_rest()
    ray.shutdown()
    records = list(listener.records.values())
    complete = sum(record.status is not Status.INTERRUPTED for record in records) == total
    status = Status.FINISHED if complete or config.search.time_budget else Status.INTERRUPTED
    leave_result(config, tracking, listener.runs, parent, folder, records, console, status)
    if status is Status.INTERRUPTED:
        return 130
    return 0 if any(record.status is Status.FINISHED for record in records) else 1


def write_sweep_file(config: SweepConfig, folder: Path) -> None:
    """Write the resolved configuration, which runs the same sweep again."""
    document = config.model_dump(mode="json", by_alias=True, exclude_none=True)
    write_atomically(folder / "sweep.yaml", yaml.safe_dump(document, sort_keys=False).encode())


def tune_trials(config: SweepConfig, listener: SweepListener, folder: Path, places: int, total: int) -> None:
    """Let Tune run all trials, until the end, the time budget, or Ctrl-C (a SIGTERM is taken for one)."""
    pool = start_pool(places, str(folder.parent.parent), folder.name)
    trainable = tune.with_parameters(run_trial, sweep=config, pool=pool, folder=str(folder))
    tuner = tune.Tuner(
        tune.with_resources(trainable, TRIAL_RESOURCES),
        tune_config=tune.TuneConfig(
            search_alg=make_search(config),
            num_samples=total,
            max_concurrent_trials=places,
            reuse_actors=True,
            time_budget_s=config.search.time_budget,
        ),
        run_config=tune.RunConfig(
            name="tune", storage_path=str(folder), callbacks=[listener], verbose=0, log_to_file=False
        ),
    )
    previous = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        tuner.fit()  # takes an interrupt as the wish to end, and returns
    finally:
        signal.signal(signal.SIGTERM, previous)
        ray.kill(pool)
