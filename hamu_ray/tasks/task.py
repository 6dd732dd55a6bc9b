"""What the engine asks of a task: data that stays on the device, models, and measures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from hamu_ray.metrics.measured import Measures

Teacher = Callable[[Tensor], Tensor]
"""Training examples (int64, CPU) to a frozen model's logits on them, float ``(items, classes)``."""


@dataclass(frozen=True)
class Outputs:
    """What a model says about some examples, one row per loss item (an image, or an answer token).

    ``logits`` is float ``(items, classes)``, ``labels`` int64 ``(items,)``. ``examples`` is int64 ``(items,)``: which
    of the given examples each item belongs to, by its place among them. An example's items lie next to each other,
    in the examples' order. ``item_loss`` is the task's own loss, ``(logits, labels)`` to ``(items,)``; None for the
    cross-entropy. Only with one may logits and labels have other dimensions after the first.
    """

    logits: Tensor
    labels: Tensor
    examples: Tensor
    item_loss: Callable[[Tensor, Tensor], Tensor] | None = None


@dataclass(frozen=True)
class Start:
    """A checkpoint that a model takes its weights from, in place of the one that the configuration calls the model."""

    key: str
    """The configuration key that names it, such as `reference.start`."""
    name: str
    """What `from_pretrained` takes: a folder, or a name on the hub."""
    new_head: bool = False
    """Whether its head is replaced by a fresh one."""


class Share(Protocol):
    """A worker's part of a computation over many examples. One process alone is rank 0 of 1."""

    rank: int
    size: int

    def gather_rows(self, rows: Tensor) -> Tensor:
        """Return the rows of all ranks, in order of rank (their numbers may differ)."""
        ...


class Task(Protocol):
    """A data set with its splits, the models that fit it and the measures that judge them.

    Everything that is the same for all trials of a sweep is held here, once per worker.
    """

    device: torch.device

    teacher_outlives_model: bool
    """Whether a teacher is still right when the model that it was made of is not used any more."""

    @property
    def splits(self) -> Mapping[str, Tensor]:
        """Example numbers (int64, CPU) of ``retain`` and ``forget``; both index the training data."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of the data's content, by which models trained on them are found again."""
        ...

    def build_model(self, seed: int, start: Start | None = None) -> nn.Module:
        """Return a freshly initialised (or pretrained) model on the device; the seed decides its weights.

        With ``start`` the weights are those of another checkpoint. What requires a gradient is trained. The model
        built before is not to be used any more: a task may build this one out of it. Raises `ValueError`, in one
        line, for a checkpoint that cannot be loaded, lacks weights, or does not fit the data.
        """
        ...

    def unlearner(self, model: nn.Module, seed: int) -> nn.Module:
        """Return the model that unlearning changes, of a built one that has the original's weights by now.

        It may be the same. What requires a gradient is changed; at first it computes what the original does.
        """
        ...

    def count(self, examples: Tensor) -> int:
        """Return how many loss items the training examples hold; known without a forward pass."""
        ...

    def parts(self, examples: Tensor, size: int) -> Sequence[Tensor]:
        """Split examples into micro-batches of at most ``size``, in an order that makes them cheap to compute."""
        ...

    def forward(self, model: nn.Module, examples: Tensor) -> Outputs:
        """Run the model on training examples (numbers, int64, CPU), under the task's autocast precision."""
        ...

    def teacher(self, model: nn.Module) -> Teacher:
        """Return what gives the logits of this model as it is now, whatever becomes of it later."""
        ...

    def evaluate(self, model: nn.Module, share: Share, *, subset: int | None = None) -> Measures:
        """Measure the model. With ``subset``, only cheap measures on so many examples of each split.

        Every rank computes its part and returns the same measures.
        """
        ...

    def compare(self, measures: Measures, original: Measures | None, reference: Measures | None) -> Measures:
        """Return the measures that relate a model to the original and to the retain-only reference."""
        ...

    def loading(self, model: nn.Module) -> str:
        """Return the Python that loads this model from the folder that it is left in, for people."""
        ...

    def export(self, model: nn.Module, base: str | None) -> Mapping[str, bytes]:
        """Return the files, by name, that other programs need beside the model's weights; none where there are none.

        ``base`` is the folder of the original model, on which an adapter may rest.
        """
        ...
