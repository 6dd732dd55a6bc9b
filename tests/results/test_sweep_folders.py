"""Which sweep is the newest and which is resumed, whatever clocks show and whatever was left."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hamu_ray.auditing.subjects import subjects_of
from hamu_ray.config.sources.files import ConfigError
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.reports.targets import deliver
from hamu_ray.results import sweep_folders
from hamu_ray.results.durable.mirror import Mirror
from hamu_ray.results.folder import OUTBOX_FILE, SWEEPS, read_records, write_record
from hamu_ray.results.outcome import Status
from hamu_ray.results.reader import read_outbox
from hamu_ray.results.sweep_folders import (
    given_or_newest,
    make_folder,
    mirror_of,
    new_folder,
    newest_first,
    newest_unfinished,
    restore_folder,
    resumable_folder,
)
from hamu_ray.results.trial import TrialRecord
from hamu_ray.terminal.console import Console
from hamu_ray.tracking.outbox import Outbox
from tests.made_store import sweep_config

SPACE = {"optimizer.learning_rate": {"grid": [0.1, 0.2]}}


def config_of(name: str = "s", **sections: object) -> SweepConfig:
    return sweep_config(SPACE, name=name, **sections)


def started(config: SweepConfig, local: Path, ended: int = 0, finished: bool = False) -> Path:
    """Make the folder of a sweep that has started a trial."""
    folder = new_folder(config, local)
    make_folder(folder, config)
    outbox = Outbox(folder)
    outbox.start_sweep(folder.name, config.whole)
    outbox.start_trial("0000", folder.name, "", {})
    for number in range(ended):
        write_record(folder, TrialRecord(f"{number:04d}", Status.FINISHED, {}, {}))
    if finished:
        outbox.finish(folder.name, Status.FINISHED)
    return folder


def test_a_hundred_sweeps_of_one_second_have_their_own_folders(tmp_path: Path) -> None:
    folders = {new_folder(config_of(), tmp_path) for _ in range(100)}
    assert len(folders) > 95
    folder = folders.pop()
    make_folder(folder, config_of())
    with pytest.raises(FileExistsError):
        make_folder(folder, config_of())


def test_the_newest_is_the_one_that_was_started_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = []
    for year in (2031, 2019, 2025):  # a clock that is wrong for a while

        class Clock(sweep_folders.datetime):
            @classmethod
            def now(cls, tz: object = None, year: int = year) -> "Clock":
                return cls(year, 1, 1, tzinfo=sweep_folders.UTC)

        with monkeypatch.context() as patch:
            patch.setattr(sweep_folders, "datetime", Clock)
            folders.append(started(config_of(), tmp_path))
            os.utime(folders[-1] / "sweep.yaml", (year, year))
    started(config_of("s-other"), tmp_path)
    assert newest_first(tmp_path / SWEEPS)[1:] == folders[::-1]


def test_what_never_started_a_trial_is_not_resumed(tmp_path: Path) -> None:
    config = config_of()
    first = started(config, tmp_path)
    empty = new_folder(config, tmp_path)
    make_folder(empty, config)
    Outbox(empty).start_sweep(empty.name, config.whole)
    assert resumable_folder(config, tmp_path) == first
    assert resumable_folder(config, tmp_path, str(empty)) == empty, "unless it is named"


def test_what_is_over_is_not_resumed(tmp_path: Path) -> None:
    config = config_of()
    started(config, tmp_path, ended=2, finished=True)
    with pytest.raises(
        ConfigError, match=r"^--resume: no sweep with the name s in .* has trials left to run"
    ):
        resumable_folder(config, tmp_path)
    out_of_time = started(config, tmp_path, ended=1, finished=True)
    assert resumable_folder(config, tmp_path) == out_of_time
    without_front = started(config, tmp_path, ended=2)
    assert resumable_folder(config, tmp_path) == without_front


def test_a_folder_that_is_no_sweep(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--resume .*: not a sweep folder: it has no sweep.yaml"):
        resumable_folder(config_of(), tmp_path, str(tmp_path))


def test_another_store_is_no_other_sweep(tmp_path: Path) -> None:
    folder = started(config_of(tracking={"experiment": "one"}), tmp_path)
    assert resumable_folder(config_of(tracking={"experiment": "two"}), tmp_path) == folder


def test_a_folder_is_no_copy_of_itself(tmp_path: Path) -> None:
    config = config_of(storage={"path": str(tmp_path / "runs")})
    folder = started(config, tmp_path / "runs")
    (tmp_path / "link").symlink_to(tmp_path)
    for spelled in (tmp_path / "link" / "runs", tmp_path / "link" / ".." / tmp_path.name / "runs"):
        given = resumable_folder(config, tmp_path / "runs", str(spelled / SWEEPS / folder.name))
        assert mirror_of(config, given) is None, "a second lease would be refused"


def elsewhere(config: SweepConfig, machine: Path, **progress: Any) -> Path:
    """Start a sweep on a machine whose folder is copied to the storage, and then lost."""
    folder = started(config, machine, **progress)
    mirror = mirror_of(config, folder)
    assert mirror is not None
    Mirror(folder, mirror).update()
    shutil.rmtree(machine)
    return folder


def test_a_sweep_of_a_lost_machine_is_resumed_from_the_storage(tmp_path: Path) -> None:
    config = config_of(storage={"path": str(tmp_path / "shared")})
    elsewhere(config_of("s-other", storage={"path": str(tmp_path / "shared")}), tmp_path / "first")
    elsewhere(config, tmp_path / "first", ended=1)
    newest = elsewhere(config, tmp_path / "second", ended=1)
    found = resumable_folder(config, tmp_path / "third")
    assert not found.exists(), "it is written by the holder of the lease"
    restore_folder(config, found)
    assert found == tmp_path / "third" / SWEEPS / newest.name, "its number follows those in the storage"
    assert [record.trial_id for record in read_records(found)] == ["0000"]
    assert len(newest_first(found.parent)) == 1, "others are not copied"
    assert newest_unfinished(config, tmp_path / "third", pytest.fail) == found


def test_what_is_over_on_a_lost_machine_is_not_resumed(tmp_path: Path) -> None:
    config = config_of(storage={"path": str(tmp_path / "shared")})
    assert newest_unfinished(config, tmp_path / "third", pytest.fail) is None
    elsewhere(config, tmp_path / "first", ended=2, finished=True)
    assert newest_unfinished(config, tmp_path / "third", pytest.fail) is None


def test_an_older_sweep_of_a_lost_machine_is_resumed_if_the_newer_ones_are_over(tmp_path: Path) -> None:
    config = config_of(storage={"path": str(tmp_path / "shared")})
    edited = config_of(storage={"path": str(tmp_path / "shared")}, search={"retries": 2})
    older = elsewhere(config, tmp_path / "first", ended=1)
    elsewhere(edited, tmp_path / "second", ended=1)
    elsewhere(config, tmp_path / "third", ended=2, finished=True)
    said: list[str] = []
    found = newest_unfinished(config, tmp_path / "fourth", said.append)
    assert found == tmp_path / "fourth" / SWEEPS / older.name
    assert len(said) == 1
    assert "search differs" in said[0]
    restore_folder(config, found)
    assert len(read_records(found)) == 1


def test_a_sweep_by_its_folder_is_restored(tmp_path: Path) -> None:
    config = config_of(storage={"path": str(tmp_path / "shared")})
    folder = elsewhere(config, tmp_path / "first", ended=1)
    assert resumable_folder(config, tmp_path / "third", str(folder)) == folder
    restore_folder(config, folder)
    assert len(read_records(folder)) == 1


def test_a_folder_that_another_driver_writes_is_not_restored(tmp_path: Path) -> None:
    """Before the lease is held, a driver only reads: here, the folder lacks a log that its driver is about to write."""
    config = config_of(storage={"path": str(tmp_path / "shared")})
    folder = started(config, tmp_path / "first", ended=1)
    mirror = mirror_of(config, folder)
    assert mirror is not None
    Mirror(folder, mirror).update()
    (folder / OUTBOX_FILE).unlink()
    assert resumable_folder(config, tmp_path / "first") == folder
    assert resumable_folder(config, tmp_path / "first", str(folder)) == folder
    assert newest_unfinished(config, tmp_path / "first", pytest.fail) == folder
    assert not (folder / OUTBOX_FILE).exists()
    restore_folder(config, folder)
    assert (folder / OUTBOX_FILE).exists()


def test_a_copy_is_resumed_where_it_is(tmp_path: Path) -> None:
    """Without `storage.local`, a driver continues in the storage."""
    shared = tmp_path / "shared"
    config = config_of(storage={"path": str(shared)})
    name = elsewhere(config, tmp_path / "first", ended=1).name
    copy = shared / SWEEPS / name
    readers: list[Callable[[str], object]] = [
        given_or_newest,
        subjects_of,
        lambda given: deliver(Path(given), Console(), page=False),
    ]
    for read in readers:
        with pytest.raises(ConfigError, match=rf"^{copy}: a copy of a sweep's folder; .* --resume {copy}$"):
            read(str(copy))
    assert newest_unfinished(config, shared, pytest.fail) == copy
    assert resumable_folder(config, shared, str(copy)) == copy
    restore_folder(config, copy)
    assert given_or_newest(str(copy)) == copy
    assert set(read_outbox(copy)) == {name, "0000"}
    assert mirror_of(config, copy) is None


def test_an_edited_configuration_starts_anew_on_request(tmp_path: Path) -> None:
    earlier, edited = config_of(), config_of(search={"retries": 2})
    folder = started(earlier, tmp_path)
    said: list[str] = []
    assert newest_unfinished(edited, tmp_path, said.append) is None
    assert said == [f"{folder} is not resumed: search differs in its sweep.yaml"]
    with pytest.raises(ConfigError, match=r"^--resume: search differs from "):
        resumable_folder(edited, tmp_path)
    more = config_of(search={"gpu_hours": 5})
    assert resumable_folder(more, tmp_path) == folder, "a budget may be raised"
    second = started(edited, tmp_path)
    assert newest_unfinished(edited, tmp_path, pytest.fail) == second
    assert newest_unfinished(earlier, tmp_path, said.append) == folder
