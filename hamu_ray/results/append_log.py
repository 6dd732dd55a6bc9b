"""A file of JSON documents to which one process appends: each is there whole, or it is left out.

Every line ends with a digest of the rest of it. A line that a full disk or a power loss cut short is removed when the
file is opened to append again; a line that was damaged otherwise is passed over, and those behind it count.
"""

import os
import re
from collections.abc import Iterable, Iterator
from json import JSONDecodeError, loads
from pathlib import Path
from typing import Any

from hamu_ray.results.sealed import DIGEST, digest_of

SUFFIX = re.compile(rb', "%s": "([0-9a-f]{16})"\}\n$' % DIGEST.encode())
"""How a line ends."""
CHUNK = 1 << 16
"""Bytes that are read at once to find the end of the last whole line."""


class AppendLog:
    """Appends to a file, which need not exist yet. Each append is on the disk when it returns."""

    def __init__(self, path: Path) -> None:
        """Open the file; what follows its last whole line is cut off."""
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            _cut_to_whole_lines(path)

    def append(self, documents: Iterable[str]) -> None:
        """Append JSON objects, all of them or none.

        Raises:
            OSError: They cannot be written, as on a full disk.
        """
        left = memoryview(b"".join(map(_line, documents)))
        with self.path.open(
            "ab", buffering=0
        ) as file:  # a buffer would be written after all when it is closed
            end = file.seek(0, os.SEEK_END)
            try:
                while left:
                    left = left[file.write(left) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(end)
                raise


def read_log(path: Path, start: int = 0, skip: bytes = b"") -> Iterator[tuple[dict[str, Any] | None, int]]:
    """Yield the documents of a file, with the offset behind each; None in place of one that is damaged.

    A line that is not whole yet is left out, as is everything of a file that is not there.

    Args:
        path: the file.
        start: where in it to begin: 0, or an offset that was yielded.
        skip: lines that begin so are not read.
    """
    if not path.exists():
        return
    end = start
    with path.open("rb") as file:
        file.seek(end)
        for line in file:
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
    """Remove what follows a file's last end of line."""
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
