"""Original models and retain-only references of a run: trained once, then found again."""

import hashlib

import numpy as np
import torch
from torch import Tensor, nn

from hamu_ray.config.run import ModelSource, RunConfig
from hamu_ray.engine.loop import Loop, OnReport
from hamu_ray.engine.plan import training_plan
from hamu_ray.engine.store import ModelStore, StoredModel, key_of
from hamu_ray.engine.tensors import load_model
from hamu_ray.metrics.measured import Measures
from hamu_ray.pairing.group import Alone, Group
from hamu_ray.results.folder import MODEL_FILE
from hamu_ray.results.outcome import Outcome, Status
from hamu_ray.storage import storage_path
from hamu_ray.tasks.task import Task


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


SELECT_BY = {"original": ("retain_accuracy", "forget_accuracy"), "reference": ("retain_accuracy",)}
"""Whose sum decides on the best epoch of a base model's training."""


class Interrupted(Exception):
    """The listener wants no more while a base model is trained."""


CHEAP = 2**62
"""As an evaluation's subset: all examples, but only cheap measures."""
