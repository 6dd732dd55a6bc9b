"""A copy of a sweep's folder in the storage, from which a driver on another machine continues.

Logs are copied in segments (`parts`), because object stores cannot append to a file. Everything is copied in the order
in which it was written: a trial's record follows what was logged before it.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from hamu_ray.config.sources.document import first_line
from hamu_ray.results.durable.lease import LEASE_FILE, LOCK_FILE
from hamu_ray.results.durable.parts import (
    AT_ONCE,
    Copied,
    copied_of,
    entries,
    last_part,
    parts_of,
    read_copy,
    segment_name,
    size_of,
)
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
from hamu_ray.storage import StoragePath, is_same, remove_folder, storage_error, write_atomically

LOGS = (OUTBOX_FILE, STUDY_FILE)
"""Files that only grow."""

OF_ONE_MACHINE = {LEASE_FILE, LOCK_FILE, SENT_FILE, REFUSED_FILE, RAY_LOG}
"""Files that are not copied: a driver with another store sends everything again, which MLflow stores once."""

COPY_SECONDS = 2.0
"""Pause between two copies."""
LARGEST_SEGMENT = 1 << 20
"""Size in bytes up to which a log's last segment grows, so that a long sweep's copy is read in few requests."""

logger = logging.getLogger(__name__)


class Mirror:
    """Copies the files of a sweep's folder to the storage. One driver writes both."""

    def __init__(self, folder: Path, target: StoragePath) -> None:
        """Continue the copy in ``target``, which need not exist yet."""
        self._folder, self._target = folder, target
        self._lock = threading.Lock()
        self._copied = {name: last_part(parts_of(target, name)) for name in LOGS}
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
        log, parts = self._folder / name, parts_of(self._target, name)
        if not self._copied[name].is_in(log):
            remove_folder(parts)
            (self._target / name).unlink(missing_ok=True)
            self._copied[name] = Copied()
        while new := new_lines(log, (copied := self._copied[name]).end):
            grows = len(copied.content) + len(new) <= LARGEST_SEGMENT
            copied = Copied(copied.start, copied.content + new) if grows else Copied(copied.end, new)
            write_atomically(parts / segment_name(copied.start), copied.content)
            self._copied[name] = copied


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
    """Write what a sweep's folder lacks of its copy; only the holder of the lease may do so.

    The folder may be missing, or be older than the copy, because the sweep was continued on another machine. If it is
    the copy itself, its logs are joined.
    """
    lost = lost_logs(target, folder)
    if is_same(target, folder):
        for name in LOGS:
            if name in lost:
                write_atomically(folder / name, read_copy(target, name))
            remove_folder(parts_of(folder, name))
    elif is_behind(target, folder):
        _restore_files(target, folder, lost)


def is_behind(target: StoragePath, folder: Path) -> bool:
    """Whether a sweep's folder lacks something of its copy."""
    return bool(lost_logs(target, folder)) or (
        not (folder / SWEEP_FILE).is_file() and any(copied_of(target, name).end for name in LOGS)
    )


def lost_logs(target: StoragePath, folder: Path) -> list[str]:
    """Return the names of the logs of which a folder does not contain all that was copied."""
    return [name for name in LOGS if not copied_of(target, name).is_in(folder / name)]


def _restore_files(target: StoragePath, folder: Path, lost: Sequence[str]) -> None:
    """Write the lost logs, and the other files: all if the calls to the tracking store are lost, else those missing.

    The logs are written after the other files, and the configuration last, so that an interrupted restoration is
    repeated: a folder without a configuration is no sweep.
    """
    replaces = OUTBOX_FILE in lost
    if replaces:
        (folder / SENT_FILE).unlink(missing_ok=True)  # offsets in another log
    others = {*LOGS, *OF_ONE_MACHINE, SWEEP_FILE, *(parts_of(target, name).name for name in LOGS)}
    own = [path.name for path in entries(target) if path.name not in others and path.name[0] != "."]
    records = [f"{TRIALS}/{trial.name}/{RECORD_FILE}" for trial in entries(target / TRIALS)]

    def fetch(name: str) -> None:
        if (replaces or not (folder / name).exists()) and (target / name).is_file():
            write_atomically(folder / name, (target / name).read_bytes())

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(fetch, [*own, *records]))
    for name in reversed(lost):
        write_atomically(folder / name, read_copy(target, name))
    fetch(SWEEP_FILE)


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
