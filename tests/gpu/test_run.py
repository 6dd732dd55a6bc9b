"""A failing part stops no other one, and shows in the exit code."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.gpu import run as runner
from scripts.gpu.machine import Machine
from scripts.gpu.record import Record, Status, judged, markdown, measured, not_run


def broken(machine: Machine) -> Iterator[Record]:
    yield judged("first", True, "")
    raise ZeroDivisionError("it broke\nand more")


def sound(machine: Machine) -> Iterator[Record]:
    yield measured("numbers", ms=1.5)
    yield not_run("elsewhere", "needs two GPUs")


def test_an_error_ends_its_part_alone(machine: Machine) -> None:
    records = runner.run(machine, {"broken": broken, "sound": sound})
    assert [(record.part, record.name, record.status) for record in records] == [
        ("broken", "first", Status.PASSED),
        ("broken", "error", Status.FAILED),
        ("sound", "numbers", Status.PASSED),
        ("sound", "elsewhere", Status.NOT_RUN),
    ]
    assert records[1].why == "ZeroDivisionError: it broke"


def test_nothing_starts_after_the_time(machine: Machine) -> None:
    machine.ends = time.monotonic() - 1
    (record,) = runner.run(machine, {"broken": broken})
    assert (record.status, record.why) == (Status.NOT_RUN, "the time is up")


@pytest.mark.parametrize(("check", "code"), [(broken, 1), (sound, 0)])
def test_the_exit_code_is_of_what_could_run(
    check: runner.Check, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scripts.gpu.parts.hours.check", check)
    assert runner.main("", ["--parts", "hours", "--device", "cpu", "--out", str(tmp_path)]) == code


def test_numbers_that_are_not_finite_fail() -> None:
    assert measured("a", ms=float("nan")).status is Status.FAILED
    assert measured("a", ms=float("nan")).why == "not finite: ms"


def test_a_table_row_is_one_line() -> None:
    text = markdown([Record("a", Status.FAILED, {"ms": 0.00012345}, "one | two\nthree")], {"device": "CPU"})
    assert text.splitlines()[-1] == "|  | a | failed | ms 0.000123 | 0.0 | one \\| two three |"
