"""The objects of a custom task in a process, and its examples as batches on a device.

An object is loaded when it is first used: a worker that trains on the retain set alone never loads the forget set for
training.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from hamu_ray.config.task.custom import CustomData
from hamu_ray.tasks.custom.parts import Description, read_description, read_object


@dataclass(frozen=True, eq=False)
class CustomTaskData:
    """A custom task's datasets and functions, shared by all trials of a worker."""

    task: ClassVar[str] = "custom"

    config: CustomData
    description: Description
    device: torch.device

    def to(self, device: torch.device) -> "CustomTaskData":
        """Return the data with batches on a device."""
        return replace(self, device=device)

    @cached_property
    def retain(self) -> Any:
        """The map-style dataset of the examples to retain."""
        return self._object("retain")

    @cached_property
    def forget(self) -> Any:
        """The map-style dataset of the examples to forget."""
        return self._object("forget")

    @cached_property
    def test(self) -> Any:
        """The map-style dataset of the test examples."""
        return self._object("test")

    @cached_property
    def model(self) -> Any:
        """What builds the model, or a module that is copied."""
        return self._object("model")

    @cached_property
    def loss(self) -> Callable[[Tensor, Tensor], Tensor] | None:
        """The task's own loss, outputs and targets to ``(examples,)``; None for the cross-entropy."""
        return self._object("loss")

    @cached_property
    def metrics(self) -> Mapping[str, Callable[[Tensor, Tensor], Any]]:
        """The task's own metrics by name, outputs and targets of a whole split to a number."""
        return self._object("metrics")

    @cached_property
    def collate(self) -> Callable[[list], Any]:
        """What makes a batch of inputs and targets of a list of examples."""
        return self._object("collate") or default_collate

    def batch(self, split: str, indices: Tensor) -> tuple[Any, Tensor]:
        """Return inputs and targets of examples of a split; ``indices`` is int64 ``(k,)`` on the CPU."""
        return self._collated(items_of(getattr(self, split), indices.tolist()))

    def training_batch(self, numbers: Tensor) -> tuple[Any, Tensor]:
        """Return inputs and targets of training examples: those to retain are numbered first, then those to forget."""
        first = self.description.examples["retain"]
        items = []
        for number in numbers.tolist():
            split, index = (self.retain, number) if number < first else (self.forget, number - first)
            items += items_of(split, [index])
        return self._collated(items)

    def _collated(self, items: list) -> tuple[Any, Tensor]:
        inputs, targets = self.collate(items)
        return on_device(inputs, self.device), on_device(targets, self.device)

    def _object(self, name: str) -> Any:
        return read_object(self.config, self.description, name)


def load_custom(config: CustomData) -> CustomTaskData:
    """Return the task that a configuration names; its objects are loaded on first use."""
    return CustomTaskData(config, read_description(config), torch.device("cpu"))


def items_of(dataset: Any, indices: list[int]) -> list:
    """Return examples of a map-style dataset, at once where it has PyTorch's ``__getitems__``."""
    if hasattr(dataset, "__getitems__"):
        return list(dataset.__getitems__(indices))
    return [dataset[index] for index in indices]


def on_device(value: Any, device: torch.device) -> Any:
    """Return a batch with its tensors on a device, also those within mappings and sequences."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, Mapping):
        return {key: on_device(inner, device) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [on_device(inner, device) for inner in value]
    return value


def built_model(model: Any, seed: int) -> nn.Module:
    """Return a new model: a copy of a module, or what a function or class builds with the seed set.

    The caller's random state stays as it is.
    """
    if isinstance(model, nn.Module):
        return copy.deepcopy(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model()


def outputs_of(model: nn.Module, inputs: Any) -> Tensor:
    """Call a model: with a mapping's values by name, with a sequence's in order, or with a tensor."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, list) else model(inputs)
