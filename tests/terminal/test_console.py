import io

import pytest

from hamu_ray.results.wording import NONE
from hamu_ray.terminal.console import Console
from hamu_ray.terminal.metrics import metrics_table

PATH = "/data/[red]/" + "long/" * 40


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=40)


def printed(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_lines_are_neither_wrapped_nor_read_as_markup(console):
    console.text(PATH)
    console.verdict("failed", PATH, good=False)
    assert printed(console) == [PATH, f"failed: {PATH}"]


def test_fields_are_aligned(console):
    console.fields({"UI": "here", "tables": PATH})
    assert printed(console) == ["UI       here", f"tables   {PATH}"]


def test_columns_are_aligned(console):
    console.columns(["metric", "O", "[R]"], [["accuracy", "0.9", "[1]"], ["loss", "0.25", "2"]])
    header, *rows = printed(console)
    assert header.split() == ["metric", "O", "[R]"]
    assert [row.split() for row in rows] == [["accuracy", "0.9", "[1]"], ["loss", "0.25", "2"]]
    assert len({len(line) for line in (header, *rows)}) == 1


def test_metrics_that_no_model_has_are_left_out(console):
    nan = float("nan")
    console.print(
        metrics_table({"M": {"loss": nan, "rouge": nan, "prob": 0.5}, "O": {"loss": 1.0, "rouge": nan}})
    )
    assert [line.split() for line in printed(console)] == [
        ["M", "O"],
        ["loss", NONE, "1.0000"],
        ["prob", "0.5000"],
    ]
