"""What a computation costs at least: bytes that its operators read and write, and floating-point operations."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

aten = torch.ops.aten

FREE = {
    *(aten.empty.memory_format, aten.empty_like.default, aten.empty_strided.default, aten.new_empty.default),
    *(aten.detach.default, aten.alias.default, aten._unsafe_view.default),
}
"""Operators that touch no element."""

WRITES = {aten.copy_.default, aten.zero_.default, aten.fill_.Scalar, aten.fill_.Tensor}
"""Operators that write their first argument and do not read it."""


class Costs(NamedTuple):
    """Of one call."""

    bytes: int
    """Read and written by operators that run one after the other, each of which reads its inputs from memory."""
    flops: int
    """Of matrix products, convolutions and attention, forward and backward."""
    operators: int
    """Operators that compute something: on a GPU each is a launch at least."""


class _Traffic(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.bytes, self.operators = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view and func not in FREE:
            read = tree_leaves((args[1:] if func in WRITES else args, kwargs))
            self.bytes += sum(
                leaf.nbytes for leaf in (*read, *tree_leaves(result)) if isinstance(leaf, Tensor)
            )
            self.operators += 1
        return result


def costs_of(call: Callable[[], object]) -> Costs:
    """Return the costs of a call, which is made twice."""
    with FlopCounterMode(display=False) as flops:
        call()
    with _Traffic() as traffic:
        call()
    return Costs(traffic.bytes, flops.get_total_flops(), traffic.operators)
