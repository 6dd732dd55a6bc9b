"""The folders of sweeps: their names, the newest one, and which can be resumed."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from hamu_ray.config.sources.files import ConfigError, load_sweep
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.config.trials import trials_of
from hamu_ray.results.durable.mirror import LOGS, is_behind, restore
from hamu_ray.results.durable.parts import entries, parts_of
from hamu_ray.results.durable.sealed import Damaged, read_sealed, write_sealed
from hamu_ray.results.folder import OUTBOX_FILE, RECORD_FILE, SWEEP_FILE, SWEEPS, TRIALS, read_records
from hamu_ray.results.reader import read_outbox
from hamu_ray.results.steering.clones import read_clones
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
    return sorted(folders, key=_order, reverse=True)


def given_or_newest(given: str | None) -> Path:
    """Return the folder of a sweep, or of the newest one in `runs`.

    Raises:
        ConfigError: There is none, or it is a copy.
    """
    if given is not None:
        folder = Path(given).absolute()
        if not any((folder / name).is_file() for name in (SWEEP_FILE, OUTBOX_FILE)):
            raise ConfigError(f"{given}: not a sweep's folder: it has no {SWEEP_FILE}")
    else:
        folder = newest_folder()
    check_not_copy(folder)
    return folder


def newest_folder() -> Path:
    """Return the folder of the newest sweep in `runs`.

    Raises:
        ConfigError: There is none.
    """
    folders = newest_first((Path(DEFAULT_LOCAL) / SWEEPS).absolute())
    if not folders:
        raise ConfigError("no sweep in runs/sweeps; give the folder of a sweep")
    return folders[0]


def check_not_copy(folder: Path) -> None:
    """Check that a folder is not the copy of a sweep's folder, whose logs are in segments.

    Raises:
        ConfigError: It is.
    """
    if any(parts_of(folder, name).is_dir() for name in LOGS):
        raise ConfigError(
            f"{shown(folder)}: a copy of a sweep's folder; name the folder in storage.local, or repeat the sweep's "
            f"command with --resume {shown(folder)}"
        )


def resumable_folder(config: SweepConfig, local: Path, given: str | None = None) -> Path:
    """Return the folder of the sweep to resume: the given one, or the newest with this name that has trials left.

    It may be missing or older than its copy in the storage (`restore_folder`).

    Raises:
        ConfigError: There is none, or its configuration differs.
    """
    if given is None:
        found = next(_unfinished(config, local), None)
        if found is None:
            raise ConfigError(
                f"--resume: no sweep with the name {config.name} in {shown(local)} has trials left to run; remove "
                "--resume"
            )
        folder, changed = found
    else:
        folder = Path(given).absolute()
        with _as_copied(config, folder) as place:
            if not (place / SWEEP_FILE).is_file():
                raise ConfigError(f"--resume {given}: not a sweep folder: it has no {SWEEP_FILE}")
            changed = changed_key(config, place)
    if changed is not None:
        there = folder if (folder / SWEEP_FILE).is_file() else _in_storage(config, folder)
        raise ConfigError(
            f"--resume: {changed} differs from {shown(there / SWEEP_FILE)}: "
            "revert the configuration, or remove --resume"
        )
    return folder


def newest_unfinished(config: SweepConfig, local: Path, log: Callable[[str], None]) -> Path | None:
    """Return the folder of the newest sweep with a configuration that has trials left; None without one.

    Logs which sweeps are left out because they have the name but another configuration.
    """
    for folder, changed in _unfinished(config, local):
        if changed is None:
            return folder
        log(f"{shown(folder)} is not resumed: {changed} differs in its {SWEEP_FILE}")
    return None


def _unfinished(config: SweepConfig, local: Path) -> Iterator[tuple[Path, str | None]]:
    """Yield the folders of the sweeps with a name that have trials left, newest first, and what differs in each.

    Those in the storage alone are copied to be read, one by one until the caller has found one.
    """
    for folder in _of_name(config, local):
        with _as_copied(config, folder) as place:
            left = has_something_left(place)
            changed = changed_key(config, place) if left else None
        if left:
            yield folder, changed


def changed_key(config: SweepConfig, folder: Path) -> str | None:
    """Return the first key in which a sweep's configuration differs from a given one; None if it can be resumed."""
    earlier, now = (resumed_keys(whole) for whole in (load_sweep(folder / SWEEP_FILE).whole, config.whole))
    keys = earlier.keys() | now.keys()
    return next((key for key in sorted(keys) if earlier.get(key) != now.get(key)), None)


