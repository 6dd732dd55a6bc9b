"""Random crops and flips of images, on their device, from a seed for each image."""

import torch
from torch import Tensor
from torch.nn import functional

DRAW_BITS = 20
"""Bits of a seed that each draw takes: more than enough for offsets of a few pixels to be uniform."""


def cropped_and_flipped(pixels: Tensor, seeds: Tensor, *, crop: int, flip: bool) -> Tensor:
    """Return a random crop of each image after padding, of its own size, mirrored left to right with probability 1/2.

    This is torchvision's `RandomCrop(size, padding=crop)` and `RandomHorizontalFlip()` with draws that depend on the
    image's seed alone.

    Args:
        pixels: Images, uint8 ``(k, channels, h, w)``.
        seeds: Well distributed 64-bit seeds, int64 ``(k,)`` on the same device.
        crop: Padding on each side in black pixels.
        flip: Whether images are mirrored.

    Returns:
        Images of the same shape and type in channels-last memory format. Does not synchronise.
    """
    height, width = pixels.shape[-2:]
    down, right = (_drawn(seeds, place, 2 * crop + 1)[:, None] for place in (0, 1))
    rows = torch.arange(height, device=pixels.device) + down
    columns = torch.arange(width, device=pixels.device).expand(len(seeds), width)
    if flip:
        columns = torch.where(_drawn(seeds, 2, 2)[:, None] == 1, width - 1 - columns, columns)
    columns = columns + right
    padded = functional.pad(pixels, (crop, crop, crop, crop)).permute(0, 2, 3, 1)
    images = torch.arange(len(seeds), device=pixels.device)[:, None, None]
    return padded[images, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _drawn(seeds: Tensor, place: int, below: int) -> Tensor:
    """Return a number in ``0..below - 1`` from a seed's bits at a place, int64 ``(k,)``."""
    return ((seeds >> (DRAW_BITS * place)) & ((1 << DRAW_BITS) - 1)) % below
