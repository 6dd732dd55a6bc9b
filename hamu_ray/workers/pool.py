"""The pool of a sweep's slots: assigns slots to trials, keeps idle slots warm, and adapts them to the cluster."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.actor import ActorHandle

from hamu_ray.config.run import RunConfig
from hamu_ray.config.search import WAIT_FOR_NODES
from hamu_ray.config.workers import WorkersConfig
from hamu_ray.results.outcome import Verdict
from hamu_ray.workers.nodes.asking import start_ready
from hamu_ray.workers.nodes.autoscaler import RoomRequests
from hamu_ray.workers.nodes.capacity import POLL_SECONDS, fit_together, groups_that_fit, node_resources
from hamu_ray.workers.nodes.elastic import Elasticity
from hamu_ray.workers.ray_private import HEAD_NODE, draining_nodes
from hamu_ray.workers.slot import CLOSE_SECONDS, leave, start_slot

logger = logging.getLogger(__name__)

MOST_REQUESTS = 100
"""Maximum number of slots requested from the autoscaler if the number of concurrent trials is unlimited."""

LOST_SECONDS = 300.0
"""A slot whose process does not respond for this long is considered lost."""


@dataclass(eq=False)
class Entry:
    """A slot, its workers, and the trial that uses it."""

    slot: ActorHandle
    workers: WorkersConfig
    asked: WorkersConfig | None = None
    """The workers of the run that used it last: more than it has, if those did not fit."""
    trial: str | None = None
    nodes: Sequence[str] = ()
    """Ray node ids of its workers, if known."""
    answered: float = field(default_factory=time.monotonic)
    """When the slot last responded, on the monotonic clock."""

    @property
    def is_whole(self) -> bool:
        """Whether it has all workers of its run."""
        return self.asked in (None, self.workers)

    async def read_nodes(self, timeout: float) -> None:
        """Ask the slot for its nodes; a slot that does not respond in time is asked again later.

        Raises:
            RayActorError: The slot is dead.
        """
        with contextlib.suppress(TimeoutError):
            self.nodes = await asyncio.wait_for(self.slot.nodes.remote(), timeout)
            self.answered = time.monotonic()


def start_pool(
    storage: str,
    name: str,
    most: int | None,
    trials: int,
    workers: WorkersConfig,
    patience: float = WAIT_FOR_NODES,
    lost_seconds: float = LOST_SECONDS,
) -> ActorHandle:
    """Start the pool of a sweep; see `Pool` for the arguments."""
    actor: Any = ray.remote(Pool).options(
        num_cpus=0, resources=HEAD_NODE, max_concurrency=1000, max_restarts=-1, max_task_retries=-1
    )
    return start_ready(lambda: actor.remote(storage, name, most, trials, workers, patience, lost_seconds))


class Pool:
    """The actor that assigns slots to trials. If the cluster is full, it closes idle slots with other resources.

    On an autoscaling cluster, it requests resources for pending trials and closes slots that no trial needs. Slots with
    workers on a draining node are closed, which makes their trials write a checkpoint and continue in other slots.
    """

    def __init__(
        self,
        storage: str,
        name: str,
        most: int | None,
        trials: int,
        workers: WorkersConfig,
        patience: float = WAIT_FOR_NODES,
        lost_seconds: float = LOST_SECONDS,
    ) -> None:
        """Start without slots.

        Args:
            storage: Where workers store models.
            name: The sweep's name, used as a prefix for the names of its worker groups.
            most: Maximum number of concurrent trials; None for as many as fit the cluster.
            trials: Number of trials that have not ended yet.
            workers: The largest worker group of the sweep, for which resources are requested.
            patience: After how many seconds without room for all of its workers a run goes on with fewer.
            lost_seconds: See `LOST_SECONDS`.
        """
        self._storage = storage
        self._name = name
        self._most = most or MOST_REQUESTS
        self._trials = trials
        self._elasticity = Elasticity(patience)
        self._lost_seconds = lost_seconds
        self._requests = RoomRequests(workers)
        self._entries: list[Entry] = []
        self._started = 0
        self._maintenance: asyncio.Task | None = None
        self._leaving: set[asyncio.Task] = set()
        self._queue: list[object] = []
        self._changed = asyncio.Condition()

    async def acquire(self, trial: str, run: RunConfig) -> ActorHandle:
        """Return a slot that fits the run, for exclusive use by the trial until it is released.

        A trial that asks again after its own process died gets the same slot. Requests are served in order, so that
        many small groups do not starve a large one.
        """
        self._maintenance = self._maintenance or asyncio.create_task(self._maintain())
        ticket = object()
        async with self._changed:
            self._queue.append(ticket)
            try:
                while (entry := self._held(trial) or self._grant(ticket, run.workers)) is None:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._changed.wait(), POLL_SECONDS)
            finally:
                self._queue.remove(ticket)
                self._changed.notify_all()
            entry.trial, entry.asked = trial, run.workers
            return entry.slot

    async def release(self, trial: str, usable: bool = True) -> None:
        """Release the slot of a trial, if any; drop the slot if it is no longer usable."""
        async with self._changed:
            entry = self._held(trial)
            if entry is not None:
                self._entries.remove(entry)
                if usable:
                    entry.trial = None
                    self._entries.append(entry)  # the most recently used comes last
                self._changed.notify_all()

    async def cancel(self, trial: str, verdict: Verdict) -> None:
        """End a trial's job at its next report; see `Slot.cancel`. No-op if the trial has no slot."""
        entry = self._held(trial)
        if entry is not None:
            entry.slot.cancel.remote(trial, verdict)

    async def set_remaining(self, trials: int) -> None:
        """Set the number of trials that have not ended yet."""
        self._trials = trials

    async def close(self) -> None:
        """Close all slots; returns when Ray has released their resources, or after a time limit."""
        if self._maintenance is not None:
            self._maintenance.cancel()
        self._trials = 0
        self._request_room()
        closing: list[Any] = [
            asyncio.wait_for(entry.slot.close.remote(), CLOSE_SECONDS) for entry in self._entries
        ]
        await asyncio.gather(*closing, return_exceptions=True)

    async def _maintain(self) -> None:
        """Adapt the slots to the cluster and to the trials for as long as the sweep runs."""
        while True:
            try:
                self._elasticity.watch(
                    (entry.asked or entry.workers for entry in self._entries), node_resources()
                )
                await self._drop_lost()
                async with self._changed:
                    self._close_surplus()
                    self._changed.notify_all()
                self._request_room()
            except Exception:  # errors of Ray's control store while it is unavailable
                logger.exception("cannot read the cluster state; retrying")
            await asyncio.sleep(POLL_SECONDS)

    async def _drop_lost(self) -> None:
        """Drop slots that are dead or do not respond, and close those with a worker on a draining node."""
        entries = list(self._entries)
        answers = await asyncio.gather(
            *(entry.read_nodes(POLL_SECONDS) for entry in entries), return_exceptions=True
        )
        alive, draining = {node["NodeID"] for node in ray.nodes() if node["Alive"]}, draining_nodes()
        usable = node_resources()
        for entry, answer in zip(entries, answers, strict=True):
            silent = time.monotonic() - entry.answered > self._lost_seconds
            dead = isinstance(answer, BaseException) or not alive.issuperset(entry.nodes)
            never_starts = not entry.nodes and not groups_that_fit(entry.workers, usable)
            lost = dead or silent or never_starts
            deadlines = [draining[node] for node in entry.nodes if node in draining]
            if lost:
                ray.kill(entry.slot)
                self._forget(entry)
            elif deadlines:
                self._let_leave(entry, min(deadlines))

    def _let_leave(self, entry: Entry, deadline: float) -> None:
        """Close a slot, see `leave`, and count its resources as free."""
        leaving = asyncio.create_task(leave(entry.slot, deadline))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)
        self._forget(entry)

    def _forget(self, entry: Entry) -> None:
        if entry in self._entries:
            self._entries.remove(entry)

    def _close_surplus(self) -> None:
        """Close idle slots that no remaining trial needs, so that their nodes can be released."""
        surplus = max(len(self._entries) - self._trials, 0)
        idle = [entry for entry in self._entries if entry.trial is None]
        for entry in sorted(idle, key=lambda entry: trials_beside(entry, self._entries))[:surplus]:
            entry.slot.close.remote()
            self._entries.remove(entry)

    def _request_room(self) -> None:
        """Request resources from the autoscaler, if there is one, for as many slots as the remaining trials can use."""
        self._requests.update(self._wanted(), [entry.workers for entry in self._entries])

    def _wanted(self) -> int:
        """Return how many more slots the remaining trials can use.

        A slot with fewer workers than its run asked for serves only the trial that has it; others ask for all of them.
        """
        whole = sum(entry.is_whole for entry in self._entries)
        without = self._trials - sum(entry.trial is not None for entry in self._entries)
        return max(min(self._trials, self._most, without + whole) - whole, 0)

    def _grant(self, ticket: object, workers: WorkersConfig) -> Entry | None:
        """Return a slot for the first request in the queue if one is idle or another one fits."""
        if self._queue[0] is not ticket:
            return None
        sizes = self._elasticity.sizes(workers, node_resources())
        return next(filter(None, (self._idle(size) or self._new(size) for size in sizes)), None)

    def _idle(self, workers: WorkersConfig) -> Entry | None:
        """Return the idle slot with the most trials on its nodes, so that the last trials share few nodes.

        Of several, the most recently used.
        """
        idle = [e for e in reversed(self._entries) if e.workers == workers and e.trial is None]
        return max(idle, key=lambda entry: trials_beside(entry, self._entries), default=None)

    def _held(self, trial: str) -> Entry | None:
        return next((e for e in self._entries if e.trial == trial), None)

    def _new(self, workers: WorkersConfig) -> Entry | None:
        """Start a slot if it fits, or after closing idle slots, least recently used first."""
        nodes = node_resources()
        idle = [entry for entry in self._entries if entry.trial is None]
        for count in range(len(idle) + 1):
            kept = [entry for entry in self._entries if entry not in idle[:count]]
            if fit_together([*(entry.workers for entry in kept), workers], nodes):
                return self._start(workers, kept, idle[:count])
        return None

    def _start(self, workers: WorkersConfig, kept: Sequence[Entry], closing: Sequence[Entry]) -> Entry:
        for entry in closing:
            entry.slot.close.remote()
        self._started += 1
        slot = start_slot(workers, self._storage, f"{self._name}-slot-{self._started}")
        self._entries = [*kept, Entry(slot, workers)]
        return self._entries[-1]


def trials_beside(entry: Entry, entries: Sequence[Entry]) -> int:
    """Return how many trials other slots run on the nodes of a slot."""
    others = (other for other in entries if other is not entry and other.trial is not None)
    return sum(not set(other.nodes).isdisjoint(entry.nodes) for other in others)
