"""The copy of a log: a folder of segments that are named by their offsets.

The folder is not named as the log, because a copy becomes a sweep's folder itself where a driver continues in the
storage. The driver then joins the segments to the log, which is the copy until another one copies segments again.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from itertools import zip_longest
from pathlib import Path
from typing import BinaryIO, NamedTuple

from hamu_ray.storage import StoragePath

PARTS = ".parts"
"""Suffix of the folder with a log's segments."""
TAIL = 4096
"""Number of bytes by which the end of a copy is recognised in a log."""
AT_ONCE = 16
"""Number of files that are read at once, because each takes a round trip."""


class Copied(NamedTuple):
    """How far a log is copied: its last segment."""

    start: int = 0
    content: bytes = b""

    @property
    def end(self) -> int:
        """Number of bytes of the log that are copied."""
        return self.start + len(self.content)

    def is_in(self, log: Path) -> bool:
        """Whether a log contains what was copied: it was neither replaced nor written elsewhere since."""
        if not self.end:
            return True
        tail = self.content[-TAIL:]
        try:
            with log.open("rb") as file:
                file.seek(self.end - len(tail))
                return file.read(len(tail)) == tail
        except FileNotFoundError:
            return False


def parts_of(folder: StoragePath, name: str) -> StoragePath:
    """Return the folder with the segments of a log."""
    return folder / f"{name}{PARTS}"


def last_part(parts: StoragePath) -> Copied:
    """Return the last segment in a folder."""
    offsets = segments(parts)
    return Copied(offsets[-1], (parts / segment_name(offsets[-1])).read_bytes()) if offsets else Copied()


def copied_of(folder: StoragePath, name: str) -> Copied:
    """Return how far a log is copied, in segments or as a log that a driver continued in the storage."""
    last, size = last_part(parts_of(folder, name)), size_of(folder / name) or 0
    if size <= last.end:
        return last
    start = max(0, size - TAIL)
    with (folder / name).open("rb") as file:
        file.seek(start)
        return Copied(start, file.read())


def read_copy(folder: StoragePath, name: str) -> bytes:
    """Return what is copied of a log; see `copied_of`."""
    parts = parts_of(folder, name)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        paths = [parts / segment_name(offset) for offset in segments(parts)]
        joined = b"".join(pool.map(lambda path: path.read_bytes(), paths))
    return (folder / name).read_bytes() if (size_of(folder / name) or 0) > len(joined) else joined


@contextmanager
def opened_at(folder: StoragePath, name: str, offset: int) -> Iterator[BinaryIO]:
    """Open a log at an offset to read what follows: in a sweep's folder, or in its copy."""
    parts = parts_of(folder, name)
    starts = segments(parts)
    newer = [start for start, end in zip_longest(starts, starts[1:]) if end is None or end > offset]
    content = b"".join((parts / segment_name(start)).read_bytes() for start in newer)
    if newer and newer[0] + len(content) > offset:
        yield BytesIO(content[offset - newer[0] :])
    elif (size_of(folder / name) or 0) > offset:
        with (folder / name).open("rb") as file:
            file.seek(offset)
            yield file
    else:
        yield BytesIO()


def size_of(path: StoragePath) -> int | None:
    """Return the size of a file in bytes; None if it does not exist."""
    try:
        return int(path.stat().st_size)
    except FileNotFoundError:
        return None


def segments(copy: StoragePath) -> list[int]:
    """Return the offsets of a log's segments in order."""
    return sorted(int(path.name) for path in entries(copy) if path.name.isdigit())


def segment_name(offset: int) -> str:
    """Return the name of the segment that starts at an offset."""
    return f"{offset:015d}"


def entries(folder: StoragePath) -> list[StoragePath]:
    """Return what is in a folder; nothing if it does not exist."""
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):  # the latter in a bucket
        return []
