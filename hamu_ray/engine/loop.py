"""The loop for training and unlearning: steps, evaluation cadence, stop rules."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from hamu_ray.engine.files.checkpoint import Checkpoints, Progress
from hamu_ray.engine.history import History
from hamu_ray.engine.plan import LOG_EVERY, Plan
from hamu_ray.engine.state import changing_state, put_state
from hamu_ray.engine.step import (
    CRITERION,
    INFEASIBLE,
    NON_FINITE,
    OUT_OF_REACH,
    RUNNING,
    PairedStep,
)
from hamu_ray.metrics.measured import Measures
from hamu_ray.pairing.group import Group
from hamu_ray.pairing.support import Masks
from hamu_ray.results.outcome import Outcome, Report, Status, Verdict
from hamu_ray.tasks.task import Task, Teacher

if TYPE_CHECKING:
    from hamu_ray.engine.files.kept import KeptSteps

Measure = Callable[[nn.Module, bool], Measures]
"""Evaluates a model, with all metrics or only the cheap ones."""

OnReport = Callable[[Report], Verdict]
"""Callback that receives reports on rank 0 and returns whether to continue."""

STOP_REASONS = {
    NON_FINITE: (Status.COLLAPSED, "a loss or gradient was not finite"),
    INFEASIBLE: (Status.INFEASIBLE, "the constraint could not be met within the radius"),
    OUT_OF_REACH: (Status.FINISHED, "a block's constraint could not be met within its radius"),
    CRITERION: (Status.FINISHED, "stopping criterion: the constraint can no longer be met to first order"),
}

Ending = tuple[Status, str]
"""The status and the reason of a run's end."""

VERDICT_ENDINGS: Mapping[Verdict, Ending] = {
    Verdict.INTERRUPT: (Status.INTERRUPTED, "stopped from outside"),
    Verdict.PRUNE: (Status.PRUNED, "far behind other trials at the same step"),
    Verdict.STOP: (Status.PRUNED, "stopped by a person"),
}


WAITS: Ending = (Status.PRUNED, "not continued from its rung")
"""The ending at a pause, which stands unless the run is continued."""


class Interrupted(Exception):
    """The callback requested a stop while a base model was trained, or waited for."""

    def __init__(self, status: Status, reason: str) -> None:
        """Name how the run ends."""
        super().__init__(reason)
        self.status, self.reason = status, reason


