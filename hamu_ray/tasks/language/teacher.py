"""A model that computes with other weights than its own, as the teacher of its later self."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from hamu_ray.tasks.modes import is_sharded


@dataclass(frozen=True)
class FrozenModel:
    """A teacher: maps training texts (int64, CPU) to the frozen model's logits, or to the outputs of a block."""

    run: Callable[[Tensor, int | str | None], Tensor]
    layer: int | str | None = None

    def __call__(self, examples: Tensor) -> Tensor:
        """Return float ``(items, vocabulary)``, or ``(items, width)`` of a block."""
        return self.run(examples, self.layer)


@contextmanager
def with_weights(model: Any, weights: Mapping[str, Tensor]) -> Iterator[Any]:
    """Within, yield a model that computes with these weights in place of its own.

    A sharded model gathers its weights from its own memory, so that their contents are exchanged meanwhile.
    """
    if not is_sharded(model):
        yield _WithWeights(model, dict(weights))
        return
    own = dict(model.named_parameters())
    _exchange({name: own[name] for name in weights}, weights)
    try:
        yield model
    finally:
        _exchange({name: own[name] for name in weights}, weights)


@torch.no_grad()
def _exchange(own: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> None:
    """Exchange the contents of tensors, with a copy of one at a time."""
    for name, other in others.items():
        kept = own[name].clone()
        own[name].copy_(other)
        other.copy_(kept)


class _WithWeights:
    """A model that computes with other weights than its own."""

    def __init__(self, model: Any, weights: dict[str, Tensor]) -> None:
        self._model, self._weights = model, weights

    def __call__(self, **inputs: Any) -> Any:
        return functional_call(self._model, self._weights, (), inputs)

    def get_output_embeddings(self) -> Any:
        return self._model.get_output_embeddings()
