"""A sweep's folder and its copy in the storage: what is copied, in which order, and which of the two is ahead."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from upath import UPath

from hamu_ray.results.durable import mirror, parts
from hamu_ray.results.durable.append_log import AppendLog
from hamu_ray.results.durable.lease import LEASE_FILE
from hamu_ray.results.durable.mirror import Mirror, mirrored, restore
from hamu_ray.results.durable.parts import entries, parts_of
from hamu_ray.results.folder import OUTBOX_FILE, RECORD_FILE, SENT_FILE, STUDY_FILE, SWEEP_FILE, TRIALS
from hamu_ray.storage import StoragePath, remove_folder, storage_path

RECORD = f"{TRIALS}/0000/{RECORD_FILE}"


@pytest.fixture(params=["folder", "memory"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoragePath]:
    """The copy's place: a shared folder, and a store that fsspec accesses by URL."""
    if request.param == "folder":
        yield tmp_path / "storage"
        return
    root = storage_path("memory://bucket/sweep")
    assert isinstance(root, UPath)
    yield root
    remove_folder(root)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sweep's folder after its first trial."""
    folder = tmp_path / "sweep"
    folder.mkdir()
    for name in (SWEEP_FILE, LEASE_FILE, SENT_FILE, RECORD):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    log(folder, OUTBOX_FILE, 0, 10)
    log(folder, STUDY_FILE, 0, 3)
    return folder


def log(folder: Path, name: str, start: int, end: int) -> None:
    AppendLog(folder / name).append(json.dumps({"line": number}) for number in range(start, end))