def resumed_keys(whole: Mapping[str, Any]) -> dict[str, Any]:
    """Return a sweep's configuration without what may change when it is resumed."""
    search = {key: value for key, value in whole["search"].items() if key != "gpu_hours"}
    if (budget := search["budget"]) and budget["seconds"] is not None:
        search["budget"] = "seconds"
    return {
        **{key: value for key, value in whole.items() if key not in ("tracking", "storage")},
        "search": search,
    }


@contextmanager
def _as_copied(config: SweepConfig, folder: Path) -> Iterator[Path]:
    """Within, a sweep's files can be read as they will be once they are restored: from the folder, or a temporary one.

    The folder itself is written by the holder of the lease only, who may be another driver.
    """
    target = _in_storage(config, folder)
    if not is_behind(target, folder):
        yield folder
        return
    with TemporaryDirectory(prefix="hamu_ray-") as temporary:
        place = Path(temporary) / folder.name
        restore(target, place)
        yield place


def has_something_left(folder: Path) -> bool:
    """Whether a sweep has started a trial and has not completed all of them."""
    runs = read_outbox(folder)
    own = runs.pop(folder.name, None)
    if not runs and not any((folder / TRIALS).glob(f"*/{RECORD_FILE}")):
        return False
    ended = own is not None and not own.running and own.tags.get("status") == Status.FINISHED
    expected = trials_of(load_sweep(folder / SWEEP_FILE)) + len(read_clones(folder))
    return not ended or len(read_records(folder)) < expected


def restore_folder(config: SweepConfig, folder: Path) -> None:
    """Write what a sweep's folder lacks of its copy in the storage; only the holder of the lease may do so."""
    restore(_in_storage(config, folder), folder)


def _of_name(config: SweepConfig, local: Path) -> Iterator[Path]:
    """Yield the folders of the sweeps with a configuration's name, newest first, also of those in the storage alone."""
    places: list[StoragePath] = [
        folder for folder in newest_first(local / SWEEPS) if _is_of_name(config.name, folder.name)
    ]
    names = {folder.name for folder in places}
    places += [
        mirror for mirror in _mirrors(config) if mirror.name not in names and (mirror / SWEEP_FILE).is_file()
    ]
    for place in sorted(places, key=_order, reverse=True):
        yield local / SWEEPS / place.name


def _mirrors(config: SweepConfig) -> list[StoragePath]:
    """Return the folders in the storage of the sweeps with a configuration's name."""
    folders = entries(storage_path(config.storage.path) / SWEEPS)
    return [folder for folder in folders if _is_of_name(config.name, folder.name)]


def _is_of_name(name: str, folder: str) -> bool:
    return re.fullmatch(re.escape(name) + TIME, folder) is not None


def _order(folder: StoragePath) -> tuple[int, float, str]:
    return _started(folder), _written(folder), folder.name


def _started(folder: StoragePath) -> int:
    """Return the index of a sweep in the order of starts; 0 if unknown."""
    try:
        return int(read_sealed(folder / STARTED_FILE)["number"])
    except (OSError, Damaged):
        return 0


def _written(folder: StoragePath) -> float:
    try:
        return float((folder / SWEEP_FILE).stat().st_mtime)
    except OSError:
        return 0.0
