"""The view of a sweep, on terminals of 80 and 140 columns and in a log."""

import io
import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from hamu_ray.config.search import DEFAULT_OBJECTIVES, MetricBounds
from hamu_ray.results.outcome import Report
from hamu_ray.results.trial import Status, TrialRecord
from hamu_ray.terminal.console import Console
from hamu_ray.terminal.sweep_progress import HEIGHTS, sparkline
from hamu_ray.terminal.sweep_view import SweepView
from tests.made_records import record

LONG = {
    "method.name": "jd-alignedmtl",
    "optimizer.learning_rate": 0.0123456,
    "method.constraint_fraction": 0.2571,
    "batch.retain": 128,
    "seed": 41,
}


def terminal(width: int, watched: bool) -> Console:
    console = Console(file=io.StringIO(), width=width)
    console._force_terminal = watched
    return console


def lines_of(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def view_of(console: Console, total: int = 12, records: Sequence[TrialRecord] = ()) -> SweepView:
    return SweepView(console, total, records, DEFAULT_OBJECTIVES)


def collapsed(name: str, ratio: int) -> TrialRecord:
    lost = record(name, math.nan, math.nan)
    reason = f"retain perplexity more than {ratio} times the original's"
    return replace(lost, status=Status.COLLAPSED, reason=reason, parameters=LONG)


def drawn(view: SweepView, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(view._drawn())
    return [line.rstrip() for line in lines_of(console)]


@pytest.mark.parametrize("width", [80, 140])
def test_rows_fit_the_terminal_with_aligned_numbers(width: int) -> None:
    console = terminal(width, watched=True)
    view = view_of(console)
    for name, forget in (("a", 0.5), ("b", 0.125)):
        view.end(replace(record(name, forget, 0.75), parameters=LONG))
    view.end(collapsed("c", 10))
    lines = [line for line in plain(lines_of(console)) if line]
    assert max(map(len, lines)) <= width
    title, *rows = lines[1:5]
    assert title.split() == ["trial", "quality", "utility", "status"]
    ends = {row.index("0.7500") + 6 for row in rows[:2]}
    assert ends == {title.index("utility") + len("utility")}
    assert {
        row.index(status) for row, status in zip(rows, ("finished", "finished", "collapsed"), strict=True)
    } == {title.index("status")}


def plain(lines: Sequence[str]) -> list[str]:
    from rich.text import Text

    return [Text.from_ansi(line).plain for line in lines]


def test_reasons_are_printed_once_and_counted() -> None:
    console = terminal(80, watched=False)
    with view_of(console) as view:
        for number in range(4):
            view.end(collapsed(str(number), 10 + number))
    text = "\n".join(lines_of(console))
    assert text.count("retain perplexity") == 2
    assert lines_of(console)[-1].startswith("4 trials collapsed: retain perplexity more than 10 times")


def test_a_log_has_whole_descriptions() -> None:
    console = terminal(80, watched=False)
    view_of(console).end(replace(record("a", 0.5, 0.75), parameters=LONG))
    row = lines_of(console)[-1]
    assert "jd-alignedmtl lr 0.0123 retain 128 fraction 0.257 seed 41" in row
    assert not any("\x1b" in line for line in lines_of(console))


@pytest.mark.parametrize("width", [80, 140])
def test_the_live_view_says_what_is_waited_for_and_then_how_far_it_is(width: int) -> None:
    view = view_of(terminal(width, watched=True))
    assert "waiting for workers and for the original and the reference" in " ".join(drawn(view, width))
    view.show("a", LONG, Report("unlearning", 3, 10, {}))
    view.end(replace(record("a", 0.5, 0.75), parameters=LONG, gradient_computations=20.0))
    view.show("b", LONG, Report("unlearning", 3, 10, {}))
    view.end(collapsed("c", 10))
    lines = [line for line in drawn(view, width) if line]
    assert lines[0] == "sweep        2/12 trials, 1 running, 1 collapsed"
    assert "left" in lines[1]
    assert lines[1].endswith("gradients per second")
    assert lines[2].startswith("best         forget quality 0.5000 (")
    assert lines[3].startswith("best         retain utility 0.7500 (")
    assert lines[4].startswith("hypervolume  0.3750 ")
    assert max(map(len, lines)) <= width
    assert all("…" not in line for line in lines[:5])


def test_a_curve() -> None:
    assert sparkline([]) == ""
    assert sparkline([1.0, 1.0]) == HEIGHTS[0] * 2
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█"
    long = sparkline(list(range(1000)), width=10)
    assert (len(long), long[0], long[-1]) == (10, HEIGHTS[0], HEIGHTS[-1])


def test_what_misses_a_constraint_is_neither_best_nor_on_the_front() -> None:
    console = terminal(80, watched=True)
    bounds = {"retain_utility": MetricBounds(min=0.7)}
    view = SweepView(console, 12, (), DEFAULT_OBJECTIVES, bounds)
    view.show("a", LONG, Report("unlearning", 1, 2, {}))
    view.end(replace(record("a", 0.5, 0.75), parameters=LONG))
    view.end(replace(record("b", 0.9, 0.25), parameters=LONG))
    lines = drawn(view, 80)
    assert any(line.startswith("best         forget quality 0.5000") for line in lines), lines
    assert any(line.startswith("hypervolume  0.3750") for line in lines), lines
