"""A certificate as PDF."""

from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

from fpdf import FPDF
from fpdf.enums import TableBordersLayout, TableCellFillMode
from fpdf.fonts import FontFace

from hamu_ray.certificate.statement import Section, Statement, Table

SANS, MONO = "sans", "mono"
FONTS = {
    (SANS, ""): "DejaVuSans.ttf",
    (SANS, "B"): "DejaVuSans-Bold.ttf",
    (MONO, ""): "DejaVuSansMono.ttf",
}
"""Files of matplotlib, whose fonts have all letters that names and texts may contain."""

MARGIN = 20.0
"""Millimetres on each side."""
LINE = 5.0
"""Height of a line of text in millimetres."""
MUTED, BOX, LINES = (80, 88, 96), (243, 246, 249), (205, 212, 219)
SHARES = {2: (38, 62), 3: (60, 20, 20), 4: (49, 17, 17, 17), 5: (42, 12, 12, 18, 16)}
"""Widths of the columns of tables with this many, in percent."""


class _Pages(FPDF):
    """Pages of A4 with their number."""

    def footer(self) -> None:
        """Draw the number of the page and of all pages."""
        self.set_y(-14)
        self.set_font(SANS, size=8)
        self.set_text_color(*MUTED)
        self.cell(0, 6, f"{self.page_no()} / {{nb}}", align="C")


def pdf_of(statement: Statement, made: str) -> bytes:
    """Return the PDF of a certificate that was made at a time, in ISO format; equal certificates are equal files."""
    pdf = _Pages(format="A4")
    pdf.set_creation_date(datetime.fromisoformat(made).astimezone(UTC))
    pdf.set_title(statement.title)
    pdf.set_lang("en")
    pdf.set_margin(MARGIN)
    pdf.set_auto_page_break(auto=True, margin=MARGIN)
    for (family, style), name in FONTS.items():
        pdf.add_font(family, style, _fonts() / name)
    pdf.add_page()
    pdf.set_font(SANS, "B", 18)
    _text(pdf, statement.title, 9)
    pdf.ln(2)
    pdf.set_fill_color(*BOX)
    pdf.set_font(SANS, size=9.5)
    _text(pdf, "\n".join(statement.summary), LINE, fill=True, padding=(3, 4))
    for section in statement.sections:
        _section(pdf, section)
    return bytes(pdf.output())


def _section(pdf: FPDF, section: Section) -> None:
    if pdf.will_page_break(30):  # a heading stays with what follows it
        pdf.add_page()
    pdf.ln(6)
    pdf.set_font(SANS, "B", 12)
    _text(pdf, section.title, 7)
    pdf.ln(1)
    pdf.set_font(SANS, size=9.5)
    for sentence in section.sentences:
        _text(pdf, sentence, LINE)
        pdf.ln(1)
    if section.table:
        _table(pdf, section.table)
    for item in section.items:
        pdf.set_x(MARGIN)
        pdf.cell(5, LINE, "\N{BULLET}")
        _text(pdf, item, LINE)
        pdf.ln(1)
    pdf.set_font(MONO, size=8)
    for command in section.commands:
        _text(pdf, command, LINE, fill=True, padding=(2, 3))


def _table(pdf: FPDF, table: Table) -> None:
    numbers = bool(table.head) and not table.codes
    columns = len(table.rows[0])
    pdf.set_font(SANS, size=8.5)
    pdf.set_draw_color(*LINES)
    with pdf.table(
        cell_fill_mode=TableCellFillMode.NONE,
        borders_layout=TableBordersLayout.HORIZONTAL_LINES,
        col_widths=SHARES.get(columns, (1,) * columns),
        text_align=("LEFT", *("RIGHT" if numbers else "LEFT" for _ in range(columns - 1))),
        line_height=4.4,
        padding=(1, 1.5, 1, 0),
        first_row_as_headings=bool(table.head),
        headings_style=FontFace(emphasis="", color=MUTED),
        wrapmode="CHAR" if table.codes else "WORD",
    ) as drawn:
        if table.head:
            drawn.row(table.head)
        for first, *others in table.rows:
            row = drawn.row()
            row.cell(first)
            for cell in others:
                row.cell(cell, style=FontFace(family=MONO, size_pt=7.5) if table.codes else None)


def _text(
    pdf: FPDF, text: str, height: float, *, fill: bool = False, padding: tuple[int, int] = (0, 0)
) -> None:
    pdf.multi_cell(0, height, text, align="L", fill=fill, padding=padding, new_x="LMARGIN", new_y="NEXT")


def _fonts() -> Path:
    """Return the folder of matplotlib's fonts, without importing it, which takes a second."""
    found = find_spec("matplotlib")
    assert found is not None, "matplotlib is a dependency"
    assert found.submodule_search_locations is not None, "it is a package"
    return Path(found.submodule_search_locations[0]) / "mpl-data" / "fonts" / "ttf"
