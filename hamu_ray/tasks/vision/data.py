"""An image data set on a worker's device: decoded once, normalised on use."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from hamu_ray.tasks.request import Source

HASHED_AT_ONCE = 256
"""Images that are copied at once for hashes."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Labelled images of one split.

    ``pixels`` is uint8 ``(n, channels, height, width)`` in channels-last memory format, in which the bytes of an image
    are contiguous; ``labels`` is int64 ``(n,)`` on the same device.
    """

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def to(self, device: torch.device) -> "Examples":
        """Return the examples on a device."""
        return Examples(self.pixels.to(device), self.labels.to(device))

    def gather(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pixels and labels of these examples.

        ``indices`` is int64 ``(k,)``, on the CPU or the examples' device. Does not synchronise.
        """
        indices = indices_on(self.pixels.device, indices)
        # In the images' memory format this copies whole rows; on the permuted view it is 15 times slower.
        rows = self.pixels.permute(0, 2, 3, 1).index_select(0, indices)
        return rows.permute(0, 3, 1, 2), self.labels.index_select(0, indices)


@dataclass(frozen=True, eq=False)
class VisionData:
    """A data set with its training and test images, shared by all trials of a worker.

    ``mean`` and ``std`` apply to pixels scaled to 0..1, with one value per channel.
    """

    task: ClassVar[str] = "vision"

    train: Examples
    test: Examples
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: "Source | None" = None
    """The rows of the training images, in which a request selects."""
    validation: float = 0.0
    """Fraction of the test images that a sweep searches and selects by."""

    @property
    def device(self) -> torch.device:
        """Device of the pixels."""
        return self.train.pixels.device

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        channels, height, width = self.train.pixels.shape[1:]
        return channels, height, width

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of everything that a model trained on these images depends on, independent of their location."""
        content = hashlib.sha256(repr((len(self.class_names), self.mean, self.std)).encode())
        for tensor in (self.train.pixels, self.train.labels, self.test.pixels, self.test.labels):
            content.update(str(tuple(tensor.shape)).encode())
            for part in tensor.split(HASHED_AT_ONCE):  # contiguous, each is a copy in another order of memory
                content.update(part.cpu().contiguous().numpy().data)
        if self.validation:  # no training depends on it, but the metrics that are stored with a model do
            content.update(f"validation {self.validation}".encode())
        return content.hexdigest()

    def with_labels(self, order: Tensor) -> "VisionData":
        """Return the data with relabelled classes, int64 ``(classes,)``; pixels are shared."""
        names = [""] * len(order)
        for number, name in zip(order.tolist(), self.class_names, strict=True):
            names[number] = name
        order = order.to(self.device)
        train, test = (replace(part, labels=order[part.labels]) for part in (self.train, self.test))
        return replace(self, train=train, test=test, class_names=tuple(names))

    def to(self, device: torch.device) -> "VisionData":
        """Return the data on a device."""
        return replace(self, train=self.train.to(device), test=self.test.to(device))


def indices_on(device: torch.device, indices: Tensor) -> Tensor:
    """Copy int64 indices to a device; to a GPU through pinned memory, without blocking."""
    if device.type == "cuda" and indices.device.type == "cpu":
        indices = indices.pin_memory()
    return indices.to(device, non_blocking=True)


def as_pixels(images: np.ndarray) -> Tensor:
    """Return uint8 images ``(n, height, width, channels)`` in the format of `Examples`, without a copy."""
    return torch.from_numpy(images).permute(0, 3, 1, 2)
