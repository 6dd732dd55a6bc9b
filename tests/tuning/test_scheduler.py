"""Which trials are pruned, and what they leave."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler

from hamu_ray.results.folder import TRIALS, read_outcome, read_records
from hamu_ray.results.outcome import Outcome, Report, Status, Verdict
from hamu_ray.results.pareto.pruning import ReferenceCurves
from hamu_ray.tuning.scheduler import PruningScheduler
from hamu_ray.tuning.trainable import EVENTS, NUMBER
from tests.sweep_processes import log_of, start, write_space

REFERENCE = ReferenceCurves(("quality", "loss"), (True, False), margin=0.1, grace_steps=0)


class Pool:
    """Accepts the calls to the pool's actor."""

    def __init__(self) -> None:
        self.cancelled: list[str] = []
        self.cancel = SimpleNamespace(remote=self._cancel)

    def _cancel(self, trial: str, verdict: Verdict) -> None:
        assert verdict is Verdict.PRUNE
        self.cancelled.append(trial)


def evaluation(step: int, quality: float, loss: float, phase: str = "unlearning") -> Report:
    return Report(phase, step, 100, {"quality": quality, "loss": loss})


def end(status: Status) -> Outcome:
    return Outcome(status, "", 20, {}, 1.0, 20)


def send(scheduler: PruningScheduler, number: int, *events: Any) -> None:
    trial = SimpleNamespace(config={NUMBER: number})
    assert scheduler.on_trial_result(None, trial, {EVENTS: list(events)}) == TrialScheduler.CONTINUE


@pytest.mark.parametrize(("status", "pruned"), [(Status.FINISHED, ["0001"]), (Status.PRUNED, [])])
def test_trials_are_compared_with_those_that_finished(status: Status, pruned: list[str]) -> None:
    pool: Any = Pool()
    scheduler = PruningScheduler(REFERENCE, pool)
    send(scheduler, 0, evaluation(10, 0.5, 0.5))
    send(scheduler, 0, evaluation(20, 0.9, 0.1))
    send(scheduler, 1, evaluation(20, 0.5, 0.5))
    assert not pool.cancelled, "nobody has finished"
    send(scheduler, 0, end(status))
    send(scheduler, 1, evaluation(10, 0.45, 0.55), evaluation(15, 0.1, 0.9))
    assert not pool.cancelled, "within the margin at step 10; nobody was measured at step 15"
    send(scheduler, 1, evaluation(20, 0.5, 0.5))
    assert pool.cancelled == pruned


def test_a_resumed_sweep_compares_with_finished_trials() -> None:
    pool: Any = Pool()
    reference = ReferenceCurves(
        ("quality", "loss"), (True, False), 0.1, 15, ({10: (0.9, 0.1), 20: (0.9, 0.1)},)
    )
    scheduler = PruningScheduler(reference, pool)
    send(scheduler, 3, evaluation(10, 0.5, 0.5))
    assert not pool.cancelled, "its grace is not over"
    send(scheduler, 3, evaluation(20, 0.5, 0.5, "original"))
    assert not pool.cancelled, "a base model is no trial"
    send(scheduler, 3, evaluation(20, 0.5, 0.5))
    assert pool.cancelled == ["0003"]


@pytest.mark.ray
@pytest.mark.timeout(900)
def test_a_sweep_prunes_trials_that_are_far_behind(tmp_path: Path) -> None:
    """Gradient ascent with a learning rate that destroys the model, after one that barely changes it."""
    steps = 600
    search = {
        "algorithm": "grid",
        "concurrent": 1,
        "pruning": {"margin": 0.05, "grace_steps": 20},
        "objectives": [{"metric": "retain_accuracy"}, {"metric": "retain_loss", "mode": "min"}],
    }
    space = write_space(
        tmp_path,
        str(tmp_path / "runs"),
        search,
        space={"optimizer.learning_rate": {"grid": [1e-6, 0.05]}, "seed": {"grid": [41]}},
        method={"name": "ga", "constraint_ratio": None},
        stop={"collapse_ratio": None},
        workers={"count": 1, "cpus": 0.5},
        duration={"steps": steps},
        evaluation={"every_steps": 20, "subset": 100},
    )
    assert start(space).wait(timeout=280) == 0, log_of(space).read_text()
    (folder,) = (tmp_path / "runs" / "sweeps").iterdir()
    finished, pruned = read_records(folder)
    assert (finished.status, finished.steps) == (Status.FINISHED, steps)
    assert pruned.status is Status.PRUNED
    assert 20 <= pruned.steps < steps
    assert list(pruned.curve) == list(range(0, pruned.steps + 1, 20)), "all reports until its end"
    for step, (accuracy, loss) in pruned.curve.items():
        if step >= 20:
            reference = finished.curve[step]
            assert reference[0] - accuracy > 0.05 or step == 20
            assert loss - reference[1] > 0.05 or step == 20
    outcome = read_outcome(folder / TRIALS / pruned.trial_id)
    assert outcome is not None
    assert outcome.status is Status.PRUNED
    assert "pruned" in log_of(space).read_text()
