"""The Tune trainable: submits the trial's run to a slot, and reports the slot's events to the driver."""

import logging
import math
from collections.abc import Sequence
from typing import Any

import ray
from ray import tune
from ray.actor import ActorHandle

from hamu_ray.config.run import RunConfig
from hamu_ray.results.durable.sealed import Damaged
from hamu_ray.results.folder import TRIALS, read_outcome, read_reports, trial_name
from hamu_ray.results.outcome import Failure, Outcome, Status
from hamu_ray.storage import StoragePath
from hamu_ray.tuning.plan import SweepPlan
from hamu_ray.workers.attempts import run_to_end
from hamu_ray.workers.messages import Event, Job

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
    if end is None:
        end = run_to_end(job, pool, job.attempts, report_events, lambda event: report_events([event]))
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


def report_events(events: Sequence[Event]) -> None:
    """Report events of the trial's job to the driver."""
    tune.report({EVENTS: list(events)})


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
        report_events(reports)
        ray.get(pool.release.remote(trial))
    return end
