"""Decoding a split's images into one uint8 array, once: the result is a file that all processes map into memory."""

import hashlib
import logging
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from hamu_ray.tasks.models.hub import one_line
from hamu_ray.tasks.prepared_file import write_once
from hamu_ray.tasks.vision.images.preprocessing import Preprocessing

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

CACHE_FORMAT = 3
"""Part of every cache key: increase it when decoding changes, so that old files are no longer used."""

ROWS_AT_ONCE = 256
"""Number of images decoded per access to the data set."""

SAMPLE = 256
"""Maximum number of a split's images that `check_sample` decodes."""


def decoded_pixels(
    dataset: "Dataset", column: str, *, preprocessing: Preprocessing, where: str, cache: Path | None
) -> np.ndarray:
    """Return a column's images as uint8 ``(n, height, width, channels)``.

    With ``cache``, a folder, the array is a file there, decoded by the first process that asks for it and mapped into
    memory: processes of a machine share it, and read the images alone that they use. Its key holds the data set's
    fingerprint, so changed files are decoded anew, and so is a file that does not match its digest. Without a cache, or
    where it cannot be written, the array is in memory.

    ``where`` names the split in errors. Raises `ValueError` for an image that cannot be decoded, and for images that
    end up with different sizes.
    """
    chunks = partial(_decoded, dataset, column, preprocessing, where)
    if cache is None:
        return _in_memory(chunks(), len(dataset))
    key = (CACHE_FORMAT, dataset._fingerprint, column, preprocessing.resizing, len(dataset))
    path = cache / f"pixels-{hashlib.sha256(repr(key).encode()).hexdigest()[:24]}.npy"
    try:
        write_once(path, lambda file: _write(file, chunks(), len(dataset)))
        return np.load(path, mmap_mode="c", allow_pickle=False)
    except OSError as error:
        logger.warning("decoded images are not cached in %s: %s", cache, one_line(error))
        return _in_memory(chunks(), len(dataset))


def _in_memory(chunks: Iterator[np.ndarray], count: int) -> np.ndarray:
    """Return the images of all chunks in one array."""
    first = next(chunks)
    pixels = np.empty((count, *first.shape[1:]), dtype=np.uint8)
    start = 0
    for chunk in chain([first], chunks):
        pixels[start : start + len(chunk)] = chunk
        start += len(chunk)
    return pixels


def _write(file: BinaryIO, chunks: Iterator[np.ndarray], count: int) -> None:
    """Write the images of all chunks as one array. No more than a chunk is ever in memory."""
    first = next(chunks)
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, *first.shape[1:])}
    np.lib.format.write_array_header_1_0(file, header)
    for chunk in chain([first], chunks):
        file.write(np.ascontiguousarray(chunk).data)  # a resized one has another order


def check_sample(dataset: "Dataset", column: str, where: str) -> None:
    """Decode evenly spaced images of a split, at most `SAMPLE`; raises `ValueError` for one that cannot be decoded."""
    from datasets import Image

    images = _as_images(dataset, column, Image(), where)
    for row in range(0, len(images), -(-len(images) // SAMPLE) or 1):
        try:
            images[row]
        except Exception as error:  # Pillow and datasets raise many unrelated types for broken files
            raise _undecodable(images, column, range(row, row + 1), where, error) from error


def _as_images(dataset: "Dataset", column: str, feature: Any, where: str) -> "Dataset":
    """Return a column alone, whose values are decoded on access."""
    try:
        return dataset.select_columns([column]).cast_column(column, feature)
    except (TypeError, ValueError, NotImplementedError) as error:  # NotImplementedError: Arrow's casts
        raise ValueError(
            f"data.image_column: {column} of {where} does not contain images ({one_line(error)}); name the column "
            "that does"
        ) from error


def _undecodable(images: "Dataset", column: str, rows: range, where: str, error: Exception) -> ValueError:
    """Return an error that names the first of these rows that cannot be decoded, and its file."""
    from datasets import Image

    files = images.cast_column(column, Image(decode=False))
    for row in rows:
        try:
            images[row]
        except Exception as found:
            file = (files[row][column] or {}).get("path")
            name = f"{file} (row {row} of {where})" if file else f"the image in row {row} of {where}"
            return ValueError(f"data.path: {name} cannot be decoded: {one_line(found)}; replace it")
    return ValueError(f"data.path: images of {where} cannot be decoded: {one_line(error)}")


def _decoded(
    dataset: "Dataset", column: str, preprocessing: Preprocessing, where: str
) -> Iterator[np.ndarray]:
    """Yield all images in chunks, uint8 ``(k, height, width, channels)``; the first image gives their size."""
    from datasets import Image

    resize = resizer(preprocessing)
    images = _as_images(dataset, column, Image(mode="L" if len(preprocessing.mean) == 1 else "RGB"), where)
    first: np.ndarray | None = None
    for start in range(0, len(images), ROWS_AT_ONCE):
        stop = min(start + ROWS_AT_ONCE, len(images))
        try:
            batch = images[start:stop][column]
        except Exception as error:  # Pillow and datasets raise many unrelated types for broken files
            raise _undecodable(images, column, range(start, stop), where, error) from error
        chunk = []
        for row, image in enumerate(batch, start):
            if image is None:
                raise ValueError(f"data.image_column: row {row} of {where} has no image")
            array = resize(np.asarray(image).reshape(image.height, image.width, -1))
            first = array if first is None else first
            if array.shape != first.shape:
                raise ValueError(
                    f"data.image_size: images of {where} differ in size ({_size(first)} and, in row "
                    f"{row}, {_size(array)}): set a common size"
                )
            chunk.append(array)
        yield np.stack(chunk)


def resizer(preprocessing: Preprocessing) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that maps an image, uint8 ``(height, width, channels)``, to the model's input size.

    A checkpoint's image processor is used if it has one. Otherwise images become squares, with antialiasing.
    """
    size = preprocessing.image_size
    if preprocessing.processor is not None:
        return _processed(preprocessing.processor)
    if size is None:
        return lambda image: image
    from torchvision.transforms.v2.functional import resize

    def squared(image: np.ndarray) -> np.ndarray:
        if image.shape[:2] == (size, size):
            return image
        pixels: Tensor = resize(torch.tensor(image).permute(2, 0, 1), [size, size], antialias=True)
        return pixels.permute(1, 2, 0).numpy()

    return squared


def _processed(file: Path) -> Callable[[np.ndarray], np.ndarray]:
    from transformers import AutoImageProcessor

    processor: Any = AutoImageProcessor.from_pretrained(file.parent)
    as_it_is = {"do_rescale": False, "do_normalize": False, "input_data_format": "channels_last"}

    def processed(image: np.ndarray) -> np.ndarray:
        pixels: Tensor = processor(images=image.copy(), return_tensors="pt", **as_it_is)["pixel_values"][0]
        if pixels.dtype != torch.uint8:
            raise ValueError(
                f"model.name: the image processor in {file.parent} returns {pixels.dtype} for uint8 images; set its "
                "size steps (do_resize, do_center_crop) to false and data.image_size instead"
            )
        return pixels.permute(1, 2, 0).numpy()

    return processed


def _size(array: np.ndarray) -> str:
    height, width = array.shape[:2]
    return f"{width}x{height}"
