"""The protocol between engine and task: data that stay on the device, models, and metrics."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from hamu_ray.metrics.measured import Measures
from hamu_ray.tasks.items import Items

if TYPE_CHECKING:
    from hamu_ray.config.training import AugmentConfig

Teacher = Callable[[Tensor], Tensor]
"""Maps training examples (int64, CPU) to a frozen model's logits for them, float ``(items, classes)``."""


Device = torch.device | None
"""Where a model is built; None: on the task's own device."""


@dataclass(frozen=True)
class Outputs:
    """Outputs of a model for some examples, one row per loss item (an image, or an answer token).

    ``logits`` is float ``(items, classes)``, ``labels`` int64 ``(items,)``. ``examples`` is int64 ``(items,)``: the
    index of each item's example among the given examples. Items of the same example are adjacent, in the examples'
    order. ``item_loss`` is the task's own loss, ``(logits, labels)`` to ``(items,)``; None for the cross-entropy. With
    a loss of the task's own, logits and labels may have any dimensions after the first.
    """

    logits: Tensor
    labels: Tensor
    examples: Tensor
    item_loss: Callable[[Tensor, Tensor], Tensor] | None = None


@dataclass(frozen=True)
class Start:
    """A checkpoint that replaces the configured model as the source of initial weights."""

    key: str
    """The configuration key that names it, such as `reference.start`."""
    name: str
    """Argument of `from_pretrained`: a folder, or a name on the hub."""
    new_head: bool = False
    """Whether its head is replaced by a new one."""


@dataclass(frozen=True)
class ExampleIdentity:
    """What identifies a training example to people who have the data, without its content."""

    place: str
    """Its location in the user's data, such as ``row 12``."""
    sha256: str
    """SHA-256 of its content in hexadecimal."""


class Share(Protocol):
    """A worker's part of a computation over many examples. A single process is rank 0 of 1."""

    rank: int
    size: int

    def gather_rows(self, rows: Tensor) -> Tensor:
        """Concatenate the rows of all ranks in order of rank; the number of rows may differ."""
        ...


def from_first_rank(share: Share, values: Sequence[float], device: torch.device) -> list[float]:
    """Return rank 0's values on every rank, the same bits in float64; what others give is ignored."""
    mine = values if share.rank == 0 else ()
    return share.gather_rows(torch.tensor(mine, dtype=torch.float64, device=device)).tolist()


AugmentedForward = Callable[[nn.Module, Tensor, Tensor], Outputs]
"""Runs a model on training examples (int64 ``(k,)``, CPU), each changed at random by its seed (int64 ``(k,)``)."""


@runtime_checkable
class Augmenting(Protocol):
    """A task that can change its training examples at random."""

    def augmented(self, config: "AugmentConfig") -> AugmentedForward:
        """Return the forward pass on changed examples, under the task's autocast precision."""
        ...


@dataclass(frozen=True)
class SecondAnswers:
    """Second answers to the questions of the forget examples, as examples of their own."""

    of: Callable[[Tensor], Tensor]
    """Maps forget examples (int64 ``(k,)``, CPU) to their second answers: further indices, which `Task.forward` and a
    teacher accept like training examples. Does not depend on the step or the worker."""
    fingerprint: str
    """Hash of their content."""


@runtime_checkable
class SecondAnswering(Protocol):
    """A task whose forget examples have second answers."""

    def second_answers(self, seed: int) -> SecondAnswers:
        """Return the second answers, drawn by a seed and each example's index; valid until the next call."""
        ...


@runtime_checkable
class Layered(Protocol):
    """A task that can look at the outputs of a model's blocks. A layer is a number from 0, or ``early``."""

    def layer_forward(self, model: nn.Module, examples: Tensor, layer: int | str) -> Outputs:
        """Run the model as `Task.forward`; the outputs are a block's, float ``(items, width)``, not the logits.

        Raises `ValueError`, in one line, for a block that the model does not have.
        """
        ...

    def layer_teacher(self, teacher: Teacher, layer: int | str) -> Teacher:
        """Return the teacher's model as a function from training examples to the outputs of a block."""
        ...


@runtime_checkable
class Perturbing(Protocol):
    """A task whose inputs have gradients: images."""

    def perturbed_teacher(self, model: nn.Module, perturbation: float) -> Teacher:
        """Return a function from forget examples to the logits that this model has now for inputs near them.

        Each pixel, in 0..1, is moved by the perturbation along the sign of the gradient of the example's cross-entropy:
        the fast gradient sign method (Goodfellow et al., arXiv 1412.6572).
        """
        ...


class Task(Protocol):
    """A data set with its splits, the models that fit it, and their metrics.

    It holds everything that is the same for all trials of a sweep, once per worker.
    """

    device: torch.device

    teacher_outlives_model: bool
    """Whether a teacher remains valid when the model that it was made from is no longer used."""

    @property
    def splits(self) -> Mapping[str, Tensor]:
        """Indices of the ``retain`` and ``forget`` examples (int64, CPU) in the training data."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of the data's content, which identifies models trained on them."""
        ...

    def identities(self, examples: Tensor) -> Sequence[ExampleIdentity]:
        """Return the identity of training examples (indices, int64, CPU), in their order."""
        ...

    def build_model(self, seed: int, start: Start | None = None, device: Device = None) -> nn.Module:
        """Return a newly initialised (or pretrained) model on the device; the seed determines its weights.


        With ``start``, the weights are those of another checkpoint. Parameters that require a gradient are trained. The
        previously built model must not be used any more, because a task may reuse it. Raises `ValueError`, in one line,
        for a checkpoint that cannot be loaded, lacks weights, or does not fit the data.
        """
        ...

    def unlearner(self, model: nn.Module, seed: int) -> nn.Module:
        """Return the model that unlearning changes, given a built model with the original's weights.

        It may be the same model. Parameters that require a gradient are changed; initially its outputs are the
        original's.
        """
        ...

    def count(self, examples: Tensor) -> int:
        """Return how many loss items the training examples have; known without a forward pass."""
        ...

    def parts(self, examples: Tensor, size: int) -> Sequence[Tensor]:
        """Split examples into micro-batches of at most ``size``, in an order that makes them cheap to compute."""
        ...

    def forward(self, model: nn.Module, examples: Tensor) -> Outputs:
        """Run the model on training examples (indices, int64, CPU), under the task's autocast precision."""
        ...

    def teacher(self, model: nn.Module) -> Teacher:
        """Return a function that computes this model's current logits, regardless of later changes to the model."""
        ...

    def evaluate(self, model: nn.Module, share: Share, *, subset: int | None = None) -> Measures:
        """Evaluate the model. With ``subset``, only cheap metrics on this many examples of each split.

        Every rank computes its part and returns the same metrics.
        """
        ...

    def compare(self, measures: Measures, original: Measures | None, reference: Measures | None) -> Measures:
        """Return the metrics that compare a model with the original and with the retain-only reference."""
        ...

    @property
    def items(self) -> Items:
        """The examples of the splits, to look at single ones."""
        ...

    def loading(self, model: nn.Module) -> str:
        """Return the Python code that loads this model from its folder, for users."""
        ...

    def export(self, model: nn.Module, base: str | None, state: Mapping[str, Tensor]) -> Mapping[str, bytes]:
        """Return the files, by name, that other programs need in addition to the model's weights; may be empty.

        ``state`` are the weights that can change, whole, by their name in files of `transformers` and `peft`.

        ``base`` is the folder of the original model, which may be the base of an adapter.
        """
        ...
