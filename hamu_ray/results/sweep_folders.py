"""The folders of sweeps: their names, the newest one, and which can be resumed."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex

import yaml

from hamu_ray.config.sources.files import ConfigError, load_sweep
from hamu_ray.config.sweep import SweepConfig, trials_of
from hamu_ray.results.durable.mirror import restore
from hamu_ray.results.durable.parts import entries
from hamu_ray.results.durable.sealed import Damaged, read_sealed, write_sealed
from hamu_ray.results.folder import OUTBOX_FILE, RECORD_FILE, SWEEP_FILE, SWEEPS, TRIALS, read_records
from hamu_ray.results.reader import read_outbox
from hamu_ray.results.trial import Status
from hamu_ray.results.wording import shown
from hamu_ray.storage import DEFAULT_LOCAL, StoragePath, is_same, storage_path, write_atomically

STARTED_FILE = "started.json"
"""When a sweep was started, and how many were started before it."""

TIME = r"-\d{8}-\d{6}(-[0-9a-f]{4})?"
"""Pattern of the suffix of a sweep folder's name, needed because another sweep's name may have the same prefix."""


def new_folder(config: SweepConfig, local: Path) -> Path:
    """Return the folder of a new sweep, which is not created yet.

    Its name ends with the time in UTC and four random digits, because drivers on several machines may start sweeps with
    the same name in the same second and share a storage.
    """
    return local / SWEEPS / f"{config.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{token_hex(2)}"


def mirror_of(config: SweepConfig, folder: Path) -> StoragePath | None:
    """Return where the files of a sweep's folder are copied: next to its trials; None if they are there already."""
    place = _in_storage(config, folder)
    return None if is_same(place, folder) else place


def _in_storage(config: SweepConfig, folder: Path) -> StoragePath:
    return storage_path(config.storage.path) / SWEEPS / folder.name


def make_folder(folder: Path, config: SweepConfig) -> None:
    """Create the folder of a new sweep, with its resolved configuration, which reproduces the sweep."""
    others = [*folder.parent.glob("*/"), *_mirrors(config)]
    started = 1 + max(map(_started, others), default=0)
    folder.mkdir(parents=True)
    write_sealed(
        folder / STARTED_FILE, {"number": started, "time": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"}
    )
    write_atomically(folder / SWEEP_FILE, yaml.safe_dump(config.whole, sort_keys=False).encode())


def newest_first(sweeps: Path) -> list[Path]:
    """Return the sweep folders in a folder, most recently started first, independent of clocks."""
    folders = [path.parent for path in sweeps.glob(f"*/{SWEEP_FILE}")]
    return sorted(folders, key=lambda folder: (_started(folder), _written(folder), folder.name), reverse=True)


def given_or_newest(given: str | None) -> Path:
    """Return the folder of a sweep, or of the newest one in `runs`.

    Raises:
        ConfigError: There is none.
    """
    if given is not None:
        folder = Path(given).absolute()
        if not any((folder / name).is_file() for name in (SWEEP_FILE, OUTBOX_FILE)):
            raise ConfigError(f"{given}: not a sweep's folder: it has no {SWEEP_FILE}")
        return folder
    folders = newest_first((Path(DEFAULT_LOCAL) / SWEEPS).absolute())
    if not folders:
        raise ConfigError("no sweep in runs/sweeps; give the folder of a sweep")
    return folders[0]


def resumable_folder(config: SweepConfig, local: Path, given: str | None = None) -> Path:
    """Return the folder of the sweep to resume: the given one, or the newest with this name that has trials left.

    If it is missing or older than its copy in the storage, it is written from the copy.

    Raises:
        ConfigError: There is none, or its configuration differs.
    """
    if given is not None:
        folder = Path(given).absolute()
        restore_folder(config, folder)
        if not (folder / SWEEP_FILE).is_file():
            raise ConfigError(f"--resume {given}: not a sweep folder: it has no {SWEEP_FILE}")
    else:
        found = newest_unfinished(config, local)
        if found is None:
            raise ConfigError(
                f"--resume: no sweep with the name {config.name} in {shown(local)} has trials left to run; remove "
                "--resume"
            )
        folder = found
    earlier, now = load_sweep(folder / SWEEP_FILE).whole, config.whole
    for key in sorted(earlier.keys() | now.keys()):
        if earlier.get(key) != now.get(key) and key not in ("tracking", "storage"):
            raise ConfigError(
                f"--resume: {key} differs from {shown(folder / SWEEP_FILE)}: "
                "revert the configuration, or remove --resume"
            )
    return folder


def newest_unfinished(config: SweepConfig, local: Path) -> Path | None:
    """Return the folder of the newest sweep with a configuration's name that has trials left; None without one."""
    return next(filter(has_something_left, _of_name(config, local)), None)


def has_something_left(folder: Path) -> bool:
    """Whether a sweep has started a trial and has not completed all of them."""
    runs = read_outbox(folder)
    own = runs.pop(folder.name, None)
    if not runs and not any((folder / TRIALS).glob(f"*/{RECORD_FILE}")):
        return False
    ended = own is not None and not own.running and own.tags.get("status") == Status.FINISHED
    return not ended or len(read_records(folder)) < trials_of(load_sweep(folder / SWEEP_FILE))


def restore_folder(config: SweepConfig, folder: Path) -> None:
    """Write what a sweep's folder lacks of its copy in the storage; only the holder of the lease may do so."""
    restore(_in_storage(config, folder), folder)


def _of_name(config: SweepConfig, local: Path) -> Iterator[Path]:
    """Yield the folders of the sweeps with a configuration's name, newest first.

    Of those that are in the storage alone, only the newest is considered, because it has to be copied.
    """
    here = [folder for folder in newest_first(local / SWEEPS) if _is_of_name(config.name, folder.name)]
    names = {folder.name for folder in here}
    elsewhere = [mirror for mirror in _mirrors(config) if mirror.name not in names]
    newest = max(elsewhere, key=lambda mirror: (_started(mirror), mirror.name), default=None)
    if newest is not None:
        restore_folder(config, local / SWEEPS / newest.name)
    for folder in newest_first(local / SWEEPS):
        if _is_of_name(config.name, folder.name):
            restore_folder(config, folder)
            yield folder


def _mirrors(config: SweepConfig) -> list[StoragePath]:
    """Return the folders in the storage of the sweeps with a configuration's name."""
    folders = entries(storage_path(config.storage.path) / SWEEPS)
    return [folder for folder in folders if _is_of_name(config.name, folder.name)]


def _is_of_name(name: str, folder: str) -> bool:
    return re.fullmatch(re.escape(name) + TIME, folder) is not None


def _started(folder: StoragePath) -> int:
    """Return the index of a sweep in the order of starts; 0 if unknown."""
    try:
        return int(read_sealed(folder / STARTED_FILE)["number"])
    except (OSError, Damaged):
        return 0


def _written(folder: Path) -> float:
    try:
        return (folder / SWEEP_FILE).stat().st_mtime
    except OSError:
        return 0.0
