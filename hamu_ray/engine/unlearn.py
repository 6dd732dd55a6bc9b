"""One unlearning run from its configuration to its result on disk, in this process's part of a group."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from io import BytesIO
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor, nn

from hamu_ray.config.run import ModelSource, RunConfig
from hamu_ray.engine.card import CARD_FILE, model_card
from hamu_ray.engine.checkpoint import Checkpoints, load_model, save_tensors
from hamu_ray.engine.files import StoragePath, storage_path, write_atomically
from hamu_ray.engine.history import History
from hamu_ray.engine.loop import Loop, OnReport
from hamu_ray.engine.outcome import Outcome, Report, Status, dump_reports
from hamu_ray.engine.plan import training_plan, unlearning_plan
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.state import changing_state
from hamu_ray.engine.store import MODEL_FILE, ModelStore, StoredModel, key_of
from hamu_ray.pairing.group import Alone, Group
from hamu_ray.tasks.task import Measures, Task

OUTCOME_FILE = "outcome.json"
RUN_FILE = "run.yaml"
HARDNESS_FILE = "hardness.npz"
REPORTS_FILE = "reports.json"

SELECT_BY = {"original": ("retain_accuracy", "forget_accuracy"), "reference": ("retain_accuracy",)}
"""Whose sum decides on the best epoch of a base model's training."""


class Interrupted(Exception):
    """The listener wants no more while a base model is trained."""


def unlearn(
    run: RunConfig, resident: Resident, group: Group, folder: StoragePath, on_report: OnReport
) -> Outcome:
    """Unlearn, and leave the model, its measures and its configuration in ``folder``.

    Goes on from this run's newest checkpoint in ``folder``. Trains the original model and its reference first
    where they are configured so and are not stored yet.

    Raises:
        ValueError: The data or a model cannot be used as configured: one line with the key and the remedy.
    """
    task = resident.task(run)
    try:
        original, reference = base_models(run, task, group, on_report, resident.models)
    except Interrupted:
        return Outcome(Status.INTERRUPTED, "stopped from outside", 0, {}, 0.0, 0)
    plan = unlearning_plan(run, task.splits)
    model = task.build_model(run.seed)
    load_model(model, original.path)
    model = task.unlearner(model, run.seed)

    def compared(measures: Measures) -> Measures:
        known = reference.measures if reference else None
        return {**measures, **task.compare(measures, original.measures, known)}

    def measure(current: nn.Module, full: bool) -> Measures:
        subset = None if full else run.evaluation.subset or CHEAP
        return compared(task.evaluate(current, group, subset=subset))

    bases = [
        Report(phase, 0, 0, compared(base.measures))
        for phase, base in (("original", original), ("reference", reference))
        if base is not None
    ]
    if run.evaluation.enabled:
        bases.append(Report(plan.phase, 0, plan.steps, compared(original.measures)))
    if group.rank == 0:
        for report in bases:
            on_report(report)
    needs_original = any(side.objective.needs_original for side in plan.sides.values())

    loop = Loop(
        task=task,
        model=model,
        plan=plan,
        group=group,
        measure=measure,
        on_report=on_report,
        teacher=resident.teacher(task, original.key, lambda: task.teacher(model)) if needs_original else None,
        original=original.measures,
        checkpoints=Checkpoints(folder / "checkpoints" / weights_key(run, original), group),
    )
    outcome = loop.run()
    if group.rank == 0:
        write_atomically(folder / REPORTS_FILE, dump_reports([*bases, *loop.history.reports]))
        write_for_others(folder, run, outcome, task.export(model, str(original.path.parent)), bases)
        write_result(folder, run, model, outcome, loop.history)
    return outcome


def weights_key(run: RunConfig, original: StoredModel) -> str:
    """Return the hash of what determines a run's weights: a checkpoint of any other run is none of its own."""
    elsewhere = {"name", "workers", "storage", "tracking", "checkpoint", "original", "reference", "training"}
    return key_of({"original": original.key, "run": run.model_dump(mode="json", exclude=elsewhere)})


