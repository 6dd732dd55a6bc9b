"""Files with prepared data, which all processes of a machine map into memory: one of them writes, the others wait."""

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock

from hamu_ray.storage import write_atomically

logger = logging.getLogger(__name__)


def write_once(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file unless it exists and is intact, atomically: other processes see all of it or nothing.

    Its digest is in a second file, and is verified by each process that asks for the file. Raises `OSError`.
    """
    if _is_intact(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if _is_intact(path):
            return
        if path.exists():
            logger.warning("%s: damaged; made again", path)
        handle, draft = tempfile.mkstemp(dir=path.parent, suffix=".draft")
        try:
            with os.fdopen(handle, "wb") as file:
                write(file)
            write_atomically(_digest_path(path), _digest(Path(draft)).encode())
            os.replace(draft, path)
        finally:
            Path(draft).unlink(missing_ok=True)


def _is_intact(path: Path) -> bool:
    try:
        return _digest_path(path).read_bytes() == _digest(path).encode()
    except FileNotFoundError:
        return False


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def _digest_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.blake2b")
