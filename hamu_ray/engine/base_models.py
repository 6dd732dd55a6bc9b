"""The base models of a run: the original model and the retain-only reference, trained once and then reused."""

import hashlib
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from hamu_ray.config.run import RunConfig
from hamu_ray.engine.files.given import Given, built, given, identity_of
from hamu_ray.engine.files.store import ModelStore, StoredModel, Turn, key_of
from hamu_ray.engine.files.tensors import take_part
from hamu_ray.engine.loop import VERDICT_ENDINGS, Interrupted, Loop, OnReport
from hamu_ray.engine.placement import build_device, placed
from hamu_ray.engine.plan import Plan
from hamu_ray.engine.planning import training_plan
from hamu_ray.engine.state import whole_state
from hamu_ray.metrics import names
from hamu_ray.metrics.measured import Measured, Measures
from hamu_ray.pairing.group import Alone, Group
from hamu_ray.results.folder import MODEL_FILE
from hamu_ray.results.outcome import Outcome, Report, Status, Verdict
from hamu_ray.tasks.models.checkpoints import Checkpoint
from hamu_ray.tasks.models.start import check_given_models, model_recipe
from hamu_ray.tasks.task import Augmenting, Start, Task

LOOK_SECONDS = 1.0
"""Pause between two looks for a model that another group is training."""
REPORT_SECONDS = 10.0
"""Interval of reports while waiting. They show that this process is alive, and their answer may be to stop."""


def base_models(
    run: RunConfig, task: Task, group: Group, on_report: OnReport, models: ModelStore
) -> tuple[StoredModel, StoredModel | None]:
    """Return the original model and the reference (None if disabled), after training missing ones.

    Each is trained by a single worker, or by the shards of a single replica, so that the result does not depend on the
    number of replicas; two of them train two concurrently. If there are several references, the first is returned, with
    the losses on the forget set of all of them.

    Raises:
        Interrupted: The callback asked to stop.
        ValueError: A model cannot be trained or used as configured.
    """
    check_given_models(run)
    sources = {"original": run.original, "reference": run.reference}
    # Given models first, so that their errors are reported before anything is trained.
    found: dict[str, StoredModel | None] = {
        phase: measured_from_path(run, task, group, phase, models)
        for phase, source in sources.items()
        if source.source == "path"
    }
    trained = [
        BaseModel(phase, run.training_seed + number)
        for phase, count in (("original", 1), ("reference", run.reference.seeds))
        if sources[phase].source == "train"
        for number in range(count)
    ]
    recipes = {base: training_recipe(run, task, base) for base in trained}
    replicas, shards = group.split(run.workers.shards)
    # The assignment does not depend on which models are missing, which groups sharing the store may change.
    for recipe in recipes.values():
        measure_again(run, task, group, key_of(recipe), models)
    own = [base for place, base in enumerate(recipes) if place % replicas.size == replicas.rank]
    failed = torch.zeros(len(Status), dtype=torch.int64, device=task.device)
    for status in train_missing(run, task, own, shards, on_report, models):
        failed[list(Status).index(status)] += status is not Status.FINISHED
    counts = group.all_gather(failed).sum(0).tolist()
    raise_if_failed([status for status, count in zip(Status, counts, strict=True) if count])
    stored: dict[str, list[StoredModel]] = {}
    for base, recipe in recipes.items():
        model = models.find(key_of(recipe))
        assert model is not None, "it has been trained"
        stored.setdefault(base.phase, []).append(model)
    found |= {phase: with_losses_of(bases) for phase, bases in stored.items()}
    original = found["original"]
    assert original is not None
    return original, found.get("reference")


def raise_if_failed(endings: Sequence[Status]) -> None:
    """Raise if the training of a base model ended otherwise than finished; see `base_models`."""
    for verdict in (Verdict.INTERRUPT, Verdict.STOP):  # no trial is pruned before its first step
        if VERDICT_ENDINGS[verdict][0] in endings:
            raise Interrupted(*VERDICT_ENDINGS[verdict])
    if Status.COLLAPSED in endings:
        raise ValueError(
            "training.optimizer.learning_rate: the loss of a base model's training became non-finite; "
            "lower it"
        )


