"""The loop: steps, evaluation cadence, stop rules. It trains and unlearns alike."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from hamu_ray.engine.checkpoint import Checkpoints
from hamu_ray.engine.outcome import Outcome, Report, Status
from hamu_ray.engine.plan import Plan
from hamu_ray.engine.step import CRITERION, INFEASIBLE, NON_FINITE, PairedStep
from hamu_ray.methods import Decision
from hamu_ray.pairing.group import Group
from hamu_ray.tasks.task import Measures, Task, Teacher

LOG_EVERY = 10
"""Steps between reads of the diagnostics: one transfer from the device each."""

Measure = Callable[[nn.Module, bool], Measures]
"""Measures a model, in full or only what is cheap."""

OnReport = Callable[[Report], bool]
"""Receives the news on rank 0; returns whether to go on."""

STOP_REASONS = {
    NON_FINITE: (Status.COLLAPSED, "a loss or gradient was not finite"),
    INFEASIBLE: (Status.INFEASIBLE, "the constraint could not be met within the radius"),
    CRITERION: (Status.FINISHED, "stopping criterion: the constraint can no longer be met at first order"),
}


@dataclass
class History:
    """The diagnostics of steps, kept on the device until they are read."""

    names: list[str] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    rows: list[Tensor] = field(default_factory=list)
    per_block: list[Tensor] = field(default_factory=list)
    """Per step ``(diagnostics, blocks)``, of the whole run: `Decision.per_block`."""
    block_names: tuple[str, ...] = ()
    """Names of those diagnostics."""
    blocks: list[str] = field(default_factory=list)
    """Names of the blocks."""

    def add(self, step: int, diagnostics: dict[str, Tensor], decision: Decision) -> None:
        """Keep a step's diagnostics; steps count from 1."""
        self.names = list(diagnostics)
        self.steps.append(step)
        self.rows.append(torch.stack([value.double() for value in diagnostics.values()]))
        self.per_block.append(decision.per_block)
        self.block_names = decision.block_names

    def take(self) -> tuple[list[int], dict[str, list[float]]]:
        """Return the steps since the last call and their diagnostics by name: one transfer."""
        steps, rows, self.steps, self.rows = self.steps, self.rows, [], []
        if not rows:
            return [], {}
        columns = torch.stack(rows).T.tolist()
        return steps, dict(zip(self.names, columns, strict=True))

    def by_block(self) -> dict[str, np.ndarray]:
        """Return every per-block diagnostic as float32 ``(steps, blocks)``, and the ``blocks``' names."""
        values = torch.stack(self.per_block).float().cpu().numpy()
        named = {name: values[:, i] for i, name in enumerate(self.block_names)}
        return {**named, "blocks": np.array(self.blocks)}


Ending = tuple[Status, str]
"""How a run ends, and why in words."""


