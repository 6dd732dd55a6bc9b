"""Files in the storage: a local folder, or a URL supported by fsspec. Files are written atomically."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from upath import UPath

from hamu_ray.config.run import StorageConfig

StoragePath = Path | UPath
"""A path in the local file system, or behind a URL such as ``s3://bucket/runs``."""

DEFAULT_LOCAL = "runs"
"""The driver's folder if the storage is not local."""


def storage_path(text: str | Path) -> StoragePath:
    """Return a configuration's path as an absolute path.

    Raises:
        ValueError: No installed package can open such a URL; the message names the one that can.
    """
    if isinstance(text, Path) or "://" not in text:
        return Path(text).expanduser().absolute()
    try:
        path = UPath(text, use_listings_cache=False)  # other processes write, too
        local = path.protocol in ("file", "local")
        _ = path.fs  # detects a missing package
    except (ImportError, ValueError) as error:
        raise ValueError(f"{text} cannot be opened: {error}") from error
    return Path(path.path) if local else path


def local_folder(config: StorageConfig) -> Path:
    """Return the local folder for files that only the driver of a sweep writes."""
    if config.local is not None:
        return Path(config.local).expanduser().absolute()
    path = storage_path(config.path)
    return path if isinstance(path, Path) else Path(DEFAULT_LOCAL).absolute()


def write_atomically(path: StoragePath, content: bytes) -> None:
    """Write a file atomically: after a crash it exists either completely or not at all."""
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
    if isinstance(source, UPath):
        source.fs.mv(source.path, UPath(target).path)
    else:
        source.replace(str(target))


@contextmanager
def local_copy(path: StoragePath) -> Iterator[Path]:
    """Within this context, the file is at a local path: its own if it is local."""
    if isinstance(path, Path):
        yield path
        return
    with TemporaryDirectory(prefix="hamu_ray-") as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(path.read_bytes())
        yield copy
