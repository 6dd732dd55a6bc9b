"""Tensors as safetensors files, written atomically, with a digest of their content in the metadata.

Equal tensors and metadata give bitwise identical files.
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
"""Keys in a file's header: of the metadata, and of the digest within it."""
ALIGNMENT = 8
"""The header is padded to a multiple of this many bytes, as the format requires."""
CHUNK = 1 << 22
"""Number of bytes that are read at once."""


def save_tensors(
    path: StoragePath, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors as a safetensors file."""
    write_atomically(path, tensor_file(tensors, metadata))


def tensor_file(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """Return tensors as the content of a safetensors file, contiguous; shared memory is written once per name.

    The file is marked as PyTorch's, which `transformers` requires. The library writes metadata in random order, so the
    header is rewritten in sorted order.
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
    return b"".join([len(encoded).to_bytes(8, "little"), encoded, content[end:]])


def load_tensors(path: StoragePath) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file: tensors and metadata.

    Raises:
        ValueError: The file does not exist, is incomplete, or does not match its digest.
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
    """Whether a file's content contradicts its digest; files of other programs have none.

    A file is read once per process, and again after it was rewritten.

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
            return False  # not a safetensors file, which is reported when it is opened
        hashed = hashlib.blake2b(_encoded(head), digest_size=16)
        while chunk := file.read(CHUNK):
            hashed.update(chunk)
    if expected is not None and expected != hashed.hexdigest():
        return True
    _intact.add(version)
    return False


_intact: set[tuple[str, int, int | None]] = set()
"""Path, size and modification time of the files that this process has found intact."""


def _encoded(head: Mapping[str, Any]) -> bytes:
    """Encode a file's header with sorted metadata first, and tensors in the order of their content."""
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
