"""A sweep is followed while it runs: each reading continues the last one, in its folder and in its copy."""

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from hamu_ray.config.sources.document import ConfigError
from hamu_ray.results.durable import parts
from hamu_ray.results.durable.lease import LEASE_FILE, PATIENCE_SECONDS, Lease
from hamu_ray.results.durable.mirror import Mirror
from hamu_ray.results.folder import SWEEP_FILE
from hamu_ray.results.live import LiveSweep
from hamu_ray.results.trial import Status, TrialRecord
from hamu_ray.storage import StoragePath, remove_folder, storage_path
from hamu_ray.tracking.outbox import Outbox
from tests.made_store import as_json, log_trial, made_record, points, sweep_config

CONFIG = sweep_config()
NAME = "made-20260101-120000"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sweep that has started."""
    folder = tmp_path / "sweeps" / NAME
    folder.mkdir(parents=True)
    (folder / SWEEP_FILE).write_text(yaml.safe_dump(CONFIG.whole))
    Outbox(folder).start_sweep(NAME, CONFIG.whole, {"began": time.time()})
    return folder


@pytest.fixture(params=["folder", "copy", "bucket"])
def place(request: pytest.FixtureRequest, folder: Path) -> Iterator[StoragePath]:
    """Where the sweep is followed."""
    if request.param == "folder":
        yield folder
    elif request.param == "copy":
        yield folder.parents[1] / "copy" / NAME
    else:
        yield (root := storage_path(f"memory://bucket/{NAME}"))
        remove_folder(root)


def record(folder: Path, number: int) -> TrialRecord:
    return made_record(number, CONFIG, points(CONFIG)[number], folder)


def start(folder: Path, number: int) -> Outbox:
    outbox, parameters = Outbox(folder), points(CONFIG)[number]
    run = CONFIG.resolve(parameters).model_dump(mode="json")
    outbox.start_trial(f"{number:04d}", NAME, "", run, {"status": "running"})
    return outbox


def test_what_was_written_since_is_read(
    folder: Path, place: StoragePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hamu_ray.results.durable.mirror.LARGEST_SEGMENT", 2000)
    copies = [] if place == folder else [Mirror(folder, place)]

    def written() -> None:
        for copy in copies:
            copy.update()

    written()
    sweep, found = LiveSweep(place), []
    for number in range(5):
        log_trial(Outbox(folder), NAME, record(folder, number), folder, hardness=False)
        if number % 2:
            written()
            found += sweep.update()
    written()
    found += sweep.update()
    assert sweep.update() == []
    assert [trial.trial_id for trial in found] == [f"{number:04d}" for number in range(5)]
    for number, trial in enumerate(found):
        expected = replace(record(folder, number), original={}, reference={}, curve={})
        assert as_json(trial) == as_json(expected)
    assert len(parts.segments(parts.parts_of(place, "tracking.jsonl"))) > 3 or not copies


def test_a_running_trial(folder: Path) -> None:
    sweep = LiveSweep(folder)
    outbox = start(folder, 3)
    sweep.update()
    (trial,) = sweep.running
    assert (trial.name, trial.step, trial.total_steps) == ("0003", 0, "")
    assert trial.parameters == points(CONFIG)[3]
    outbox.set_tags("0003", {"total_steps": 40})
    outbox.log_history("0003", {"gradient_cosine": [0.0, 0.1]}, [1, 2])
    sweep.update()
    (trial,) = sweep.running
    assert (trial.step, trial.total_steps) == (2, "40")
    assert sweep.began <= sweep.first_step <= time.time()


def test_trials_of_a_driver_that_was_killed_do_not_run_under_the_next(folder: Path) -> None:
    for number in range(2):
        start(folder, number).set_tags(f"{number:04d}", {"paused_at": 10})
    Outbox(folder).start_sweep(NAME, CONFIG.whole, {"began": time.time()})
    sweep = LiveSweep(folder)
    sweep.update()
    assert sweep.running == []
    start(folder, 1)
    sweep.update()
    assert [(trial.name, trial.paused) for trial in sweep.running] == [("0001", False)]


def test_an_interrupted_trial_has_not_ended(folder: Path) -> None:
    outbox = start(folder, 0)
    outbox.finish("0000", Status.INTERRUPTED, "the sweep ended before the trial")
    log_trial(outbox, NAME, record(folder, 1), folder, hardness=False)
    outbox.finish(NAME, Status.INTERRUPTED)
    sweep = LiveSweep(folder)
    assert [trial.trial_id for trial in sweep.update()] == ["0001"]
    assert (sweep.running, sweep.status, sweep.before) == ([], Status.INTERRUPTED, 0)
    outbox.start_sweep(NAME, CONFIG.whole, {"began": time.time()})
    log_trial(outbox, NAME, record(folder, 0), folder, hardness=False)
    assert [trial.trial_id for trial in sweep.update()] == ["0000"]
    assert sweep.before == 1
    outbox.finish(NAME, Status.FINISHED)
    sweep.update()
    assert sweep.status is Status.FINISHED


def test_a_driver_that_is_gone(folder: Path) -> None:
    sweep = LiveSweep(folder)
    sweep.update()
    assert sweep.status is Status.INTERRUPTED, "nobody has a lease"
    with Lease(folder):
        sweep.update()
        assert sweep.status is None
        before = (folder / LEASE_FILE).read_bytes()
    (folder / LEASE_FILE).write_bytes(before)  # as a killed driver leaves it
    then = time.time() - PATIENCE_SECONDS - 1
    os.utime(folder / LEASE_FILE, (then, then))
    late = LiveSweep(folder)
    late.update()
    assert late.status is Status.INTERRUPTED


def test_another_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a sweep's folder: it has no sweep"):
        LiveSweep(tmp_path)


@pytest.mark.parametrize("content", [b"", b"a: [", b"text", b"\xff\xfe"])
def test_a_configuration_that_cannot_be_read(folder: Path, content: bytes) -> None:
    (folder / SWEEP_FILE).write_bytes(content)
    with pytest.raises(ConfigError, match=SWEEP_FILE):
        LiveSweep(folder)
