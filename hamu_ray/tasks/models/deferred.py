"""Parameters whose values are read later, when a worker knows which part of them it holds."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Deferred(nn.Parameter):
    """A parameter on the CPU that takes no memory: a stand-in with the shape and the dtype of the final one."""

    stored: Tensor
    """Its values, of the same shape and any dtype; usually mapped from a file, so that they take no memory either."""

    def __new__(cls, values: Tensor, dtype: torch.dtype, requires_grad: bool = True) -> "Deferred":
        """Return a stand-in for the parameter with these values in a dtype."""
        one = torch.empty((), dtype=dtype)
        made: Deferred = torch.Tensor._make_subclass(cls, one.expand(values.shape), requires_grad)
        made.stored = values
        return made


def defer(model: nn.Module, dtype: torch.dtype) -> None:
    """Replace all parameters of a model by stand-ins, in place; tied ones by the same. Buffers stay."""
    made: dict[nn.Parameter, Deferred] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            if parameter not in made:
                made[parameter] = Deferred(parameter.detach(), dtype, parameter.requires_grad)
            setattr(module, name, made[parameter])


def deferred_values(model: nn.Module) -> Mapping[str, Tensor]:
    """Return the values of a model's deferred parameters by name."""
    return {
        name: parameter.stored
        for name, parameter in model.named_parameters()
        if isinstance(parameter, Deferred)
    }
