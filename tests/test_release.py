"""The check before a release, on this checkout and on copies with planted defects."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOP = ("pyproject.toml", "README.md", "LICENSE", "CITATION.cff", "CHANGELOG.md")


def check(root: Path, *parts: str) -> tuple[int, list[str]]:
    command = [
        sys.executable,
        str(ROOT / "scripts" / "release_check"),
        "--root",
        str(root),
        "--parts",
        *parts,
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.stderr == ""
    return ended.returncode, ended.stdout.splitlines()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A checkout of its own with what is built."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "hamu_ray", "search_spaces", *TOP],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    for command in (["git", "init", "--quiet"], ["git", "add", "--all"]):
        subprocess.run(command, cwd=tmp_path, check=True)
    return tmp_path


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_this_checkout_can_be_released(copy: Path) -> None:
    assert check(copy, "versions", "files") == (0, ["passed versions", "passed files"])


def test_versions_that_disagree(copy: Path) -> None:
    change(copy / "pyproject.toml", 'version = "0.1.0"', 'version = "0.2.0"')
    assert check(copy, "versions") == (
        1,
        [
            "FAILED versions: CITATION.cff: version is 0.1.0, in pyproject.toml 0.2.0",
            "FAILED versions: CHANGELOG.md: the first entry is [0.1.0] - unreleased; "
            "write [0.2.0] - YYYY-MM-DD, or unreleased",
        ],
    )


def test_files_that_are_missing(copy: Path) -> None:
    change(copy / "pyproject.toml", 'license-files = ["LICENSE"]', "license-files = []")
    change(copy / "pyproject.toml", '"hamu_ray.reports.page" = ["templates/*"]', "")
    change(copy / "pyproject.toml", '"search_spaces/cifar/*.yaml"', "")
    (copy / "LICENSE").rename(copy / "licence.txt")
    code, lines = check(copy, "files")
    missing = {line.removeprefix("FAILED files: ") for line in lines}
    assert code == 1
    assert {
        "wheel: lacks LICENSE; name it in license-files of pyproject.toml",
        "wheel: lacks search_spaces/cifar/rho_sweep.yaml",
        "sdist: lacks LICENSE",
    } <= missing
    assert any(line.startswith("wheel: lacks hamu_ray/reports/page/templates/") for line in missing)
