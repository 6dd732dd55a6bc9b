"""Running a job to its end in the pool's slots: a run outlives the slots that it loses."""

from collections.abc import Callable
from typing import Any

import ray

from hamu_ray.results.outcome import Failure, Outcome, Report, Status
from hamu_ray.workers.messages import Job, Started, SystemSample
from hamu_ray.workers.ray_private import LOST_ACTOR
from hamu_ray.workers.slot import follow

MOST_SLOT_LOSSES = 20
"""Maximum number of slots that a run may lose, with their nodes or otherwise; the run itself never ends a slot."""

OnReports = Callable[[list[Report]], None]
OnWorkers = Callable[[Started | SystemSample], None]


class SlotLost(Failure):
    """The slot died or was closed before the job ended; the job continues in another one."""


def run_to_end(
    job: Job, pool: Any, attempts: int, on_reports: OnReports, on_workers: OnWorkers = lambda event: None
) -> Outcome | Failure:
    """Run a job in slots of the pool until it ends, or has failed in ``attempts`` slots; return how it ended."""
    failures = losses = 0
    while True:
        end = run_in_pool(job, pool, on_reports, on_workers)
        if isinstance(end, Outcome) or end.storage_lost:
            return end
        losses += isinstance(end, SlotLost)
        failures += not isinstance(end, SlotLost)
        if failures >= attempts or losses >= MOST_SLOT_LOSSES:
            return end


def run_in_pool(job: Job, pool: Any, on_reports: OnReports, on_workers: OnWorkers) -> Outcome | Failure:
    """Run a job in a slot of the pool and release the slot."""
    slot: Any = ray.get(pool.acquire.remote(job.trial, job.run))
    try:
        end = follow(job, slot, on_reports, on_workers)
    except LOST_ACTOR as error:
        ray.get(pool.release.remote(job.trial, usable=False))
        return SlotLost(f"its slot died: {str(error).splitlines()[0]}")
    leaves = isinstance(end, Outcome) and end.status is Status.INTERRUPTED
    ray.get(pool.release.remote(job.trial, usable=not leaves))
    return SlotLost("its slot was closed because a node leaves") if leaves else end
