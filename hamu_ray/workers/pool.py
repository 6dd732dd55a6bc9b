"""The pool of a sweep's slots: lends them to trials, keeps them warm in between, and fits them to the cluster."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.util.placement_group import PlacementGroup, remove_placement_group

from hamu_ray.config.run import RunConfig, WorkersConfig
from hamu_ray.results.outcome import Verdict
from hamu_ray.workers.autoscaler import is_ready, request_room
from hamu_ray.workers.capacity import POLL_SECONDS, fit_together, node_resources, usable_nodes
from hamu_ray.workers.ray_private import HEAD_NODE, pending_nodes
from hamu_ray.workers.slot import CLOSE_SECONDS, start_slot

logger = logging.getLogger(__name__)

MOST_REQUESTS = 100
"""Room is requested for at most this many slots at once, where the number of concurrent trials has no limit."""

LOST_SECONDS = 300.0
"""A slot whose process does not answer for this long is considered lost."""


@dataclass(eq=False)
class Entry:
    """A slot, its workers, and the trial that has it."""

    slot: ActorHandle
    workers: WorkersConfig
    trial: str | None = None
    nodes: Sequence[str] = ()
    """Ray's ids of the nodes on which its workers run, as far as is known."""
    answered: float = field(default_factory=time.monotonic)
    """When the slot was last known to answer, by the monotonic clock."""

    async def read_nodes(self, timeout: float) -> None:
        """Ask the slot for its nodes; a slot that does not answer in time is asked again later.

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
    lost_seconds: float = LOST_SECONDS,
) -> ActorHandle:
    """Start the pool of a sweep; see `Pool` for the arguments."""
    actor: Any = ray.remote(Pool)
    return actor.options(
        num_cpus=0, resources=HEAD_NODE, max_concurrency=1000, max_restarts=-1, max_task_retries=-1
    ).remote(storage, name, most, trials, workers, lost_seconds)


class Pool:
    """The actor that lends slots to trials. Where the cluster has no room, it closes idle slots of other workers.

    On a cluster that scales, it requests room for the trials to come, closes slots that no trial needs, and drops slots
    whose nodes leave; their trials go on in other slots.
    """

    def __init__(
        self,
        storage: str,
        name: str,
        most: int | None,
        trials: int,
        workers: WorkersConfig,
        lost_seconds: float = LOST_SECONDS,
    ) -> None:
        """Start without a slot.

        Args:
            storage: Where workers keep models.
            name: The sweep's name, with which the names of its worker groups begin.
            most: How many trials run at once; None for as many as the cluster holds.
            trials: How many trials have not ended yet.
            workers: The largest worker group of the sweep, for which room is requested.
            lost_seconds: See `LOST_SECONDS`.
        """
        self._storage = storage
        self._name = name
        self._most = most or MOST_REQUESTS
        self._trials = trials
        self._workers = workers
        self._lost_seconds = lost_seconds
        self._requests: list[PlacementGroup] = []
        self._entries: list[Entry] = []
        self._started = 0
        self._maintenance: asyncio.Task | None = None
        self._queue: list[object] = []
        self._changed = asyncio.Condition()

    async def acquire(self, trial: str, run: RunConfig) -> ActorHandle:
        """Return a slot that fits the run; the trial alone uses it until it is released.

        A trial whose own process died and that asks again gets the slot that it has. Slots are granted in the order of
        the requests: many small groups do not starve a large one.
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
            entry.trial = trial
            return entry.slot

    async def release(self, trial: str, usable: bool = True) -> None:
        """Take back the slot that a trial has, if any; drop it if it is not usable any more."""
        async with self._changed:
            entry = self._held(trial)
            if entry is not None:
                self._entries.remove(entry)
                if usable:
                    entry.trial = None
                    self._entries.append(entry)  # the most recently used comes last
                self._changed.notify_all()

    async def cancel(self, trial: str, verdict: Verdict) -> None:
        """End a trial's job at its next report; see `Slot.cancel`. Does nothing if the trial has no slot."""
        entry = self._held(trial)
        if entry is not None:
            entry.slot.cancel.remote(trial, verdict)

    async def set_remaining(self, trials: int) -> None:
        """Set how many trials have not ended yet."""
        self._trials = trials

    async def close(self) -> None:
        """Close all slots; returns when Ray has their resources back, or when their time is up."""
        if self._maintenance is not None:
            self._maintenance.cancel()
        self._trials = 0
        self._request_room()
        closing: list[Any] = [
            asyncio.wait_for(entry.slot.close.remote(), CLOSE_SECONDS) for entry in self._entries
        ]
        await asyncio.gather(*closing, return_exceptions=True)

    async def _maintain(self) -> None:
        """Fit the slots to the cluster and to the trials, for as long as the sweep lasts."""
        while True:
            try:
                await self._drop_lost()
                async with self._changed:
                    self._close_surplus()
                    self._changed.notify_all()
                self._request_room()
            except Exception:  # what Ray's control store raises while it is away
                logger.exception("cannot read the cluster's state; trying again")
            await asyncio.sleep(POLL_SECONDS)

    async def _drop_lost(self) -> None:
        """Drop slots that died or do not answer, and those with a worker on a node that left or is being drained."""
        entries = list(self._entries)
        answers = await asyncio.gather(
            *(entry.read_nodes(POLL_SECONDS) for entry in entries), return_exceptions=True
        )
        usable = {node["NodeID"] for node in usable_nodes()}
        for entry, answer in zip(entries, answers, strict=True):
            silent = time.monotonic() - entry.answered > self._lost_seconds
            if isinstance(answer, BaseException) or silent or not usable.issuperset(entry.nodes):
                ray.kill(entry.slot)
                if entry in self._entries:
                    self._entries.remove(entry)

    def _close_surplus(self) -> None:
        """Close idle slots that no trial is left for, so that their nodes can leave."""
        surplus = max(len(self._entries) - self._trials, 0)
        for entry in [entry for entry in self._entries if entry.trial is None][:surplus]:
            entry.slot.close.remote()
            self._entries.remove(entry)

    def _request_room(self) -> None:
        """Request room from the autoscaler, if there is one, for as many slots as trials could use.

        A request that is ready keeps its node until a slot uses it, and is withdrawn before it is in the way of slots
        that are starting: Ray serves requests first, because they have waited longer.
        """
        wanted = max(min(self._trials, self._most) - len(self._entries), 0)
        if wanted and pending_nodes() is None:
            wanted = 0
        ready = [request for request in self._requests if is_ready(request)]
        held = ready[: self._room_for(len(ready))]
        kept = [*held, *(request for request in self._requests if request not in ready)][:wanted]
        for request in self._requests:
            if request not in kept:
                remove_placement_group(request)
        self._requests = kept
        if len(held) == len(ready):
            self._requests += [request_room(self._workers) for _ in range(wanted - len(kept))]

    def _room_for(self, most: int) -> int:
        """Return how many more slots there is room for, up to ``most``."""
        nodes, present = node_resources(), [entry.workers for entry in self._entries]
        fits = (n for n in range(most, 0, -1) if fit_together([*present, *[self._workers] * n], nodes))
        return next(fits, 0)

    def _grant(self, ticket: object, workers: WorkersConfig) -> Entry | None:
        """Return a slot for the first request in the queue, if one is idle or there is room for one."""
        return self._idle(workers) or self._new(workers) if self._queue[0] is ticket else None

    def _idle(self, workers: WorkersConfig) -> Entry | None:
        return next((e for e in reversed(self._entries) if e.workers == workers and e.trial is None), None)

    def _held(self, trial: str) -> Entry | None:
        return next((e for e in self._entries if e.trial == trial), None)

    def _new(self, workers: WorkersConfig) -> Entry | None:
        """Start a slot where there is room, or where closing idle slots makes room, the least recently used first."""
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
