"""Tensors as safetensors files, written atomically, with a digest of their content in the metadata.

Equal tensors and metadata give bitwise identical files.
"""

import json
from collections.abc import Iterator, Mapping
from functools import cache

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from hamu_ray.engine.state import put_state
from hamu_ray.pairing.sharding import Gathered
from hamu_ray.results.durable.tensor_files import TENSOR_DIGEST, is_damaged, write_with_digest
from hamu_ray.storage import StoragePath, atomic_file, local_copy

Written = Mapping[str, Tensor | Gathered]
"""Tensors to write by name."""


def save_tensors(path: StoragePath, tensors: Written, metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors as a safetensors file, contiguous; shared memory is written once per name.

    One piece after the other is in this process's memory. Meanwhile the other ranks that hold parts of `Gathered`
    tensors call `take_part`. The file is marked as PyTorch's, which `transformers` requires.
    """
    entries, end = {}, 0
    for name in _ordered(tensors):
        tensor = tensors[name]
        size = tensor.dtype.itemsize * tensor.shape.numel()
        shape, place = list(tensor.shape), [end, end + size]
        entries[name] = {"dtype": _name_of(tensor.dtype), "shape": shape, "data_offsets": place}
        end += size
    with atomic_file(path) as file:
        write_with_digest(file, entries, {"format": "pt", **(metadata or {})}, _content(tensors))


def take_part(tensors: Written) -> None:
    """Take part in writing tensors of which this rank holds parts, while another one writes them."""
    for name in _ordered(tensors):
        for _ in _pieces(tensors[name]):
            pass


def as_written(path: StoragePath, tensors: Written) -> Mapping[str, Tensor]:
    """Return written tensors as a whole: those of the file, if a process had only parts of them."""
    there = {name: tensor for name, tensor in tensors.items() if isinstance(tensor, Tensor)}
    return there if len(there) == len(tensors) else load_tensors(path)[0]


def _ordered(tensors: Written) -> list[str]:
    """Return names in the order of the file: large elements first, so that all of them are aligned."""
    return sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, str(tensors[name].dtype), name))


@cache
def _name_of(dtype: torch.dtype) -> str:
    """Return the name of a dtype in safetensors files, which the library has no public table of."""
    content = save({"none": torch.empty(0, dtype=dtype)})
    name: str = json.loads(content[8:])["none"]["dtype"]
    return name


def _content(tensors: Written) -> Iterator[memoryview]:
    for name in _ordered(tensors):
        for piece in _pieces(tensors[name]):
            if piece.numel():
                flat = piece.detach().cpu().contiguous().flatten()
                yield flat.view(torch.uint8).numpy().data


def _pieces(tensor: Tensor | Gathered) -> Iterator[Tensor]:
    if isinstance(tensor, Gathered):
        yield from tensor.pieces()
    else:
        yield tensor


def load_tensors(path: StoragePath) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file: tensors and metadata.

    Raises:
        ValueError: The file does not exist, is incomplete, or does not match its digest.
    """
    try:
        with local_copy(path) as copy, safe_open(copy, framework="pt") as file:
            if is_damaged(copy):
                raise ValueError(f"{path}: damaged: its content does not match its digest")
            metadata = {key: text for key, text in (file.metadata() or {}).items() if key != TENSOR_DIGEST}
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path}: not a whole safetensors file: {error}") from error


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