@dataclass
class Loop:
    """A run in progress. All ranks of the group run it in step; rank 0 alone reports."""

    task: Task
    model: nn.Module
    plan: Plan
    group: Group
    measure: Measure
    on_report: OnReport
    teacher: Teacher | None = None
    original: Measures = field(default_factory=dict)
    """Measures of the model that the run starts from: what a collapse is told by."""
    checkpoints: Checkpoints | None = None
    history: History = field(default_factory=History)

    def run(self) -> Outcome:
        """Take all steps, or those until a stop rule fires, and measure in full; the model is left as the result."""
        stepper = PairedStep(self.task, self.model, self.plan, self.group, self.teacher)
        done, seconds = self.checkpoints.restore(stepper) if self.checkpoints else (0, 0.0)
        self.history.blocks = stepper.block_names
        best = Best(self.plan.select_by)
        ending: Ending | None = None
        while done < self.plan.steps and ending is None:
            until = self._next_pause(done)
            seconds += self._advance(stepper, done, until)
            done = until
            measures = self._measure_between(done)
            best.offer(measures, stepper.flat.values)
            ending = STOP_REASONS.get(int(stepper.stop)) or self._rule_that_fires(measures)
            if not self._report(done, measures):
                ending = (Status.INTERRUPTED, "stopped from outside")
            elif ending is None and self.checkpoints and _due(done, self.plan.checkpoint_every):
                self.checkpoints.save(stepper, done, seconds)
        best.restore(stepper.flat.values)
        status, reason = ending or (Status.FINISHED, "all steps taken")
        measures = {} if status is Status.INTERRUPTED else self.measure(self.model, True)
        if status is not Status.INTERRUPTED:
            self._report(done, measures)
            if status is Status.FINISHED:
                status, reason = self._collapse(measures) or (status, reason)
        gradients = done * len(self.plan.needed)
        return Outcome(status, reason, done, measures, seconds, gradients)

    def _next_pause(self, done: int) -> int:
        """Return the next step count at which the host looks at the device."""
        cadences = [LOG_EVERY, self.plan.evaluate_every, self.plan.checkpoint_every]
        return min(self.plan.steps, *(done - done % every + every for every in cadences if every))

    def _advance(self, stepper: PairedStep, start: int, until: int) -> float:
        """Take steps ``start`` to ``until``; return the seconds, the device's work included."""
        set_training_mode(self.model, freeze_batchnorm=self.plan.freeze_batchnorm)
        began = time.perf_counter()
        for step in range(start, until):
            diagnostics, decision = stepper(step)
            self.history.add(step + 1, diagnostics, decision)
        int(stepper.stop)  # waits for the device, so that the time is the work's
        return time.perf_counter() - began

    def _measure_between(self, done: int) -> Measures:
        """Measure where the cadence says so; the end is measured apart, in full."""
        last = done == self.plan.steps and not self.plan.select_by
        if last or not _due(done, self.plan.evaluate_every):
            return {}
        return self.measure(self.model, False)

    def _rule_that_fires(self, measures: Measures) -> Ending | None:
        stop = self.plan.stop
        retain, forget = measures.get("retain_loss"), measures.get("forget_loss")
        if stop.retain_loss_above and retain is not None and retain > stop.retain_loss_above:
            return Status.FINISHED, f"retain loss {retain:.4g} above {stop.retain_loss_above:g}"
        if stop.forget_loss_above and forget is not None and forget > stop.forget_loss_above:
            return Status.FINISHED, f"forget loss {forget:.4g} above {stop.forget_loss_above:g}"
        return self._collapse(measures)

    def _collapse(self, measures: Measures) -> Ending | None:
        """Tell a model that lost its skill by the perplexity of the retain set, against the original's."""
        before, now = self.original.get("retain_loss"), measures.get("retain_loss")
        if now is None:
            return None
        if not math.isfinite(now):
            return STOP_REASONS[NON_FINITE]
        ratio = self.plan.stop.collapse_ratio
        if ratio and before is not None and now - before > math.log(ratio):
            return Status.COLLAPSED, f"retain perplexity more than {ratio:g} times the original's"
        return None

    def _report(self, done: int, measures: Measures) -> bool:
        """Tell rank 0's listener; return, on every rank, whether to go on."""
        steps, history = self.history.take()
        go_on = True
        if self.group.rank == 0:
            go_on = self.on_report(Report(self.plan.phase, done, self.plan.steps, measures, history, steps))
        return self.group.agree(go_on)


class Best:
    """The weights of the best evaluation so far, where a plan selects by its measures."""

    def __init__(self, select_by: tuple[str, ...]) -> None:
        """Select by the sum of these measures; by none, keep nothing."""
        self.select_by = select_by
        self._score = -math.inf
        self._values: Tensor | None = None

    def offer(self, measures: Measures, values: Tensor) -> None:
        """Keep a copy of the weights if their measures are the best."""
        if not measures or not self.select_by:
            return
        score = math.fsum(measures[name] for name in self.select_by)
        if score > self._score:
            self._score, self._values = score, values.detach().clone()

    @torch.no_grad()
    def restore(self, values: Tensor) -> None:
        """Put the best weights back."""
        if self._values is not None:
            values.copy_(self._values)


def set_training_mode(model: nn.Module, *, freeze_batchnorm: bool) -> None:
    """Set the model to train; frozen BatchNorm keeps to its running statistics."""
    model.train()
    if freeze_batchnorm:
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()


def _due(done: int, every: int | None) -> bool:
    return every is not None and done % every == 0
