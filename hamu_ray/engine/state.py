"""What a run can change of a model: all that is ever written of one."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def changing_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the model's state less its frozen parameters, by name: the tensors themselves, detached.

    Of a model that is trained whole it is its whole ``state_dict``, running statistics included; of one with an
    adapter, the adapter: a base of billions of frozen weights is in no checkpoint.
    """
    named = model.named_parameters(remove_duplicate=False)  # tied ones have several names
    frozen = {name for name, parameter in named if not parameter.requires_grad}
    return {name: tensor for name, tensor in model.state_dict().items() if name not in frozen}


@torch.no_grad()
def put_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Write what `changing_state` returned back in place; parameters keep their memory order and device.

    Raises:
        ValueError: The tensors are not the model's: names the first difference.
    """
    own = changing_state(model)
    strange = sorted(set(state) ^ set(own))
    if strange:
        raise ValueError(f"{'the file lacks' if strange[0] in own else 'the model has no'} {strange[0]}")
    for name, tensor in state.items():
        if tensor.shape != own[name].shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected {tuple(own[name].shape)}")
    for name, tensor in state.items():
        own[name].copy_(tensor)
