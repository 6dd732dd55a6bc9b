import re
from pathlib import Path

import pytest

from tests.house import CONTRIBUTING, METHODS, arrows, reachable, with_parts
from tests.test_import_directions import TABLE

ROOT = CONTRIBUTING.parent


@pytest.mark.parametrize("document", [CONTRIBUTING, METHODS], ids=lambda path: path.parent.name)
def test_generated_parts_are_up_to_date(document):
    assert document.read_text() == with_parts(document), "run: python -m tests.house"


@pytest.mark.parametrize("room", TABLE)
def test_arrows_lead_to_every_room_that_may_be_imported(room):
    to_follow, found = set(arrows(room)), set()
    while to_follow:
        other = to_follow.pop()
        found.add(other)
        to_follow |= set(arrows(other))
    assert found == reachable(room)


@pytest.mark.parametrize(
    "document",
    [
        path.relative_to(ROOT)
        for path in (
            CONTRIBUTING,
            ROOT / "README.md",
            ROOT / "SECURITY.md",
            *ROOT.glob("hamu_ray/*/README.md"),
            *ROOT.glob("docs/**/*.md"),
        )
    ],
    ids=str,
)
def test_files_that_are_named_exist(document: Path):
    """Paths in backticks that start with a folder of the repository, and links to files."""
    text = (ROOT / document).read_text()
    named = re.findall(r"`((?:hamu_ray|tests|scripts|docs|search_spaces|cluster)/[\w./-]*)`", text)
    linked = [ROOT / document.parent / link for link in re.findall(r"\]\((?!https?:)([^)#]+)", text)]
    paths = [ROOT / name for name in named if name.isascii()]
    if document.parent == Path("docs/plugin"):  # a project of its own
        paths = [
            ROOT / document.parent / path.relative_to(ROOT) for path in paths if path.parts[-2] == "tests"
        ]
    missing = [str(path) for path in [*paths, *linked] if not path.exists()]
    assert not [path for path in missing if "NAME" not in path]
