"""Files in the storage: a folder, or what fsspec reaches by a URL. Written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Union
from uuid import uuid4

if TYPE_CHECKING:
    from upath import UPath

    from hamu_ray.config.run import StorageConfig

StoragePath = Union[Path, "UPath"]
"""A path in a file system of this machine, or one behind a URL such as ``s3://bucket/runs``."""

DEFAULT_LOCAL = "runs"
"""The driver's folder where the storage is none of this machine's."""


def storage_path(text: str | Path) -> StoragePath:
    """Return what a configuration's path stands for, absolute.

    Raises:
        ValueError: No package of this environment opens such a URL; names the one that would.
    """
    if isinstance(text, Path) or "://" not in text:
        return Path(text).expanduser().absolute()
    from upath import UPath  # only now: most storages are folders

    try:
        path = UPath(text, use_listings_cache=False)  # other processes write, too
        local = path.protocol in ("file", "local")
        _ = path.fs  # finds a missing package now
    except (ImportError, ValueError) as error:
        raise ValueError(f"{text} cannot be opened: {error}") from error
    return Path(path.path) if local else path


def local_folder(config: "StorageConfig") -> Path:
    """Return the folder of this machine for what only the driver of a sweep writes."""
    if config.local is not None:
        return Path(config.local).expanduser().absolute()
    path = storage_path(config.path)
    return path if isinstance(path, Path) else Path(DEFAULT_LOCAL).absolute()


def write_atomically(path: StoragePath, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, whatever dies meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with partial.open("wb") as file:
            file.write(content)
            if isinstance(partial, Path):
                file.flush()
                os.fsync(file.fileno())
        _rename(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _rename(source: StoragePath, target: StoragePath) -> None:
    if isinstance(source, Path):
        source.replace(str(target))
    else:
        assert not isinstance(target, Path), "a file is renamed within its file system"
        source.fs.mv(source.path, target.path)


@contextmanager
def local_copy(path: StoragePath) -> Iterator[Path]:
    """Within, the file is at a path of this machine: its own where it has one."""
    if isinstance(path, Path):
        yield path
        return
    with TemporaryDirectory(prefix="hamu_ray-") as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(path.read_bytes())
        yield copy
