"""From two flat gradients to a Gram matrix per block, and from weights per block to one flat gradient.

These are the only two passes over the parameters; every method decides on the 2x2 matrices between them. Both run in
float64: for nearly parallel gradients, the decision depends on differences of nearly equal numbers, and float32
accumulation gave steps up to 98 % off.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import torch
from torch import Tensor

from hamu_ray.methods.hyperparameters import Granularity

_CLIP_NORM_EPS = 1e-6
"""Added to the norm before division, as in `torch.nn.utils.clip_grad_norm_`."""

_CHUNK_ELEMENTS = {"cpu": 2**15 - 1}
"""Elements per pass, by device type. On a CPU: below the size at which ATen splits an operation over threads (the
barriers cost more than they save, especially on shared cores), and small enough for the cache.
"""
_CHUNK_ELEMENTS_ELSEWHERE = 2**22
"""On accelerators: few kernel launches, with float64 temporaries below 200 MB."""
_TILE_ELEMENTS = 1024
"""Longest run summed in one piece. Tiles keep an accelerator fully occupied even with few blocks."""


@dataclass(frozen=True)
class Blocks:
    """The partition of a flat buffer into blocks: runs of parameters that share a pair of weights."""

    lengths: tuple[int, ...]
    """Number of elements of each block, in the order of the buffer. Zeros are allowed."""

    def __post_init__(self) -> None:
        if not self.lengths or min(self.lengths) < 0:
            raise ValueError(
                f"lengths must contain at least one block and no negative value, found {self.lengths}"
            )

    @classmethod
    def from_shapes(cls, shapes: Sequence[torch.Size], granularity: Granularity) -> "Blocks":
        """Return the blocks of parameters that are stored consecutively in a flat buffer.

        Args:
            shapes: The shapes of the parameters, in the buffer's order.
            granularity: ``"tensor"`` for one block per parameter, ``"model"`` for a single block.

        Raises:
            ValueError: If there are no shapes, or the granularity is unknown.
        """
        if not shapes:
            raise ValueError("shapes must contain at least one shape, found none")
        sizes = tuple(torch.Size(shape).numel() for shape in shapes)
        if granularity == "tensor":
            return cls(sizes)
        if granularity == "model":
            return cls((sum(sizes),))
        raise ValueError(f'granularity must be "tensor" or "model", found {granularity!r}')

    @property
    def count(self) -> int:
        """Number of blocks."""
        return len(self.lengths)

    @property
    def total(self) -> int:
        """Number of elements of the flat buffer."""
        return sum(self.lengths)

    def segment(self, start: int, stop: int) -> "Blocks":
        """Return the blocks restricted to ``buffer[start:stop]``.

        The number of blocks stays the same: blocks outside the slice have length zero and a zero Gram matrix, so that
        the Gram matrices of a partition's segments sum to those of the whole.

        Raises:
            ValueError: Unless ``0 <= start <= stop <= total``.
        """
        if not 0 <= start <= stop <= self.total:
            raise ValueError(f"segment must lie within 0..{self.total} in order, found {start}..{stop}")
        ends = accumulate(self.lengths)
        return Blocks(
            tuple(
                max(0, min(stop, end) - max(start, end - length))
                for end, length in zip(ends, self.lengths, strict=True)
            )
        )


@dataclass(frozen=True)
class _Chunk:
    """A run of the flat buffer that is processed at once, with its index tensors (int64, on the device)."""

    elements: slice
    span: slice
    """From the first to the last block with elements in the chunk."""
    tile_lengths: Tensor
    """Number of elements of each tile, repeated three times ``(3 * tiles,)``: once per distinct Gram entry."""
    tile_counts: Tensor
    """Number of tiles of each block in the span, repeated three times ``(3 * span,)``."""
    touched: Tensor
    """The blocks with elements in the chunk ``(touched,)``."""
    borders: Tensor
    """Start of each of them within the chunk, except for the first ``(touched - 1,)``."""

    def spread(self, values: Tensor) -> Tensor:
        """Repeat each block's value ``(blocks,)`` for all its elements in the chunk ``(elements,)``."""
        # Not repeat_interleave: on a CPU it synchronises all threads even for few elements.
        positions = torch.zeros(
            self.elements.stop - self.elements.start, dtype=torch.int32, device=values.device
        )
        positions.index_fill_(0, self.borders, 1).cumsum_(0)
        return values.index_select(0, self.touched).index_select(0, positions)