@dataclass
class Loop:
    """A run in progress. All ranks of the group execute it in lockstep; only rank 0 reports."""

    task: Task
    model: nn.Module
    plan: Plan
    group: Group
    measure: Measure
    on_report: OnReport
    teachers: Mapping[str, Teacher] = field(default_factory=dict)
    """The frozen models that the plan's objectives need, by name."""
    masks: Masks | None = None
    """The weights that may change, a mask for each parameter; None: all."""
    original: Measures = field(default_factory=dict)
    """Metrics of the original; a collapse is detected by comparison with them."""
    before: Measures = field(default_factory=dict)
    """Metrics of the model before the first step: the original's, unless the run starts at another model."""
    checkpoints: Checkpoints | None = None
    kept: "KeptSteps | None" = None
    """Keeps models of its evaluations; None keeps none."""
    history: History = field(default_factory=History)
    pauses: Sequence[int] = ()
    """Steps at which the run stops with a checkpoint and is evaluated in full; ascending."""
    _restored: int = field(default=0, init=False)
    """Number of steps taken by an earlier process."""
    _evaluating: float = field(default=0.0, init=False)
    """Seconds spent on evaluation."""
    _sent: int = field(default=0, init=False)
    """Bytes that this rank has sent in its steps."""

    def run(self) -> Outcome:
        """Run all steps, or until a stop rule fires, and evaluate in full; the model is the result.

        An interrupted run leaves a checkpoint.
        """
        stepper = PairedStep(self.task, self.model, self.plan, self.group, self.teachers, self.masks)
        self.history.blocks = stepper.block_names
        progress = self.checkpoints.restore(stepper, self.history) if self.checkpoints else Progress()
        best = Best(self.plan.select_by)
        if self.kept:
            self.kept.recall(self.history.reports)
        if self.group.rank == 0:
            for report in self.history.reports:  # the current callback may not have received them
                self.on_report(report)
        computed = self._restored = progress.steps
        measures: Measures = {}
        pause = next((step for step in self.pauses if progress.steps <= step < self.plan.last_step), None)
        ending = self._level_reached(self.before)
        if pause == progress.steps:  # it was stopped between its checkpoint and its outcome
            ending, measures = WAITS, self.history.reports[-1].measures
        while progress.steps < self.plan.last_step and ending is None:
            until = min(self._next_pause(progress.steps), pause or self.plan.last_step)
            computed += until - progress.steps
            progress, ending = self._advance(stepper, progress, until)
            is_paused = progress.steps == pause
            measures = {} if ending else self._measure_between(progress.steps, full=is_paused)
            best.offer(measures, self.model)
            ending = ending or self._rule_that_fires(measures)
            if self.kept and ending is None:
                self.kept.offer(progress.steps, measures, self.model, stepper.steps_outside_guarantee())
            verdict = self._report(progress.steps, measures)
            due = _due(progress.steps, self.plan.checkpoint_every) and verdict is Verdict.GO_ON
            if self.checkpoints and ending is None and (due or is_paused or verdict is Verdict.INTERRUPT):
                self.checkpoints.save(stepper, progress, self.history)
            ending = VERDICT_ENDINGS.get(verdict, ending) or (WAITS if is_paused else None)
        best.restore(self.model)
        outside = stepper.steps_outside_guarantee()
        return self._end(progress, ending or self._done, computed, measures, outside)

    @property
    def _done(self) -> Ending:
        """How the run ends after its last step."""
        steps = self.plan.last_step
        return Status.FINISHED, "all steps taken" if steps == self.plan.steps else f"stop.after_steps {steps}"

    def _end(
        self, progress: Progress, ending: Ending, computed: int, measures: Measures, outside: int | None
    ) -> Outcome:
        """Evaluate in full, unless the run was stopped or is only timed, and return the outcome.

        ``measures`` are the latest metrics, ``outside`` is the number of steps outside the method's guarantee.
        """
        status, reason = ending
        if self.plan.evaluate_end and status not in (Status.INTERRUPTED, Status.PRUNED):
            measures = self._measure(full=True)
            self._report(progress.steps, measures)
        if status is Status.FINISHED:
            status, reason = self._collapse(measures) or ending
        if ending is WAITS:
            reason = f"{reason} at step {progress.steps}"
        gradients = computed * len(self.plan.needed)
        sent = self._sent / max(computed - self._restored, 1)
        return Outcome(
            status=status,
            reason=reason,
            steps=progress.steps + self.plan.edits,
            measures=measures,
            seconds=progress.seconds,
            gradient_computations=gradients,
            resumed_at=self._restored,
            evaluation_seconds=self._evaluating,
            exchange_bytes=sent,
            paused=ending is WAITS,
            steps_outside_guarantee=outside,
        )

    def _next_pause(self, done: int) -> int:
        """Return the next step count at which the host reads from the device."""
        cadences = [LOG_EVERY, self.plan.evaluate_every, self.plan.checkpoint_every]
        return min(self.plan.last_step, *(done - done % every + every for every in cadences if every))

    def _advance(self, stepper: PairedStep, progress: Progress, until: int) -> tuple[Progress, Ending | None]:
        """Run the steps up to ``until``, or up to the one at which a stop rule fires on the device.

        The host detects this only afterwards: later steps changed nothing and are not reported. The step at which the
        rule fired is the last in the history.
        """
        set_training_mode(self.model, freeze_batchnorm=self.plan.freeze_batchnorm)
        began, sent = time.perf_counter(), self.group.traffic.bytes
        stops = []
        for step in range(progress.steps, until):
            diagnostics, decision = stepper(step)
            self.history.add(step + 1, diagnostics, decision)
            stops.append(stepper.stop.clone())
        codes = torch.stack(stops).tolist()  # synchronises, so that the time includes the work
        seconds = progress.seconds + time.perf_counter() - began
        self._sent += self.group.traffic.bytes - sent
        taken = progress.steps + codes.count(RUNNING)
        self.history.cut(taken + 1)
        return Progress(taken, seconds), STOP_REASONS.get(codes[-1])

    def _measure_between(self, done: int, *, full: bool) -> Measures:
        """Evaluate if scheduled, or in full at a pause; the final evaluation is separate."""
        if full:
            return self._measure(full=True)
        last = done == self.plan.last_step and not self.plan.select_by
        if last or not _due(done, self.plan.evaluate_every):
            return {}
        return self._measure(full=False)

    def _measure(self, *, full: bool) -> Measures:
        began = time.perf_counter()
        measures = self.measure(self.model, full)
        self._evaluating += time.perf_counter() - began
        return measures

    def _rule_that_fires(self, measures: Measures) -> Ending | None:
        stop = self.plan.stop
        retain, forget = measures.get("retain_loss"), measures.get("forget_loss")
        if stop.retain_loss_above and retain is not None and retain > stop.retain_loss_above:
            return Status.FINISHED, f"retain loss {retain:.4g} above {stop.retain_loss_above:g}"
        if stop.forget_loss_above and forget is not None and forget > stop.forget_loss_above:
            return Status.FINISHED, f"forget loss {forget:.4g} above {stop.forget_loss_above:g}"
        return self._level_reached(measures) or self._collapse(measures)

    def _level_reached(self, measures: Measures) -> Ending | None:
        """End a run once its forget loss reaches the reference's, if configured."""
        level, forget = self.plan.reference_forget_loss, measures.get("forget_loss")
        if self.plan.stop.forget_level is None or level is None or forget is None or not forget >= level:
            return None
        return Status.FINISHED, f"forget loss {forget:.4g} reached the reference's {level:.4g}"

    def _collapse(self, measures: Measures) -> Ending | None:
        """Detect a collapsed model by its perplexity on the retain set, relative to the original's."""
        before, now = self.original.get("retain_loss"), measures.get("retain_loss")
        if now is None:
            return None
        if not math.isfinite(now):
            return STOP_REASONS[NON_FINITE]
        ratio = self.plan.stop.collapse_ratio
        if ratio and before is not None and now - before > math.log(ratio):
            return Status.COLLAPSED, f"retain perplexity more than {ratio:g} times the original's"
        return None

    def _report(self, done: int, measures: Measures) -> Verdict:
        """Call rank 0's callback; return its verdict on every rank."""
        steps, history = self.history.take()
        verdict = Verdict.GO_ON
        if self.group.rank == 0:
            done, last = done + self.plan.edits, self.plan.last_step + self.plan.edits
            report = Report(self.plan.phase, done, last, measures, history, steps)
            self.history.reports.append(report)
            verdict = self.on_report(report)
        return Verdict(self.group.agree(verdict))


class Best:
    """The model's state at the best evaluation so far, if a plan selects by metrics."""

    def __init__(self, select_by: tuple[str, ...]) -> None:
        """Select by the sum of these metrics; without metrics, keep nothing."""
        self.select_by = select_by
        self._score = -math.inf
        self._state: dict[str, Tensor] | None = None

    def offer(self, measures: Measures, model: nn.Module) -> None:
        """Keep a copy of the weights and running statistics if their metrics are the best."""
        if not measures or not self.select_by:
            return
        score = math.fsum(measures[name] for name in self.select_by)
        if score > self._score:
            self._score = score
            self._state = {name: value.clone() for name, value in changing_state(model).items()}

    def restore(self, model: nn.Module) -> None:
        """Restore the best state in place."""
        if self._state is not None:
            put_state(model, self._state)


def set_training_mode(model: nn.Module, *, freeze_batchnorm: bool) -> None:
    """Set the model to training mode; frozen BatchNorm keeps using its running statistics."""
    model.train()
    if freeze_batchnorm:
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()


def _due(done: int, every: int | None) -> bool:
    return every is not None and done % every == 0
