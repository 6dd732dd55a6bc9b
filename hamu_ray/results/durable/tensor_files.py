"""Completeness and digests of safetensors files, verified without loading tensors.

A file starts with the length of its header in 8 bytes and the header as JSON, which contains the offset at which each
tensor ends. The metadata in the header include a digest of the rest.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

from hamu_ray.storage import StoragePath

METADATA, TENSOR_DIGEST = "__metadata__", "blake2b"
"""Keys in a file's header: of the metadata, and of the digest within it."""
ALIGNMENT = 8
"""The header is padded to a multiple of this many bytes, as the format requires."""
CHUNK = 1 << 22
"""Number of bytes that are read at once."""


def write_with_digest(
    file: BinaryIO, entries: Mapping[str, Any], metadata: Mapping[str, str], content: Iterable[memoryview]
) -> None:
    """Write a safetensors file with a digest, given the header's entries in the order of the content.

    Metadata are in sorted order. The digest, which is known last, is written in the end.
    """
    head: dict[str, Any] = {METADATA: dict(metadata), **entries}
    hashed = _hash(head)
    head[METADATA][TENSOR_DIGEST] = "0" * len(hashed.hexdigest())
    encoded = _encoded(head)
    file.write(len(encoded).to_bytes(8, "little"))
    file.write(encoded)
    for part in content:
        hashed.update(part)
        file.write(part)
    head[METADATA][TENSOR_DIGEST] = hashed.hexdigest()
    file.seek(8)
    file.write(_encoded(head))


def is_whole(path: StoragePath) -> bool:
    """Whether a safetensors file exists and is complete; reads only its header."""
    try:
        size, head = path.stat().st_size, _head(path)
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
        ends = [entry["data_offsets"][1] for name, entry in head.items() if name != METADATA]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False
    return bool(ends) and size == 8 + length + max(ends)


def is_intact(path: StoragePath) -> bool:
    """Whether a file that `write_with_digest` made is complete and matches its digest."""
    return is_whole(path) and not is_damaged(path) and _head(path)[METADATA].get(TENSOR_DIGEST) is not None


def is_damaged(path: StoragePath) -> bool:
    """Whether a file's content contradicts its digest; files of other programs have none.

    A file is read once per process, and again after it was rewritten.

    Raises:
        OSError: It cannot be read.
    """
    state = path.stat()
    version = (str(path), state.st_size, getattr(state, "st_mtime_ns", None))
    if version in _intact:
        return False
    try:
        head = _head(path)
        expected = head[METADATA].pop(TENSOR_DIGEST, None)
    except (ValueError, LookupError, TypeError, AttributeError):
        return False  # not a safetensors file, which is reported when it is opened
    hashed = _hash(head)
    with path.open("rb") as file:
        file.seek(8 + int.from_bytes(file.read(8), "little"))
        while chunk := file.read(CHUNK):
            hashed.update(chunk)
    if expected is not None and expected != hashed.hexdigest():
        return True
    _intact.add(version)
    return False


_intact: set[tuple[str, int, int | None]] = set()
"""Path, size and modification time of the files that this process has found intact."""


def _head(path: StoragePath) -> Any:
    """Return a file's header; raises `ValueError` if it is not JSON."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return json.loads(file.read(length)) if length < path.stat().st_size else {}


def _hash(head: Mapping[str, Any]) -> "hashlib.blake2b":
    """Return the digest of a header without one, to be continued with the content."""
    return hashlib.blake2b(_encoded(head), digest_size=16)


def _encoded(head: Mapping[str, Any]) -> bytes:
    """Encode a file's header with sorted metadata first, and tensors in the order of their content."""
    ordered = {
        METADATA: dict(sorted(head[METADATA].items())),
        **{k: v for k, v in head.items() if k != METADATA},
    }
    encoded = json.dumps(ordered, separators=(",", ":")).encode()
    return encoded + b" " * (-len(encoded) % ALIGNMENT)
