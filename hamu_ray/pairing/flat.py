"""Flat buffers for parameters and gradients; the model's tensors are views of them."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from hamu_ray.pairing.group import Group
from hamu_ray.pairing.sharding import Gathered, like, local_memory, move


class FlatParameters:
    """What this process holds of all trainable parameters of a model, in one float32 buffer.

    The model's parameters become views of the buffer and keep their memory formats, so that optimizer updates need no
    copy per tensor. Non-dense parameters, such as a slice of a larger tensor, become contiguous. The buffer is padded
    with zeros to a whole number of equal segments, one per worker that updates its own segment. Of sharded parameters
    it holds the shards, each padded with zeros to the size of the largest.
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
        memory = [local_memory(parameter) for parameter in self.parameters]
        self.shapes = [tensor.shape for tensor in memory]
        self._strides = [
            _dense_strides(name, tensor) for name, tensor in zip(self.names, memory, strict=True)
        ]
        self.count = sum(shape.numel() for shape in self.shapes)
        self.padded = -(-self.count // segments) * segments
        self.values = torch.zeros(self.padded, device=self.parameters[0].device)
        move(model, dict(zip(self.parameters, self.views(self.values), strict=True)))

    def views(self, buffer: Tensor) -> Sequence[Tensor]:
        """Split a flat buffer into views with the parameters' shapes and memory formats."""
        views, offset = [], 0
        for shape, strides in zip(self.shapes, self._strides, strict=True):
            views.append(buffer.as_strided(shape, strides, offset))
            offset += shape.numel()
        return views

    def whole(self, values: Tensor, shards: Group) -> Tensor | Gathered:
        """Return values of the whole parameters, given a buffer of each shard's, without paddings.

        The result does not depend on the number of shards; of more than one it has a piece per parameter.
        """
        if shards.size == 1:
            return values[: self.count]

        def pieces() -> Iterator[Tensor]:
            for of, row in zip(self.parameters, self.views(values), strict=True):
                yield shards.all_gather(row).view(-1)[: of.numel()].cpu()

        count = sum(parameter.numel() for parameter in self.parameters)
        return Gathered(torch.Size([count]), values.dtype, pieces)

    def part(self, values: Tensor, shards: Group) -> Tensor:
        """Return this rank's buffer, with all its paddings, of the output of `whole` for any number of shards."""
        part = values.new_zeros(self.padded)
        if shards.size == 1:
            part[: self.count] = values
            return part
        sizes = [parameter.numel() for parameter in self.parameters]
        for row, view in zip(values.split(sizes), self.views(part), strict=True):
            mine = row[shards.rank * view.numel() :][: view.numel()]
            view.view(-1)[: len(mine)] = mine
        return part

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
        views = zip(flat.parameters, flat.views(self.buffer), strict=True)
        self._gradients = [like(parameter, view) for parameter, view in views]

    def reset(self) -> None:
        """Zero the buffer and make it the destination of backward passes."""
        self.buffer.zero_()
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient

    def add_loss(self, loss: Tensor) -> None:
        """Add a 0-d loss to the last element of the buffer."""
        self.buffer[-1] += loss.detach()
