"""Worker groups: the same numbers at any size, kept warm, and nothing lost when a process dies."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from hamu_ray.config.run import RunConfig
from hamu_ray.config.workers import WorkersConfig
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.unlearn import unlearn
from hamu_ray.methods import METHODS
from hamu_ray.pairing.group import Alone
from hamu_ray.results.folder import MODEL_FILE
from hamu_ray.results.outcome import Failure, Outcome, Report, Status, Verdict
from hamu_ray.workers.messages import Job, Started, SystemSample
from hamu_ray.workers.slot import follow, start_slot
from tests.runs import small_run
from tests.sweep_processes import ray_processes

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1200)]

LONG = {"duration": {"steps": 300}, "checkpoint": {"every_steps": 10}}
"""Long enough to kill something in the middle of it."""


class Slots:
    """One slot at a time, so that all worker processes are its own: it stays until another size is asked for."""

    def __init__(self, storage: Path) -> None:
        self.storage = storage
        self.count: int | None = None
        self.slot: Any = None
        self.started = 0

    def __call__(self, count: int, **options: Any) -> Any:
        if self.count != count or options:
            self.close()
            self.started += 1
            workers = WorkersConfig(count=count, cpus=0.5)
            name = f"test-slot-{self.started}"
            self.count, self.slot = count, start_slot(workers, str(self.storage), name, **options)
        return self.slot

    def close(self) -> None:
        import ray

        if self.slot is not None:
            ray.get(self.slot.close.remote())
            ray.kill(self.slot)
        self.count = self.slot = None


@pytest.fixture(scope="module")
def slots(cluster: None, storage: Path) -> Iterator[Slots]:
    slots = Slots(storage)
    yield slots
    slots.close()


def configure(storage: Path, count: int = 1, **sections: Any) -> RunConfig:
    workers = {"count": count, "cpus": 0.5}
    return RunConfig.model_validate(small_run(storage, workers=workers, **sections))


def weights(folder: Path) -> torch.Tensor:
    tensors = load_file(folder / MODEL_FILE)
    return torch.cat([tensors[name].double().flatten() for name in sorted(tensors)])


@dataclass(frozen=True)
class Ended:
    """What a run left."""

    outcome: Outcome | Failure
    reports: list[Report]
    folder: Path


TEXTS_ONLY = ("dpo", "rmu")
"""Methods that need second answers or hidden states, which images do not have."""
EXACT = {"constraint_ratio": None, "constraint_split": "exact", "trust_region": True}
VARIANTS: dict[str, dict[str, Any]] = {
    **{name: {"name": name, "constraint_ratio": 0.1} for name in METHODS if name not in TEXTS_ONLY},
    "hamu-q exact": {"name": "hamu-q", "constraint_fraction": 0.3, **EXACT},
    "hamu-u exact": {"name": "hamu-u", "constraint_fraction": 0.7, **EXACT},
}
"""Sections of a method by a name for it."""


def sections_of(method: str, optimizer: str) -> dict[str, Any]:
    return {
        "method": VARIANTS[method],
        "optimizer": {"name": optimizer, "learning_rate": 1e-2 if optimizer == "sgd" else 1e-4},
        "batch": {"retain": 63, "forget": 34, "micro": 10 if method in ("hamu-q", "ft") else None},
    }


@pytest.fixture(scope="module")
def alone(storage: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Ended]:
    """Run a method with an optimizer in this process, once."""
    resident = Resident(storage, torch.device("cpu"))

    @cache
    def run(method: str, optimizer: str) -> Ended:
        reports: list[Report] = []
        folder = tmp_path_factory.mktemp(f"{method}-{optimizer}")
        configuration = configure(storage, **sections_of(method, optimizer))
        outcome = unlearn(
            configuration, resident, Alone(), folder, lambda r: reports.append(r) or Verdict.GO_ON
        )
        return Ended(outcome, reports, folder)

    return run


FLOOR = 5e-7
"""Four float32 epsilons: a small KL divergence is a difference of log-probabilities, which are rounded to one each."""


def losses(reports: list[Report]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for report in reports:
        for name, values in report.history.items():
            if name.endswith("_loss") and report.phase == "unlearning":
                found.setdefault(name, []).extend(values)
    return found


def do(slot: Any, run: RunConfig, folder: Path, attempts: int = 2) -> tuple[Outcome | Failure, list[Report]]:
    reports: list[Report] = []
    end = follow(Job(str(folder), run, str(folder), attempts), slot, reports.extend)
    return end, reports


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("count", [2, 4])
def test_the_number_of_workers_does_not_change_the_numbers(
    slots: Any,
    alone: Callable[[str, str], Ended],
    storage: Path,
    tmp_path: Path,
    count: int,
    optimizer: str,
) -> None:
    for method in VARIANTS:
        one = alone(method, optimizer)
        run = configure(storage, count, **sections_of(method, optimizer))
        many, reports = do(slots(count), run, tmp_path / method)
        assert isinstance(one.outcome, Outcome)
        assert isinstance(many, Outcome), many
        assert (many.status, many.steps) == (one.outcome.status, one.outcome.steps)
        expected = weights(one.folder)
        difference = (weights(tmp_path / method) - expected).norm() / expected.norm()
        assert difference <= 1e-5, f"{method}: {difference:.1e}"
        for name, values in losses(one.reports).items():
            assert losses(reports)[name] == pytest.approx(values, rel=1e-5, abs=FLOOR), f"{method}: {name}"


def test_a_warm_group_takes_the_next_job(slots: Any, storage: Path, tmp_path: Path) -> None:
    run = configure(storage, 2, duration={"steps": 1})
    do(slots(2), run, tmp_path / "first")
    pids = workers_of(slots)
    end, _ = do(slots(2), run, tmp_path / "second")
    assert isinstance(end, Outcome)
    assert workers_of(slots) == pids, "the same processes serve both"


def test_a_job_that_asks_for_it_has_samples_of_its_nodes(slots: Any, storage: Path, tmp_path: Path) -> None:
    """The job after it, which does not ask, has none."""
    slot = slots(2, hang_seconds=10.0)  # heartbeats every second
    for wanted in (True, False):
        events: list[Started | SystemSample] = []
        run = configure(storage, 2, tracking={"system_metrics": wanted}, **LONG)
        end = follow(
            Job(f"samples {wanted}", run, str(tmp_path / f"{wanted}"), 2),
            slot,
            lambda reports: None,
            events.append,
        )
        assert isinstance(end, Outcome)
        samples = [event for event in events if isinstance(event, SystemSample)]
        assert bool(samples) is wanted
        nodes = {node for event in events if isinstance(event, Started) for node in event.nodes}
        assert {sample.node for sample in samples} <= nodes
        assert all(0 < sample.metrics["cpu_utilization_percentage"] <= 100 for sample in samples)


def test_a_job_that_cannot_be_prepared_fails_alone(slots: Any, storage: Path, tmp_path: Path) -> None:
    do(slots(2), configure(storage, 2, duration={"steps": 1}), tmp_path / "first")
    pids = workers_of(slots)
    end, _ = do(slots(2), configure(storage, 2, forget={"kind": "class", "label": 77}), tmp_path / "bad")
    assert isinstance(end, Failure)
    assert "77" in end.reason
    end, _ = do(slots(2), configure(storage, 2, duration={"steps": 1}), tmp_path / "good")
    assert isinstance(end, Outcome)
    assert workers_of(slots) == pids


@pytest.fixture(scope="module")
def undisturbed(slots: Any, storage: Path, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """A long run that nothing happens to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return Ended(*do(slots(2), configure(storage, 2, **LONG), folder), folder)


