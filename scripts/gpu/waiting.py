"""Refuse whatever makes the host wait for the device: CUDA's own check, or on a CPU the operations that would."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten

WAITING = {
    aten._local_scalar_dense.default,  # item(), float(), int(), bool()
    aten.nonzero.default,
    aten.masked_select.default,
    aten.equal.default,
    aten.repeat_interleave.Tensor,
    aten._unique2.default,
}
"""Operations whose result, or its size, the host has to know."""

INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}
"""Operations that look for the true elements of a mask, if that is what they are given."""

COPIES = {Tensor.tolist, Tensor.numpy, Tensor.cpu}
"""What brings a tensor's values to the host, unseen by the dispatcher where they are there already."""


class Waited(RuntimeError):
    """The host would have to wait for the device."""


class _RefusedOperations(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in WAITING:
            raise Waited(f"{func} waits for the device")
        if func in INDEXING and any(index is not None and index.dtype == torch.bool for index in args[1]):
            raise Waited(f"{func} with a mask waits for the device")
        return func(*args, **(kwargs or {}))


class _RefusedCopies(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in COPIES:
            raise Waited(f"{func.__name__} waits for the device")
        return func(*args, **(kwargs or {}))


@contextmanager
def no_waits(device: torch.device) -> Iterator[None]:
    """Within, waiting for the device raises a `RuntimeError`.

    On a CPU every tensor stands for one on the device.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return
    with ExitStack() as modes:
        modes.enter_context(_RefusedOperations())
        modes.enter_context(_RefusedCopies())
        yield
