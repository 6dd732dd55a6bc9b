"""The quantisation attack: does rounding the weights bring back what was unlearned?"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from hamu_ray.auditing.losses import confidence, example_losses
from hamu_ray.config.run import RunConfig
from hamu_ray.metrics.attacks.names import BITS
from hamu_ray.tasks.task import Task

TRANSPOSED = "Conv1D"
"""Name of the layer of `transformers` whose weights are stored as (inputs, outputs)."""


def rounded(weight: Tensor, bits: int, channel: int = 0) -> Tensor:
    """Return a weight of at least two dimensions, rounded to the nearest of 2^bits - 1 symmetric levels.

    Each index of the dimension ``channel`` has its own scale: its largest absolute value is the outermost level.
    """
    levels = 2 ** (bits - 1) - 1
    others = [dimension for dimension in range(weight.ndim) if dimension != channel]
    precise = weight.float()
    scale = (precise.abs().amax(dim=others, keepdim=True) / levels).clamp(min=torch.finfo(torch.float32).tiny)
    return ((precise / scale).round() * scale).to(weight.dtype)


def weights_of(model: nn.Module) -> dict[Parameter, int]:
    """Return the weights of at least two dimensions with the dimension of their output channels, shared ones once."""
    return {
        parameter: 1 if type(module).__name__ == TRANSPOSED else 0
        for module in model.modules()
        for parameter in module.parameters(recurse=False)
        if parameter.ndim > 1
    }


@contextmanager
def quantised(model: nn.Module, bits: int) -> Iterator[None]:
    """Within, all weights of at least two dimensions are rounded, adapters merged first; afterwards as before."""
    weights = weights_of(model)
    before = [parameter.detach().cpu().clone() for parameter in weights]
    adapted: Any = model if hasattr(model, "merge_adapter") else None  # of peft
    if adapted is not None:
        adapted.merge_adapter()
    try:
        with torch.no_grad():
            for parameter, channel in weights.items():
                parameter.copy_(rounded(parameter, bits, channel))
        yield
    finally:
        if adapted is not None:
            adapted.unmerge_adapter()
        with torch.no_grad():  # last, because taking an adapter out again is inexact
            for parameter, value in zip(weights, before, strict=True):
                parameter.copy_(value)


def confidences(run: RunConfig, task: Task, model: nn.Module) -> list[float]:
    """Return the mean confidence on the forget set: with the model's own weights, then with each of `BITS`."""

    def measured() -> float:
        return confidence(example_losses(task, model, task.splits["forget"], run.evaluation.batch_size))

    found = [measured()]
    for bits in BITS:
        with quantised(model, bits):
            found.append(measured())
    return found
