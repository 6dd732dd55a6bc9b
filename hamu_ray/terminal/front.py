"""The Pareto front as a table for the terminal."""

from rich import box
from rich.markup import escape
from rich.table import Table

from hamu_ray.results.pareto.table import KNEE, FrontTable


def rendered(front: FrontTable) -> Table:
    """Return the table, with the knee in bold and the rows of the original and the reference at the end."""
    table = Table(title=escape(front.title), caption=escape(front.caption), box=box.SIMPLE_HEAD)
    table.padding, table.pad_edge = (0, 1, 0, 0), False
    table.title_justify = table.caption_justify = "left"
    for i, title in enumerate(front.header):
        table.add_column(title.replace(" ", "\n"), justify="left" if i < 3 else "right", no_wrap=True)
    for row in front.rows:
        table.add_row(*map(escape, row), style="bold" if KNEE in row[0] else "")
    table.add_section()
    for row in front.anchors:
        table.add_row(*map(escape, row), style="dim")
    return table
