"""Data kept by a process between runs: data on the device, splits, base models, the original's outputs."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from hamu_ray.config.run import RunConfig
from hamu_ray.engine.files.store import ModelStore
from hamu_ray.engine.provenance import forgotten_by
from hamu_ray.methods.objectives import PERTURBED, TEACHERS
from hamu_ray.results.folder import MODELS
from hamu_ray.storage import StoragePath
from hamu_ray.tasks.models.checkpoints import Checkpoint
from hamu_ray.tasks.models.pretrained import untrained
from hamu_ray.tasks.registry import TaskData, build_task, data_key, load_data
from hamu_ray.tasks.task import Perturbing, Task, Teacher

Value = TypeVar("Value")

DEFAULT_CACHE = Path("~/.cache/hamu_ray").expanduser()
"""Cache folder for prepared data if the storage is not local."""

KEPT = 4
"""Maximum number of cached items of each kind; the least recently used one is evicted."""

RANDOM_STREAM = 6
"""Separates the random teacher's weights from the original's initial ones, which may have the same seed."""


class LruCache:
    """Least-recently-used cache: values by key, created on first access."""

    def __init__(self) -> None:
        """Create an empty cache."""
        self._values: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return the value of a key, creating it if necessary."""
        value = self._values.pop(key) if key in self._values else make()
        self._values[key] = value
        while len(self._values) > KEPT:
            self._values.popitem(last=False)
        return value


class Resident:
    """A process's data and models, shared by its runs."""

    def __init__(self, storage: StoragePath, device: torch.device) -> None:
        """Store the results of runs under ``storage``, and compute on ``device``."""
        self.storage = storage
        self.models = ModelStore(storage / MODELS)
        self.cache = storage / "data" if isinstance(storage, Path) else DEFAULT_CACHE
        self.device = device
        self._data, self._tasks, self._teachers = LruCache(), LruCache(), LruCache()
        self._forgotten = LruCache()

    def task(self, run: RunConfig) -> Task:
        """Return the task of a run.

        Raises:
            ValueError: The data cannot be loaded or split as configured; one line with key and remedy.
        """
        loaded = data_key(run.data, run.model)
        sections = (run.forget.model_dump_json(), run.model.model_dump_json())
        content = None if run.model.embedded else Checkpoint("model.name", run.model.name).identity
        key = (
            loaded,
            *sections,
            content,
            run.training.parameters,
            run.evaluation.batch_size,
            run.training_seed,
            run.metrics.convention,
        )

        def data() -> TaskData:
            return load_data(run.data, self.device, self.cache, run.model)

        def task() -> Task:
            return build_task(
                self._data.get(loaded, data),
                forget=run.forget,
                model=run.model,
                batch_size=run.evaluation.batch_size,
                seed=run.training_seed,
                parameters=run.training.parameters,
                convention=run.metrics.convention,
            )

        return self._tasks.get(key, task)

    def forgotten(self, task: Task) -> bytes:
        """Return the list of a task's examples to forget, as the content of a run's `FORGET_FILE`."""
        return self._forgotten.get((task,), lambda: forgotten_by(task))

    def teachers(
        self,
        task: Task,
        model: nn.Module,
        original: str,
        needs: frozenset[str],
        seed: int,
        perturbation: float | None = None,
    ) -> Mapping[str, Teacher]:
        """Return the teachers that objectives need by name, given the model, whose outputs are still the original's.

        ``original`` is the original's key in the store. The random teacher is the same for every run with one seed.
        Raises `ValueError`, in one line, if the model's weights cannot be initialised anew.
        """
        weights = seed * 1_000_003 + RANDOM_STREAM

        def perturbed() -> Teacher:
            assert isinstance(task, Perturbing), "the configuration requires images"
            assert perturbation is not None, "the forget objective has one"
            return task.perturbed_teacher(model, perturbation)

        make: Mapping[str, tuple[str, Callable[[], Teacher]]] = {
            "original": (original, lambda: task.teacher(model)),
            "random": (f"random {weights}", lambda: task.teacher(untrained(model, weights))),
            PERTURBED: (f"{original} perturbed {perturbation}", perturbed),
        }
        return {name: self._teacher(task, *make[name]) for name in TEACHERS if name in needs}

    def _teacher(self, task: Task, key: str, make: Callable[[], Teacher]) -> Teacher:
        """Return a teacher on a task's data; the key identifies its weights, such as an original's in the store."""
        if not task.teacher_outlives_model:
            return make()
        return self._teachers.get((task, key), make)
