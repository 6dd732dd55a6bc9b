"""One unlearning run, from its configuration to its result on disk, in one process of a group."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from hamu_ray.config.run import RunConfig
from hamu_ray.engine.base_models import CHEAP, base_models
from hamu_ray.engine.files.checkpoint import Checkpoints
from hamu_ray.engine.files.given import built, load_start
from hamu_ray.engine.files.kept import (
    kept_of,
    measure_kept,
    rewind_target,
    rewound,
    with_points,
    write_kept,
)
from hamu_ray.engine.files.run_folder import RunResult, write_result
from hamu_ray.engine.files.store import StoredModel
from hamu_ray.engine.files.tensors import take_part
from hamu_ray.engine.loop import Interrupted, Loop, OnReport
from hamu_ray.engine.placement import build_device, placed
from hamu_ray.engine.plan import ObjectiveBatches, Plan
from hamu_ray.engine.planning import unlearning_plan
from hamu_ray.engine.provenance import provenance_of_run, weights_key
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.state import whole_state
from hamu_ray.methods.objectives import SECOND, Objective, cross_entropy, output_norm
from hamu_ray.metrics.comparison import nothing_to_forget
from hamu_ray.metrics.measured import Measures
from hamu_ray.pairing.batches import Batches
from hamu_ray.pairing.group import Group
from hamu_ray.pairing.importance import Importance, importance_of
from hamu_ray.pairing.support import Masks, named_masks, salient_masks, trainable
from hamu_ray.results.folder import CHECKPOINTS, KEPT
from hamu_ray.results.outcome import Outcome, Report
from hamu_ray.results.pareto.trajectory import Keeping
from hamu_ray.storage import StoragePath
from hamu_ray.tasks.models.start import reference_origin
from hamu_ray.tasks.modes import eval_mode
from hamu_ray.tasks.task import SecondAnswering, Task, Teacher


@dataclass(frozen=True)
class Edited:
    """What an edit of the original took; nothing without one."""

    seconds: float = 0.0
    gradient_computations: int = 0
    """In global batches of as many examples: those of all training data, and of the forget set again."""


@dataclass(frozen=True)
class Beginning:
    """A run before its first step."""

    model: nn.Module
    """The original, the model of an earlier run (`start`), or an edit of either."""
    masks: Masks | None
    """Which weights may change; None: all."""
    teachers: Mapping[str, Teacher]
    """Those that the plan's objectives need, of the original."""
    edited: Edited


def unlearn(
    run: RunConfig,
    resident: Resident,
    group: Group,
    folder: StoragePath,
    on_report: OnReport,
    pauses: Sequence[int] = (),
    keeping: Keeping | None = None,
) -> Outcome:
    """Unlearn, and write the model, its metrics and its configuration to ``folder``.

    Goes on from this run's newest checkpoint in ``folder``, and removes its checkpoints at the end unless they are to
    be kept. Stops at the first of ``pauses`` (steps) that it has not passed, as if it had ended there, but with a
    checkpoint. With ``keeping``, writes models of its evaluations to run folders of their own
    (`hamu_ray.engine.files.kept`). Trains missing base models first.

    Raises:
        ValueError: The data or a model cannot be used as configured; one line with the key and the remedy.
    """
    task = resident.task(run)
    replicas, shards = group.split(run.workers.shards)
    try:
        original, reference = base_models(run, task, group, on_report, resident.models)
    except Interrupted as stopped:
        return Outcome(stopped.status, stopped.reason, 0, {}, 0.0, 0)
    plan = planned(run, task, original, reference)
    begun = beginning(run, plan, resident, original, shards)
    model = begun.model
    compared = partial(with_comparisons, task, original.measures, reference.measures if reference else None)

    def measure(current: nn.Module, full: bool) -> Measures:
        subset = None if full else run.evaluation.subset or CHEAP
        return compared(task.evaluate(current, replicas, subset=subset))

    bases = base_reports(run, plan, compared, original, reference, lambda: measure(model, full=False))
    key = weights_key(run, original, reference, plan)
    provenance = None  # gathered while all files are there
    if group.rank == 0:
        provenance = provenance_of_run(run, task, original, reference, resident.forgotten(task), group.size)
        for report in bases:
            on_report(report)
    kept = kept_of(run, folder / KEPT / key, keeping, group, model)
    loop = Loop(
        task=task,
        model=model,
        plan=plan,
        group=group,
        measure=measure,
        on_report=on_report,
        teachers=begun.teachers,
        masks=begun.masks,
        original=original.measures,
        before=bases[-1].measures if run.start else original.measures,
        checkpoints=Checkpoints(folder / CHECKPOINTS / key, group),
        kept=kept,
        pauses=pauses,
    )
    outcome = with_references(with_edit(ended(run, loop, reference), begun.edited), run, bases[0].measures)
    export = partial(task.export, model, original.folder)
    models = measure_kept(kept, model, outcome, partial(measure, full=True), export) if kept else []
    outcome = with_points(outcome, models)
    state = whole_state(model, shards)
    if provenance is not None:
        result = RunResult(run, outcome, bases, loop.history, resident.forgotten(task), provenance)
        write_kept(folder, result, models, task.loading(model))
        write_result(folder, result, state, export, task.loading(model))
        remove_progress(result, loop)
    elif replicas.rank == 0:
        take_part(state)
    return outcome


