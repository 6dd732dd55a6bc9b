"""The diagram of dependencies in CONTRIBUTING.md, generated from the table of tests/test_import_directions.py.

python -m tests.house     # updates CONTRIBUTING.md
"""

import ast
from pathlib import Path

from tests.test_import_directions import FRAMEWORKS, PACKAGE, TABLE

CONTRIBUTING = Path(__file__).parents[1] / "CONTRIBUTING.md"
BEGIN, END = "<!-- house: made by python -m tests.house -->", "<!-- end of house -->"


def reachable(room: str) -> set[str]:
    """Return the rooms that a room may import, directly or through others."""
    direct = set(TABLE[room].knows.split())
    return direct.union(*(reachable(other) for other in direct))


def arrows(room: str) -> list[str]:
    """Return the rooms that a room may import and that no other of them leads to."""
    direct = TABLE[room].knows.split()
    through = set().union(*(reachable(other) for other in direct))
    return [other for other in direct if other not in through]


def purpose(room: str) -> str:
    """Return the first line of a room's docstring."""
    path = PACKAGE / room / "__init__.py"
    text = ast.get_docstring(ast.parse((path if path.is_file() else PACKAGE / f"{room}.py").read_text()))
    assert text, f"{room} has no docstring"
    return text.splitlines()[0]


def drawing() -> str:
    """Return a graph of the rooms and the table of what each may import, as Markdown."""
    graph = ["```mermaid", "graph TD"]
    graph += [f"    {room} --> {other}" for room in reversed(TABLE) for other in arrows(room)]
    rows = [
        "| room | what it is for | may import of hamu_ray | and of frameworks |",
        "| --- | --- | --- | --- |",
    ]
    for room, row in TABLE.items():
        frameworks = ", ".join(name for name in row.uses.split() if name in FRAMEWORKS)
        rows.append(f"| `{room}` | {purpose(room)} | {', '.join(row.knows.split())} | {frameworks} |")
    return "\n".join([*graph, "```", "", *rows])


def with_drawing(text: str) -> str:
    """Return a document with the diagram inserted between its markers."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{drawing()}\n{END}{after}"


if __name__ == "__main__":
    CONTRIBUTING.write_text(with_drawing(CONTRIBUTING.read_text()))