@dataclass(frozen=True)
class BaseModel:
    """A model that is trained here."""

    phase: str
    """``original`` or ``reference``."""
    seed: int
    """Seed of its initial weights and batches; the split is the run's."""


def with_losses_of(bases: Sequence[StoredModel]) -> StoredModel:
    """Return the first model, with the forget losses of all models: concatenated, each in the set's order."""
    first = bases[0]
    per_item = [base.measures.per_item for base in bases if isinstance(base.measures, Measured)]
    losses = [loss for items in per_item for loss in items[names.FORGET_LOSSES]]
    measures = Measured(first.measures, {**per_item[0], names.FORGET_LOSSES: losses})
    return replace(first, measures=measures, others=tuple(bases[1:]))


def measure_again(run: RunConfig, task: Task, group: Group, key: str, models: ModelStore) -> None:
    """Evaluate a stored model again whose metrics have outdated definitions."""
    path = models.outdated(key)
    if not group.agree(int(path is not None)):
        return
    measures = evaluated(run, task, group, path or models.root / key / MODEL_FILE)[1]
    if group.rank == 0:
        models.note(key, measures)
    group.agree(1)  # barrier: no rank reads before rank 0 has written


def evaluated(
    run: RunConfig, task: Task, group: Group, source: Given, key: str = ""
) -> tuple[nn.Module, Measures]:
    """Return a given or stored model, sharded as configured, with its metrics."""
    replicas, shards = group.split(run.workers.shards)
    model = placed(
        built(task, run.training_seed, source, key, device=build_device(task, shards)), task, shards
    )
    return model, task.evaluate(model, replicas)


def train_missing(
    run: RunConfig,
    task: Task,
    bases: Sequence[BaseModel],
    shards: Group,
    on_report: OnReport,
    models: ModelStore,
) -> list[Status]:
    """Train the models that are not stored yet, in this process or one replica's shards; return how trainings ended.

    A model that another group is training, of this sweep or of another one, comes last: it is waited for, and trained
    here if the other group ends without it. A callback that asks to stop ends the waiting, as it ends a training.
    """
    left, endings = list(bases), []
    keys = {base: key_of(training_recipe(run, task, base)) for base in bases}
    reported = time.monotonic()
    while left:
        for base in list(left):
            with ExitStack() as held:
                turn = Turn.OURS
                if shards.rank == 0:  # of the others, each might see another state
                    turn = held.enter_context(models.to_make(keys[base]))
                turn = Turn(shards.agree(turn))
                if turn is Turn.OURS:
                    endings.append(train_base(run, task, base, shards, on_report, models).status)
                if turn is not Turn.OTHERS:
                    left.remove(base)
        if left:
            verdict = Verdict.GO_ON
            if shards.rank == 0 and time.monotonic() - reported >= REPORT_SECONDS:
                steps = base_plan(run, task, left[0]).steps
                verdict, reported = on_report(Report(left[0].phase, 0, steps)), time.monotonic()
            if ending := VERDICT_ENDINGS.get(Verdict(shards.agree(verdict))):
                return [*endings, ending[0]]
            time.sleep(LOOK_SECONDS)
    return endings


def base_plan(run: RunConfig, task: Task, base: BaseModel) -> Plan:
    """Return the plan of training a base model."""
    return training_plan(run, base.phase, examples_of(task, base.phase), SELECT_BY[base.phase], base.seed)


