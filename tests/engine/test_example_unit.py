"""An objective per example is a mean over the global batch's examples, regardless of their numbers of items."""

from copy import deepcopy
from dataclasses import dataclass

import pytest
import torch
from cheap_runs import cheap_run
from torch import Tensor, nn

from hamu_ray.engine.files.store import StoredModel
from hamu_ray.engine.files.tensors import load_model
from hamu_ray.engine.loop import set_training_mode
from hamu_ray.engine.plan import Plan
from hamu_ray.engine.planning import unlearning_plan
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.step import PairedStep
from hamu_ray.methods import Decision, Objective, Predictions
from hamu_ray.pairing.group import Alone
from hamu_ray.pairing.roles import Role
from hamu_ray.tasks import Outputs, Teacher
from hamu_ray.tasks.vision.task import VisionTask


class Repeated(VisionTask):
    """Digits with 0 to 3 items each, according to their index, like answers with several tokens."""

    def count(self, examples: Tensor) -> int:
        return int((examples % 4).sum())

    def forward(self, model: nn.Module, examples: Tensor) -> Outputs:
        once = super().forward(model, examples)
        at = torch.arange(len(examples)).repeat_interleave(examples % 4)
        return Outputs(once.logits[at], once.labels[at], at)

    def teacher(self, model: nn.Module) -> Teacher:
        once = super().teacher(model)
        return lambda examples: once(examples).repeat_interleave(examples % 4, 0)


@dataclass
class Made:
    """A run on such a task, away from the original model, at which NPO would equal gradient ascent."""

    task: Repeated
    model: nn.Module
    plan: Plan
    teacher: Teacher

    @property
    def objective(self) -> Objective:
        return self.plan.sides[Role.FORGET].objective

    @property
    def batch(self) -> Tensor:
        """The first batch of the forget set."""
        return self.plan.sides[Role.FORGET].batches(0)

    def losses(self) -> Tensor:
        """Losses of the whole batch at once."""
        outputs, count = self.task.forward(self.model, self.batch), len(self.batch)
        return self.objective.loss(
            Predictions(
                outputs.logits,
                outputs.labels,
                outputs.examples,
                count,
                teachers={"original": self.teacher(self.batch)},
            )
        )

    def forget_gradient(self) -> list[Tensor]:
        """As a step computes it, which overwrites it once it is used."""
        stepper = PairedStep(self.task, deepcopy(self.model), self.plan, Alone(), {"original": self.teacher})
        stepper._accumulate(Role.FORGET, 0, torch.zeros((), dtype=torch.float64))
        return list(stepper.flat.views(stepper.gradients[Role.FORGET].buffer))

    def step(self) -> tuple[PairedStep, dict[str, Tensor], Decision]:
        stepper = PairedStep(self.task, self.model, self.plan, Alone(), {"original": self.teacher})
        return (stepper, *stepper(0))


def made(
    resident: Resident, original: StoredModel, method: str, objective: str, micro: int | None = None
) -> Made:
    run = cheap_run(
        method={"name": method, "forget_objective": objective, "beta": 0.5},
        optimizer={"learning_rate": 1e-3},
        batch={"retain": 32, "forget": 20, "micro": micro},
    )
    data = resident.task(run).data
    task = Repeated(data, forget=run.forget, model=run.model, batch_size=100, seed=run.seed)
    model = task.build_model(run.seed)
    load_model(model, original.path)
    teacher = task.teacher(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.8)
    set_training_mode(model, freeze_batchnorm=True)
    return Made(task, model, unlearning_plan(run, task.splits), teacher)


@pytest.mark.parametrize("micro", [None, 7, 1])
@pytest.mark.parametrize("objective", ["npo", "simnpo", "cross_entropy"])
def test_the_gradient_is_that_of_the_mean_over_the_batch(
    objective: str, micro: int | None, resident: Resident, bases: tuple[StoredModel, StoredModel]
) -> None:
    it = made(resident, bases[0], "gdiff", objective, micro)
    per_item = objective == "cross_entropy"
    assert (it.objective.name, it.objective.unit) == (objective, "item" if per_item else "example")
    losses = it.losses()
    assert len(losses) == (it.task.count(it.batch) if per_item else len(it.batch))
    assert it.task.count(it.batch) != len(it.batch)
    # The oracle is independent of the engine: one pass, and the mean of all values.
    expected = torch.autograd.grad(losses.mean(), list(it.model.parameters()))

    actual = it.forget_gradient()
    _, diagnostics, _ = it.step()
    assert diagnostics["step_forget_loss"].item() == pytest.approx(losses.mean().item(), rel=1e-5)
    error = sum((a - e).square().sum() for a, e in zip(actual, expected, strict=True))
    assert error <= 1e-10 * sum(e.square().sum() for e in expected)


@pytest.mark.parametrize("method", ["hamu-q", "hamu-u", "gdiff", "gru", "pcgrad", "ga", "kl"])
def test_other_methods_take_the_objective(
    method: str, resident: Resident, bases: tuple[StoredModel, StoredModel]
) -> None:
    """A step raises it on its own batch; with HAMU-Q by as much as guaranteed."""
    it = made(resident, bases[0], method, "npo")
    before = it.losses().mean().item()
    _, _, decision = it.step()
    risen = it.losses().mean().item() - before
    assert risen > 0
    if method == "hamu-q":
        assert decision.constraint is not None
        guaranteed = decision.constraint.total.item()
        assert guaranteed > 0
        assert risen >= 0.9 * guaranteed, "at first order"
