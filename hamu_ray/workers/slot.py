"""A slot: one worker group that lives as long as the sweep, and the mailbox that feeds it.

A trial that started workers of its own would wait for them far longer than many a trial takes. The slot's workers keep
data, models and compiled code from trial to trial; a trial only hands in a job and reads the news of it.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.train.torch import TorchTrainer

from hamu_ray.config.run import WorkersConfig
from hamu_ray.results.outcome import Failure, Outcome, Report, Verdict
from hamu_ray.workers.capacity import ON_THE_HEAD, usable_nodes
from hamu_ray.workers.messages import Event, Job, Started
from hamu_ray.workers.trainer import make_trainer

RESTART_SECONDS = 1.0
"""Pause before a worker group whose controller died is started again."""


CLOSE_SECONDS = 20.0
"""How long workers may take to end; a slot that ends by itself gives its nodes back at once."""

STARTS = 3
"""How often a worker group is started in vain before a job that waits for it suffers."""


@dataclass
class Progress:
    """A job and what has been heard of it."""

    job: Job
    news: list[Event] = field(default_factory=list)
    fetched: bool = False
    deaths: int = 0
    cancelled: bool = False

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return bool(self.news) and isinstance(self.news[-1], Outcome | Failure)


class Slot:
    """The mailbox of a worker group, an actor. Trials submit and read; workers fetch and post."""

    def __init__(self, workers: WorkersConfig, storage: str, name: str) -> None:
        """Start the worker group; returns before it is up."""
        self._waiting: list[Progress] = []
        self._by_trial: dict[str, Progress] = {}
        self._finished = 0
        self._failed_starts = 0
        self._nodes: tuple[str, ...] = ()
        self._closed = False
        self._ended = False
        self._changed = asyncio.Condition()
        trainer = make_trainer(workers, storage, name, ray.get_runtime_context().current_actor)
        self._loop = asyncio.get_event_loop()
        threading.Thread(target=self._keep_up, args=(trainer,), daemon=True).start()

    def _keep_up(self, trainer: TorchTrainer) -> None:
        """Run the worker group, and run it again if its controller dies."""
        while not self._closed:
            try:
                trainer.fit()
            except Exception as error:
                reason = f"its worker group ended: {type(error).__name__}: {error}".splitlines()[0]
                asyncio.run_coroutine_threadsafe(self._note_failed_start(reason), self._loop).result()
                time.sleep(RESTART_SECONDS)
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()

    async def _end(self) -> None:
        self._ended = True
        async with self._changed:
            self._changed.notify_all()

    async def _note_failed_start(self, reason: str) -> None:
        """Give the job up that waits for workers which cannot be started."""
        self._failed_starts += 1
        if self._failed_starts >= STARTS:
            await self._note_death(reason)

    async def _note_death(self, reason: str) -> None:
        """Count a death of the workers against the job that they were at."""
        if self._waiting:
            progress = self._waiting[0]
            progress.deaths += 1
            if progress.deaths >= progress.job.attempts:
                await self.post(progress.job.trial, Failure(reason))

    async def _wait_for(self, condition: Any) -> None:
        async with self._changed:
            await self._changed.wait_for(condition)

    # For trials

    async def submit(self, job: Job) -> None:
        """Queue a job; submitting one again that is under way only attaches to it.

        What was heard of earlier trials' jobs is forgotten: a trial has the slot until it has read it all.
        """
        known = self._by_trial.get(job.trial)
        if known is None or (known.over and not isinstance(known.news[-1], Outcome)):
            self._by_trial = {name: kept for name, kept in self._by_trial.items() if not kept.over}
            self._by_trial[job.trial] = Progress(job)
            self._waiting.append(self._by_trial[job.trial])
        async with self._changed:
            self._changed.notify_all()

    async def news(self, trial: str, after: int) -> list[Event]:
        """Return a job's news from number ``after`` on, waiting until there is some."""
        progress = self._by_trial[trial]
        await self._wait_for(lambda: len(progress.news) > after)
        return progress.news[after:]

    async def cancel(self, trial: str) -> None:
        """Let a job end at its next report."""
        self._by_trial[trial].cancelled = True

    async def nodes(self) -> list[str]:
        """Return Ray's ids of the nodes that the workers are on, once they are up."""
        return ids_of(self._nodes)

    async def close(self) -> None:
        """Let the workers go once they are done; returns when Ray has their resources back."""
        self._closed = True
        async with self._changed:
            self._changed.notify_all()
        await self._wait_for(lambda: self._ended)

    # For workers

    async def position(self, nodes: list[str]) -> int:
        """Return the number of the job to start with: after a restart, the one that was under way.

        Workers that a node took along when it left have not died of the job.
        """
        self._failed_starts = 0
        left = set(ids_of(self._nodes)) - {node["NodeID"] for node in usable_nodes()}
        self._nodes = tuple(nodes)
        if self._waiting and self._waiting[0].fetched and not left:
            await self._note_death("its workers died, as often as it may be tried")
        return self._finished

    async def fetch(self, number: int) -> Job | None:
        """Return a job by its number, waiting until it is there; None when the slot is closed."""
        await self._wait_for(lambda: len(self._waiting) > number - self._finished or self._closed)
        if self._closed:
            return None
        progress = self._waiting[number - self._finished]
        progress.fetched = True
        await self.post(progress.job.trial, Started(self._nodes))
        return progress.job

    async def post(self, trial: str, news: Event) -> Verdict:
        """Take news of a job; answer whether to go on."""
        progress = self._by_trial[trial]
        if not progress.over:
            progress.news.append(news)
            if progress.over:
                self._waiting.remove(progress)
                self._finished += 1
        async with self._changed:
            self._changed.notify_all()
        return Verdict.INTERRUPT if progress.cancelled or self._closed else Verdict.GO_ON


def ids_of(nodes: Iterable[str]) -> list[str]:
    """Return Ray's ids of nodes."""
    return [node.rpartition("/")[2] for node in nodes]


def start_slot(workers: WorkersConfig, storage: str, name: str) -> ActorHandle:
    """Start a slot; returns before its workers are up."""
    actor: Any = ray.remote(Slot)
    # Ray Train frees a dead group's resources with the help of its state API, which gives up where several clusters
    # run on one machine, unless this variable says which is meant. The group's processes inherit it.
    environment = {"env_vars": {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}}
    return actor.options(
        num_cpus=0, resources=ON_THE_HEAD, max_concurrency=64, runtime_env=environment
    ).remote(workers, storage, name)


def follow(
    job: Job,
    slot: ActorHandle,
    tell: Callable[[list[Report]], None],
    taken: Callable[[Started], None] = lambda taken: None,
) -> Outcome | Failure:
    """Submit a job to a slot, tell where it is taken up and its reports as they come; return its end."""
    ray.get(slot.submit.remote(job))
    heard = 0
    while True:
        news: list[Event] = ray.get(slot.news.remote(job.trial, heard))
        heard += len(news)
        for item in news:
            if isinstance(item, Started):
                taken(item)
        reports = [item for item in news if isinstance(item, Report)]
        if reports:
            tell(reports)
        end = news[-1]
        if isinstance(end, Outcome | Failure):
            return end
