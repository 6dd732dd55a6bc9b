"""What attacks know of a model and of the models that it is compared with."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from torch import nn

from hamu_ray.config.run import RunConfig
from hamu_ray.engine.base_models import digest
from hamu_ray.engine.files.given import built
from hamu_ray.engine.files.store import ModelStore, StoredModel, key_of
from hamu_ray.engine.files.tensors import load_model
from hamu_ray.engine.resident import Resident
from hamu_ray.metrics import names
from hamu_ray.metrics.attacks.margins import Floats
from hamu_ray.metrics.measured import Measured, Measures
from hamu_ray.pairing.group import Alone
from hamu_ray.results.folder import MODEL_FILE
from hamu_ray.results.provenance import read_provenance
from hamu_ray.storage import StoragePath
from hamu_ray.tasks.models.checkpoints import file_digest
from hamu_ray.tasks.task import Task


@dataclass(frozen=True, eq=False)
class Losses:
    """Losses of a model on the forget set ``(n,)``, and on test examples ``(m,)``: float64, nats."""

    forget: Floats
    test: Floats


@dataclass(frozen=True, eq=False)
class Evidence:
    """An unlearned model in its folder, and the originals and references of all seeds."""

    run: RunConfig
    folder: StoragePath
    resident: Resident
    originals: list[StoredModel]
    references: list[StoredModel]
    more_models: Callable[[], list[StoragePath]] = field(default=list)
    """Returns the folders of the same run with other seeds, each from another original, after running it."""

    @cached_property
    def task(self) -> Task:
        """The task of the run."""
        return self.resident.task(self.run)

    @cached_property
    def model(self) -> str:
        """SHA-256 of the model's weights."""
        return file_digest(self.folder / MODEL_FILE)

    @cached_property
    def model_losses(self) -> Losses:
        """Losses of the model."""
        return losses_of(measured_model(self.run, self.task, self.originals[0], self.folder, self.store))

    @cached_property
    def original_losses(self) -> list[Losses]:
        """Losses of each original."""
        return [losses_of(stored.measures) for stored in self.originals]

    @cached_property
    def reference_losses(self) -> list[Losses]:
        """Losses of each reference."""
        return [losses_of(stored.measures) for stored in self.references]

    @cached_property
    def is_interpolated(self) -> bool:
        """Whether the model lies between two others, so that no run makes it with other seeds."""
        provenance = read_provenance(self.folder)
        return provenance is not None and provenance.interpolation is not None

    @cached_property
    def shadow_losses(self) -> list[Losses]:
        """Losses of the same run with other seeds, each from another original, which are run for it."""
        pairs = zip(self.more_models(), self.originals[1:], strict=True)
        return [
            losses_of(measured_model(self.run, self.task, original, folder, self.store))
            for folder, original in pairs
        ]

    @property
    def store(self) -> ModelStore:
        """Where models and metrics are found by their hash."""
        return self.resident.models

    def unlearned(self) -> nn.Module:
        """Build the audited model. Models that were built before must not be used any more."""
        return unlearned_model(self.run, self.task, self.originals[0], self.folder)

    def base(self, stored: StoredModel) -> nn.Module:
        """Build an original or a reference as unlearning would start from it, with as many trained weights."""
        return base_model(self.run, self.task, stored)


def base_model(run: RunConfig, task: Task, stored: StoredModel) -> nn.Module:
    """Build an original or a reference as unlearning would start from it."""
    return task.unlearner(built(task, run.seed, stored.source), run.seed)


def unlearned_model(run: RunConfig, task: Task, original: StoredModel, folder: StoragePath) -> nn.Module:
    """Build the unlearned model in a run's folder; ``original`` is the one that it was unlearned from."""
    model = base_model(run, task, original)
    load_model(model, folder / MODEL_FILE)
    return model


def measured_model(
    run: RunConfig, task: Task, original: StoredModel, folder: StoragePath, models: ModelStore
) -> Measures:
    """Return the metrics of an unlearned model with its losses, which are found again by the hash of its weights."""
    splits = {name: digest(examples.numpy()) for name, examples in sorted(task.splits.items())}
    weights = file_digest(folder / MODEL_FILE)
    key = key_of({"unlearned": weights, "original": original.key, "data": task.fingerprint, "splits": splits})
    known = models.measures(key)
    if known is None:
        known = task.evaluate(unlearned_model(run, task, original, folder), Alone())
        models.note(key, known)
    return known


def losses_of(measures: Measures) -> Losses:
    """Return the losses behind a model's metrics; empty where they are missing."""
    items = measures.per_item if isinstance(measures, Measured) else {}
    forget, test = (
        np.asarray(items.get(name, []), np.float64) for name in (names.FORGET_LOSSES, names.TEST_LOSSES)
    )
    return Losses(forget, test)
