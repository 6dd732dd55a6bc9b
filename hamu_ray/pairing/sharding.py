"""Models whose parameters are sharded over a group of workers, by FSDP2.

Between steps a worker holds one shard of each parameter, a `DTensor`. The forward and the backward pass gather the
parameters of one layer at a time; the gradient of a shard is the sum over the group.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from hamu_ray.pairing.group import (
    Distributed,
    Group,
    Traffic,
    all_gather_single,
    peers_needed,
    reduce_scatter_single,
)


def shard(
    model: nn.Module,
    layers: Sequence[nn.Module],
    group: Distributed,
    device: torch.device,
    values: Mapping[str, Tensor],
) -> None:
    """Shard all parameters of a model over a group, in place, on the device.

    Every worker passes the same model, on the CPU, and reads only its own rows of each parameter: of ``values``, by
    name, or of the parameter itself. ``layers`` are gathered one by one; the other parameters for a whole pass.
    Afterwards `forward` and `generate` are collective: all ranks must call them the same number of times, also without
    gradients.

    Raises:
        ValueError: A parameter cannot be sharded.
    """
    mesh = DeviceMesh.from_group(group.process_group, device.type)
    values = {name: parameter.detach() for name, parameter in model.named_parameters()} | dict(values)
    _empty(model)
    for module in (*layers, model):
        try:
            # Also the root: parameters that stayed gathered would be outdated after a step.
            sharded: Any = fully_shard(module, mesh=mesh, reshard_after_forward=True)
        except (NotImplementedError, ValueError) as error:
            raise ValueError(str(error).splitlines()[0]) from error
        sharded.set_gradient_divide_factor(1.0)
        sharded.set_force_sum_reduction_for_comms(True)  # gloo cannot multiply while it sums
        sharded.set_custom_all_gather(_AllGather(group.traffic))
        sharded.set_custom_reduce_scatter(_ReduceScatter(group.traffic))
    model._apply(lambda each: torch.empty_like(each, device=device) if each.is_meta else each.to(device))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            copy_into(parameter, values[name])
    if hasattr(model, "generate"):
        register_fsdp_forward_method(model, "generate")  # peft's calls the model inside


def _empty(model: nn.Module) -> None:
    """Replace all parameters of a model by ones on the meta device; tied ones by the same."""
    made: dict[nn.Parameter, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            if parameter not in made:
                empty = torch.empty_like(parameter, device="meta")
                made[parameter] = nn.Parameter(empty, parameter.requires_grad)
            setattr(module, name, made[parameter])


def local_memory(tensor: Tensor) -> Tensor:
    """Return a tensor with the shape and the strides of the memory that this process needs for a tensor.

    Of a sharded tensor this is the memory of the largest shard; the last ranks' may be smaller or empty.
    """
    if not isinstance(tensor, DTensor):
        return tensor
    rows = -(-tensor.shape[0] // tensor.device_mesh.size())
    return torch.empty((rows, *tensor.shape[1:]), device="meta")


@dataclass(frozen=True)
class Gathered:
    """A tensor that several ranks hold in parts, as a whole."""

    shape: torch.Size
    dtype: torch.dtype
    pieces: Callable[[], Iterator[Tensor]]
    """Yields its elements in order, one piece after the other on the CPU. Collective: all ranks must exhaust it."""

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return self.shape.numel() * self.dtype.itemsize


def whole(tensor: Tensor, shards: Group) -> Tensor | Gathered:
    """Return a tensor that is sharded over a group as a whole, in one piece, and any other unchanged."""
    if not isinstance(tensor, DTensor):
        return tensor

    def pieces() -> Iterator[Tensor]:
        local = tensor.to_local().detach()
        padded = local.new_zeros((-(-len(tensor) // shards.size), *tensor.shape[1:]))
        padded[: len(local)] = local
        yield shards.all_gather(padded).flatten(0, 1)[: len(tensor)].cpu()

    return Gathered(tensor.shape, tensor.dtype, pieces)


def copy_into(target: Tensor, value: Tensor) -> None:
    """Copy a tensor into another of the same shape: of a sharded one, this rank reads only its own rows."""
    if isinstance(target, DTensor) and not isinstance(value, DTensor):
        local, mesh = target.to_local(), target.device_mesh
        rows = -(-len(target) // mesh.size())
        local.copy_(value.narrow(0, min(mesh.get_local_rank() * rows, len(target)), len(local)))
    else:
        target.copy_(value)


def like(tensor: Tensor, memory: Tensor) -> Tensor:
    """Return ``memory``, of the tensor's `local_memory`, as a tensor with the same shape and sharding."""
    if not isinstance(tensor, DTensor):
        return memory
    return DTensor.from_local(
        memory.narrow(0, 0, len(tensor.to_local())),
        tensor.device_mesh,
        tensor.placements,
        run_check=False,
        shape=tensor.shape,
        stride=tensor.stride(),
    )


def move(model: nn.Module, memory: Mapping[nn.Parameter, Tensor]) -> None:
    """Move parameters to other memory, each of its `local_memory`, including their values."""
    for parameter, view in memory.items():
        if isinstance(parameter, DTensor):
            local = parameter.to_local().detach()
            view.narrow(0, 0, len(local)).copy_(local)
        else:
            view.copy_(parameter.detach())
            parameter.data = view
    for module in model.modules():
        if isinstance(module, FSDPModule):
            _move_shards(module, memory)


def _move_shards(module: FSDPModule, memory: Mapping[nn.Parameter, Tensor]) -> None:
    """Move the shards that a module manages. FSDP gathers from padded memory, which it has no public name for."""
    state: Any = module._get_fsdp_state()
    groups = getattr(state, "_fsdp_param_groups", None)
    if groups is None:  # before torch 2.12
        groups = [state._fsdp_param_group] if state._fsdp_param_group else []
    for held in (held for group in groups for held in group.fsdp_params):
        if held.sharded_param in memory:
            view = memory[held.sharded_param]
            held._sharded_param_data = view.view(-1)
            held.sharded_param._local_tensor = view.narrow(0, 0, len(held.sharded_param._local_tensor))


class _Allocation:
    """Collectives of FSDP that count their traffic and recognise the loss of a worker."""

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic

    def allocate(self, size: Sequence[int], *, dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.empty(*size, dtype=dtype, device=device)


class _AllGather(_Allocation):
    def __call__(
        self, output_tensor: Tensor, input_tensor: Tensor, group: dist.ProcessGroup, async_op: bool = False
    ) -> dist.Work | None:
        self.traffic.add(output_tensor.nbytes - input_tensor.nbytes)
        with peers_needed():
            return all_gather_single(output_tensor, input_tensor, group=group, async_op=async_op)


class _ReduceScatter(_Allocation):
    def __call__(
        self,
        output_tensor: Tensor,
        input_tensor: Tensor,
        group: dist.ProcessGroup,
        op: Any,
        async_op: bool = False,
    ) -> dist.Work | None:
        self.traffic.add(input_tensor.nbytes - output_tensor.nbytes)
        with peers_needed():
            return reduce_scatter_single(output_tensor, input_tensor, op=op, group=group, async_op=async_op)
