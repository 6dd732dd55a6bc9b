"""The pool of slots: a hung slot blocks no other trial. Whole sweeps with the pool are tested in tests/tuning."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from hamu_ray.config.run import RunConfig
from hamu_ray.config.workers import WorkersConfig
from hamu_ray.workers.pool import Entry, Pool, start_pool
from tests.runs import small_run

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

LOST_SECONDS = 12.0


@pytest.fixture
def run(storage: Path) -> RunConfig:
    return RunConfig.model_validate(small_run(storage, workers={"count": 1, "cpus": 0.5}))


@pytest.fixture
def pool(cluster: None, storage: Path, run: RunConfig) -> Iterator[Any]:
    import ray

    started = start_pool(str(storage), "pooled", None, 2, run.workers, lost_seconds=LOST_SECONDS)
    yield started
    ray.get(started.close.remote(), timeout=60)
    ray.kill(started)


def new_slot(pool: Any, trial: str, run: RunConfig) -> tuple[Any, psutil.Process]:
    """Return a trial's slot once it responds, and its process."""
    import ray

    slot = ray.get(pool.acquire.remote(trial, run))
    pid = ray.get(slot.__ray_call__.remote(lambda _: os.getpid()), timeout=60)
    return slot, psutil.Process(pid)


def test_a_frozen_slot_is_dropped_and_others_are_served(pool: Any, run: RunConfig) -> None:
    import ray

    lost, process = new_slot(pool, "lost", run)
    kept, other = new_slot(pool, "kept", run)
    other.suspend()
    answer = kept.nodes.remote()
    assert not ray.wait([answer], timeout=LOST_SECONDS / 3)[0], "the slot is silent for a moment"
    other.resume()
    ray.get(answer, timeout=60)
    process.suspend()
    began = time.monotonic()
    waiting = lost.nodes.remote()
    assert ray.get(pool.acquire.remote("kept", run), timeout=60) == kept
    assert not ray.wait([waiting], timeout=0)[0], "the pool responds before the frozen slot is dropped"
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(waiting, timeout=6 * LOST_SECONDS)
    assert time.monotonic() - began > LOST_SECONDS - 3, "not before the time limit"
    assert ray.get(kept.nodes.remote(), timeout=60) is not None, "a short silence loses no slot"
    again, _ = new_slot(pool, "lost", run)
    assert again != lost


@pytest.mark.parametrize(
    ("trials", "running", "idle", "wanted"),
    [(1, 1, 0, 0), (1, 0, 0, 1), (3, 1, 0, 2), (3, 2, 0, 1), (3, 0, 1, 2), (9, 2, 0, 2)],
)
def test_no_room_is_requested_for_trials_that_keep_fewer_workers(
    storage: Path, run: RunConfig, trials: int, running: int, idle: int, wanted: int
) -> None:
    """Of at most two at a time."""
    asked = WorkersConfig(count=4, min_count=2)
    pool = Pool(str(storage), "elastic", 2, trials, asked)
    slot: Any = None
    pool._entries = [
        Entry(slot, asked.sized(3), asked, trial=str(number) if number < running else None)
        for number in range(running + idle)
    ]
    assert pool._wanted() == wanted
    for entry in pool._entries:
        entry.workers = asked
    assert pool._wanted() == max(min(trials, 2) - running - idle, 0), "all of them are whole"


def test_the_last_trials_share_nodes(storage: Path, run: RunConfig) -> None:
    """Of four slots on two nodes, a trial gets the one beside another trial, and surplus ones close elsewhere."""
    closed: list[str] = []

    class Slot:
        def __init__(self, name: str) -> None:
            self.close = SimpleNamespace(remote=lambda: closed.append(name))

    pool = Pool(str(storage), "tail", None, 4, run.workers)
    first, second, third, fourth = (
        Entry(Slot(name), run.workers, nodes=[name[0]])  # type: ignore[arg-type]
        for name in ("a1", "a2", "b1", "b2")
    )
    first.trial = "0001"
    pool._entries = [first, second, third, fourth]
    assert pool._idle(run.workers) is second
    pool._trials = 2
    pool._close_surplus()
    assert closed == ["b1", "b2"]
    assert pool._entries == [first, second]
