"""The mode of a model: training or not, sharded or not."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.distributed.tensor import DTensor


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Set every module to eval mode, and restore its mode afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def is_sharded(model: nn.Module) -> bool:
    """Whether the model's parameters are sharded over several processes."""
    return isinstance(next(model.parameters(), None), DTensor)
