"""Files with prepared data, which all processes of a machine map into memory: one of them writes, the others wait."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock


def write_once(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file unless it exists, atomically: other processes see all of it or nothing. Raises `OSError`."""
    if path.is_file():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if path.is_file():
            return
        handle, draft = tempfile.mkstemp(dir=path.parent, suffix=".draft")
        try:
            with os.fdopen(handle, "wb") as file:
                write(file)
            os.replace(draft, path)
        finally:
            Path(draft).unlink(missing_ok=True)
