"""A model without its weights, and its passes over examples: what a run's memory can be computed from."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from hamu_ray.tasks.task import Outputs


@dataclass(frozen=True)
class Generation:
    """The answers that a full evaluation generates, token by token."""

    answers: int
    """Number of each split at most."""
    tokens: int
    """Number of tokens of an answer at most."""
    forward: Callable[[nn.Module, int], object]
    """Runs a model on one more token of so many answers."""


@dataclass(frozen=True)
class Outline:
    """A task's model and its passes, from a configuration alone. No weights are loaded, and no images decoded."""

    examples: str
    """What the passes are over, such as ``texts of 96 tokens``: as long as the longest."""
    build: Callable[[bool], nn.Module]
    """Returns the model on the meta device, of which the parameters that change require a gradient: the one that base
    models are trained as, or (true) the one that is unlearned."""
    forward: Callable[[nn.Module, int, bool], Outputs]
    """Runs a model on a number of examples, as `Task.forward` does, on the CPU; true if the model is in shards."""
    evaluate: Callable[[nn.Module, int], object]
    """Runs a model in an evaluation, given the number of examples per pass; returns what it keeps."""
    freeze_batchnorm: bool = True
    """Whether BatchNorm keeps its running statistics in unlearning."""
    teacher_outlives_model: bool = False
    """Whether teachers' outputs are computed before the first step, as in `Task`."""
    generation: Generation | None = None
    """None if no answers are generated."""
