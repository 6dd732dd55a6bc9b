"""A damaged file of a trial is one line that names it, and the rest of the sweep goes on."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from hamu_ray.results.durable.sealed import Damaged, seal, unseal, write_sealed
from hamu_ray.results.folder import (
    OUTBOX_FILE,
    OUTCOME_FILE,
    RECORD_FILE,
    REPORTS_FILE,
    SWEEP_FILE,
    TRIALS,
    read_outcome,
    read_records,
    read_reports,
    write_record,
)
from hamu_ray.results.outcome import Outcome, Report, Status, dump_reports
from hamu_ray.results.reader import read_sweep
from hamu_ray.results.trial import TrialRecord
from hamu_ray.storage import write_atomically
from hamu_ray.tracking.outbox import Outbox
from tests.made_store import sweep_config

Damage = Callable[[bytes], bytes]


def flipped(content: bytes) -> bytes:
    """Another digit, so that it is JSON as before."""
    assert b"0.75" in content
    return content.replace(b"0.75", b"0.25", 1)


DAMAGE: dict[str, Damage] = {
    "cut short": lambda content: content[: len(content) // 2],
    "zeros in its second half": lambda content: content[: len(content) // 2].ljust(len(content), b"\0"),
    "only zeros": lambda content: bytes(len(content)),
    "empty": lambda _: b"",
    "another digit": flipped,
    "no text": lambda content: b"\xff\xfe" + content,
    "something else": lambda _: b"[1, 2]",
}
MEASURES = {"forget_quality": 0.75, "retain_utility": 0.5}


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """The folder of a sweep of three trials that ended."""
    folder = tmp_path / "sweeps" / "s"
    config = sweep_config({"optimizer.learning_rate": {"uniform": [0.0625, 0.5]}})
    write_atomically(folder / SWEEP_FILE, yaml.safe_dump(config.whole).encode())
    outbox = Outbox(folder)
    outbox.start_sweep("s", {})
    for number in range(3):
        name, parameters = f"{number:04d}", {"optimizer.learning_rate": 0.125}
        outbox.start_trial(name, "s", "", {**parameters, "method.name": "ga"})
        outbox.log_metrics(name, MEASURES, 10)
        outbox.finish(name, "finished", "all steps")
        write_record(folder, TrialRecord(name, Status.FINISHED, parameters, {}, MEASURES))
    return folder


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_record_costs_nothing_but_itself(
    sweep: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = sweep / TRIALS / "0001" / RECORD_FILE
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert [record.trial_id for record in read_records(sweep)] == ["0000", "0002"]
    (message,) = caplog.messages
    assert str(path) in message
    assert "\n" not in message
    result = read_sweep(sweep)
    assert [trial.measures for trial in result.trials] == [MEASURES] * 3, "the outbox has its metrics"
    assert result.source.record("0001") is None


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_outcomes_and_reports(tmp_path: Path, damage: str) -> None:
    write_sealed(tmp_path / OUTCOME_FILE, vars(Outcome(Status.FINISHED, "", 3, {"a": 0.75}, 1.0, 6)))
    (tmp_path / REPORTS_FILE).write_bytes(dump_reports([Report("unlearning", 1, 3, {"a": 0.75})]))
    for name, read in ((OUTCOME_FILE, read_outcome), (REPORTS_FILE, read_reports)):
        assert read(tmp_path)
        path = tmp_path / name
        path.write_bytes(DAMAGE[damage](path.read_bytes()))
        with pytest.raises(Damaged, match=name) as error:
            read(tmp_path)
        assert "\n" not in str(error.value)


def test_a_damaged_line_of_the_outbox_is_left_out(sweep: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = sweep / OUTBOX_FILE
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], flipped(lines[2]), *lines[3:], b'{"call": "fin']))
    (sweep / TRIALS / "0000" / RECORD_FILE).unlink()
    with caplog.at_level(logging.WARNING):
        result = read_sweep(sweep)
    assert [trial.measures for trial in result.trials] == [{}, MEASURES, MEASURES]
    (message,) = caplog.messages
    assert message.endswith(f"{OUTBOX_FILE}: 1 damaged lines are left out")


def test_what_is_sealed_is_what_a_reader_gets() -> None:
    document = {"a": [1, 2.5, float("inf")], "b": {3: (1, 2)}, "c": None, "digits": "0.1"}
    assert unseal(seal(document), "x") == {**document, "b": {"3": [1, 2]}}