def train_base(
    run: RunConfig, task: Task, base: BaseModel, shards: Group, on_report: OnReport, models: ModelStore
) -> Outcome:
    """Train the original model or a reference, in this process or one replica's shards, and store it if training
    completes."""
    alone, device = Alone(), build_device(task, shards)
    if base.phase == "reference" and run.reference.start is not None:
        key = "reference.start"
        model = built(task, base.seed, given(run, key, run.reference.start), key, device=device)
    else:
        model = task.build_model(base.seed, device=device)
    model = placed(model, task, shards)
    plan = base_plan(run, task, base)
    if run.training.augment is not None:
        assert isinstance(task, Augmenting), "the configuration requires images"
        plan = replace(plan, augmented=task.augmented(run.training.augment))

    def measure(current: nn.Module, full: bool) -> Measures:
        return task.evaluate(current, alone, subset=None if full else CHEAP)

    outcome = Loop(task, model, plan, shards, measure, on_report).run()
    if outcome.status is Status.FINISHED:
        recipe = training_recipe(run, task, base)
        add_model(models, task, model, outcome.measures, recipe, shards, outcome.seconds)
    return outcome


def add_model(
    models: ModelStore,
    task: Task,
    model: nn.Module,
    measures: Measures,
    recipe: dict,
    shards: Group,
    seconds: float | None = None,
) -> None:
    """Store a model, with the time of its training. The shards of a replica must all call it; the first writes."""
    weights = whole_state(model, shards)
    if shards.rank == 0:
        models.add(key_of(recipe), weights, measures, recipe, partial(task.export, model, None), seconds)
    else:
        take_part(weights)


def examples_of(task: Task, phase: str) -> Tensor:
    """Return the training examples of a base model: all of them, or the retain set only."""
    if phase == "reference":
        return task.splits["retain"]
    return torch.cat([task.splits["retain"], task.splits["forget"]]).sort().values


def training_recipe(run: RunConfig, task: Task, base: BaseModel) -> dict:
    """Return everything that determines a base model, as plain data."""
    start = run.reference.start if base.phase == "reference" else None
    return {
        "phase": base.phase,
        "data": task.fingerprint,
        "model": model_recipe(run),
        "training": run.training.recipe(),
        "seed": base.seed,
        "splits": {name: digest(examples.numpy()) for name, examples in sorted(task.splits.items())},
        **(
            {"start": identity_of(run, "reference.start", start), "head": run.reference.new_head}
            if start
            else {}
        ),
    }


def digest(values: np.ndarray) -> str:
    """Return the SHA-256 of an array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def measured_from_path(
    run: RunConfig, task: Task, group: Group, phase: str, models: ModelStore
) -> StoredModel:
    """Return a model given by the user, evaluated once."""
    key, name = f"{phase}.path", (run.original if phase == "original" else run.reference).path
    assert name is not None
    source = given(run, key, name)
    recipe = {
        "content": identity_of(run, key, name),
        **training_recipe(run, task, BaseModel("given", run.training_seed)),
    }
    stored = key_of(recipe)
    # An adapter that is merged into its base is stored as a whole model, so that it can be the base of new adapters.
    merged = (
        isinstance(source, Start)
        and run.training.parameters == "all"
        and bool(Checkpoint(key, source.name).adapter)
    )

    def known() -> StoredModel | None:
        if merged:
            return models.find(stored)
        measures = models.measures(stored)
        return None if measures is None else StoredModel(stored, source, measures)

    if not group.agree(int(known() is not None)):
        model, measures = evaluated(run, task, group, source, key)
        replicas, shards = group.split(run.workers.shards)
        if merged and replicas.rank == 0:
            add_model(models, task, model, measures, recipe, shards)
        elif not merged and group.rank == 0:
            models.note(stored, measures)
        group.agree(1)  # barrier: no rank reads before rank 0 has written
    found = known()
    assert found is not None
    return found


SELECT_BY = {"original": ("retain_accuracy", "forget_accuracy"), "reference": ("retain_accuracy",)}
"""The metrics whose sum selects the best epoch of a base model's training."""


CHEAP = 2**62
"""Value of an evaluation's subset: all examples, but only cheap metrics."""
