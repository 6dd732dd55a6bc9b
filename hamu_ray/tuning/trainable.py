"""The Tune trainable: submits the trial's run to a slot, and reports the slot's events to the driver."""

import logging
import math
from typing import Any

import ray
from ray import tune
from ray.actor import ActorHandle

from hamu_ray.config.run import RunConfig
from hamu_ray.results.durable.sealed import Damaged
from hamu_ray.results.folder import TRIALS, read_outcome, read_reports, trial_name
from hamu_ray.results.outcome import Failure, Outcome, Report, Status
from hamu_ray.storage import StoragePath
from hamu_ray.tuning.plan import SweepPlan
from hamu_ray.workers.messages import Job, Started, SystemSample
from hamu_ray.workers.ray_private import LOST_ACTOR
from hamu_ray.workers.slot import follow

MOST_SLOT_LOSSES = 20
"""Maximum number of slots that a trial may lose, with their nodes or otherwise; the trial itself never ends a slot."""

EVENTS = "events"
"""Key in a Tune result: the slot's events."""

STATUS = "status"
"""Key in a Tune result: the trial's status."""

PAUSED = "paused"
"""Key in a Tune result: the step at which the trial waits for a promotion; 0 if it does not."""

POINTS = "points"
"""Key in a Tune result: the metrics of the trial's points, without its end."""

PASSED = "passed"
"""Key in a Tune trial's configuration: the step of the last rung that the trial has passed, if any."""

NUMBER, PARAMETERS = "number", "parameters"
"""Keys in a Tune trial's configuration: its number, from which its name is derived, and the sampled values."""

RUN, CLONED_FROM = "run", "cloned_from"
"""Keys in the Tune configuration of a clone: its whole run as plain data, and the name of the trial it starts from."""

logger = logging.getLogger(__name__)


class SlotLost(Failure):
    """The slot died or was closed before the job ended; the job continues in another one."""


def run_trial(config: dict[str, Any], plan: SweepPlan, pool: ActorHandle) -> None:
    """Run one trial to its end. A failed trial is a result, not an error: it never stops the sweep."""
    trial = trial_name(config[NUMBER])
    folder = plan.results / TRIALS / trial
    search = plan.config.search
    passed = config.get(PASSED, 0)
    rungs = search.scheduler.steps if search.scheduler and RUN not in config else ()
    pauses = tuple(step for step in rungs if step > passed)
    run = run_of(config, plan)
    keeping = plan.keeping if run.workers.shards == 1 else None
    job = Job(trial, run, str(folder), attempts=search.retries + 1, keeping=keeping, pauses=pauses)
    end: Outcome | Failure | None = replay_ended_run(trial, folder, pool, passed)
    attempts = losses = 0
    while may_run_again(end) and attempts < job.attempts and losses < MOST_SLOT_LOSSES:
        end = run_in_pool(job, pool)
        attempts += not isinstance(end, SlotLost)
        losses += isinstance(end, SlotLost)
    status = end.status if isinstance(end, Outcome) else Status.FAILED
    paused = end.steps if isinstance(end, Outcome) and end.paused else 0
    measures = {}
    if isinstance(end, Outcome) and (paused or status is Status.FINISHED):
        measures = end.with_costs(plan.metrics)
    values = {metric: measures.get(metric, math.nan) for metric in plan.watched}
    points = end.points if isinstance(end, Outcome) else ()
    on_way = [{metric: point.measures.get(metric, math.nan) for metric in plan.watched} for point in points]
    tune.report({**values, STATUS: status, PAUSED: paused, POINTS: on_way, EVENTS: [end]})


def run_of(config: dict[str, Any], plan: SweepPlan) -> RunConfig:
    """Return the run of a Tune trial: of a sample, or of a clone."""
    return RunConfig.model_validate(config[RUN]) if RUN in config else plan.config.resolve(config[PARAMETERS])


def may_run_again(end: Outcome | Failure | None) -> bool:
    """Whether another attempt may end otherwise."""
    return end is None or (isinstance(end, Failure) and not end.storage_lost)


def replay_ended_run(trial: str, folder: StoragePath, pool: ActorHandle, passed: int = 0) -> Outcome | None:
    """Return the outcome of a run that ended while no trainable followed it, and replay its reports.

    None where it has not ended, or what it left is damaged: it runs again; and where it paused at a rung that it has
    ``passed`` since: it is continued.
    """
    try:
        end = read_outcome(folder)
        if end is not None and end.paused and end.steps <= passed:
            return None
        reports = read_reports(folder) if end is not None else []
    except (Damaged, FileNotFoundError) as error:
        logger.warning("%s; the trial runs again", error)
        return None
    if end is not None:
        tune.report({EVENTS: reports})
        ray.get(pool.release.remote(trial))
    return end


def run_in_pool(job: Job, pool: Any) -> Outcome | Failure:
    """Run a job in a slot of the pool and release the slot."""
    slot: Any = ray.get(pool.acquire.remote(job.trial, job.run))

    def on_workers(event: Started | SystemSample) -> None:
        tune.report({EVENTS: [event]})

    def on_reports(reports: list[Report]) -> None:
        tune.report({EVENTS: reports})

    try:
        end = follow(job, slot, on_reports, on_workers)
    except LOST_ACTOR as error:
        ray.get(pool.release.remote(job.trial, usable=False))
        return SlotLost(f"its slot died: {str(error).splitlines()[0]}")
    leaves = isinstance(end, Outcome) and end.status is Status.INTERRUPTED
    ray.get(pool.release.remote(job.trial, usable=not leaves))
    return SlotLost("its slot was closed because a node leaves") if leaves else end