def files(folder: Path) -> dict[str, bytes]:
    """The files that another machine needs, by name."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    own = {LEASE_FILE, SENT_FILE}
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths if path.name not in own}


def test_a_folder_comes_back_from_its_copy(folder: Path, target: StoragePath, tmp_path: Path) -> None:
    copy = Mirror(folder, target)
    copy.update()
    for start in (10, 20):
        log(folder, OUTBOX_FILE, start, start + 10)
        copy.update()
    copy.update()
    assert len(entries(parts_of(target, OUTBOX_FILE))) == 1, "the last segment grows"
    assert not (target / LEASE_FILE).exists()
    again = Mirror(folder, target)  # another driver on the same machine goes on
    log(folder, STUDY_FILE, 3, 4)
    again.update()
    restore(target, tmp_path / "other")
    assert files(tmp_path / "other") == files(folder)


def test_a_line_is_copied_once_it_is_whole(folder: Path, target: StoragePath, tmp_path: Path) -> None:
    before = files(folder)
    with (folder / OUTBOX_FILE).open("a") as file:
        file.write('{"call": ')
    Mirror(folder, target).update()
    restore(target, tmp_path / "other")
    assert files(tmp_path / "other") == before


def test_large_logs_are_copied_in_parts(
    folder: Path, target: StoragePath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "LARGEST_SEGMENT", 20)
    monkeypatch.setattr(parts, "TAIL", 7)
    Mirror(folder, target).update()
    assert len(entries(parts_of(target, OUTBOX_FILE))) == 10
    restore(target, tmp_path / "other")
    assert files(tmp_path / "other") == files(folder)


def test_a_folder_that_is_ahead_is_left_alone(folder: Path, target: StoragePath) -> None:
    restore(target, folder)  # there is no copy yet
    Mirror(folder, target).update()
    log(folder, OUTBOX_FILE, 10, 11)
    (folder / RECORD).write_text("written before the machine died")
    before = files(folder)
    restore(target, folder)
    assert files(folder) == before
    assert (folder / SENT_FILE).exists()


def test_a_folder_that_is_behind_becomes_the_copy(folder: Path, target: StoragePath, tmp_path: Path) -> None:
    """The first machine wrote a little that was not copied; the second went on from the copy."""
    Mirror(folder, target).update()
    second = tmp_path / "second"
    restore(target, second)
    log(folder, OUTBOX_FILE, 10, 11)
    log(second, OUTBOX_FILE, 20, 40)
    copy = Mirror(second, target)
    (second / TRIALS / "0001").mkdir()
    (second / TRIALS / "0001" / RECORD_FILE).write_text("of the second machine")
    copy.update()
    restore(target, folder)
    assert files(folder) == files(second)
    assert not (folder / SENT_FILE).exists(), "its offsets are those of another log"


def test_a_log_that_begins_anew_is_copied_anew(folder: Path, target: StoragePath, tmp_path: Path) -> None:
    copy = Mirror(folder, target)
    copy.update()
    (folder / STUDY_FILE).unlink()
    log(folder, STUDY_FILE, 50, 90)
    copy.update()
    restore(target, tmp_path / "other")
    assert files(tmp_path / "other") == files(folder)


def test_a_record_is_copied_after_what_was_logged_before_it(
    folder: Path, target: StoragePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    monkeypatch.setattr(mirror, "write_atomically", lambda path, content: written.append(str(path)))
    Mirror(folder, target).update()
    assert written[-1].endswith(RECORD)
    assert OUTBOX_FILE in written[0]
    assert STUDY_FILE in written[1]


def test_an_outage_is_waited_out(
    folder: Path, target: StoragePath, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "COPY_SECONDS", 0.01)
    fails = True
    write = mirror.write_atomically

    def sometimes(path: StoragePath, content: bytes) -> None:
        if fails:
            raise RuntimeError("the store does not respond")
        write(path, content)

    monkeypatch.setattr(mirror, "write_atomically", sometimes)
    with mirrored(folder, target) as copy:
        assert not copy()
        assert not copy()
        fails = False
        assert copy()
    assert [record.getMessage() for record in caplog.records] == [
        f"the copy of {folder} waits: the store does not respond"
    ]
    shutil.rmtree(folder)
    restore(target, folder)
    assert (folder / SWEEP_FILE).is_file()


def test_without_a_target_nothing_is_copied(tmp_path: Path) -> None:
    with mirrored(tmp_path / "missing", None) as copy:
        assert copy()


def test_a_long_sweep_has_few_segments(
    folder: Path, target: StoragePath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / OUTBOX_FILE).unlink()
    log(folder, OUTBOX_FILE, 0, 1)
    monkeypatch.setattr(mirror, "LARGEST_SEGMENT", 40 * (folder / OUTBOX_FILE).stat().st_size)
    copy = Mirror(folder, target)
    for number in range(1, 100):
        log(folder, OUTBOX_FILE, number, number + 1)
        if number == 50:
            copy = Mirror(folder, target)  # another driver grows the last segment as well
        copy.update()
        content = parts.read_copy(target, OUTBOX_FILE)
        assert content == (folder / OUTBOX_FILE).read_bytes()
    assert len(entries(parts_of(target, OUTBOX_FILE))) <= 4
    restore(target, tmp_path / "other")
    assert files(tmp_path / "other") == files(folder)


def test_a_log_that_is_lost_comes_back_and_the_rest_stays(folder: Path, target: StoragePath) -> None:
    """A repair has set one log aside, and the storage did not respond when the other was written."""
    Mirror(folder, target).update()
    log(folder, OUTBOX_FILE, 10, 11)
    (folder / RECORD).write_text("written before the machine died")
    before = files(folder)
    (folder / STUDY_FILE).unlink()
    restore(target, folder)
    assert files(folder) == before
    assert (folder / SENT_FILE).exists(), "its offsets are those of the log that stayed"


def test_a_copy_becomes_the_folder_itself_and_a_copy_again(folder: Path, tmp_path: Path) -> None:
    """A driver without `storage.local` continues where one with it copied to, and the other way round."""
    target = tmp_path / "storage"
    Mirror(folder, target).update()
    before = files(folder)
    restore(target, target)
    assert files(target) == before
    log(target, OUTBOX_FILE, 10, 20)
    restore(target, target)
    restore(target, folder)
    assert files(folder) == files(target)
    log(folder, OUTBOX_FILE, 20, 30)
    Mirror(folder, target).update()
    restore(target, tmp_path / "other")
    assert files(tmp_path / "other") == files(folder)
    restore(target, target)
    assert files(target) == files(folder)
