"""The console of all commands: plain lines, aligned fields, a coloured verdict, and tables.

Other packages print through these methods and do not import rich.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import IO

from rich.console import Console as RichConsole
from rich.table import Table
from rich.text import Text

FIELD_WIDTH = 8


class Console(RichConsole):
    """A rich console without automatic highlighting.

    `text`, `fields` and `verdict` print their arguments verbatim: square brackets are not interpreted as markup, and
    long lines are not wrapped, so that paths can be copied.
    """

    def __init__(self, file: IO[str] | None = None, width: int | None = None, stderr: bool = False) -> None:
        """Print to the standard output, to the standard error, or to a file."""
        super().__init__(file=file, width=width, highlight=False, stderr=stderr)

    def text(self, content: str, style: str = "") -> None:
        """Print one line in a style such as `bold` or `dim`."""
        self.print(Text(content, style), soft_wrap=True)

    def fields(self, fields: Mapping[str, str], width: int = FIELD_WIDTH) -> None:
        """Print names and values, one per line, with the names padded to a width."""
        for name, value in fields.items():
            self.text(f"{name:<{width}} {value}")

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Within, a line on the terminal says what is waited for; it is not printed to a file."""
        with self.status(f"[dim]{what} ...[/dim]", spinner="line") if self.is_terminal else nullcontext():
            yield

    def verdict(self, status: str, detail: str, good: bool) -> None:
        """Print how a run ended, with the status in green or red."""
        content = Text.assemble((status, "green" if good else "red"), f": {detail}")
        self.print(content, soft_wrap=True)

    def columns(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print rows of text below a header; the first column is left-aligned, the others right-aligned.

        On a narrow terminal texts continue on the next line, so that names and numbers stay whole.
        """
        content = Table(box=None)
        for i, title in enumerate(header):
            content.add_column(Text(title), justify="right" if i else "left", overflow="fold")
        for row in rows:
            content.add_row(*map(Text, row))
        self.print(content)