@pytest.mark.parametrize("victim", ["RayTrainWorker", "TrainController"])
def test_a_killed_process_changes_nothing(
    slots: Any, undisturbed: Ended, storage: Path, tmp_path: Path, victim: str
) -> None:
    run = configure(storage, 2, **LONG)
    killed: list[int] = []

    def kill(reports: list[Report]) -> None:
        if not killed and reports[-1].phase == "unlearning" and reports[-1].step >= 20:
            process = ray_processes(victim)[-1]
            killed.append(process.pid)
            os.kill(process.pid, signal.SIGKILL)

    end = follow(Job(f"killed {victim}", run, str(tmp_path / "killed"), 2), slots(2), kill)
    assert killed
    assert isinstance(end, Outcome), end
    assert isinstance(undisturbed.outcome, Outcome)
    assert end.status is Status.FINISHED
    assert end.resumed_at > 0, "it died in the middle"
    assert torch.equal(weights(tmp_path / "killed"), weights(undisturbed.folder))
    assert end.measures == pytest.approx(undisturbed.outcome.measures, nan_ok=True, abs=0)


@pytest.mark.parametrize(
    ("verdict", "status"),
    [
        (Verdict.PRUNE, Status.PRUNED),
        (Verdict.STOP, Status.PRUNED),
        (Verdict.INTERRUPT, Status.INTERRUPTED),
    ],
)
def test_a_cancelled_job_ends_at_its_next_report(
    slots: Any, storage: Path, tmp_path: Path, verdict: Verdict, status: Status
) -> None:
    """On all ranks, with the status of the verdict and all reports until then; the workers stay for the next job."""
    run = configure(storage, 2, duration={"steps": 5000}, evaluation={"every_steps": 3, "subset": 50})
    do(slots(2), configure(storage, 2, duration={"steps": 1}), tmp_path / "before")
    pids = workers_of(slots)
    seen: list[Report] = []

    def cancel(reports: list[Report]) -> None:
        if not seen and reports[-1].phase == "unlearning" and reports[-1].step >= 6:
            slots(2).cancel.remote(f"cancelled {status}", verdict)
        if seen or reports[-1].step >= 6:
            seen.extend(reports)

    end = follow(Job(f"cancelled {status}", run, str(tmp_path / status), 2), slots(2), cancel)
    assert isinstance(end, Outcome), end
    assert end.status is status
    assert seen[0].step <= end.steps == seen[-1].step < 5000
    assert {"forget_quality", "retain_utility"} <= end.measures.keys() or end.steps % 3
    after, _ = do(slots(2), configure(storage, 2, duration={"steps": 1}), tmp_path / "after")
    assert isinstance(after, Outcome)
    assert after.status is Status.FINISHED
    assert workers_of(slots) == pids


