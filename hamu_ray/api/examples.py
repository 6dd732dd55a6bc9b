"""Map-style datasets of a user: checked, hashed, and compared with each other."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hamu_ray.api.pickling import pickled
from hamu_ray.tasks.custom.data import items_of

AT_ONCE = 256
"""Examples that are read at once."""

OVERLAPS = 1000
"""Overlaps that are kept, at most."""


def check_dataset(name: str, dataset: Any) -> None:
    """Check that a dataset is of map style, not empty, and gives the same example each time.

    Raises:
        ValueError: In one line that names it.
    """
    if not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")):
        raise ValueError(
            f"{name}: needs a map-style dataset, with __len__ and __getitem__, found {type(dataset).__name__}"
        )
    if len(dataset) == 0:
        raise ValueError(f"{name}: is empty; give at least one example")
    one, again = (items_of(dataset, [0])[0] for _ in range(2))
    if not isinstance(one, Sequence) or isinstance(one, str) or len(one) != 2:
        raise ValueError(
            f"{name}: an example must be a pair of inputs and target, found {type(one).__name__}; inputs may be a "
            "tensor, a mapping (arguments by name) or a sequence (arguments in order)"
        )
    if digest_of(one) != digest_of(again):
        raise ValueError(
            f"{name}: example 0 differs when it is read twice; leave random augmentation out: what is forgotten must "
            "be the same for every worker"
        )


def digests(dataset: Any) -> list[bytes]:
    """Return the SHA-256 of each example of a dataset, read in order."""
    found = []
    for start in range(0, len(dataset), AT_ONCE):
        places = list(range(start, min(start + AT_ONCE, len(dataset))))
        found += [digest_of(item) for item in items_of(dataset, places)]
    return found


def digest_of(example: Any) -> bytes:
    """Return the SHA-256 of an example's content: types, shapes and bytes of all that it holds."""
    content = hashlib.sha256()
    for part in _parts(example):
        content.update(len(part).to_bytes(8, "big") + part)
    return content.digest()


def overlaps(parts: Mapping[str, Sequence[bytes]]) -> list[str]:
    """Return a line for each example to forget that also stands in the retain or test set, at most `OVERLAPS`."""
    forget = {content: number for number, content in reversed(list(enumerate(parts["forget"])))}
    return [
        f"example {number} ({split}) is example {forget[content]}"
        for split in ("retain", "test")
        for number, content in enumerate(parts[split])
        if content in forget
    ][:OVERLAPS]


def _parts(value: Any) -> Iterator[bytes]:
    """Yield the content of a value as bytes, with types and shapes."""
    if isinstance(value, Tensor):
        array = value.detach().cpu().contiguous()
        yield f"{array.dtype} {tuple(array.shape)}".encode()
        yield array.reshape(-1).view(torch.uint8).numpy().tobytes()
    elif isinstance(value, np.ndarray | np.generic):
        yield f"{value.dtype} {value.shape}".encode()
        yield value.tobytes()
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            yield from (str(key).encode(), *_parts(value[key]))
    elif isinstance(value, list | tuple):
        yield str(len(value)).encode()
        for inner in value:
            yield from _parts(inner)
    elif value is None or isinstance(value, str | int | float | bytes):
        yield repr(value).encode()
    elif hasattr(value, "tobytes"):  # an image of Pillow
        yield from (repr(getattr(value, "size", "")).encode(), value.tobytes())
    else:
        yield pickled("examples", value)
