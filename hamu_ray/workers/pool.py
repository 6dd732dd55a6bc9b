"""The slots of a sweep: handed to trials, kept warm in between, and never more than the cluster can hold."""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.util.placement_group import PlacementGroup, remove_placement_group

from hamu_ray.config.run import RunConfig, WorkersConfig
from hamu_ray.results.pruning import Curve, ReferenceCurves
from hamu_ray.workers.autoscaler import ask_for, is_there, nodes_on_their_way
from hamu_ray.workers.capacity import LOOK_SECONDS, ON_THE_HEAD, fit_together, node_resources, usable_nodes
from hamu_ray.workers.slot import start_slot

logger = logging.getLogger(__name__)

MOST_CLAIMS = 100
"""Room is asked for so many slots at once, where the number of trials at once has no limit."""


@dataclass(eq=False)
class Entry:
    """A slot, the workers that it has, and the trial that has it."""

    slot: ActorHandle
    workers: WorkersConfig
    trial: str | None = None


def start_pool(
    storage: str,
    name: str,
    rivals: ReferenceCurves | None,
    most: int | None,
    trials: int,
    workers: WorkersConfig,
) -> ActorHandle:
    """Start the pool of a sweep of so many trials that are still to run, of which at most ``most`` run at once."""
    actor: Any = ray.remote(Pool)
    return actor.options(
        num_cpus=0, resources=ON_THE_HEAD, max_concurrency=1000, max_restarts=-1, max_task_retries=-1
    ).remote(storage, name, rivals, most, trials, workers)


