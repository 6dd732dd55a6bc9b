"""Tensors as safetensors files, written atomically."""

import json
from collections.abc import Mapping

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from hamu_ray.engine.state import put_state
from hamu_ray.storage import StoragePath, local_copy, write_atomically


def save_tensors(
    path: StoragePath, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors as safetensors in contiguous format; shared memory is written once per name.

    The file is marked as PyTorch's, which `transformers` requires.
    """
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_atomically(path, save(plain, metadata={"format": "pt", **(metadata or {})}))


def load_tensors(path: StoragePath) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file: tensors and metadata.

    Raises:
        ValueError: The file does not exist, or is incomplete.
    """
    try:
        with local_copy(path) as copy, safe_open(copy, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
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
