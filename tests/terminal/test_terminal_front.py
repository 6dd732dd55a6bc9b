import io

import pytest

from hamu_ray.results.pareto.summary import summarise
from hamu_ray.results.pareto.table import front_table
from hamu_ray.terminal.console import Console
from hamu_ray.terminal.front import rendered
from tests.made_records import ORIGINAL, REFERENCE, record, small_summary, sweep


def in_terminal(summary, width=80):
    file = io.StringIO()
    Console(file=file, width=width).print(rendered(front_table(summary)))
    return file.getvalue()


def test_a_row_each_for_the_front_the_original_and_the_reference():
    lines = in_terminal(small_summary()).splitlines()
    (knee,) = [line for line in lines if line.lstrip().startswith("*")]
    assert knee.split()[:5] == ["*", "c", "hamu-q", "0.8000", "0.8000"]
    assert any("original" in line and "0.0120" in line and "0.9810" in line for line in lines)
    assert any("retain-only" in line and "1.0000" in line for line in lines)
    assert "7 trials: 5 finished" in lines[-1]


def test_a_real_sweep_fits_eighty_columns():
    text = in_terminal(summarise(sweep(), original=ORIGINAL, reference=REFERENCE))
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text


@pytest.mark.parametrize("width", [50, 60, 70, 80])
def test_columns_are_whole_or_named(width: int) -> None:
    summary = summarise(sweep(), original=ORIGINAL, reference=REFERENCE)
    header = front_table(summary).header
    text = in_terminal(summary, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    table, _, rest = text.partition("Not shown for want of width: ")
    named = " ".join(rest.partition(".")[0].split()).split(", ") if rest else []
    assert named == header[len(header) - len(named) :]
    assert all(set(name.split()) <= set(table.split()) for name in header[: len(header) - len(named)])
    assert bool(named) == (width < 80)


def test_an_empty_front_is_reported():
    assert "the front is empty" in " ".join(in_terminal(summarise([])).split())


def test_texts_of_trials_are_not_markup():
    assert "[red]a" in in_terminal(summarise([record("[red]a", 0.5, 0.5)]))


def test_the_title_may_be_wider_than_the_table():
    lines = in_terminal(summarise(sweep(), original=ORIGINAL, reference=REFERENCE), width=200).splitlines()
    assert next(line for line in lines if line.startswith("Front: ")).rstrip().endswith(").")
