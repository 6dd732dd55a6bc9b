"""The part of a model that a run can change, which is all that is written to checkpoints and results."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hamu_ray.pairing.group import Group
from hamu_ray.pairing.sharding import Gathered, copy_into, whole
from hamu_ray.tasks.models.deferred import Deferred

ADAPTER_NAME = re.compile(r"(\.lora_\w+)\.default\b")
"""`peft` includes an adapter's name in its parameters' names but not in its files; so does this module."""


def changing_state(model: nn.Module, *, detached: bool = True) -> dict[str, Tensor]:
    """Return the model's state without frozen parameters, by name: the tensors themselves, usually detached.

    For a fully trained model this is the whole ``state_dict``, including running statistics; for a model with an
    adapter it is the adapter, so that no checkpoint contains a frozen base with billions of weights. Tied parameters
    are included once, under their first name. Names are those in files of `transformers` and `peft`.
    """
    changing = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    return {
        ADAPTER_NAME.sub(r"\1", name): tensor
        for name, tensor in model.state_dict(keep_vars=not detached).items()
        if name in changing or name not in parameters
    }


def whole_state(model: nn.Module, shards: Group) -> dict[str, Tensor | Gathered]:
    """Return `changing_state` with tensors that are sharded over a group as a whole, gathered as they are written."""
    return {name: whole(tensor, shards) for name, tensor in changing_state(model).items()}


@torch.no_grad()
def put_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load the output of `changing_state` or `whole_state` in place; parameters keep memory format and device.

    Of a sharded parameter this rank's part is read; deferred ones take over the tensors as their values.

    Raises:
        ValueError: The tensors do not match the model; the message names the first difference.
    """
    own = changing_state(model, detached=False)
    strange = sorted(set(state) ^ set(own))
    if strange:
        raise ValueError(f"{'the file lacks' if strange[0] in own else 'the model has no'} {strange[0]}")
    for name, tensor in state.items():
        if tensor.shape != own[name].shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected {tuple(own[name].shape)}")
    for name, tensor in state.items():
        target = own[name]
        if isinstance(target, Deferred):
            target.stored = tensor
        else:
            copy_into(target, tensor)
