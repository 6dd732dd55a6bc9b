"""The Pareto front as a table for the terminal."""

from rich import box
from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from hamu_ray.results.pareto.table import KNEE, FrontTable


def rendered(front: FrontTable) -> Group:
    """Return the table, with the knee in bold and the rows of the original and the reference at the end.

    Its title and caption may be wider than the table.
    """
    table = Table(box=box.SIMPLE_HEAD)
    table.padding, table.pad_edge = (0, 1, 0, 0), False
    for i, title in enumerate(front.header):
        table.add_column(title.replace(" ", "\n"), justify="left" if i < 3 else "right", no_wrap=True)
    for row in front.rows:
        table.add_row(*map(escape, row), style="bold" if KNEE in row[0] else "")
    table.add_section()
    for row in front.anchors:
        table.add_row(*map(escape, row), style="dim")
    return Group(Text(front.title, "bold"), table, Text(front.caption, "dim"))
