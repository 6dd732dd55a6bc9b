"""Files in the storage: a local folder, or a URL supported by fsspec. Files are written atomically."""

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import TYPE_CHECKING, BinaryIO, Union
from uuid import uuid4

if TYPE_CHECKING:
    from upath import UPath

    from hamu_ray.config.run import StorageConfig

StoragePath = Union[Path, "UPath"]
"""A path in the local file system, or behind a URL such as ``s3://bucket/runs``."""

CHUNK = 1 << 22
"""Number of bytes that are read at once."""

OBJECT_STORES = {
    "s3",
    "s3a",
    "gs",
    "gcs",
    "abfs",
    "abfss",
    "adl",
    "az",
    "oss",
    "obs",
    "oci",
    "cos",
    "tos",
    "r2",
}
"""Protocols of stores without folders: making one would make the bucket, if a mistyped name is that of none."""

RAY_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Ray sets this variable in submitted jobs, whose working directory is not that of the user."""

DEFAULT_LOCAL = "runs"
"""The driver's folder if the storage is not local."""

PARTIAL = re.compile(r"\..+\.[0-9a-f]{32}")
"""Pattern of the name of a file that is being written."""

UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE}
"""Codes of errors that say that files cannot be written: the disk is full, broken or read-only."""


def storage_path(text: str | Path) -> StoragePath:
    """Return a configuration's path as an absolute path.

    Raises:
        ValueError: No installed package can open such a URL; the message names the one that can, and what installs it.
    """
    if isinstance(text, Path) or "://" not in text:
        return Path(text).expanduser().absolute()
    from upath import UPath  # imported on use: most storages are folders

    try:
        path = UPath(text, use_listings_cache=False)  # other processes write, too
        local = path.protocol in ("file", "local")
        _ = path.fs  # detects a missing package
    except (ImportError, ValueError) as error:
        from hamu_ray.config.sources.packages import missing

        cause = error.__cause__
        lacks = missing(cause) if isinstance(cause, ModuleNotFoundError) else None
        raise ValueError(f"{text} cannot be opened: {lacks or error}") from error
    return Path(path.path) if local else path


def is_same(first: StoragePath, second: StoragePath) -> bool:
    """Whether two paths lead to the same place, however they are spelled."""
    if isinstance(first, Path) and isinstance(second, Path):
        return first.resolve() == second.resolve()
    return first == second


def local_folder(config: "StorageConfig") -> Path:
    """Return the local folder for files that only the driver of a sweep writes."""
    if config.local is not None:
        return Path(config.local).expanduser().absolute()
    path = storage_path(config.path)
    return path if isinstance(path, Path) else Path(DEFAULT_LOCAL).absolute()


def check_outlives_job(config: "StorageConfig") -> None:
    """Check that a submitted job stores nothing in its own folder, which is new in every submission.

    Raises `ValueError` that begins with the key.
    """
    if RAY_JOB not in os.environ:
        return
    from hamu_ray.config.run import LOCAL_VARIABLE, STORAGE_VARIABLE  # after the configuration exists

    local = config.local or (DEFAULT_LOCAL if "://" in config.path else config.path)
    for key, place, variable in (
        ("path", config.path, STORAGE_VARIABLE),
        ("local", local, LOCAL_VARIABLE),
    ):
        if "://" not in place and not Path(place).expanduser().is_absolute():
            raise ValueError(
                f"storage.{key}: {place} would be in the job's own folder, where --resume does not find it and Ray "
                f"deletes it; give an absolute path or a URL with {variable} where nodes start, or with --set "
                f"storage.{key}=PATH"
            )


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


def create(path: StoragePath, content: bytes) -> bool:
    """Write a small file unless one is there already; return whether it was written.

    One of several writers succeeds on local disks, in S3, GCS and Azure. Other file systems of fsspec look first and
    write then, so that two writers at the same moment may both succeed.
    """
    _make_parent(path)
    try:
        if isinstance(path, Path):
            with path.open("xb") as file:
                file.write(content)
        else:
            path.fs.pipe_file(path.path, content, mode="create")
    except FileExistsError:
        return False
    except Exception:  # a service without conditional writes; fsspec's file systems raise different types
        write_atomically(path, content)
    return True


def write_atomically(path: StoragePath, content: bytes) -> None:
    """Write a file atomically: after a crash it exists either completely or not at all."""
    with atomic_file(path) as file:
        file.write(content)


@contextmanager
def atomic_file(path: StoragePath) -> Iterator[BinaryIO]:
    """Within this context, write a new file, in any order; at its end the file is at the path, as a whole."""
    _make_parent(path)
    partial = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        if isinstance(partial, Path):
            with partial.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
        else:
            with TemporaryFile() as draft:
                yield draft
                draft.seek(0)
                with partial.open("wb") as remote:
                    shutil.copyfileobj(draft, remote, CHUNK)
        rename(partial, path)
        if isinstance(path, Path):
            _sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def _make_parent(path: StoragePath) -> None:
    if getattr(path, "protocol", "") not in OBJECT_STORES:
        path.parent.mkdir(parents=True, exist_ok=True)


def remove_partial_files(folder: StoragePath) -> None:
    """Remove what `write_atomically` left in a folder when its process was killed; nobody may write there meanwhile."""
    for path in folder.glob(".*"):
        if PARTIAL.fullmatch(path.name):
            path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Flush a folder's new names to the disk; not all file systems can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def rename(source: StoragePath, target: StoragePath) -> None:
    """Rename a file, replacing the target if it exists."""
    if isinstance(source, Path):
        source.replace(str(target))
    else:
        assert not isinstance(target, Path), "a file is renamed within its file system"
        source.fs.mv(source.path, target.path)


def remove_folder(folder: StoragePath) -> None:
    """Remove a folder with all that it holds, if it is there."""
    if isinstance(folder, Path):
        shutil.rmtree(folder, ignore_errors=True)
    else:
        with suppress(FileNotFoundError):
            folder.fs.rm(folder.path, recursive=True)


def sha256_of_file(path: StoragePath) -> str:
    """Return the SHA-256 of a file's content in hexadecimal."""
    content = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            content.update(chunk)
    return content.hexdigest()


@contextmanager
def local_copy(path: StoragePath) -> Iterator[Path]:
    """Within this context, the file is at a local path: its own if it is local."""
    if isinstance(path, Path):
        yield path
        return
    with TemporaryDirectory(prefix="hamu_ray-") as folder:
        copy = Path(folder) / path.name
        with path.open("rb") as source, copy.open("wb") as target:
            shutil.copyfileobj(source, target, CHUNK)
        yield copy