def test_a_closed_slot_interrupts_its_jobs_which_continue_in_another_one(
    slots: Any, undisturbed: Ended, storage: Path, tmp_path: Path
) -> None:
    """As on a draining node. The run has no checkpoints but the one that it leaves."""
    run = configure(storage, 2, **{**LONG, "checkpoint": {}})
    slot = slots(2)

    def close(reports: list[Report]) -> None:
        if reports[-1].phase == "unlearning" and reports[-1].step >= 20:
            slot.close.remote()

    stopped = follow(Job("moves", run, str(tmp_path), 1), slot, close)
    assert isinstance(stopped, Outcome), stopped
    assert stopped.status is Status.INTERRUPTED
    late, _ = do(slot, run, tmp_path / "late")
    assert isinstance(late, Outcome), "a job that comes too late is interrupted, too"
    assert late.status is Status.INTERRUPTED
    slots.close()
    end = follow(Job("moves", run, str(tmp_path), 1), slots(2), lambda reports: None)
    assert isinstance(end, Outcome), end
    assert end.status is Status.FINISHED
    assert end.resumed_at == stopped.steps >= 20
    assert torch.equal(weights(tmp_path), weights(undisturbed.folder))


def test_cancelling_a_job_that_is_not_there_does_nothing(slots: Any) -> None:
    import ray

    assert ray.get(slots(2).cancel.remote("of nobody", Verdict.PRUNE)) is None


@pytest.fixture
def impatient(slots: Slots) -> Iterator[Any]:
    """A slot of two workers that may be silent for a few seconds."""
    yield slots(2, hang_seconds=SILENCE)
    slots.close()


SILENCE = 15.0


@pytest.mark.timeout(900)
def test_a_frozen_rank_is_detected_and_the_job_continues(
    undisturbed: Ended, impatient: Any, storage: Path, tmp_path: Path
) -> None:
    """A rank that is stopped for a moment is waited for; one that stays stopped is killed, and the other with it."""
    stopped: list[int] = []

    def stop(reports: list[Report]) -> None:
        if reports[-1].phase != "unlearning":
            return
        if not stopped and reports[-1].step >= 10:
            worker = ray_processes("RayTrainWorker")[-1]
            stopped.append(worker.pid)
            worker.suspend()
            time.sleep(SILENCE / 3)
            worker.resume()
        elif len(stopped) == 1 and reports[-1].step >= 20:
            worker = ray_processes("RayTrainWorker")[-1]
            assert worker.pid == stopped[0], "it was only slow"
            stopped.append(worker.pid)
            worker.suspend()

    run = configure(storage, 2, **LONG)
    end = follow(Job("frozen", run, str(tmp_path / "frozen"), 2), impatient, stop)
    assert len(stopped) == 2
    assert isinstance(end, Outcome), end
    assert end.status is Status.FINISHED
    assert end.resumed_at >= 10, "from a checkpoint, by the ranks of a new group"
    assert torch.equal(weights(tmp_path / "frozen"), weights(undisturbed.folder))
    assert not psutil.pid_exists(stopped[0])


def test_a_job_that_hangs_as_often_as_it_may_fails_with_the_reason(
    impatient: Any, storage: Path, tmp_path: Path
) -> None:
    def stop(reports: list[Report]) -> None:
        if reports[-1].phase == "unlearning" and reports[-1].step >= 10:
            for process in ray_processes("RayTrainWorker")[-2:]:
                process.suspend()

    end = follow(Job("hangs", configure(storage, 2, **LONG), str(tmp_path), 1), impatient, stop)
    assert isinstance(end, Failure)
    assert "made no progress for" in end.reason
    after, _ = do(impatient, configure(storage, 2, duration={"steps": 1}), tmp_path / "after")
    assert isinstance(after, Outcome), "the slot serves the next job"


def test_a_job_that_kills_its_workers_fails_after_its_attempts(
    slots: Any, storage: Path, tmp_path: Path
) -> None:
    def kill(reports: list[Report]) -> None:
        if reports[-1].phase == "unlearning" and reports[-1].history_steps:
            os.kill(ray_processes("RayTrainWorker")[-1].pid, signal.SIGKILL)

    end = follow(Job("deadly", configure(storage, 2, **LONG), str(tmp_path), 1), slots(2), kill)
    assert isinstance(end, Failure)
    assert "died" in end.reason
    after, _ = do(slots(2), configure(storage, 2, duration={"steps": 1}), tmp_path / "after")
    assert isinstance(after, Outcome), "the slot serves the next job"


def workers_of(slots: Any) -> list[int]:
    """The newest group's; one that was just replaced may still be ending."""
    return [process.pid for process in ray_processes("RayTrainWorker")[-2:]]
