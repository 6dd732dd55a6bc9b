"""The documentation site: built with warnings as errors, complete, and without anything from other hosts."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from hamu_ray.config.run import RunConfig
from hamu_ray.config.sources.files import load_sweep
from hamu_ray.config.sources.keys import key_paths
from hamu_ray.methods import METHODS, all_hyperparameters
from hamu_ray.metrics.table import BLOCK, OF_TRIALS, SWEEP

ROOT = Path(__file__).parents[1]
PROXY = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")}
"""Nothing listens there, so that a build that needs a network fails."""


def build(target: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **PROXY, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(target), *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("docs") / "site"
    ended = build(target)
    assert ended.returncode == 0, ended.stderr
    return target


class Loaded(HTMLParser):
    """Collects what a browser loads by itself: scripts, styles, pictures, fonts, frames."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        if tag == "link" and found.get("rel") not in ("canonical", "next", "prev"):
            self.urls.append(found.get("href") or "")
        elif tag in ("script", "img", "iframe", "source", "video", "audio"):
            self.urls.append(found.get("src") or "")
        self.urls += re.findall(r"url\(([^)]+)\)", found.get("style") or "")


def outside(site: Path) -> list[str]:
    found = []
    for page in site.rglob("*.html"):
        loaded = Loaded()
        loaded.feed(page.read_text())
        found += [f"{page.name}: {url}" for url in loaded.urls if re.match(r"['\"]?(https?:)?//", url)]
        if 'class="mermaid"' in page.read_text():
            found.append(f"{page.name}: a diagram, whose script the theme loads from elsewhere")
    for style in site.rglob("*.css"):
        urls = re.findall(r"(?:url\(|@import )['\"]?((?:https?:)?//[^'\")]+)", style.read_text())
        found += [f"{style.name}: {url}" for url in urls]
    return found


def test_nothing_comes_from_other_hosts(site: Path) -> None:
    assert outside(site) == []


def test_what_comes_from_other_hosts_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<script src="https://x.org/a.js"></script><img src="b.png">')
    (tmp_path / "a.css").write_text('@import "https://x.org/a.css"; a {background: url(//x.org/b.png)}')
    assert len(outside(tmp_path)) == 3


def test_every_key_method_hyperparameter_and_metric_is_there(site: Path) -> None:
    keys = set(key_paths(RunConfig())) | {"search.samples", "search.pruning.margin", "tracking.uri"}
    hyperparameters = {each.name for _, each in all_hyperparameters()}
    metrics = {name for metrics in (*OF_TRIALS, BLOCK, SWEEP) for name in metrics}
    for page, names in {
        "reference/configuration.html": keys | {f"method.{name}" for name in hyperparameters},
        "methods.html": set(METHODS) | hyperparameters,
        "reference/metrics.html": metrics,
    }.items():
        text = (site / page).read_text()
        assert not [name for name in names if f"<code>{name}</code>" not in text], page


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
"""The pages about this package alone; plug-ins are not installed."""
SPACES = [
    pytest.param(block, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, block in enumerate(
        re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    )
    if re.search(r"^space:", block, re.MULTILINE) and not re.search(r"^extends:", block, re.MULTILINE)
]


@pytest.mark.parametrize("block", SPACES)
def test_search_spaces_are_valid(block: str, tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(block)
    assert load_sweep(tmp_path / "space.yaml").space


def test_a_link_to_nothing_fails(tmp_path: Path) -> None:
    """In a copy of the documents, with one more link."""
    copy = tmp_path / "copy"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if name.startswith(("docs/", "cluster/")) or name.endswith((".md", "mkdocs.yml")) or "/" not in name:
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    page = copy / "docs" / "faq.md"
    page.write_text(page.read_text() + "\n[nowhere](nowhere.md)\n")
    ended = build(tmp_path / "site", "--config-file", str(copy / "mkdocs.yml"))
    assert ended.returncode == 1
    assert "docs/faq.md links to docs/nowhere.md, which does not exist" in ended.stderr
