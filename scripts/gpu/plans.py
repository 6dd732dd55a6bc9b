"""Plans of runs without a configuration file, whose schema needs a package that may not be there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from hamu_ray.engine.loop import set_training_mode
from hamu_ray.engine.plan import LOG_EVERY, ObjectiveBatches, Plan
from hamu_ray.engine.step import PairedStep
from hamu_ray.methods import get_method
from hamu_ray.pairing.batches import Batches
from hamu_ray.pairing.group import Alone, Group
from hamu_ray.pairing.roles import Role

HAMU = {"constraint_fraction": 0.5, "constraint_split": "exact"}


@dataclass(frozen=True)
class Optimizer:
    """The fields of a configuration's `optimizer`, as are those below."""

    name: str = "sgd"
    learning_rate: float = 1e-3
    momentum: float = 0.0
    weight_decay: float = 0.0
    schedule: str = "constant"
    clip_norm: float | None = 1.0


@dataclass(frozen=True)
class Stop:
    criterion: bool | str = False
    retain_loss_above: float | None = None
    forget_loss_above: float | None = None
    forget_level: str | None = None
    collapse_ratio: float | None = None
    after_steps: int | None = None


@dataclass(frozen=True)
class Workers:
    count: int = 1
    shards: int = 1
    forget_workers: int | None = None
    exchange: str | None = None
    wire: str = "float32"

    def sized(self, count: int) -> "Workers":
        return self


def plan_of(
    task: Any,
    method: str = "hamu-q",
    *,
    batch: int,
    settings: Mapping[str, Any] = HAMU,
    optimizer: Optimizer = Optimizer(),
    steps: int = 1000,
    checkpoint_every: int | None = None,
    micro: int | None = None,
    freeze_batchnorm: bool = True,
) -> Plan:
    """Return a plan of unlearning a task's forget set; of ``settings`` those that the method reads."""
    chosen = get_method(method)
    objectives = {Role.RETAIN: chosen.retain, Role.FORGET: chosen.forget}
    read = chosen.hyperparameters.of(settings)
    return Plan(
        phase="unlearning",
        method=chosen,
        settings=read,
        sides={
            role: ObjectiveBatches(objective, Batches(task.splits[role.value], batch, seed))
            for seed, (role, objective) in enumerate(objectives.items())
            if objective is not None
        },
        optimizer=optimizer,  # type: ignore[arg-type]
        micro_batch_size=micro,
        steps=steps,
        evaluate_every=None,
        checkpoint_every=checkpoint_every,
        stop=Stop(),  # type: ignore[arg-type]
        freeze_batchnorm=freeze_batchnorm,
        seed=41,
        workers=Workers(),  # type: ignore[arg-type]
        promise_every=1 if read.trust_region else LOG_EVERY,
        evaluate_end=False,
    )


def stepper_of(task: Any, model: nn.Module, plan: Plan, group: Group | None = None) -> PairedStep:
    """Return what advances a model, set to train, by a step of a plan."""
    set_training_mode(model, freeze_batchnorm=plan.freeze_batchnorm)
    teachers = {"original": task.teacher(model)} if "original" in plan.needs else {}
    return PairedStep(task, model, plan, group or Alone(), teachers)


def gradients_of(task: Any, model: nn.Module, batches: list[Tensor]) -> None:
    """Compute the gradients that a step cannot do without, in a plain loop."""
    for examples in batches:
        model.zero_grad(set_to_none=True)
        outputs = task.forward(model, examples)
        nn.functional.cross_entropy(outputs.logits.float(), outputs.labels).backward()
