"""Files in the storage: a folder, or what fsspec reaches by a URL. Written whole or not at all."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from upath import UPath

from hamu_ray.config.run import StorageConfig

StoragePath = Path | UPath
"""A path in a file system of this machine, or one behind a URL such as ``s3://bucket/runs``."""

DEFAULT_LOCAL = "runs"
"""The driver's folder where the storage is none of this machine's."""

UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE}
"""Codes of errors that say that files cannot be written: the disk is full, broken or read-only."""


def storage_path(text: str | Path) -> StoragePath:
    """Return what a configuration's path stands for, absolute.

    Raises:
        ValueError: No package of this environment opens such a URL; names the one that would.
    """
    if isinstance(text, Path) or "://" not in text:
        return Path(text).expanduser().absolute()
    try:
        path = UPath(text, use_listings_cache=False)  # other processes write, too
        local = path.protocol in ("file", "local")
        _ = path.fs  # finds a missing package now
    except (ImportError, ValueError) as error:
        raise ValueError(f"{text} cannot be opened: {error}") from error
    return Path(path.path) if local else path


def local_folder(config: StorageConfig) -> Path:
    """Return the folder of this machine for what only the driver of a sweep writes."""
    if config.local is not None:
        return Path(config.local).expanduser().absolute()
    path = storage_path(config.path)
    return path if isinstance(path, Path) else Path(DEFAULT_LOCAL).absolute()


def storage_error(error: BaseException) -> OSError | None:
    """Return the error of the storage that led to an error: it cannot be written, or its folder is gone. Or None."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and (cause.errno in UNWRITABLE or _is_gone(cause)):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


def _is_gone(error: OSError) -> bool:
    return (
        error.errno == errno.ENOENT
        and isinstance(error.filename, str | Path)
        and not Path(error.filename).parent.exists()
    )


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
        rename(partial, path)
        if isinstance(path, Path):
            _sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Have a new name in a folder on the disk; not all file systems can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def rename(source: StoragePath, target: StoragePath) -> None:
    """Give a file another name, in place of what had it."""
    if isinstance(source, UPath):
        source.fs.mv(source.path, UPath(target).path)
    else:
        source.replace(str(target))


def remove_folder(folder: StoragePath) -> None:
    """Remove a folder with all that it holds, if it is there."""
    if isinstance(folder, UPath):
        with suppress(FileNotFoundError):
            folder.fs.rm(folder.path, recursive=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)


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
