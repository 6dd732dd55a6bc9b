"""What a Tune trial does: hand its configuration to a slot, and pass the slot's news on."""

import math
from dataclasses import replace
from typing import Any

import ray
from ray import tune
from ray.actor import ActorHandle

from hamu_ray.config.sweep import SweepConfig
from hamu_ray.results.folder import TRIALS, read_outcome, read_reports, trial_name
from hamu_ray.results.front import Point
from hamu_ray.results.outcome import Failure, Outcome, Report, Status
from hamu_ray.results.pruning import curve_of, curve_to_beat
from hamu_ray.storage import StoragePath, storage_path
from hamu_ray.sweep.search import NUMBER, PARAMETERS, STATUS
from hamu_ray.workers.messages import Job
from hamu_ray.workers.slot import follow

MOST_LOSSES = 20
"""How many slots a trial may lose, with their nodes or otherwise. It is never the trial that kills one."""

NEWS = "news"
"""The key of a Tune result under which the driver finds a slot's news."""


class SlotLost(Failure):
    """A job ended with its slot; another slot goes on with it."""


def run_trial(config: dict[str, Any], sweep: SweepConfig, pool: ActorHandle, results: str) -> None:
    """Run one trial to its end. A trial that fails is a result, not an error: it never stops the sweep."""
    trial = trial_name(config[NUMBER])
    place = storage_path(results) / TRIALS / trial
    job = Job(trial, sweep.resolve(config[PARAMETERS]), str(place), attempts=sweep.search.retries + 1)
    end: Outcome | Failure | None = take_up(trial, place, pool, sweep)
    attempts = losses = 0
    while not isinstance(end, Outcome) and attempts < job.attempts and losses < MOST_LOSSES:
        end = do_in_pool(job, pool, sweep)
        attempts += not isinstance(end, SlotLost)
        losses += isinstance(end, SlotLost)
    status = end.status if isinstance(end, Outcome) else Status.FAILED
    measures = end.measures if isinstance(end, Outcome) and status is Status.FINISHED else {}
    values = {o.metric: measures.get(o.metric, math.nan) for o in sweep.search.objectives}
    tune.report({**values, STATUS: status, NEWS: [end]})


def take_up(trial: str, place: StoragePath, pool: ActorHandle, sweep: SweepConfig) -> Outcome | None:
    """Return how a run ended that was over before its end was heard, if so; tell what it had reported."""
    end = read_outcome(place)
    if end is not None:
        reports = read_reports(place)
        tune.report({NEWS: reports})
        ray.get(pool.release.remote(trial, curve=curve_to_beat(end, curve_of(reports, sweep))))
    return end


def do_in_pool(job: Job, pool: ActorHandle, sweep: SweepConfig) -> Outcome | Failure:
    """Do a job in a slot of the pool, which has it back afterwards unless it died."""
    lent: Any = ray.get(pool.acquire.remote(job.trial, job.run))
    slot, rivals = lent
    curve: dict[int, Point] = {}

    def tell(reports: list[Report]) -> None:
        curve.update(curve_of(reports, sweep))
        tune.report({NEWS: reports})

    end: Outcome | Failure
    try:
        end = follow(
            replace(job, rivals=rivals), slot, tell, taken=lambda taken: tune.report({NEWS: [taken]})
        )
    except ray.exceptions.RayActorError as error:
        ray.get(pool.release.remote(job.trial, usable=False))
        return SlotLost(f"its slot died: {str(error).splitlines()[0]}")
    ray.get(pool.release.remote(job.trial, curve=curve_to_beat(end, curve)))
    return end
