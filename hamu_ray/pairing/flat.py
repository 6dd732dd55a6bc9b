"""Parameters and gradients as flat buffers, of which the model's tensors are views."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class FlatParameters:
    """All trainable parameters of a model in one float32 buffer.

    The model's parameters become views of `values` in their own memory order, so that the model computes with
    what the optimizer changes, without a copy per tensor.
    """

    def __init__(self, model: nn.Module) -> None:
        """Move the model's trainable parameters into one buffer."""
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        if not named:
            raise ValueError("the model has no trainable parameter")
        self.names = [name for name, _ in named]
        self.parameters = [parameter for _, parameter in named]
        self.shapes = [parameter.shape for parameter in self.parameters]
        device = self.parameters[0].device
        values = torch.empty(sum(p.numel() for p in self.parameters), dtype=torch.float32, device=device)
        for parameter, view in zip(self.parameters, self._views(values), strict=True):
            view.copy_(parameter.detach())
            parameter.data = view
        self.values = nn.Parameter(values)

    def _views(self, buffer: Tensor) -> Sequence[Tensor]:
        views, offset = [], 0
        for parameter in self.parameters:
            views.append(buffer.as_strided(parameter.shape, parameter.stride(), offset))
            offset += parameter.numel()
        return views

    def gradient(self) -> "FlatGradient":
        """Return a new gradient buffer that fits these parameters."""
        return FlatGradient(self)


class FlatGradient:
    """A gradient of all parameters, with the loss that it belongs to, in one buffer of P + 1 float32.

    The loss travels in the last element, so that one collective carries both.
    """

    def __init__(self, flat: FlatParameters) -> None:
        """Allocate a zero gradient."""
        self._flat = flat
        self.buffer = torch.zeros(flat.values.numel() + 1, device=flat.values.device)
        self._views = flat._views(self.buffer)

    def reset(self) -> None:
        """Zero the buffer and let backward passes accumulate into it."""
        self.buffer.zero_()
        for parameter, view in zip(self._flat.parameters, self._views, strict=True):
            parameter.grad = view

    def add_loss(self, loss: Tensor) -> None:
        """Add a 0-d loss to the buffer's last element."""
        self.buffer[-1] += loss.detach()
