"""A slot: a worker group that lives as long as the sweep, and its queue of jobs.

Starting workers for every trial would take far longer than many trials do. A slot's workers keep data, models and
compiled code between trials; a trial submits a job to the slot and reads the job's events.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ray
from ray.actor import ActorHandle

from hamu_ray.config.workers import WorkersConfig
from hamu_ray.results.outcome import Failure, Outcome, Report, Status, Verdict
from hamu_ray.workers.heartbeat import HANG_SECONDS, HEALTH_CHECK_SECONDS, HangDetector, heartbeat_interval
from hamu_ray.workers.messages import Event, Job, Started, SystemSample
from hamu_ray.workers.nodes.capacity import usable_nodes
from hamu_ray.workers.ray_private import HEAD_NODE, WORKER_HEALTH_CHECK, cluster_environment, this_actor

if TYPE_CHECKING:
    from ray.train.torch import TorchTrainer

logger = logging.getLogger(__name__)

RESTART_SECONDS = 1.0
"""Pause before a worker group is restarted after its controller died."""

CLOSE_SECONDS = 20.0
"""Time limit for workers to exit. A slot that exits normally releases its resources at once."""

LEAVE_SECONDS = 60.0
"""Time limit for a trial to write a checkpoint before its node leaves, if the node has no deadline."""

LEAVE_MARGIN_SECONDS = 2.0
"""How long before a node's deadline a slot with workers there is dropped."""

START_ATTEMPTS = 3
"""Number of failed starts of a worker group before they count against the pending job."""


@dataclass
class QueuedJob:
    """A job and its events so far."""

    job: Job
    events: list[Event] = field(default_factory=list)
    fetched: bool = False
    deaths: int = 0
    verdict: Verdict = Verdict.GO_ON

    @property
    def ended(self) -> bool:
        """Whether the last event has been recorded."""
        return bool(self.events) and isinstance(self.events[-1], Outcome | Failure)


class Slot:
    """The actor between trials and a worker group: trials submit jobs, workers fetch them and post events."""

    def __init__(self, workers: WorkersConfig, storage: str, name: str, hang_seconds: float) -> None:
        """Start the worker group; returns before it is ready."""
        self._queue: list[QueuedJob] = []
        self._by_trial: dict[str, QueuedJob] = {}
        self._finished = 0
        self._failed_starts = 0
        self._nodes: tuple[str, ...] = ()
        self._closed = False
        self._ended = False
        self._changed = asyncio.Condition()
        self._detector = HangDetector(hang_seconds)
        self._death = ""
        interval = heartbeat_interval(hang_seconds)
        # Imported here: the pool and the trials import this module too, and need neither Ray Train nor torch.
        from hamu_ray.workers.trainer import make_trainer

        trainer = make_trainer(workers, storage, name, this_actor(), interval)
        self._loop = asyncio.get_event_loop()
        asyncio.run_coroutine_threadsafe(self._end_hung_groups(interval), self._loop)
        threading.Thread(target=self._keep_running, args=(trainer,), daemon=True).start()

    def _keep_running(self, trainer: "TorchTrainer") -> None:
        """Run the worker group, and restart it whenever its controller dies."""
        while not self._closed:
            try:
                trainer.fit()
            except Exception as error:
                reason = f"its worker group ended: {type(error).__name__}: {error}".splitlines()[0]
                asyncio.run_coroutine_threadsafe(self._count_failed_start(reason), self._loop).result()
                time.sleep(RESTART_SECONDS)
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()

    async def _end(self) -> None:
        self._ended = True
        await self._interrupt_jobs()
        await self._notify()

    async def _interrupt_jobs(self) -> None:
        """End the jobs that no worker will run any more."""
        for queued in list(self._queue):
            await self.post(
                queued.job.trial, Outcome(Status.INTERRUPTED, "its slot was closed", 0, {}, 0.0, 0)
            )

    async def _end_hung_groups(self, interval: float) -> None:
        """Kill the workers whenever all of them are silent for too long; Ray Train then restarts the group."""
        while not self._ended:
            await asyncio.sleep(interval)
            if self._queue and self._detector.hung:
                self._death = f"its workers made no progress for {self._detector.silence:.0f} s"
                logger.warning("job %s: %s", self._queue[0].job.trial, self._death)
                for worker in self._detector.give_up():
                    ray.kill(worker)

    async def _count_failed_start(self, reason: str) -> None:
        """Fail the pending job if its workers cannot be started."""
        self._failed_starts += 1
        if self._failed_starts >= START_ATTEMPTS:
            await self._count_death(reason)

    async def _count_death(self, reason: str) -> None:
        """Count a death of the workers against the job that they were running."""
        if self._queue:
            queued = self._queue[0]
            queued.deaths += 1
            if queued.deaths >= queued.job.attempts:
                await self.post(queued.job.trial, Failure(reason))

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _wait_for(self, condition: Callable[[], bool]) -> None:
        async with self._changed:
            await self._changed.wait_for(condition)

    # Called by trials and by the pool

    async def submit(self, job: Job) -> None:
        """Queue a job. If it is already queued or running, the caller is only attached to it.

        A trial that is continued after a pause has another job than before.
        Events of earlier jobs are dropped: a trial keeps the slot until it has read all of its events.
        """
        known = self._by_trial.get(job.trial)
        if known is None or (
            known.ended and not (known.job == job and isinstance(known.events[-1], Outcome))
        ):
            self._by_trial = {name: queued for name, queued in self._by_trial.items() if not queued.ended}
            self._by_trial[job.trial] = QueuedJob(job)
            self._queue.append(self._by_trial[job.trial])
            self._detector.begin()
        if self._ended:
            await self._interrupt_jobs()
        await self._notify()

    async def events(self, trial: str, after: int) -> list[Event]:
        """Return a job's events from index ``after`` on; waits until there is one."""
        queued = self._by_trial[trial]
        await self._wait_for(lambda: len(queued.events) > after)
        return queued.events[after:]

    async def cancel(self, trial: str, verdict: Verdict) -> None:
        """End a job at its next report, with the status that corresponds to the verdict."""
        if trial in self._by_trial:
            self._by_trial[trial].verdict = verdict

    async def nodes(self) -> list[str]:
        """Return the Ray node ids of the workers; empty until they are ready."""
        return ids_of(self._nodes)

    async def close(self) -> None:
        """Interrupt the jobs and shut the workers down; returns when Ray has released their resources."""
        self._closed = True
        await self._notify()
        await self._wait_for(lambda: self._ended)

    # Called by workers

    async def enroll(self, rank: int, worker: ActorHandle) -> None:
        """Register a worker of a group that is starting."""
        self._detector.enroll(rank, worker)

    async def beat(self, sample: SystemSample | None = None) -> None:
        """Record a worker's heartbeat, and a sample of its node for the running job."""
        self._detector.beat()
        if sample is not None and self._queue and self._queue[0].fetched:
            await self.post(self._queue[0].job.trial, sample)

    async def join(self, nodes: list[str]) -> int:
        """Register a group that is ready; return the index of its first job: after a restart, the interrupted one.

        The job is not blamed if the workers died because their node left.
        """
        self._failed_starts = 0
        gone = set(ids_of(self._nodes)) - {node["NodeID"] for node in usable_nodes()}
        self._nodes = tuple(nodes)
        reason, self._death = self._death or "its workers died on every attempt", ""
        if self._queue and self._queue[0].fetched and not gone:
            await self._count_death(reason)
        return self._finished

    async def fetch(self, number: int) -> Job | None:
        """Return a job by its index; waits until it is queued. None if the slot is closed."""
        await self._wait_for(lambda: len(self._queue) > number - self._finished or self._closed)
        if self._closed:
            return None
        queued = self._queue[number - self._finished]
        queued.fetched = True
        await self.post(queued.job.trial, Started(self._nodes))
        return queued.job

    async def post(self, trial: str, event: Event) -> Verdict:
        """Record an event of a job; return whether the job continues."""
        queued = self._by_trial[trial]
        if not queued.ended:
            queued.events.append(event)
            if queued.ended:
                self._queue.remove(queued)
                self._finished += 1
        await self._notify()
        return Verdict.INTERRUPT if self._closed else queued.verdict


