"""Flat buffers for parameters and gradients; the model's tensors are views of them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class FlatParameters:
    """All trainable parameters of a model in one float32 buffer.

    The model's parameters become views of the buffer and keep their memory formats, so that optimizer updates need no
    copy per tensor. Non-dense parameters, such as a slice of a larger tensor, become contiguous. The buffer is padded
    with zeros to a whole number of equal segments, one per worker that updates its own segment.
    """

    def __init__(self, model: nn.Module, segments: int = 1) -> None:
        """Move the model's trainable parameters into one buffer.

        Raises:
            ValueError: The model has no trainable parameters, or elements of one share memory, as in an expanded
                tensor.
        """
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        if not named:
            raise ValueError("the model has no trainable parameters")
        self.names = [name for name, _ in named]
        self.parameters = [parameter for _, parameter in named]
        self.shapes = [parameter.shape for parameter in self.parameters]
        self._strides = [_dense_strides(name, parameter) for name, parameter in named]
        self.count = sum(parameter.numel() for parameter in self.parameters)
        self.padded = -(-self.count // segments) * segments
        self.values = torch.zeros(self.padded, device=self.parameters[0].device)
        for parameter, view in zip(self.parameters, self.views(self.values), strict=True):
            view.copy_(parameter.detach())
            parameter.data = view

    def views(self, buffer: Tensor) -> Sequence[Tensor]:
        """Split a flat buffer into views with the parameters' shapes and memory formats."""
        views, offset = [], 0
        for shape, strides in zip(self.shapes, self._strides, strict=True):
            views.append(buffer.as_strided(shape, strides, offset))
            offset += shape.numel()
        return views

    def gradient(self) -> "FlatGradient":
        """Return a new gradient buffer for these parameters."""
        return FlatGradient(self)


def _dense_strides(name: str, parameter: Tensor) -> tuple[int, ...]:
    """Return the strides of a parameter in a dense buffer."""
    span = 1 + sum(
        (size - 1) * stride for size, stride in zip(parameter.shape, parameter.stride(), strict=True)
    )
    if 0 < span < parameter.numel():
        raise ValueError(
            f"parameter {name} of shape {tuple(parameter.shape)} has elements that share memory (strides "
            f"{parameter.stride()}), and cannot be updated independently: replace it by its clone()"
        )
    # Non-dense tensors become contiguous; all others keep their memory format.
    return torch.empty_like(parameter, device="meta", memory_format=torch.preserve_format).stride()


class FlatGradient:
    """A gradient of all parameters, followed by its loss, in one float32 buffer for one collective."""

    def __init__(self, flat: FlatParameters) -> None:
        """Allocate a zero gradient."""
        self.buffer = torch.zeros(flat.padded + 1, device=flat.values.device)
        self._parameters = flat.parameters
        self._views = flat.views(self.buffer)

    def reset(self) -> None:
        """Zero the buffer and make it the destination of backward passes."""
        self.buffer.zero_()
        for parameter, view in zip(self._parameters, self._views, strict=True):
            parameter.grad = view

    def add_loss(self, loss: Tensor) -> None:
        """Add a 0-d loss to the last element of the buffer."""
        self.buffer[-1] += loss.detach()
