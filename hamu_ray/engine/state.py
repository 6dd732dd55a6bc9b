"""What a run can change of a model: all that is ever written of one."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

ADAPTER_NAME = re.compile(r"(\.lora_\w+)\.default\b")
"""`peft` puts an adapter's name into its parameters' names and leaves it out of its files; so is it done here."""


def changing_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the model's state less its frozen parameters, by name: the tensors themselves, detached.

    Of a model that is trained whole it is its whole ``state_dict``, running statistics included; of one with an
    adapter, the adapter: a base of billions of frozen weights is in no checkpoint. Parameters that are tied are
    there once, under their first name. Names are those of files of `transformers` and `peft`.
    """
    changing = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    return {
        ADAPTER_NAME.sub(r"\1", name): tensor
        for name, tensor in model.state_dict().items()
        if name in changing or name not in parameters
    }


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
