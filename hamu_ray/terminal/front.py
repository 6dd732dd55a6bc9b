"""The Pareto front as a table for the terminal."""

from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from hamu_ray.results.pareto.table import KNEE, FrontTable

FEWEST_COLUMNS = 5
"""Mark, trial, method and two objectives, which are there at any width."""

WIDEST = 10_000
"""A width at which every table is whole."""


def rendered(front: FrontTable) -> Group:
    """Return the table, with the knee in bold and the rows of the original and the reference at the end.

    Its title and caption may be wider than the table.
    """
    return Group(Text(front.title, "bold"), WholeColumns(front), Text(front.caption, "dim"))


@dataclass(frozen=True)
class WholeColumns:
    """As many columns, from the left, as are whole at the width of the terminal, and the names of the others."""

    front: FrontTable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the table, and a line on what it lacks."""
        whole, header = options.update(width=WIDEST), self.front.header
        count = len(header)
        while (
            count > FEWEST_COLUMNS
            and console.measure(first_columns(self.front, count), options=whole).maximum > options.max_width
        ):
            count -= 1
        yield first_columns(self.front, count)
        if count < len(header):
            yield Text(f"Not shown for want of width: {', '.join(header[count:])}.", "dim")


def first_columns(front: FrontTable, count: int) -> Table:
    """Return the table with its first columns."""
    table = Table(box=box.SIMPLE_HEAD)
    table.padding, table.pad_edge = (0, 1, 0, 0), False
    for i, title in enumerate(front.header[:count]):
        table.add_column(title.replace(" ", "\n"), justify="left" if i < 3 else "right", no_wrap=True)
    for row in front.rows:
        table.add_row(*map(escape, row[:count]), style="bold" if KNEE in row[0] else "")
    table.add_section()
    for row in front.anchors:
        table.add_row(*map(escape, row[:count]), style="dim")
    return table
