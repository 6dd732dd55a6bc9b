"""Hooks of mkdocs: pages made from files outside docs/, generated reference tables, and links between them.

The documents link to each other as files of the repository, so that they can be read there. On the site, a link to a
document leads to its page, and a link to another file to a copy of it.
"""

import json
import logging
import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import reference
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
LOG = logging.getLogger("mkdocs.hooks")

PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "hamu_ray/methods/README.md": "methods.md",
    "docs/python.ipynb": "python.md",
}
"""Pages of files that mkdocs does not find by itself."""

GENERATED: dict[str, Callable[[], str]] = {
    "configuration": reference.configuration,
    "metrics": reference.metrics,
}
"""What replaces the comments `<!-- site: NAME -->`, up to the end of their page."""

FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(!?\[)((?:[^\[\]]|\[[^\]]*\])*)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of `PAGES`, and a copy of each file of the repository that a page links to."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=text_of(ROOT / source)))
    for page in list(files.documentation_pages()):
        for target in targets(source_of(page), page.content_string):
            if site_path(target) == f"source/{target}" and (ROOT / target).is_file():
                copy = File.generated(config, f"source/{target}", abs_src_path=str(ROOT / target))
                if copy.src_uri not in files.src_uris:
                    files.append(copy)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return a page with generated parts and with links of the site."""
    before, marker, rest = markdown.partition("<!-- site: ")
    if marker:
        markdown = before + GENERATED[rest.partition(" ")[0]]()
    return "".join(
        _fence(part) if part.startswith("```") else LINK.sub(lambda found: _link(found, page.file), part)
        for part in FENCE.split(markdown)
    )


def text_of(path: Path) -> str:
    """Return a document as Markdown, also a notebook's, whose code cells become blocks of code."""
    if path.suffix != ".ipynb":
        return path.read_text()
    cells = json.loads(path.read_text())["cells"]
    texts = {"code": "```python\n{}\n```", "markdown": "{}"}
    return "\n\n".join(texts[cell["cell_type"]].format("".join(cell["source"])) for cell in cells)


def source_of(file: File) -> str:
    """Return the path of a page's document in the repository."""
    made_of = {page: source for source, page in PAGES.items()}
    return made_of.get(file.src_uri, f"docs/{file.src_uri}")


def site_path(target: str) -> str:
    """Return the site's path of a file of the repository."""
    if target in PAGES:
        return PAGES[target]
    beside = target.removeprefix("docs/")
    in_docs = target != beside and Path(target).suffix in (".md", ".png", ".svg", ".csv")
    return beside if in_docs else f"source/{target}"


def targets(source: str, markdown: str) -> Iterator[str]:
    """Yield the paths in the repository that a document links to."""
    for part in FENCE.split(markdown):
        if not part.startswith("```"):
            for found in LINK.finditer(part):
                yield posixpath.normpath(posixpath.join(posixpath.dirname(source), found[3]))


def _link(found: re.Match[str], file: File) -> str:
    """Return a link as one of the site; folders have no page, and keep their text only."""
    opened, text, path, anchor = found.groups()
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source_of(file)), path))
    if (ROOT / target).is_dir():
        return text
    if not (ROOT / target).exists():
        LOG.warning("%s links to %s, which does not exist", source_of(file), target)
    there = posixpath.relpath(site_path(target), posixpath.dirname(file.src_uri) or ".")
    return f"{opened}{text}]({there}{anchor or ''})"


def _fence(block: str) -> str:
    """Return a block of code; diagrams, which only a script from elsewhere could draw, are folded."""
    if not block.startswith("```mermaid"):
        return block
    lines = "\n".join(f"    {line}" for line in block.replace("```mermaid", "```text").splitlines())
    return f'??? note "The diagram, as Mermaid text"\n\n{lines}\n'