def ids_of(nodes: Iterable[str]) -> list[str]:
    """Return the Ray node ids of nodes given as ``address/id``."""
    return [node.rpartition("/")[2] for node in nodes]


def start_slot(
    workers: WorkersConfig, storage: str, name: str, hang_seconds: float = HANG_SECONDS
) -> ActorHandle:
    """Start a slot; returns before its workers are ready. ``hang_seconds``: see `HangDetector`."""
    actor: Any = ray.remote(Slot)
    environment = {**cluster_environment(), WORKER_HEALTH_CHECK: str(HEALTH_CHECK_SECONDS)}
    return actor.options(
        num_cpus=0, resources=HEAD_NODE, max_concurrency=1000, runtime_env={"env_vars": environment}
    ).remote(workers, storage, name, hang_seconds)


def follow(
    job: Job,
    slot: ActorHandle,
    on_reports: Callable[[list[Report]], None],
    on_workers: Callable[[Started | SystemSample], None] = lambda event: None,
) -> Outcome | Failure:
    """Submit a job to a slot, call back with its events, and return its outcome."""
    ray.get(slot.submit.remote(job))
    count = 0
    while True:
        events: list[Event] = ray.get(slot.events.remote(job.trial, count))
        count += len(events)
        for event in events:
            if isinstance(event, Started | SystemSample):
                on_workers(event)
        reports = [event for event in events if isinstance(event, Report)]
        if reports:
            on_reports(reports)
        if isinstance(end := events[-1], Outcome | Failure):
            return end


async def leave(slot: ActorHandle, deadline: float) -> None:
    """Close a slot before a node of it ends at ``deadline`` (Unix time, 0 if unknown), or kill it.

    Closing interrupts its job, which writes a checkpoint; the trial then continues in another slot.
    """
    seconds = deadline - time.time() - LEAVE_MARGIN_SECONDS if deadline else LEAVE_SECONDS
    try:
        await asyncio.wait_for(slot.close.remote(), max(seconds, 0))
    except (TimeoutError, ray.exceptions.RayError):
        ray.kill(slot)
