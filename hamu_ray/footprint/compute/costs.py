"""What a computation costs at least: floating-point operations, and bytes that its operators read and write."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

aten = torch.ops.aten

Shape = Sequence[int]

FREE = {
    *(aten.empty.memory_format, aten.empty_like.default, aten.empty_strided.default, aten.new_empty.default),
    *(aten.detach.default, aten.alias.default, aten._unsafe_view.default),
    *(torch.ops.prim.device.default, torch.ops.prim.layout.default),  # what fake tensors are asked
}
"""Operators that touch no element."""

WRITES = {aten.copy_.default, aten.zero_.default, aten.fill_.Scalar, aten.fill_.Tensor}
"""Operators that write their first argument and do not read it."""

LOOKUPS = {aten.embedding.default, aten.index.Tensor, aten.index_select.default, aten.gather.default}
"""Operators that read as much of their first argument as they return."""

PARTLY_READ = WRITES | LOOKUPS

CONVOLUTIONS = {aten.convolution.default, aten.convolution_backward.default}
"""Operators that use TF32 for float32 by PyTorch's default; matrix products do not."""


def _attention(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(gradient: Shape, query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    return sdpa_backward_flop_count(gradient, query, key, value)


ON_CPU = {
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}
"""Formulas for operators that PyTorch has none for: those that a model on the CPU uses in the place of a GPU's."""


class Operator(NamedTuple):
    """An operator's costs in one call."""

    unit: str
    """What its matrix products and convolutions are computed in: ``float32``, ``tf32`` or ``bfloat16``."""
    flops: int
    """Of matrix products, convolutions and attention: a multiplication and an addition are two."""
    bytes: int
    """Read and written, if inputs come from memory and the result goes there."""


@dataclass(frozen=True)
class Work:
    """Operators that run one after the other. It can be added, and multiplied by a number."""

    calls: Mapping[Operator, float]
    """How often an operator with these costs runs."""

    @property
    def flops(self) -> float:
        """Floating-point operations of all operators."""
        return sum(operator.flops * times for operator, times in self.calls.items())

    @property
    def bytes(self) -> float:
        """Bytes that all operators read and write."""
        return sum(operator.bytes * times for operator, times in self.calls.items())

    @property
    def operators(self) -> float:
        """Number of operators that compute something: on a GPU each is a launch at least."""
        return sum(self.calls.values())

    def __add__(self, other: "Work") -> "Work":
        """Return both, one after the other."""
        calls = dict(self.calls)
        for operator, times in other.calls.items():
            calls[operator] = calls.get(operator, 0) + times
        return Work(calls)

    def __mul__(self, times: float) -> "Work":
        """Return the same so many times."""
        return Work({operator: times * count for operator, count in self.calls.items()})


NOTHING = Work({})


FORMULAS = FlopCounterMode(display=False, custom_mapping=ON_CPU).flop_registry
"""PyTorch's formulas for floating-point operations. Its counter itself would also follow modules by hooks, which keep
activations that gradient checkpointing frees.
"""


class CountedWork(TorchDispatchMode):
    """Within, count the operators that run."""

    def __init__(self) -> None:
        """Count nothing yet."""
        super().__init__()
        self._calls: Counter[Operator] = Counter()

    @property
    def work(self) -> Work:
        """What ran."""
        return Work(dict(self._calls))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator and count it."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if not func.is_view and func not in FREE:
            written = _tensors(result)
            read = _tensors((args[1:] if func in PARTLY_READ else args, kwargs))
            size = sum(tensor.nbytes for tensor in (*read, *written))
            if func in LOOKUPS:
                size += written[0].nbytes
            formula = FORMULAS.get(func._overloadpacket)
            flops = 0 if formula is None else formula(*args, **kwargs, out_val=result)
            self._calls[Operator(_unit(func, read), flops, size)] += 1
        return result


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _unit(func: Any, read: list[Tensor]) -> str:
    if any(tensor.dtype in (torch.bfloat16, torch.float16) for tensor in read):
        return "bfloat16"
    return "tf32" if func in CONVOLUTIONS else "float32"


def work_of(call: Callable[[], object]) -> Work:
    """Return the work of a call, which is made."""
    with CountedWork() as counted:
        call()
    return counted.work
