"""A step that is not taken changes neither the weights nor the optimizer's state."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from cheap_runs import cheap_run
from torch import Tensor

from hamu_ray.engine.files.store import StoredModel
from hamu_ray.engine.files.tensors import load_model
from hamu_ray.engine.loop import set_training_mode
from hamu_ray.engine.planning import unlearning_plan
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.step import INFEASIBLE, RUNNING, PairedStep
from hamu_ray.pairing.group import Alone

OPTIMIZERS: list[dict[str, Any]] = [
    {"name": "sgd", "momentum": 0.9, "weight_decay": 1e-3, "learning_rate": 3.0},
    {"name": "adamw", "learning_rate": 0.3},
]


def stepper_of(resident: Resident, original: StoredModel, **sections: Any) -> PairedStep:
    run = cheap_run(**sections)
    task = resident.task(run)
    model = task.build_model(run.seed)
    load_model(model, original.path)
    set_training_mode(model, freeze_batchnorm=True)
    return PairedStep(task, model, unlearning_plan(run, task.splits), Alone(), teachers={})


def kept(stepper: PairedStep) -> dict[str, Tensor]:
    state = {key: value.clone() for key, value in stepper.optimizer_state().items()}
    return {**state, "weights": stepper.flat.values.clone()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[key], other[key]) for key in one.keys() | other.keys())


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=["momentum", "adamw"])
def test_a_refused_step_is_taken_back_whole(
    optimizer: dict[str, Any], resident: Resident, bases: tuple[StoredModel, StoredModel]
) -> None:
    method = {
        "name": "hamu-u",
        "constraint_split": "exact",
        "constraint_fraction": 0.5,
        "trust_region": True,
    }
    stepper = stepper_of(resident, bases[0], method=method, optimizer=optimizer, duration={"steps": 40})
    refused = []
    for step in range(40):
        before = kept(stepper)
        diagnostics, _ = stepper(step)
        refused.append(bool(diagnostics["step_refused"]))
        assert equal(before, kept(stepper)) == refused[-1]
        if step > 6 and set(refused) == {True, False}:
            return
    pytest.fail("steps of one kind show nothing")


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=["momentum", "adamw"])
@pytest.mark.parametrize("taken", [0, 2])
def test_a_run_that_has_stopped_changes_nothing(
    taken: int, optimizer: dict[str, Any], resident: Resident, bases: tuple[StoredModel, StoredModel]
) -> None:
    """Whether it stops at the first step, before the optimizer has a state, or later."""
    stepper = stepper_of(resident, bases[0], optimizer=optimizer | {"learning_rate": 1e-3})
    for step in range(taken):
        stepper(step)
    assert int(stepper.stop) == RUNNING
    before = kept(stepper)
    assert all(bool(value.any()) == bool(taken) for key, value in before.items() if key != "weights")
    impossible = replace(
        stepper.plan.settings, radius=1e-6, constraint=1.0, constraint_fraction=None, infeasible="stop"
    )
    stepper.plan = replace(stepper.plan, settings=impossible)
    for step in (taken, taken + 1):
        stepper(step)
        assert int(stepper.stop) == INFEASIBLE
        assert equal(before, kept(stepper))
