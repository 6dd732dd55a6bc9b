"""The relearning attack: how fast does fine-tuning on a part of the forget set bring back the rest?"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from hamu_ray.auditing.losses import confidence, example_losses
from hamu_ray.config.run import RunConfig
from hamu_ray.engine.loop import Loop
from hamu_ray.engine.plan import Plan
from hamu_ray.engine.planning import training_plan
from hamu_ray.metrics.attacks.names import FORGET_CONFIDENCE
from hamu_ray.metrics.measured import Measures
from hamu_ray.pairing.group import Alone
from hamu_ray.results.outcome import Report, Verdict
from hamu_ray.tasks.task import Task

PART = 0.1
"""Fraction of the forget set that the attacker has."""
MOST_MEASURED = 1000
"""Maximum number of the other examples that the attack is measured on."""
STEPS = 50
"""Maximum number of steps."""
KNOWN_AGAIN = 0.5
"""The attack ends when the rest of the forget set has this fraction of the original's confidence."""
STREAM = 3
"""Separates this random stream from others with the same seed."""


@dataclass(frozen=True, eq=False)
class ForgetParts:
    """Places in the forget set, increasing int64: what the attacker has, and what the attack is measured on."""

    learned: Tensor
    measured: Tensor


def forget_parts(count: int, seed: int) -> ForgetParts:
    """Draw a tenth of a forget set of this size, at least 1, and up to `MOST_MEASURED` of the others.

    Raises `ValueError` for a forget set of 1 example, which leaves none to measure.
    """
    if count < 2:
        raise ValueError(f"relearning takes at least 2 examples to forget, found {count}")
    drawn = torch.from_numpy(np.random.default_rng((seed, STREAM)).permutation(count))
    learned = max(1, round(PART * count))
    return ForgetParts(*(part.sort().values for part in (drawn[:learned], drawn[learned:][:MOST_MEASURED])))


def relearn(run: RunConfig, task: Task, model: nn.Module, enough: float) -> list[float]:
    """Fine-tune a model on a tenth of the forget set; return the confidence on the rest after 0, 1, 2, ... steps.

    The rest is never trained on. Fine-tuning uses the training's optimizer at a constant learning rate, with the
    running statistics of BatchNorm frozen. It ends with the step after which the confidence is at least ``enough``, or
    after `STEPS`, or when a loss is not finite.
    """
    forget = task.splits["forget"]
    parts = forget_parts(len(forget), run.training_seed)
    rest = forget[parts.measured]

    def known() -> float:
        return confidence(example_losses(task, model, rest, run.evaluation.batch_size))

    curve = Curve(enough, [known()])
    if curve.values[0] < enough:

        def measure(current: nn.Module, full: bool) -> Measures:
            return {FORGET_CONFIDENCE: known()}

        plan = relearning_plan(run, forget[parts.learned])
        Loop(task, model, plan, Alone(), measure, curve.on_report).run()
    return curve.values


def relearning_plan(run: RunConfig, examples: Tensor) -> Plan:
    """Return the plan of fine-tuning on these training examples, with an evaluation after each step."""
    plan = training_plan(run, "relearning", examples, (), run.training_seed)
    optimizer = plan.optimizer.model_copy(update={"schedule": "constant"})
    return replace(plan, steps=STEPS, evaluate_every=1, optimizer=optimizer, freeze_batchnorm=True)


@dataclass
class Curve:
    """The confidences of an attack in progress, a callback of the loop."""

    enough: float
    values: list[float] = field(default_factory=list)

    def on_report(self, report: Report) -> Verdict:
        """Take the confidence of a step; end the attack once it is enough."""
        if FORGET_CONFIDENCE not in report.measures:
            return Verdict.GO_ON
        self.values.append(report.measures[FORGET_CONFIDENCE])
        return Verdict.INTERRUPT if self.values[-1] >= self.enough else Verdict.GO_ON


def area(curve: Sequence[float], enough: float) -> float:
    """Return the mean over steps 0 to `STEPS` of the confidence over ``enough``, at most 1.

    After the end of the attack its last confidence counts.
    """
    values = np.asarray([*curve, *[curve[-1]] * (STEPS + 1 - len(curve))])
    return float(np.minimum(values / enough, 1.0).mean())


def steps_to(curve: Sequence[float], enough: float) -> float:
    """Return the number of steps after which the confidence is enough; `STEPS` + 1 if it never is."""
    return float(next((step for step, value in enumerate(curve) if value >= enough), STEPS + 1))
