"""The slots of a sweep: handed to trials, kept warm in between, and never more than the cluster can hold."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.actor import ActorHandle

from hamu_ray.config.run import RunConfig, WorkersConfig
from hamu_ray.sweep.slot import start_slot


@dataclass
class Entry:
    """A slot, what it is good for, and the trial that has it."""

    slot: ActorHandle
    kind: str
    trial: str | None = None


def slot_kind(run: RunConfig) -> str:
    """Return what a slot has to be alike in to serve a run: its workers."""
    return json.dumps(run.workers.model_dump(mode="json"), sort_keys=True)


def slots_that_fit(workers: WorkersConfig, resources: Mapping[str, float]) -> int:
    """Return how many worker groups the cluster's resources hold at once."""
    fits = [resources.get("CPU", 0.0) / (workers.count * workers.cpus)]
    if workers.gpus:
        fits.append(resources.get("GPU", 0.0) / (workers.count * workers.gpus))
    return int(min(fits) + 1e-9)


def start_pool(places: int, storage: str, name: str) -> ActorHandle:
    """Start the pool of a sweep."""
    actor: Any = ray.remote(Pool)
    return actor.options(num_cpus=0, max_concurrency=1000, max_restarts=-1, max_task_retries=-1).remote(
        places, storage, name
    )


class Pool:
    """An actor. Hands slots to trials; a slot of another kind makes room when all places are taken."""

    def __init__(self, places: int, storage: str, name: str) -> None:
        """Hold at most ``places`` slots."""
        self._places = places
        self._storage = storage
        self._name = name
        self._entries: list[Entry] = []
        self._started = 0
        self._changed = asyncio.Condition()

    async def acquire(self, trial: str, run: RunConfig) -> ActorHandle:
        """Return a slot that fits the run, for this trial alone until it is released.

        A trial that asks again, because its own process died, gets the slot that it has.
        """
        kind = slot_kind(run)
        async with self._changed:
            while True:
                entry = self._held(trial) or self._idle(kind) or await self._new(run, kind)
                if entry is not None:
                    entry.trial = trial
                    return entry.slot
                await self._changed.wait()

    async def release(self, trial: str, usable: bool = True) -> None:
        """Take back the slot that a trial has, if any; one that is not usable any more is let go."""
        async with self._changed:
            entry = self._held(trial)
            if entry is not None:
                self._entries.remove(entry)
                if usable:
                    entry.trial = None
                    self._entries.append(entry)  # the most recently used comes last
                self._changed.notify_all()

    async def close(self) -> None:
        """Let all worker groups go."""
        for entry in self._entries:
            await entry.slot.close.remote()
        self._entries.clear()

    def _idle(self, kind: str) -> Entry | None:
        return next((e for e in reversed(self._entries) if e.kind == kind and e.trial is None), None)

    def _held(self, trial: str) -> Entry | None:
        return next((e for e in self._entries if e.trial == trial), None)

    async def _new(self, run: RunConfig, kind: str) -> Entry | None:
        """Start a slot in a free place, or in that of the idle slot that was used least recently."""
        if len(self._entries) >= self._places:
            oldest = next((e for e in self._entries if e.trial is None), None)
            if oldest is None:
                return None
            self._entries.remove(oldest)
            await oldest.slot.close.remote()
        self._started += 1
        slot = start_slot(run.workers, self._storage, f"{self._name}-slot-{self._started}")
        entry = Entry(slot, kind)
        self._entries.append(entry)
        return entry
