import pytest
import torch
from cheap_runs import cheap_run
from torch import Tensor

from hamu_ray.engine.files.store import StoredModel
from hamu_ray.engine.files.tensors import load_model
from hamu_ray.engine.loop import set_training_mode
from hamu_ray.engine.planning import unlearning_plan
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.step import PairedStep
from hamu_ray.methods import METHODS
from hamu_ray.methods.objectives import HIDDEN, SECOND
from hamu_ray.pairing.group import Alone

STEPS = 3

STEPPING = [
    name
    for name, method in METHODS.items()
    if method.edit is None and not (method.forget and method.forget.needs & {SECOND, HIDDEN})
]
"""Methods that take steps on images."""


def steps(
    resident: Resident, original: StoredModel, method: str, optimizer: str, micro: int | None
) -> tuple[Tensor, Tensor]:
    """Return the weights before and after ``(2, n)``, and the losses ``(steps, roles)``."""
    run = cheap_run(
        method={"name": method},
        optimizer={"name": optimizer, "learning_rate": 1e-2 if optimizer == "sgd" else 1e-4},
        batch={"retain": 32, "forget": 20, "micro": micro},
    )
    task = resident.task(run)
    model = task.build_model(run.seed)
    load_model(model, original.path)
    plan = unlearning_plan(run, task.splits)
    teachers = resident.teachers(task, model, original.key, plan.needs, run.seed)
    stepper = PairedStep(task, model, plan, Alone(), teachers)
    before = stepper.flat.values.clone()
    set_training_mode(model, freeze_batchnorm=True)
    losses = []
    for step in range(STEPS):
        diagnostics, _ = stepper(step)
        losses.append([value.item() for name, value in diagnostics.items() if name.startswith("step_")])
    return torch.stack((before, stepper.flat.values)), torch.tensor(losses)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("method", STEPPING)
def test_micro_batches_add_up(
    method: str, optimizer: str, resident: Resident, bases: tuple[StoredModel, StoredModel]
) -> None:
    """Batches of 32 and 20 in parts of 12: the last part is smaller, and the roles have different numbers of parts."""
    whole, whole_losses = steps(resident, bases[0], method, optimizer, None)
    parts, parts_losses = steps(resident, bases[0], method, optimizer, 12)
    torch.testing.assert_close(parts_losses, whole_losses, rtol=1e-4, atol=1e-5)
    error = (parts[1] - whole[1]).norm()
    assert error <= 1e-4 * whole[1].norm()
    change = (whole[1] - whole[0]).norm()
    assert change > 0
    assert error <= 1e-2 * change, "of the change too, as far as float32 weights hold it"
