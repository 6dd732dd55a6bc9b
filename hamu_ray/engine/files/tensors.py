"""Tensors as safetensors files, written atomically, with a digest of their content in the metadata.

Equal tensors and metadata give bitwise identical files.
"""

from collections.abc import Mapping

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from hamu_ray.engine.state import put_state
from hamu_ray.results.durable.tensor_files import TENSOR_DIGEST, is_damaged, with_digest
from hamu_ray.storage import StoragePath, local_copy, write_atomically


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
    return with_digest(save(plain), {"format": "pt", **(metadata or {})})


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
