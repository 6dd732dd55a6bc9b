"""Original models and retain-only references of a run: trained once, then found again."""

import hashlib

import numpy as np
import torch
from torch import Tensor, nn

from hamu_ray.config.run import RunConfig
from hamu_ray.engine.loop import Loop, OnReport
from hamu_ray.engine.planning import training_plan
from hamu_ray.engine.store import ModelStore, StoredModel, key_of
from hamu_ray.engine.tensors import load_model
from hamu_ray.metrics.measured import Measures
from hamu_ray.pairing.group import Alone, Group
from hamu_ray.results.folder import MODEL_FILE
from hamu_ray.results.outcome import Outcome, Status
from hamu_ray.storage import StoragePath, storage_path
from hamu_ray.tasks.checkpoints import Checkpoint
from hamu_ray.tasks.start import check_given_models, checkpoint_at, model_recipe
from hamu_ray.tasks.task import Start, Task


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
    check_given_models(run)
    sources = {"original": run.original, "reference": run.reference}
    # Given ones first: what is wrong with them is found before anything trains.
    found: dict[str, StoredModel | None] = {
        phase: measured_from_path(run, task, group, phase, models)
        for phase, source in sources.items()
        if source.source == "path"
    }
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
    found |= {phase: models.find(key_of(recipe)) for phase, recipe in recipes.items()}
    original = found["original"]
    assert original is not None
    return original, found.get("reference")


def train_base(run: RunConfig, task: Task, phase: str, on_report: OnReport, models: ModelStore) -> Outcome:
    """Train the original model or the reference, in this process alone, and store it if it comes to its end."""
    alone = Alone()
    if phase == "reference" and run.reference.start is not None:
        key = "reference.start"
        model = built(task, run.seed, given(run, key, run.reference.start), key)
    else:
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
    start = run.reference.start if phase == "reference" else None
    return {
        "phase": phase,
        "data": task.fingerprint,
        "model": model_recipe(run),
        "training": run.training.model_dump(mode="json"),
        "seed": run.seed,
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


Given = Start | StoragePath
"""A model that is not trained here: a checkpoint, or a safetensors file."""


def given(run: RunConfig, key: str, name: str) -> Given:
    """Return the model that a key of the configuration names; raises `ValueError` where there is no such file."""
    checkpoint = checkpoint_at(run, key, name)
    if checkpoint is not None:
        return Start(key, checkpoint.name, new_head=run.reference.new_head and key == "reference.start")
    path = storage_path(name)
    path = path / MODEL_FILE if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"{key}: {path}: no such file; give a {MODEL_FILE} or a folder that holds one")
    return path


def built(task: Task, seed: int, source: Given, key: str = "") -> nn.Module:
    """Return a model with the weights of a given or stored one.

    Raises `ValueError` where they do not fit, with the configuration's ``key`` that names a given file.
    """
    if isinstance(source, Start):
        return task.build_model(seed, source)
    model = task.build_model(seed)
    try:
        load_model(model, source)
    except ValueError as error:
        raise ValueError(f"{key}: {error}" if key else str(error)) from error
    return model


def identity_of(run: RunConfig, key: str, name: str) -> str:
    """Return what identifies a given model: its content, or its commit on the hub."""
    source = given(run, key, name)
    if isinstance(source, Start):
        return Checkpoint(source.key, source.name).identity
    content = hashlib.sha256()
    with source.open("rb") as file:
        while chunk := file.read(CHUNK):
            content.update(chunk)
    return content.hexdigest()


def measured_from_path(
    run: RunConfig, task: Task, group: Group, phase: str, models: ModelStore
) -> StoredModel:
    """Return a model that the user gave, measured once."""
    key, name = f"{phase}.path", (run.original if phase == "original" else run.reference).path
    assert name is not None
    source = given(run, key, name)
    recipe = {"content": identity_of(run, key, name), **training_recipe(run, task, "given")}
    stored = key_of(recipe)
    # An adapter that becomes part of a whole model is stored as that: other adapters can rest on it.
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
        model = built(task, run.seed, source, key)
        measures = task.evaluate(model, group)
        if group.rank == 0 and merged:
            models.add(stored, model, measures, recipe, task.export(model, None))
        elif group.rank == 0:
            models.note(stored, measures)
        group.agree(1)  # barrier: no rank reads before rank 0 has written
    found = known()
    assert found is not None
    return found


SELECT_BY = {"original": ("retain_accuracy", "forget_accuracy"), "reference": ("retain_accuracy",)}
"""Whose sum decides on the best epoch of a base model's training."""


class Interrupted(Exception):
    """The callback asked to stop while a base model was trained."""


CHUNK = 1 << 22
"""Bytes that are read at once."""

CHEAP = 2**62
"""As an evaluation's subset: all examples, but only cheap measures."""
