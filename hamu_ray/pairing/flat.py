"""Parameters and gradients as flat buffers, of which the model's tensors are views."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class FlatParameters:
    """All trainable parameters of a model in one float32 buffer.

    The model's parameters become views of it in their own memory order, so that the model computes with what the
    optimizer changes, without a copy per tensor. The buffer is padded with zeros to a whole number of equal segments,
    one per worker that updates a part of its own.
    """

    def __init__(self, model: nn.Module, segments: int = 1) -> None:
        """Move the model's trainable parameters into one buffer."""
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        if not named:
            raise ValueError("the model has no trainable parameter")
        self.names = [name for name, _ in named]
        self.parameters = [parameter for _, parameter in named]
        self.shapes = [parameter.shape for parameter in self.parameters]
        self.count = sum(parameter.numel() for parameter in self.parameters)
        self.padded = -(-self.count // segments) * segments
        self.values = torch.zeros(self.padded, device=self.parameters[0].device)
        for parameter, view in zip(self.parameters, self.views(self.values), strict=True):
            view.copy_(parameter.detach())
            parameter.data = view

    def views(self, buffer: Tensor) -> Sequence[Tensor]:
        """Return the parts of a flat buffer that belong to the parameters, in their shapes and memory orders."""
        views, offset = [], 0
        for parameter in self.parameters:
            views.append(buffer.as_strided(parameter.shape, parameter.stride(), offset))
            offset += parameter.numel()
        return views

    def gradient(self) -> "FlatGradient":
        """Return a new gradient buffer that fits these parameters."""
        return FlatGradient(self)


class FlatGradient:
    """A gradient of all parameters, with the loss that it belongs to behind it, in one float32 buffer.

    One collective carries both.
    """

    def __init__(self, flat: FlatParameters) -> None:
        """Allocate a zero gradient."""
        self.buffer = torch.zeros(flat.padded + 1, device=flat.values.device)
        self._parameters = flat.parameters
        self._views = flat.views(self.buffer)

    def reset(self) -> None:
        """Zero the buffer and let backward passes accumulate into it."""
        self.buffer.zero_()
        for parameter, view in zip(self._parameters, self._views, strict=True):
            parameter.grad = view

    def add_loss(self, loss: Tensor) -> None:
        """Add a 0-d loss to the buffer's last element."""
        self.buffer[-1] += loss.detach()
