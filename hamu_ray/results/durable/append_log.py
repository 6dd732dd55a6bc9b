"""An append-only file of JSON documents with atomic appends by a single process.

Every line ends with a digest of the rest of it. A line that was cut short by a full disk or a power loss is removed
when the file is opened for appending; lines that are damaged otherwise are skipped.
"""

import errno
import os
import re
from collections.abc import Iterable, Iterator
from io import FileIO
from json import JSONDecodeError, loads
from pathlib import Path
from typing import Any

from hamu_ray.results.durable.sealed import DIGEST, digest_of

SUFFIX = re.compile(rb', "%s": "([0-9a-f]{16})"\}\n$' % DIGEST.encode())
"""Pattern of the end of a line."""
CHUNK = 1 << 16
"""Number of bytes that are read at once to find the end of the last complete line."""


class AppendLog:
    """Appends to a file, which need not exist yet. Each append is on disk when it returns."""

    def __init__(self, path: Path) -> None:
        """Open the file; a partial last line is removed."""
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            _cut_to_whole_lines(path)

    def append(self, documents: Iterable[str]) -> None:
        """Append JSON objects, all of them or none.

        Raises:
            OSError: They cannot be written, for example because the disk is full, or the folder is gone (``ESTALE``,
                even if another process has made a new one since).
        """
        left = memoryview(b"".join(map(_line, documents)))
        with self._opened() as file:
            end = file.seek(0, os.SEEK_END)
            try:
                while left:
                    left = left[file.write(left) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(end)
                raise

    def _opened(self) -> FileIO:
        try:
            return FileIO(self.path, "ab")  # a buffer could still be written when the file is closed
        except FileNotFoundError:
            raise OSError(errno.ESTALE, "the folder of this file is gone", str(self.path)) from None


def read_log(path: Path, start: int = 0, skip: bytes = b"") -> Iterator[tuple[dict[str, Any] | None, int]]:
    """Yield the documents of a file, each with the offset after it; None in place of damaged ones.

    A partial last line is left out. A missing file is empty.

    Args:
        path: the file.
        start: offset to start at: 0, or an offset that was yielded.
        skip: lines with this prefix are not read.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(start)
        yield from read_lines(file, start, skip)


def read_lines(
    lines: Iterable[bytes], start: int = 0, skip: bytes = b""
) -> Iterator[tuple[dict[str, Any] | None, int]]:
    """Yield the documents of a log's lines from the offset ``start`` on; see `read_log`."""
    end = start
    for line in lines:
        if not line.endswith(b"\n"):
            return
        end += len(line)
        if not skip or not line.startswith(skip):
            yield _document(line), end


def _line(document: str) -> bytes:
    content = document.encode()
    return content[:-1] + b', "%s": "%s"}\n' % (DIGEST.encode(), digest_of(content, 8).encode())


def _document(line: bytes) -> dict[str, Any] | None:
    found = SUFFIX.search(line)
    if found is None:
        return None
    content = line[: found.start()] + b"}"
    if digest_of(content, 8).encode() != found[1]:
        return None
    try:
        return dict(loads(content))
    except (JSONDecodeError, UnicodeDecodeError, TypeError):
        return None


def _cut_to_whole_lines(path: Path) -> None:
    """Remove what follows the last end of line."""
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        place = end
        while place > 0:
            start = max(place - CHUNK, 0)
            file.seek(start)
            found = file.read(place - start).rfind(b"\n")
            if found >= 0:
                place = start + found + 1
                break
            place = start
        if place < end:
            file.truncate(place)
            file.flush()
            os.fsync(file.fileno())
