"""One unlearning run from its configuration to its result on disk, in this process's part of a group."""

import hashlib
import json
from dataclasses import asdict
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import Tensor, nn

from hamu_ray.config.run import ModelSource, RunConfig
from hamu_ray.engine.checkpoint import Checkpoints, load_model, save_tensors, write_atomically
from hamu_ray.engine.loop import History, Loop, OnReport
from hamu_ray.engine.outcome import Outcome, Report
from hamu_ray.engine.plan import training_plan, unlearning_plan
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.store import MODEL_FILE, ModelStore, StoredModel, key_of
from hamu_ray.pairing.group import Alone, Group
from hamu_ray.tasks.task import Measures, Task

OUTCOME_FILE = "outcome.json"
RUN_FILE = "run.yaml"
HARDNESS_FILE = "hardness.npz"

SELECT_BY = {"original": ("retain_accuracy", "forget_accuracy"), "reference": ("retain_accuracy",)}
"""Whose sum decides on the best epoch of a base model's training."""


def unlearn(run: RunConfig, resident: Resident, group: Group, folder: Path, on_report: OnReport) -> Outcome:
    """Unlearn, and leave the model, its measures and its configuration in ``folder``.

    Continues from the newest checkpoint in ``folder``. Trains the original model and its reference first where they
    are configured so and are not stored yet.
    """
    task = resident.task(run)
    original, reference = base_models(run, task, group, on_report, resident.models)
    plan = unlearning_plan(run, task.splits)
    model = task.build_model(run.seed)
    load_model(model, original.path)

    def compared(measures: Measures) -> Measures:
        known = reference.measures if reference else None
        return {**measures, **task.compare(measures, original.measures, known)}

    def measure(current: nn.Module, full: bool) -> Measures:
        return compared(
            task.evaluate(current, group, subset=None if full else run.evaluation.subset or CHEAP)
        )

    if group.rank == 0:
        for phase, base in (("original", original), ("reference", reference)):
            if base is not None:
                on_report(Report(phase, 0, 0, compared(base.measures)))
        on_report(Report(plan.phase, 0, plan.steps, compared(original.measures)))
    needs_original = any(side.objective.needs_original for side in plan.sides.values())

    loop = Loop(
        task=task,
        model=model,
        plan=plan,
        group=group,
        measure=measure,
        on_report=on_report,
        teacher=resident.teacher(original.path, lambda: task.teacher(model)) if needs_original else None,
        original=original.measures,
        checkpoints=Checkpoints(folder / "checkpoints", group),
    )
    outcome = loop.run()
    if group.rank == 0:
        write_result(folder, run, model, outcome, loop.history)
    return outcome


def base_models(
    run: RunConfig, task: Task, group: Group, on_report: OnReport, models: ModelStore
) -> tuple[StoredModel, StoredModel | None]:
    """Return the original model and the reference (None where configured so), training what is missing.

    Each is trained by one worker alone, so that its numbers do not depend on the size of the group; a group of two
    trains both at once.
    """
    sources = {"original": run.original, "reference": run.reference}
    recipes = {
        phase: training_recipe(run, task, phase)
        for phase, source in sources.items()
        if source.source == "train"
    }
    missing = [phase for phase, recipe in recipes.items() if models.find(key_of(recipe)) is None]
    for phase in missing[group.rank :: group.size]:
        train_base(run, task, phase, on_report, models)
    group.agree(True)  # all wait until every model is there
    found = {phase: models.find(key_of(recipe)) for phase, recipe in recipes.items()}
    for phase, source in sources.items():
        if source.source == "path":
            found[phase] = measured_from_path(run, task, group, source, models)
    original = found["original"]
    assert original is not None
    return original, found.get("reference")


def train_base(
    run: RunConfig, task: Task, phase: str, on_report: OnReport, models: ModelStore
) -> StoredModel:
    """Train the original model or the reference, in this process alone, and store it."""
    alone = Alone()
    model = task.build_model(run.seed)
    plan = training_plan(run, phase, examples_of(task, phase), SELECT_BY[phase])

    def measure(current: nn.Module, full: bool) -> Measures:
        return task.evaluate(current, alone, subset=None if full else CHEAP)

    outcome = Loop(task, model, plan, alone, measure, on_report).run()
    recipe = training_recipe(run, task, phase)
    return models.add(key_of(recipe), model, outcome.measures, recipe)


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
        "model": run.model.model_dump(mode="json", include={"name", "precision", "channels_last"}),
        "training": run.training.model_dump(mode="json"),
        "seed": run.seed,
        "splits": {name: digest(examples.numpy()) for name, examples in sorted(task.splits.items())},
    }


def digest(values: np.ndarray) -> str:
    """Return the SHA-256 of an array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def measured_from_path(
    run: RunConfig, task: Task, group: Group, source: ModelSource, models: ModelStore
) -> StoredModel:
    """Return a model that the user gave, measured once."""
    path = Path(str(source.path))
    path = path / MODEL_FILE if path.is_dir() else path
    key = key_of(
        {"file": hashlib.sha256(path.read_bytes()).hexdigest(), **training_recipe(run, task, "given")}
    )
    known = models.find(key)
    if known is None:
        model = task.build_model(run.seed)
        load_model(model, path)
        measures = task.evaluate(model, group)
        if group.rank == 0:
            models.note(key, path, measures)
        return StoredModel(path, measures)
    return StoredModel(path, known.measures)


def write_result(folder: Path, run: RunConfig, model: nn.Module, outcome: Outcome, history: History) -> None:
    """Write the model, the run's configuration and per-block diagnostics, and the outcome last of all."""
    save_tensors(folder / MODEL_FILE, model.state_dict(), {"steps": str(outcome.steps)})
    configuration = run.model_dump(mode="json", by_alias=True)
    write_atomically(folder / RUN_FILE, yaml.safe_dump(configuration, sort_keys=False).encode())
    if history.per_block:
        content = BytesIO()
        np.savez_compressed(content, **history.by_block())
        write_atomically(folder / HARDNESS_FILE, content.getvalue())
    write_atomically(folder / OUTCOME_FILE, json.dumps(asdict(outcome), indent=2).encode())
