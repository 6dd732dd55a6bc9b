"""Generated parts of documents: the diagram of dependencies in CONTRIBUTING.md, from the table of
tests/test_import_directions.py, and the tables of methods in hamu_ray/methods/README.md, from the methods themselves.

python -m tests.house     # updates both
"""

import ast
from collections.abc import Iterable
from pathlib import Path

from hamu_ray.methods import tables
from tests.test_import_directions import FRAMEWORKS, PACKAGE, TABLE

CONTRIBUTING = Path(__file__).parents[1] / "CONTRIBUTING.md"
METHODS = PACKAGE / "methods" / "README.md"
BEGIN, END = "<!-- {}: made by python -m tests.house -->", "<!-- end of {} -->"


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
        "| room | purpose | may import from hamu_ray | and frameworks |",
        "| --- | --- | --- | --- |",
    ]
    for room, row in TABLE.items():
        frameworks = ", ".join(name for name in row.uses.split() if name in FRAMEWORKS)
        rows.append(f"| `{room}` | {purpose(room)} | {', '.join(row.knows.split())} | {frameworks} |")
    return "\n".join([*graph, "```", "", *rows])


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table with the first column as code."""
    columns = list(columns)
    lines = [columns, ["---"] * len(columns)]
    lines += [[f"`{first}`", *(cell.replace("|", "\\|") for cell in rest)] for first, *rest in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def parts() -> dict[Path, dict[str, str]]:
    """Return the generated parts of documents by their names."""
    return {
        CONTRIBUTING: {"house": drawing()},
        METHODS: {
            "methods": table(tables.METHOD_COLUMNS, tables.method_rows()),
            "forget objectives": table(tables.OBJECTIVE_COLUMNS, tables.objective_rows()),
            "hyperparameters": table(tables.HYPERPARAMETER_COLUMNS, tables.hyperparameter_rows()),
        },
    }


def with_parts(document: Path) -> str:
    """Return a document with its generated parts between their markers."""
    text = document.read_text()
    for name, part in parts()[document].items():
        before, _, rest = text.partition(BEGIN.format(name))
        _, _, after = rest.partition(END.format(name))
        text = f"{before}{BEGIN.format(name)}\n{part}\n{END.format(name)}{after}"
    return text


if __name__ == "__main__":
    for path in parts():
        path.write_text(with_parts(path))