def base_models(
    run: RunConfig, task: Task, group: Group, on_report: OnReport, models: ModelStore
) -> tuple[StoredModel, StoredModel | None]:
    """Return the original model and the reference (None where configured so), training what is missing.

    Each is trained by one worker alone, so that its numbers do not depend on the size of the group; a group of two
    trains both at once.

    Raises:
        Interrupted: A listener wanted no more.
        ValueError: A model cannot be trained or used as configured.
    """
    sources = {"original": run.original, "reference": run.reference}
    recipes = {
        phase: training_recipe(run, task, phase)
        for phase, source in sources.items()
        if source.source == "train"
    }
    # Who trains what does not hang on what is missing, which other groups that share the store may change.
    failed = torch.zeros(len(Status), dtype=torch.int64, device=task.device)
    for place, (phase, recipe) in enumerate(recipes.items()):
        if place % group.size == group.rank and models.find(key_of(recipe)) is None:
            status = train_base(run, task, phase, on_report, models).status
            failed[list(Status).index(status)] += status is not Status.FINISHED
    endings = dict(zip(Status, group.all_gather(failed).sum(0).tolist(), strict=True))
    if endings[Status.INTERRUPTED]:
        raise Interrupted
    if endings[Status.COLLAPSED]:
        raise ValueError(
            "training.optimizer.learning_rate: the training of a base model ended in numbers that are not finite; "
            "lower it"
        )
    found = {phase: models.find(key_of(recipe)) for phase, recipe in recipes.items()}
    for phase, source in sources.items():
        if source.source == "path":
            found[phase] = measured_from_path(run, task, group, phase, source, models)
    original = found["original"]
    assert original is not None
    return original, found.get("reference")


def train_base(run: RunConfig, task: Task, phase: str, on_report: OnReport, models: ModelStore) -> Outcome:
    """Train the original model or the reference, in this process alone, and store it if it comes to its end."""
    alone = Alone()
    model = task.build_model(run.seed)
    plan = training_plan(run, phase, examples_of(task, phase), SELECT_BY[phase])

    def measure(current: nn.Module, full: bool) -> Measures:
        return task.evaluate(current, alone, subset=None if full else CHEAP)

    outcome = Loop(task, model, plan, alone, measure, on_report).run()
    if outcome.status is Status.FINISHED:
        recipe = training_recipe(run, task, phase)
        models.add(key_of(recipe), model, outcome.measures, recipe, task.export(model, None))
    return outcome


CHEAP = 2**62
"""As an evaluation's subset: all examples, but only cheap measures."""


def examples_of(task: Task, phase: str) -> Tensor:
    """Return what a base model is trained on: everything, or the retain set alone."""
    if phase == "reference":
        return task.splits["retain"]
    return torch.cat([task.splits["retain"], task.splits["forget"]]).sort().values


def training_recipe(run: RunConfig, task: Task, phase: str) -> dict:
    """Return all that determines a base model, as plain data."""
    return {
        "phase": phase,
        "data": task.fingerprint,
        "model": run.model.recipe(run.training.parameters),
        "training": run.training.model_dump(mode="json"),
        "seed": run.seed,
        "splits": {name: digest(examples.numpy()) for name, examples in sorted(task.splits.items())},
    }


def digest(values: np.ndarray) -> str:
    """Return the SHA-256 of an array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def measured_from_path(
    run: RunConfig, task: Task, group: Group, phase: str, source: ModelSource, models: ModelStore
) -> StoredModel:
    """Return a model that the user gave, measured once."""
    path = storage_path(str(source.path))
    path = path / MODEL_FILE if path.is_dir() else path
    if not path.is_file():
        raise ValueError(
            f"{phase}.path: {path}: no such file; give a {MODEL_FILE} or a folder that holds one"
        )
    content = digest(np.frombuffer(path.read_bytes(), dtype=np.uint8))
    key = key_of({"file": content, **training_recipe(run, task, "given")})
    if not group.agree(int(models.find(key, path) is not None)):
        model = task.build_model(run.seed)
        load_model(model, path)
        measures = task.evaluate(model, group)
        if group.rank > 0:
            return StoredModel(key, path, measures)
        models.note(key, path, measures)
    known = models.find(key, path)
    assert known is not None
    return known


def write_result(
    folder: StoragePath, run: RunConfig, model: nn.Module, outcome: Outcome, history: History
) -> None:
    """Write the model, the run's configuration and per-block diagnostics, and the outcome last of all."""
    (folder / OUTCOME_FILE).unlink(missing_ok=True)
    save_tensors(folder / MODEL_FILE, changing_state(model), {"steps": str(outcome.steps)})
    configuration = run.model_dump(mode="json", by_alias=True)
    write_atomically(folder / RUN_FILE, yaml.safe_dump(configuration, sort_keys=False).encode())
    if history.past:
        content = BytesIO()
        arrays: dict[str, Any] = history.by_block()
        np.savez_compressed(content, **arrays)
        write_atomically(folder / HARDNESS_FILE, content.getvalue())
    write_atomically(folder / OUTCOME_FILE, json.dumps(asdict(outcome), indent=2).encode())


def write_for_others(
    folder: StoragePath,
    run: RunConfig,
    outcome: Outcome,
    files: Mapping[str, bytes],
    bases: Sequence[Report],
) -> None:
    """Write what other programs need beside the weights, and a model card for people."""
    card = model_card(run, outcome, {base.phase: base.measures for base in bases[:-1]})
    for name, content in {**files, CARD_FILE: card.encode()}.items():
        write_atomically(folder / name, content)
