"""The optimizer of flat parameters, whose steps can be skipped on the device."""

from typing import Protocol

import torch
from torch import Tensor, nn


class OptimizerSettings(Protocol):
    """The keys of a configuration's section `optimizer` that an optimizer reads."""

    @property
    def name(self) -> str:
        """``sgd`` or ``adamw``."""
        ...

    @property
    def learning_rate(self) -> float:
        """The learning rate of the first step."""
        ...

    @property
    def momentum(self) -> float:
        """Momentum of SGD."""
        ...

    @property
    def weight_decay(self) -> float:
        """Weight decay; decoupled from the gradient with AdamW."""
        ...


def make_optimizer(values: nn.Parameter, config: OptimizerSettings) -> torch.optim.Optimizer:
    """Return the optimizer of the flat parameters; a fused one, which supports `hold`."""
    rate, decay = config.learning_rate, config.weight_decay
    if config.name == "adamw":
        return torch.optim.AdamW([values], lr=rate, weight_decay=decay, fused=True)
    return torch.optim.SGD([values], lr=rate, momentum=config.momentum, weight_decay=decay, fused=True)


def hold(optimizer: torch.optim.Optimizer, values: nn.Parameter, gradient: Tensor) -> Tensor:
    """Return the 0-d flag of a fused optimizer: while it is 1, a step changes neither weights nor state.

    This is the flag with which `torch.amp.GradScaler` skips steps: it is read on the device, without synchronisation.
    ``gradient`` becomes the gradient of ``values``, and the optimizer's state is created, with all zeros.
    """
    held = torch.ones((), device=values.device)
    optimizer.found_inf = held  # type: ignore[attr-defined]
    values.grad = gradient
    optimizer.step()
    for value in optimizer.state[values].values():
        if value is not None:
            value.zero_()  # a skipped first step leaves SGD's momentum as allocated
    return held