@lru_cache(maxsize=64)
def _chunks(blocks: Blocks, device: torch.device) -> tuple[_Chunk, ...]:
    """Return the chunks of a buffer. The index tensors are copied to the device once, on first use."""
    size = _CHUNK_ELEMENTS.get(device.type, _CHUNK_ELEMENTS_ELSEWHERE)
    chunks = []
    for start in range(0, blocks.total, size):
        stop = min(start + size, blocks.total)
        inside = blocks.segment(start, stop).lengths
        touched = [index for index, length in enumerate(inside) if length]
        span = slice(touched[0], touched[-1] + 1)
        tiles = [list(_tiles(length)) for length in inside[span]]
        indices = (
            3 * [tile for block in tiles for tile in block],
            3 * [len(block) for block in tiles],
            touched,
            list(accumulate(inside[index] for index in touched))[:-1],
        )
        tensors = (torch.tensor(index, dtype=torch.int64, device=device) for index in indices)
        chunks.append(_Chunk(slice(start, stop), span, *tensors))
    return tuple(chunks)


def _tiles(length: int) -> Iterator[int]:
    """Yield the sizes of the tiles of a run of elements."""
    yield from [_TILE_ELEMENTS] * (length // _TILE_ELEMENTS)
    if length % _TILE_ELEMENTS:
        yield length % _TILE_ELEMENTS


def _check_flat(retain: Tensor, forget: Tensor, blocks: Blocks) -> None:
    for name, flat in (("retain", retain), ("forget", forget)):
        if flat.shape != (blocks.total,) or not flat.is_floating_point():
            raise ValueError(
                f"{name} must be a flat floating-point buffer of {blocks.total} elements to match the blocks, "
                f"found {flat.dtype} of shape {tuple(flat.shape)}"
            )


@torch.no_grad()
def gram_matrix(retain: Tensor, forget: Tensor, blocks: Blocks, *, conflicting: bool = False) -> Tensor:
    """Return the Gram matrix ``[[r.r, r.f], [f.r, f.f]]`` of the two gradients in every block.

    Products of float32 numbers are exact in float64, and sums run in a fixed order: the result is deterministic, also
    on CUDA, and needs no synchronisation.

    Args:
        retain: Gradient r of the retain objective, flat ``(blocks.total,)``, of any floating-point dtype.
        forget: Gradient f of the forget objective, likewise.
        blocks: The partition of the buffers into blocks.
        conflicting: Whether only elements in which r and f have the same sign are summed.

    Returns:
        float64 ``(blocks.count, 2, 2)`` on the gradients' device; zeros for a block without elements.

    Raises:
        ValueError: If a gradient is not a flat floating-point buffer of ``blocks.total`` elements.
    """
    _check_flat(retain, forget, blocks)
    entries = torch.zeros(3, blocks.count, dtype=torch.float64, device=retain.device)
    for chunk in _chunks(blocks, retain.device):
        r, f = retain[chunk.elements].double(), forget[chunk.elements].double()
        if conflicting:
            conflict = _conflict(r, f)
            r, f = (torch.where(conflict, each, 0.0) for each in (r, f))
        products = torch.empty(3, len(r), dtype=torch.float64, device=r.device)
        for out, (left, right) in zip(products, ((r, r), (r, f), (f, f)), strict=True):
            torch.mul(left, right, out=out)
        # Without `unsafe`, segment_reduce copies the lengths to the host to check their sum.
        tiles = torch.segment_reduce(products.view(-1), "sum", lengths=chunk.tile_lengths, unsafe=True)
        sums = torch.segment_reduce(tiles, "sum", lengths=chunk.tile_counts, unsafe=True)
        entries[:, chunk.span] += sums.view(3, -1)
    retain_retain, retain_forget, forget_forget = entries
    return torch.stack((retain_retain, retain_forget, retain_forget, forget_forget), dim=-1).view(-1, 2, 2)


def _conflict(retain: Tensor, forget: Tensor) -> Tensor:
    """Return where both have the same sign, bool. Not where their product is above 0, which may underflow."""
    return (retain.sign() == forget.sign()) & (retain != 0)


@torch.no_grad()
def combine(
    weights: Tensor,
    retain: Tensor,
    forget: Tensor,
    blocks: Blocks,
    *,
    conflict_weights: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Return ``a r + b f`` with each block's own weights (a, b).

    Computed in float64 and rounded once: nearly parallel gradients get large weights of opposite signs whose products
    cancel, and the weight of a tiny gradient can exceed the range of float32 although the product does not. A zero
    weight does not mask a non-finite gradient.

    Args:
        weights: ``(blocks.count, 2)``, float64 from a weighting.
        retain: Gradient r, flat ``(blocks.total,)``.
        forget: Gradient f, likewise.
        blocks: The partition of the buffers into blocks.
        conflict_weights: ``(blocks.count, 2)``, in place of the weights in elements where r and f have the same sign;
            None: there is no difference.
        out: Output buffer with the gradients' shape; may be one of the two gradients.

    Returns:
        The flat combination, in the dtype of ``out`` if given, else of the gradients. Does not synchronise.

    Raises:
        ValueError: If the shapes of the weights or of a gradient do not match the blocks.
    """
    _check_flat(retain, forget, blocks)
    if weights.shape != (blocks.count, 2):
        raise ValueError(f"weights must have shape ({blocks.count}, 2), found {tuple(weights.shape)}")
    result = torch.empty_like(retain) if out is None else out
    if result.shape != retain.shape:
        raise ValueError(f"out must have shape {tuple(retain.shape)}, found {tuple(result.shape)}")
    columns = weights.double().T.contiguous()
    others = None if conflict_weights is None else conflict_weights.double().T.contiguous()
    for chunk in _chunks(blocks, retain.device):
        a, b = (chunk.spread(column) for column in columns)
        if others is not None:
            conflict = _conflict(retain[chunk.elements], forget[chunk.elements])
            a, b = (
                torch.where(conflict, chunk.spread(other), each)
                for other, each in zip(others, (a, b), strict=True)
            )
        result[chunk.elements] = a.mul_(retain[chunk.elements]).add_(b.mul_(forget[chunk.elements]))
    return result


def clip_gram(gram: Tensor, max_norm: float | None) -> tuple[Tensor, Tensor]:
    """Clip each gradient to a total norm by scaling the Gram matrices, without a pass over the parameters.

    A gradient is scaled by ``min(1, max_norm / (norm + 1e-6))`` with its norm over all blocks, as in
    `torch.nn.utils.clip_grad_norm_`. To apply weights computed for the clipped gradients to the original gradients,
    multiply them by the scales.

    Args:
        gram: float64 ``(blocks, 2, 2)``.
        max_norm: Maximum norm of each gradient; None disables clipping.

    Returns:
        The Gram matrices of the clipped gradients, and the scales ``(2,)`` of retain and forget.

    Raises:
        ValueError: If ``max_norm`` is not above zero.
    """
    if max_norm is None:
        return gram, gram.new_ones(2)
    if not max_norm > 0:
        raise ValueError(f"max_norm must be above 0, or None for no clipping; found {max_norm}")
    norms = gram.sum(0).diagonal().sqrt()
    scales = (max_norm / (norms + _CLIP_NORM_EPS)).clamp(max=1.0)
    return gram * torch.outer(scales, scales), scales
