"""Decoding a split's images into one uint8 array, once: the result is cached in a file."""

import hashlib
import logging
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hamu_ray.tasks.hub import one_line

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image

logger = logging.getLogger(__name__)

CACHE_FORMAT = 1
"""Part of every cache key: raise it when decoding changes, and old files are no longer found."""

ROWS_AT_ONCE = 256
"""Images decoded between two looks at the data set."""


def decoded_pixels(
    dataset: "Dataset", column: str, *, channels: int, size: int | None, where: str, cache: Path | None
) -> np.ndarray:
    """Return a column's images as uint8 ``(n, height, width, channels)``.

    With ``cache``, a folder, the array is read from there where it lies, and left there where it does not.
    Its key holds the data set's fingerprint, so changed files are decoded anew.

    ``where`` names the split in errors. Raises `ValueError` for an image that cannot be decoded and for
    images of different sizes without a ``size``.
    """
    if cache is None:
        return _decode(dataset, column, channels, size, where)
    key = (CACHE_FORMAT, dataset._fingerprint, column, channels, size, len(dataset))
    path = cache / f"pixels-{hashlib.sha256(repr(key).encode()).hexdigest()[:24]}.safetensors"
    if path.is_file():
        return load_file(path)["pixels"].numpy()
    pixels = _decode(dataset, column, channels, size, where)
    _write_atomically(path, torch.from_numpy(pixels))
    return pixels


def _decode(dataset: "Dataset", column: str, channels: int, size: int | None, where: str) -> np.ndarray:
    """Decode all images, after a look at the first for their size."""
    from datasets import Image

    try:
        images = dataset.select_columns([column]).cast_column(
            column, Image(mode="L" if channels == 1 else "RGB")
        )
    except (TypeError, ValueError, NotImplementedError) as error:  # the last is Arrow's, of its casts
        raise ValueError(
            f"data.image_column: {column} of {where} holds no images: {one_line(error)}"
        ) from error
    pixels: np.ndarray | None = None
    for start in range(0, len(images), ROWS_AT_ONCE):
        stop = min(start + ROWS_AT_ONCE, len(images))
        try:
            batch = images[start:stop][column]
        except Exception as error:  # Pillow and datasets raise a zoo of types for broken files
            raise ValueError(
                f"data.path: an image in rows {start} to {stop - 1} of {where} cannot be decoded: "
                f"{one_line(error)}"
            ) from error
        for row, image in enumerate(batch, start):
            if image is None:
                raise ValueError(f"data.image_column: row {row} of {where} has no image")
            array = _resized(image, size)
            if pixels is None:
                pixels = np.empty((len(images), *array.shape), dtype=np.uint8)
            if array.shape != pixels.shape[1:]:
                raise ValueError(
                    f"data.image_size: images of {where} differ in size ({_size(pixels[0])} and, in row "
                    f"{row}, {_size(array)}): set the size that all are to have"
                )
            pixels[row] = array
    assert pixels is not None, "an empty split was let through"
    return pixels


def _resized(image: "Image", size: int | None) -> np.ndarray:
    """Return one image as uint8 ``(height, width, channels)``, resized to a square with antialiasing."""
    array = np.asarray(image)
    array = array if array.ndim == 3 else array[..., None]
    if size is None or array.shape[:2] == (size, size):
        return array
    from torchvision.transforms.v2.functional import resize

    pixels: Tensor = resize(torch.tensor(array).permute(2, 0, 1), [size, size], antialias=True)
    return pixels.permute(1, 2, 0).numpy()


def _size(array: np.ndarray) -> str:
    height, width = array.shape[:2]
    return f"{width}x{height}"


def _write_atomically(path: Path, pixels: Tensor) -> None:
    """Write a cache file that others see whole or not at all; a full disk costs only the cache."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=path.parent, suffix=".draft")
        os.close(handle)
        try:
            save_file({"pixels": pixels}, draft)
            os.replace(draft, path)
        finally:
            Path(draft).unlink(missing_ok=True)
    except OSError as error:
        logger.warning("decoded images are not cached in %s: %s", path.parent, one_line(error))
