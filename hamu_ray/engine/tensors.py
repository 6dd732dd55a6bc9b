"""Tensors as safetensors files, written whole or not at all, with a digest of their content in the metadata.

Equal tensors and metadata give equal files, byte by byte.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from hamu_ray.engine.state import put_state
from hamu_ray.storage import StoragePath, local_copy, write_atomically

METADATA, DIGEST = "__metadata__", "blake2b"
"""Keys in the head of a file: of its metadata, and in them of the digest."""
ALIGNMENT = 8
"""The head is filled up to a multiple of so many bytes, as the format asks for."""
CHUNK = 1 << 22
"""Bytes that are read at once."""


def save_tensors(
    path: StoragePath, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors as safetensors in contiguous format; shared memory is written once per name.

    Marked as PyTorch's, which `transformers` asks for. The library writes metadata in an order of chance, so the head
    is written anew in a sorted one.
    """
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    content = memoryview(save(plain))
    end = 8 + int.from_bytes(content[:8], "little")
    head = json.loads(bytes(content[8:end]))
    head[METADATA] = {"format": "pt", **(metadata or {})}
    hashed = hashlib.blake2b(_encoded(head), digest_size=16)
    hashed.update(content[end:])
    head[METADATA][DIGEST] = hashed.hexdigest()
    encoded = _encoded(head)
    write_atomically(path, b"".join([len(encoded).to_bytes(8, "little"), encoded, content[end:]]))


def load_tensors(path: StoragePath) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file: tensors and metadata.

    Raises:
        ValueError: The file is not there, not whole, or does not match its digest.
    """
    try:
        with local_copy(path) as copy, safe_open(copy, framework="pt") as file:
            if is_damaged(copy):
                raise ValueError(f"{path}: damaged: its content does not match its digest")
            metadata = {key: text for key, text in (file.metadata() or {}).items() if key != DIGEST}
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path}: not a whole safetensors file: {error}") from error


def is_whole(path: StoragePath) -> bool:
    """Whether a safetensors file exists and is complete; reads only its header.

    The header is JSON, preceded by its length in 8 bytes, and contains the offset at which each tensor ends.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            head = json.loads(file.read(length)) if length < size else {}
        ends = [entry["data_offsets"][1] for name, entry in head.items() if name != "__metadata__"]
    except (OSError, ValueError):
        return False
    return bool(ends) and size == 8 + length + max(ends)


def is_damaged(path: StoragePath) -> bool:
    """Whether a file's content does not match its digest, which files of other programs do not have.

    A file is read once in this process, and again when it was written again.

    Raises:
        OSError: It cannot be read.
    """
    state = path.stat()
    version = (str(path), state.st_size, getattr(state, "st_mtime_ns", None))
    if version in _intact:
        return False
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            head = json.loads(file.read(length)) if length < state.st_size else {}
            expected = head[METADATA].pop(DIGEST, None)
        except (ValueError, LookupError, TypeError, AttributeError):
            return False  # no safetensors file, which is found when it is opened
        hashed = hashlib.blake2b(_encoded(head), digest_size=16)
        while chunk := file.read(CHUNK):
            hashed.update(chunk)
    if expected is not None and expected != hashed.hexdigest():
        return True
    _intact.add(version)
    return False


_intact: set[tuple[str, int, int | None]] = set()
"""Path, size and time of the last change of the files that this process has found intact."""


def _encoded(head: Mapping[str, Any]) -> bytes:
    """Return the head of a file with its metadata first and in sorted order, and tensors in that of their content."""
    ordered = {
        METADATA: dict(sorted(head[METADATA].items())),
        **{k: v for k, v in head.items() if k != METADATA},
    }
    encoded = json.dumps(ordered, separators=(",", ":")).encode()
    return encoded + b" " * (-len(encoded) % ALIGNMENT)


def load_model(model: nn.Module, path: StoragePath) -> None:
    """Load the changeable part of a model in place; parameters keep their memory format and device.

    Raises:
        ValueError: The file does not match the model; the message names the file and the first difference.
    """
    tensors, _ = load_tensors(path)
    try:
        put_state(model, tensors)
    except ValueError as error:
        raise ValueError(f"{path}: does not fit the model: {error}") from error
