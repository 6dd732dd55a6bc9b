"""Pretrained checkpoints as files: the arguments of `from_pretrained`, inspected without importing torch.

A checkpoint is a local folder or a name on the hub. It contains a whole model, in one file or sharded, or a `peft`
adapter for another checkpoint.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from hamu_ray.storage import CHUNK, StoragePath, sha256_of_file
from hamu_ray.tasks.models.hub import hub_or_cache, is_local, one_line

CONFIG = "config.json"
ADAPTER_CONFIG = "adapter_config.json"
PREPROCESSOR = "preprocessor_config.json"
WHOLE = ("model.safetensors", "pytorch_model.bin")
ADAPTER = ("adapter_model.safetensors", "adapter_model.bin")
INDEX = ".index.json"
"""Suffix of the file that maps tensors to shards."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint, and the configuration key that names it."""

    key: str
    """The key, such as `model.name`, for errors."""
    name: str
    """A folder, or a name on the hub."""

    @property
    def local(self) -> bool:
        """Whether it is a local folder."""
        return is_local(self.name)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The content of `config.json`; for an adapter, that of its base model.

        Raises `ValueError` if there is none: this is not a checkpoint.
        """
        if self.base is not None:
            return self.base.config
        if found := self.json(CONFIG):
            return found
        if not self.local:
            raise ValueError(
                f"{self.key}: the hub has no {CONFIG} of {self.name}, or is unreachable; check the name"
            )
        there = Path(self.name).expanduser().exists()
        problem = f"the folder has no {CONFIG}" if there else "no such folder"
        raise ValueError(f"{self.key}: {self.name}: {problem}; give a checkpoint written by save_pretrained")

    @cached_property
    def adapter(self) -> dict[str, Any]:
        """The content of `adapter_config.json`; empty for a whole model."""
        return self.json(ADAPTER_CONFIG)

    @property
    def base(self) -> "Checkpoint | None":
        """The base model of an adapter, None for a whole model.

        A relative path, which `peft` writes as its training script had it, is looked up in the adapter's folder and
        those above it, because workers have other working directories than the user. Raises `ValueError` if the
        adapter does not name its base, or names a folder that is found from the working directory alone.
        """
        if not self.adapter:
            return None
        name = self.adapter.get("base_model_name_or_path")
        if not name:
            raise ValueError(
                f"{self.key}: {self.name}: {ADAPTER_CONFIG} has no base_model_name_or_path; set it to the model "
                "that the adapter was trained on"
            )
        given = Path(name).expanduser()
        if not self.local or given.is_absolute():
            return Checkpoint(self.key, str(name))
        above = (Path(self.name).expanduser().absolute() / ADAPTER_CONFIG).parents
        found = next((str(folder / given) for folder in above if (folder / given).exists()), None)
        if found is None and given.exists():
            raise ValueError(
                f"{self.key}: {self.name}: {ADAPTER_CONFIG} names its base {name}, which is in no folder above it; "
                f"write {given.absolute()} there"
            )
        return Checkpoint(self.key, found or str(name))

    def json(self, file: str) -> dict[str, Any]:
        """Return one of its JSON files, empty if it does not exist; raises `ValueError` if it cannot be parsed."""
        path = self.file(file)
        if path is None:
            return {}
        try:
            content = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise ValueError(f"{self.key}: {path} cannot be read: {one_line(error)}; give another") from error
        return content if isinstance(content, dict) else {}

    def file(self, name: str) -> Path | None:
        """Return the path of one of its files, downloaded from the hub if needed; None if it does not exist.

        Raises:
            ValueError: The checkpoint is not on the hub, or the hub cannot be reached.
        """
        if self.local:
            path = Path(self.name).expanduser() / name
            return path if path.is_file() else None
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError

        try:
            with hub_or_cache(self.name):
                return Path(hf_hub_download(self.name, name))
        except EntryNotFoundError:  # also raised if the file is not cached and the hub is unreachable
            return None
        except Exception as error:  # the hub's client raises many unrelated types
            raise ValueError(f"{self.key}: {self.name} cannot be loaded: {one_line(error)}") from error

    @property
    def weights(self) -> list[Path]:
        """The files of its weights, all shards; raises `ValueError` if there are none or a shard is missing."""
        names = ADAPTER if self.adapter else WHOLE
        for name in names:
            if (index := self.json(name + INDEX)) and isinstance(index.get("weight_map"), dict):
                return [self._shard(shard) for shard in sorted(set(index["weight_map"].values()))]
            if (path := self.file(name)) is not None:
                return [path]
        raise ValueError(f"{self.key}: {self.name} has no weights; it needs {' or '.join(names)}, or shards")

    @property
    def dtype(self) -> str | None:
        """The dtype of all its weights, as in safetensors files (`BF16`); None if they differ or are in other files."""
        files = self.weights
        if any(path.suffix != ".safetensors" for path in files):
            return None
        found = {place.dtype for path in files for place in tensors_of(path).values()}
        return found.pop() if len(found) == 1 else None

    def _shard(self, name: str) -> Path:
        path = self.file(name)
        if path is None:
            raise ValueError(f"{self.key}: {self.name}: the shard {name} is missing; copy it there")
        return path

    @property
    def identity(self) -> str:
        """An identity independent of its location: the SHA-256 of its files, or its commit on the hub.

        An adapter's identity includes its base model's.
        """
        _ = self.config
        described = self.file(ADAPTER_CONFIG if self.adapter else CONFIG)
        assert described is not None
        if not self.local:
            own = f"{self.name}@{described.parent.name}"  # the cache stores each commit in a folder named after it
        else:
            own = ",".join(file_digest(path) for path in (described, *self.weights))
        below = self.base.identity if self.base else ""
        return hashlib.sha256(f"{own}|{below}".encode()).hexdigest()

    def check(self) -> None:
        """Check from its files' headers that it exists and is complete; on the hub, check only its description.

        Raises:
            ValueError: One line with the key and the remedy.
        """
        _ = self.config
        if self.local:
            for path in self.weights:
                if path.suffix == ".safetensors":
                    check_tensors(self.key, path)
        if self.base is not None:
            self.base.check()


def file_digest(path: StoragePath) -> str:
    """Return the SHA-256 of a file; it is recomputed only if its size or time has changed."""
    status = path.stat()
    return _digest(path, status.st_size, getattr(status, "st_mtime_ns", None))


@cache
def _digest(path: StoragePath, size: int, modified: int | None) -> str:
    return sha256_of_file(path)


@dataclass(frozen=True)
class TensorPlace:
    """A tensor in a safetensors file."""

    dtype: str
    shape: tuple[int, ...]
    path: Path
    start: int
    stop: int

    @property
    def form(self) -> tuple[str, tuple[int, ...]]:
        """Dtype and shape."""
        return self.dtype, self.shape

    def chunks(self) -> Iterator[bytes]:
        """Yield its bytes in chunks."""
        with self.path.open("rb") as file:
            file.seek(self.start)
            left = self.stop - self.start
            while left > 0 and (chunk := file.read(min(CHUNK, left))):
                yield chunk
                left -= len(chunk)


def check_tensors(key: str, path: Path) -> None:
    """Check that a safetensors file exists and is complete; raises `ValueError`."""
    try:
        places = tensors_of(path)
    except FileNotFoundError:
        raise ValueError(
            f"{key}: {path}: no such file; give a model.safetensors or a folder that contains one"
        ) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise ValueError(f"{key}: {path} cannot be read: {reason}; give another file") from error
    except ValueError:
        raise ValueError(f"{key}: {path} is not a safetensors file; give a model.safetensors") from None
    end = max((place.stop for place in places.values()), default=0)
    if end != path.stat().st_size:
        raise ValueError(f"{key}: {path} is truncated ({path.stat().st_size} of {end} bytes); copy it again")


def tensors_of(path: Path) -> dict[str, TensorPlace]:
    """Return the locations of the tensors in a safetensors file; reads only its header.

    The header is JSON, preceded by its length in 8 bytes. Raises `OSError`, and `ValueError` for other kinds of files.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length < path.stat().st_size:
            raise ValueError("no header")
        head = json.loads(file.read(length))
    if not isinstance(head, dict):
        raise ValueError("no header")
    places = {}
    for name, entry in head.items():
        if name == "__metadata__":
            continue
        try:
            start, stop = (8 + length + offset for offset in entry["data_offsets"])
            places[name] = TensorPlace(entry["dtype"], tuple(entry["shape"]), path, start, stop)
        except (KeyError, TypeError) as error:
            raise ValueError("no header") from error
    return places


def same_weights(one: list[Path], other: list[Path]) -> bool:
    """Whether weights are bitwise equal, regardless of how they are sharded.

    Stops at the first difference. Files other than safetensors are compared as files.
    """
    if any(path.suffix != ".safetensors" for path in (*one, *other)):
        return [file_digest(path) for path in one] == [file_digest(path) for path in other]
    left, right = (
        {name: at for path in files for name, at in tensors_of(path).items()} for files in (one, other)
    )
    if {name: at.form for name, at in left.items()} != {name: at.form for name, at in right.items()}:
        return False
    return all(
        mine == theirs
        for name, at in left.items()
        for mine, theirs in zip(at.chunks(), right[name].chunks(), strict=True)
    )