def with_comparisons(
    task: Task, original: Measures, reference: Measures | None, measures: Measures
) -> Measures:
    """Return metrics with those that compare the model with the base models."""
    return {**measures, **task.compare(measures, original, reference)}


def ended(run: RunConfig, loop: Loop, reference: StoredModel | None) -> Outcome:
    """Run the loop, and rewind its model at the end if `stop.rewind` asks for it, which is reported."""
    outcome = loop.run()
    if run.stop.rewind is None or loop.kept is None:
        return outcome
    target = rewind_target(run.stop.rewind, outcome.measures, reference.measures if reference else {})
    found = rewound(loop.kept, loop.model, outcome, target, lambda model: loop.measure(model, True))
    if found.measures is not outcome.measures and loop.group.rank == 0:
        report = Report(loop.plan.phase, found.steps, loop.plan.last_step, found.measures)
        loop.history.reports.append(report)
        loop.on_report(report)
    return found


def remove_progress(result: RunResult, loop: Loop) -> None:
    """Remove what a run needs no more if it has ended."""
    if loop.checkpoints and result.outcome.is_over and not result.run.checkpoint.keep:
        loop.checkpoints.remove()
    if loop.kept and result.outcome.is_over:
        loop.kept.remove()


def planned(run: RunConfig, task: Task, original: StoredModel, reference: StoredModel | None) -> Plan:
    """Return the plan of unlearning, with the second answers that it needs."""
    plan = unlearning_plan(run, task.splits, original.measures, reference.measures if reference else None)
    if SECOND not in plan.needs:
        return plan
    assert isinstance(task, SecondAnswering), "the configuration requires second answers"
    return replace(plan, second=task.second_answers(run.seed))


def beginning(
    run: RunConfig, plan: Plan, resident: Resident, original: StoredModel, shards: Group
) -> Beginning:
    """Build the original, which gives the weights that may change and the teachers, and change it to where to start."""
    task = resident.task(run)
    model = built(task, run.seed, original.source, device=build_device(task, shards))
    model = placed(task.unlearner(model, run.seed), task, shards)
    masks = support_masks(run, task, model)
    teachers = resident.teachers(task, model, original.key, plan.needs, plan.seed, plan.perturbation)
    if run.start is not None:
        load_start(model, run.start)
    return Beginning(model, masks, teachers, edit_model(run, plan, task, model, masks))


