"""What objectives need besides the model's outputs is the same on any number of workers, and after a restart."""

from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import torch
from cheap_runs import ReportList, cheap_run, done, same_bits
from torch import Tensor

from hamu_ray.engine.files.store import StoredModel
from hamu_ray.engine.files.tensors import load_model
from hamu_ray.engine.loop import set_training_mode
from hamu_ray.engine.planning import unlearning_plan
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.step import PairedStep
from hamu_ray.engine.unlearn import support_masks
from hamu_ray.pairing.flat import FlatParameters
from hamu_ray.pairing.group import Alone, Group, Traffic

Bases = tuple[StoredModel, StoredModel]

METHODS: dict[str, dict[str, Any]] = {
    "salun": {"name": "salun"},
    "hamu on random labels": {"name": "hamu-q", "forget_objective": "random_label"},
    "bad-teacher": {"name": "bad-teacher"},
    "jensun": {"name": "jensun"},
    "boundary": {"name": "gdiff", "forget_objective": "boundary"},
    "undial": {"name": "gdiff", "forget_objective": "undial"},
    "ceu": {"name": "hamu-u", "forget_objective": "ceu"},
    "sago": {"name": "sago"},
    "l1-sparse": {"name": "l1-sparse", "l1_penalty": 0.01},
}


@dataclass
class Thread:
    """A rank of a group of threads of this process."""

    rank: int
    size: int
    barrier: Barrier
    given: list[Tensor]
    traffic: Traffic

    def all_gather(self, values: Tensor) -> Tensor:
        self.given[self.rank] = values.clone()
        self.barrier.wait()
        found = torch.stack(self.given)
        self.barrier.wait()
        return found

    def all_to_all(self, rows: Tensor) -> Tensor:
        return self.all_gather(rows)[:, self.rank]

    def gather_rows(self, rows: Tensor) -> Tensor:
        return self.all_gather(rows).flatten(0, 1)

    def split(self, shards: int) -> tuple[Group, Group]:
        assert shards == 1
        return self, Alone()

    def agree(self, value: int) -> int:
        return int(self.all_gather(torch.tensor(value))[0])


def group_of(size: int) -> list[Group]:
    barrier, given = Barrier(size, timeout=60), [torch.empty(0)] * size
    return [Thread(rank, size, barrier, given, Traffic()) for rank in range(size)]


@pytest.mark.parametrize("method", METHODS)
def test_any_number_of_workers_gives_the_same_numbers(method: str, resident: Resident, bases: Bases) -> None:
    """Also of fewer than the four that the run asks for."""
    run = cheap_run(
        method=METHODS[method],
        batch={"retain": 40, "forget": 24},
        optimizer={"learning_rate": 0.05},
        workers={"count": 4},
    )
    task = resident.task(run)
    original = task.build_model(run.seed)
    load_model(original, bases[0].path)
    with torch.no_grad():
        for parameter in original.parameters():
            parameter.mul_(0.9)
    plan = unlearning_plan(run, task.splits)

    def steps_of(group: Group) -> tuple[Tensor, list[float]]:
        model = deepcopy(original)
        teachers = resident.teachers(
            task, original, "the one above", plan.needs, plan.seed, plan.perturbation
        )
        masks = support_masks(run, task, model)
        set_training_mode(model, freeze_batchnorm=True)
        stepper = PairedStep(task, model, plan, group, teachers, masks)
        losses = [float(stepper(step)[0][f"step_{plan.needed[-1]}_loss"]) for step in range(3)]
        return stepper.flat.values[: stepper.flat.count].clone(), losses

    before = FlatParameters(deepcopy(original)).values
    found = {}
    for size in (1, 2, 3, 4):
        with ThreadPoolExecutor(size) as pool:
            (weights, losses), *others = pool.map(steps_of, group_of(size))
        assert all(torch.equal(weights, other) for other, _ in others)
        found[size] = weights - before, losses
    for size in (2, 3, 4):
        assert found[size][1] == pytest.approx(found[1][1], rel=1e-5)
        difference = (found[size][0] - found[1][0]).norm() / found[1][0].norm()
        assert difference < 1e-3


@pytest.mark.parametrize("method", ["salun", "bad-teacher"])
def test_a_restart_gives_the_same_bits(method: str, resident: Resident, bases: Bases, tmp_path: Path) -> None:
    run = cheap_run(method={"name": method}, duration={"steps": 6}, checkpoint={"every_steps": 2})
    whole = done(run, resident, tmp_path / "whole")
    with pytest.raises(ConnectionError):
        done(run, resident, tmp_path / "cut", ReportList(dies_at=4))
    again = done(run, Resident(resident.storage, torch.device("cpu")), tmp_path / "cut")
    assert again.outcome.resumed_at == 2
    assert same_bits(again.weights, whole.weights)


def test_the_random_teacher_is_untrained_and_follows_the_seed(resident: Resident, bases: Bases) -> None:
    run = cheap_run()
    task = resident.task(run)
    model = task.build_model(run.seed)
    load_model(model, bases[0].path)
    before = deepcopy(model.state_dict())
    state = torch.random.get_rng_state()
    needs, some = frozenset({"random"}), task.splits["forget"][:20]

    def answers(seed: int) -> Tensor:
        fresh = Resident(resident.storage, torch.device("cpu"))
        return fresh.teachers(task, model, "", needs, seed)["random"](some)

    first = answers(1)
    assert torch.equal(first, answers(1))
    assert not torch.allclose(first, answers(2))
    outputs = task.forward(model.eval(), some)
    assert (outputs.logits.argmax(-1) == outputs.labels).float().mean() > 0.9
    assert (first.argmax(-1) == outputs.labels).float().mean() < 0.6
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
