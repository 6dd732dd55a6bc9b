"""A copy of a sweep's folder in the storage, from which a driver on another machine continues.

Logs are copied in segments, because object stores cannot append to a file: a log's folder holds its parts, named by
their offsets. Everything is copied in the order in which it was written: a trial's record follows what was logged
before it.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from hamu_ray.config.sources.document import first_line
from hamu_ray.results.durable.lease import LEASE_FILE, LOCK_FILE
from hamu_ray.results.folder import (
    OUTBOX_FILE,
    RAY_LOG,
    RECORD_FILE,
    REFUSED_FILE,
    SENT_FILE,
    STUDY_FILE,
    SWEEP_FILE,
    TRIALS,
)
from hamu_ray.results.wording import shown
from hamu_ray.storage import StoragePath, remove_folder, storage_error, write_atomically

LOGS = (OUTBOX_FILE, STUDY_FILE)
"""Files that only grow."""

OF_ONE_MACHINE = {LEASE_FILE, LOCK_FILE, SENT_FILE, REFUSED_FILE, RAY_LOG}
"""Files that are not copied: a driver with another store sends everything again, which MLflow stores once."""

COPY_SECONDS = 2.0
"""Pause between two copies."""
LARGEST_SEGMENT = 1 << 26
TAIL = 4096
"""Number of bytes by which the end of a copy is recognised in a log."""
AT_ONCE = 16
"""Number of files that are read at once, because each takes a round trip."""

logger = logging.getLogger(__name__)


class Copied(NamedTuple):
    """How far a log is copied."""

    end: int = 0
    tail: bytes = b""
    """The last bytes before the end."""

    def is_in(self, log: Path) -> bool:
        """Whether a log contains what was copied: it was neither replaced nor written elsewhere since."""
        if not self.end:
            return True
        try:
            with log.open("rb") as file:
                file.seek(self.end - len(self.tail))
                return file.read(len(self.tail)) == self.tail
        except FileNotFoundError:
            return False


class Mirror:
    """Copies the files of a sweep's folder to the storage. One driver writes both."""

    def __init__(self, folder: Path, target: StoragePath) -> None:
        """Continue the copy in ``target``, which need not exist yet."""
        self._folder, self._target = folder, target
        self._lock = threading.Lock()
        self._copied = {name: copied_of(target / name) for name in LOGS}
        records = {name: state for name, state in self._states().items() if name.endswith(RECORD_FILE)}
        with ThreadPoolExecutor(AT_ONCE) as pool:
            sizes = pool.map(lambda name: size_of(target / name), records)
            there = dict(zip(records, sizes, strict=True))
        self._known = {name: state for name, state in records.items() if there[name] == state[1]}
        """Modification time and size of the files that are copied, by their paths in the folder."""

    def update(self) -> None:
        """Copy what is new. Raises what the storage raises."""
        with self._lock:
            states = self._states()  # before the logs, which thus contain what led to these files
            for name in LOGS:
                self._copy_log(name)
            for name, state in states.items():
                if self._known.get(name) != state:
                    write_atomically(self._target / name, (self._folder / name).read_bytes())
                    self._known[name] = state

    def _states(self) -> dict[str, tuple[int, int]]:
        """Return modification time and size of the files that are copied whole."""
        own = (path for path in self._folder.iterdir() if path.name not in {*LOGS, *OF_ONE_MACHINE})
        files = [path for path in own if path.is_file() and not path.name.startswith(".")]
        files += sorted((self._folder / TRIALS).glob(f"*/{RECORD_FILE}"))
        stats = {str(path.relative_to(self._folder)): path.stat() for path in files}
        return {name: (stat.st_mtime_ns, stat.st_size) for name, stat in stats.items()}

    def _copy_log(self, name: str) -> None:
        """Copy the new lines of a log; all of them if it was replaced."""
        log = self._folder / name
        if not self._copied[name].is_in(log):
            remove_folder(self._target / name)
            self._copied[name] = Copied()
        while content := new_lines(log, self._copied[name].end):
            start = self._copied[name].end
            write_atomically(self._target / name / segment_name(start), content)
            self._copied[name] = Copied(start + len(content), content[-TAIL:])


@contextmanager
def mirrored(folder: Path, target: StoragePath | None) -> Iterator[Callable[[], bool]]:
    """Within, the files of a sweep's folder are copied to the storage as they are written.

    Yields a function that copies what is new and returns whether this succeeded; it raises if the storage cannot be
    written at all (`storage_error`). Without a target, nothing is copied.
    """
    if target is None:
        yield lambda: True
        return
    mirror, closing = Mirror(folder, target), threading.Event()
    failing = False

    def copy() -> bool:
        nonlocal failing
        try:
            mirror.update()
        except Exception as error:  # fsspec's file systems raise many unrelated types
            if not failing:
                logger.warning("the copy of %s waits: %s", shown(folder), first_line(error))
            failing = True
            if storage_error(error) is not None:
                raise
            return False
        failing = False
        return True

    def keep() -> None:
        while not closing.wait(COPY_SECONDS):
            with suppress(Exception):  # also raised where the copy is needed
                copy()

    thread = threading.Thread(target=keep, name="mirror", daemon=True)
    copy()
    thread.start()
    try:
        yield copy
    finally:
        closing.set()
        thread.join()
        with suppress(Exception):  # warned of
            copy()


def restore(target: StoragePath, folder: Path) -> None:
    """Write a sweep's files from its copy, unless the folder already contains all that was copied.

    The folder may be missing, or be older than the copy, because the sweep was continued on another machine.
    """
    copied = {name: copied_of(target / name) for name in LOGS}
    is_current = all(state.is_in(folder / name) for name, state in copied.items())
    if not any(state.end for state in copied.values()) or (is_current and (folder / SWEEP_FILE).is_file()):
        return
    (folder / SENT_FILE).unlink(missing_ok=True)  # offsets in another log
    for name in LOGS:
        content = b"".join((target / name / segment_name(at)).read_bytes() for at in segments(target / name))
        write_atomically(folder / name, content)
    others = {*LOGS, *OF_ONE_MACHINE, SWEEP_FILE}
    own = [path.name for path in entries(target) if path.name not in others and path.name[0] != "."]
    records = [f"{TRIALS}/{trial.name}/{RECORD_FILE}" for trial in entries(target / TRIALS)]

    def fetch(name: str) -> None:
        if (target / name).is_file():
            write_atomically(folder / name, (target / name).read_bytes())

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(fetch, [*own, *records]))
    fetch(SWEEP_FILE)  # last: a folder without it is no sweep


def copied_of(copy: StoragePath) -> Copied:
    """Return how far a log is copied."""
    offsets = segments(copy)
    if not offsets:
        return Copied()
    content = (copy / segment_name(offsets[-1])).read_bytes()
    return Copied(offsets[-1] + len(content), content[-TAIL:])


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


def new_lines(log: Path, start: int) -> bytes:
    """Return the complete lines of a log from an offset on, at most `LARGEST_SEGMENT` bytes or one line."""
    try:
        with log.open("rb") as file:
            file.seek(start)
            content = file.read(LARGEST_SEGMENT)
            if b"\n" not in content:
                content += file.readline()
    except FileNotFoundError:
        return b""
    return content[: content.rfind(b"\n") + 1]
