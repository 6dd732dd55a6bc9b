"""The console that every command prints with: plain lines, aligned fields, a coloured verdict, tables.

Other rooms print through these methods and do not import rich.
"""

from collections.abc import Mapping, Sequence
from typing import IO

from rich.console import Console as RichConsole
from rich.table import Table
from rich.text import Text

FIELD_WIDTH = 8


class Console(RichConsole):
    """A rich console without automatic highlighting.

    Texts given to `text`, `fields` and `verdict` are printed as they are: square brackets in an error or in a path
    are not markup, and long lines are not wrapped, so that paths can be copied.
    """

    def __init__(self, file: IO[str] | None = None, width: int | None = None) -> None:
        """Print to the standard output, or to a file."""
        super().__init__(file=file, width=width, highlight=False)

    def text(self, content: str, style: str = "") -> None:
        """Print one line in a style such as `bold` or `dim`."""
        self.print(Text(content, style), soft_wrap=True)

    def fields(self, fields: Mapping[str, str], width: int = FIELD_WIDTH) -> None:
        """Print named values below each other, the names padded to a width."""
        for name, value in fields.items():
            self.text(f"{name:<{width}} {value}")

    def verdict(self, status: str, detail: str, good: bool) -> None:
        """Print how something ended, the status in green or red."""
        content = Text.assemble((status, "green" if good else "red"), f": {detail}")
        self.print(content, soft_wrap=True)

    def columns(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print rows of texts below a header: the first column to the left, the others to the right."""
        content = Table(box=None)
        for i, title in enumerate(header):
            content.add_column(Text(title), justify="right" if i else "left")
        for row in rows:
            content.add_row(*map(Text, row))
        self.print(content)