class Pool:
    """An actor. Hands slots to trials; where the cluster has no room, an idle slot of other workers makes some.

    On a cluster that scales it asks for what more trials need, lets go of what fewer do not, and gives the slots up
    whose nodes leave: their trials go on in others.
    """

    def __init__(
        self,
        storage: str,
        name: str,
        rivals: ReferenceCurves | None,
        most: int | None,
        trials: int,
        workers: WorkersConfig,
    ) -> None:
        """Start without a slot.

        ``rivals`` are finished trials of a sweep that goes on, None where none prune; ``workers`` the largest group
        of the sweep, which the autoscaler is asked for.
        """
        self._storage = storage
        self._name = name
        self._rivals = rivals
        self._most = most or MOST_CLAIMS
        self._trials = trials
        self._workers = workers
        self._claims: list[PlacementGroup] = []
        self._entries: list[Entry] = []
        self._started = 0
        self._tending: asyncio.Task | None = None
        self._queue: list[object] = []
        self._changed = asyncio.Condition()

    async def acquire(self, trial: str, run: RunConfig) -> tuple[ActorHandle, ReferenceCurves | None]:
        """Return a slot that fits the run, for this trial alone until it is released, and whom to beat.

        A trial that asks again, because its own process died, gets the slot that it has. First come, first served:
        many small groups do not keep a large one waiting for ever.
        """
        self._tending = self._tending or asyncio.create_task(self._tend())
        ticket = object()
        async with self._changed:
            self._queue.append(ticket)
            try:
                while (entry := self._held(trial) or self._turn_of(ticket, run.workers)) is None:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._changed.wait(), LOOK_SECONDS)
            finally:
                self._queue.remove(ticket)
                self._changed.notify_all()
            entry.trial = trial
            return entry.slot, self._rivals

    async def release(self, trial: str, usable: bool = True, curve: Curve | None = None) -> None:
        """Take back the slot that a trial has, if any; one that is not usable any more is let go.

        The curve of a trial that finished is what others are held against from now on.
        """
        async with self._changed:
            if curve and self._rivals:
                self._rivals = replace(self._rivals, curves=(*self._rivals.curves, curve))
            entry = self._held(trial)
            if entry is not None:
                self._entries.remove(entry)
                if usable:
                    entry.trial = None
                    self._entries.append(entry)  # the most recently used comes last
                self._changed.notify_all()

    async def expect(self, trials: int) -> None:
        """Hear how many trials are not over yet."""
        self._trials = trials

    async def _tend(self) -> None:
        """Look after the slots, for as long as the sweep lasts."""
        while True:
            try:
                await self._give_up_lost()
                async with self._changed:
                    self._let_idle_go()
                    self._changed.notify_all()
                self._ask()
            except Exception:  # what Ray's control store raises while it is away
                logger.exception("cannot look at the cluster; trying again")
            await asyncio.sleep(LOOK_SECONDS)

    async def close(self) -> None:
        """Let all slots go; returns when Ray has their resources back."""
        if self._tending is not None:
            self._tending.cancel()
        self._trials = 0
        self._ask()
        await asyncio.gather(*(entry.slot.close.remote() for entry in self._entries), return_exceptions=True)

    async def _give_up_lost(self) -> None:
        """Forget slots that died, and end those that have a worker on a node that left or is to leave."""
        entries = list(self._entries)
        places = await asyncio.gather(*(e.slot.nodes.remote() for e in entries), return_exceptions=True)
        usable = {node["NodeID"] for node in usable_nodes()}
        for entry, nodes in zip(entries, places, strict=True):
            if isinstance(nodes, BaseException) or not usable.issuperset(nodes):
                ray.kill(entry.slot)
                if entry in self._entries:
                    self._entries.remove(entry)

    def _let_idle_go(self) -> None:
        """Close slots that no trial is left for, so that their nodes may go."""
        surplus = max(len(self._entries) - self._trials, 0)
        for entry in [entry for entry in self._entries if entry.trial is None][:surplus]:
            entry.slot.close.remote()
            self._entries.remove(entry)

    def _ask(self) -> None:
        """Ask the autoscaler, if there is one, for room for as many slots as trials could use.

        What was asked for and is there keeps its node until a slot uses it, and is let go before it is in the way of
        slots that are starting: Ray serves those first, which waited longer.
        """
        wanted = max(min(self._trials, self._most) - len(self._entries), 0)
        if wanted and nodes_on_their_way() is None:
            wanted = 0
        ready = [claim for claim in self._claims if is_there(claim)]
        held = ready[: self._room_for(len(ready))]
        kept = [*held, *(claim for claim in self._claims if claim not in ready)][:wanted]
        for claim in self._claims:
            if claim not in kept:
                remove_placement_group(claim)
        self._claims = kept
        if len(held) == len(ready):
            self._claims += [ask_for(self._workers) for _ in range(wanted - len(kept))]

    def _room_for(self, most: int) -> int:
        """Return how many more slots there is room for, up to a number."""
        nodes, there = node_resources(), [entry.workers for entry in self._entries]
        fits = (n for n in range(most, 0, -1) if fit_together([*there, *[self._workers] * n], nodes))
        return next(fits, 0)

    def _turn_of(self, ticket: object, workers: WorkersConfig) -> Entry | None:
        """Return a slot for the first in the queue, if there is one or room for one."""
        return self._idle(workers) or self._new(workers) if self._queue[0] is ticket else None

    def _idle(self, workers: WorkersConfig) -> Entry | None:
        return next((e for e in reversed(self._entries) if e.workers == workers and e.trial is None), None)

    def _held(self, trial: str) -> Entry | None:
        return next((e for e in self._entries if e.trial == trial), None)

    def _new(self, workers: WorkersConfig) -> Entry | None:
        """Start a slot where there is room, or where idle slots make room, the least recently used first."""
        nodes = node_resources()
        idle = [entry for entry in self._entries if entry.trial is None]
        for count in range(len(idle) + 1):
            kept = [entry for entry in self._entries if entry not in idle[:count]]
            if fit_together([*(entry.workers for entry in kept), workers], nodes):
                return self._start(workers, kept, idle[:count])
        return None

    def _start(self, workers: WorkersConfig, kept: Sequence[Entry], leaving: Sequence[Entry]) -> Entry:
        for entry in leaving:
            entry.slot.close.remote()
        self._started += 1
        slot = start_slot(workers, self._storage, f"{self._name}-slot-{self._started}")
        self._entries = [*kept, Entry(slot, workers)]
        return self._entries[-1]
