"""What a Tune trial does: hand its configuration to a slot, and pass the slot's news on."""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import ray
from ray import tune
from ray.actor import ActorHandle

from hamu_ray.config.sweep import SweepConfig
from hamu_ray.engine.files import StoragePath, storage_path
from hamu_ray.engine.outcome import Outcome, Report, Status
from hamu_ray.sweep.front import Point
from hamu_ray.sweep.pruning import Curve
from hamu_ray.sweep.records import TRIALS, read_outcome, read_reports
from hamu_ray.sweep.search import NUMBER, PARAMETERS, STATUS
from hamu_ray.sweep.slot import Failure, Job, News, Taken

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


def curve_to_beat(end: Outcome | Failure, curve: Curve) -> Curve | None:
    """Return a trial's curve if others are to be held against it."""
    return curve if isinstance(end, Outcome) and end.status is Status.FINISHED else None


def trial_name(number: int) -> str:
    """Return what a trial is called, in folders, tables and tracking."""
    return f"{number:04d}"


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


def curve_of(reports: Iterable[Report], sweep: SweepConfig) -> dict[int, Point]:
    """Return the sweep's two objectives at the steps where they were measured."""
    first, second = (objective.metric for objective in sweep.search.objectives)
    return {
        report.step: (report.measures[first], report.measures[second])
        for report in reports
        if report.phase == "unlearning" and {first, second} <= report.measures.keys()
    }


def follow(
    job: Job,
    slot: ActorHandle,
    tell: Callable[[list[Report]], None],
    taken: Callable[[Taken], None] = lambda taken: None,
) -> Outcome | Failure:
    """Submit a job to a slot, tell where it is taken up and its reports as they come; return its end."""
    ray.get(slot.submit.remote(job))
    heard = 0
    while True:
        news: list[News] = ray.get(slot.news.remote(job.trial, heard))
        heard += len(news)
        for item in news:
            if isinstance(item, Taken):
                taken(item)
        reports = [item for item in news if isinstance(item, Report)]
        if reports:
            tell(reports)
        end = news[-1]
        if isinstance(end, Outcome | Failure):
            return end