def base_reports(
    run: RunConfig,
    plan: Plan,
    compared: Callable[[Measures], Measures],
    original: StoredModel,
    reference: StoredModel | None,
    at_start: Callable[[], Measures],
) -> list[Report]:
    """Return the reports of the base models' metrics, and of the model before the first step.

    They are the original's, unless the run starts at another model: ``at_start`` measures it. Every rank must call it.
    """
    reports = [Report("original", 0, 0, compared(original.measures))]
    if reference is not None:
        reports.append(Report("reference", 0, 0, compared(reference.measures)))
    if run.evaluation.enabled:
        before = at_start() if run.start else compared(original.measures)
        reports.append(Report(plan.phase, 0, plan.steps + plan.edits, before))
    return reports


def support_masks(run: RunConfig, task: Task, model: nn.Module) -> Masks | None:
    """Return which weights may change, by the section `support` and the method; None: all.

    A method's own fraction is of the weights that the section selects. The model's weights are still the original's.
    Every worker computes the same masks: saliency is that of the whole forget set, in eval mode. Raises `ValueError`,
    in one line, for names of layers that the model does not have.
    """
    support = run.support
    masks = named_masks(model, support.names) if support.kind == "layers" else None
    given = support.fraction if support.kind == "saliency" else None
    fractions = [each for each in (given, run.method.hyperparameters.saliency) if each is not None]
    if not fractions:
        return masks
    with eval_mode(model):
        losses = mean_losses(run, task, model, task.splits["forget"], cross_entropy)
        return salient_masks(model, losses, math.prod(fractions), masks)


def edit_model(run: RunConfig, plan: Plan, task: Task, model: nn.Module, masks: Masks | None) -> Edited:
    """Change the original once, in place, if the method is an edit: only weights that may change.

    Every worker computes the same. The importances are those of the whole training data, in eval mode, batch by batch
    in the order of the data. Returns what it took.
    """
    edit, settings = plan.method.edit, plan.settings
    if edit is None:
        return Edited()
    began = time.perf_counter()
    fisher = settings.importance == "fisher"
    objective = cross_entropy if fisher else output_norm

    def importance(examples: Tensor) -> Importance:
        batches = examples.split(settings.importance_batch)
        losses = (mean_losses(run, task, model, batch, objective) for batch in batches)
        return importance_of(model, losses, squared=fisher)

    forget = task.splits["forget"]
    with eval_mode(model):
        every = importance(torch.cat([task.splits["retain"], forget]).sort().values)
        forgotten = importance(forget)
    with torch.no_grad():
        for name, weights in trainable(model):
            changed = edit(weights, every[name], forgotten[name], settings)
            weights.copy_(changed if masks is None else torch.where(masks[name], changed, weights))
        weights.sum().item()  # synchronises, so that the time includes the work
    retain_batches, forget_batches = (
        -(-len(task.splits[name]) // size)
        for name, size in (("retain", run.batch.retain), ("forget", run.batch.forget))
    )
    return Edited(time.perf_counter() - began, retain_batches + 2 * forget_batches)


def with_edit(outcome: Outcome, edited: Edited) -> Outcome:
    """Return an outcome that includes what an edit took."""
    return replace(
        outcome,
        seconds=outcome.seconds + edited.seconds,
        gradient_computations=outcome.gradient_computations + edited.gradient_computations,
    )


def mean_losses(
    run: RunConfig, task: Task, model: nn.Module, examples: Tensor, objective: Objective
) -> Iterator[Tensor]:
    """Yield the parts of an objective's mean over the items of examples, 0-d, which sum to it."""
    size = run.batch.micro or min(run.batch.forget, len(examples))
    side = ObjectiveBatches(objective, Batches(examples, size, 0))
    for part in task.parts(examples, size):
        seen = side.predictions(task.forward(model, part), part, {}, 0)
        yield objective.loss(seen).sum() / task.count(examples)


def with_references(outcome: Outcome, run: RunConfig, original: Measures) -> Outcome:
    """Return an outcome with what its numbers are compared with: the reference's origin, and the original's metrics."""
    origin = reference_origin(run)
    return replace(
        outcome,
        reference_kind=origin.kind,
        reference_origin=str(origin),
        nothing_to_forget=nothing_to_forget(original),
    )
