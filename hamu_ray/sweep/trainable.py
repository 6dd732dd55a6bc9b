"""What a Tune trial does: hand its configuration to a slot, and pass the slot's news on."""

import math
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.actor import ActorHandle

from hamu_ray.config.sweep import SweepConfig
from hamu_ray.engine.outcome import Outcome, Report, Status
from hamu_ray.sweep.slot import Failure, Job, News

NEWS = "news"
"""The key of a Tune result under which the driver finds a slot's news."""


def run_trial(parameters: dict[str, Any], sweep: SweepConfig, pool: ActorHandle, folder: str) -> None:
    """Run one trial to its end. A trial that fails is a result, not an error: it never stops the sweep."""
    trial_id = tune.get_context().get_trial_id()
    run = sweep.resolve(parameters)
    job = Job(trial_id, run, str(Path(folder) / trial_id), attempts=sweep.search.retries + 1)
    last: News = Failure("not started")
    for _ in range(job.attempts):
        last = follow(job, pool)
        if isinstance(last, Outcome):
            break
    finished = isinstance(last, Outcome) and last.status is Status.FINISHED
    values = {
        o.metric: last.measures.get(o.metric, math.nan) if finished else math.nan
        for o in sweep.search.objectives
    }
    tune.report({**values, NEWS: [last]})


def follow(job: Job, pool: ActorHandle) -> Outcome | Failure:
    """Do a job in a slot, reporting its news; return its end."""
    slot = ray.get(pool.acquire.remote(job.run))
    usable = True
    try:
        ray.get(slot.submit.remote(job))
        heard = 0
        while True:
            news: list[News] = ray.get(slot.news.remote(job.trial_id, heard))
            heard += len(news)
            reports = [item for item in news if isinstance(item, Report)]
            if reports:
                tune.report({NEWS: reports})
            if not isinstance(news[-1], Report):
                return news[-1]
    except ray.exceptions.RayActorError as error:
        usable = False
        return Failure(f"its slot died: {str(error).splitlines()[0]}")
    finally:
        ray.get(pool.release.remote(slot, usable))
