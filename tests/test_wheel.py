"""The wheel, built from the files of the checkout and installed in a folder of its own."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from hamu_ray.config.sources.shipped import shipped_spaces

ROOT = Path(__file__).parents[1]
TOP = ("pyproject.toml", "README.md", "LICENSE")
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file() and name.startswith(("hamu_ray/", "search_spaces/", "docs/study/", *TOP)):
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "source" / name).write_bytes((ROOT / name).read_bytes())
    build = ["wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([*PIP, *build, str(folder / "source")], check=True)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """The `hamu-ray` command of a new environment, which finds the dependencies in this one."""
    environment = wheel.parent / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = str(environment / "bin" / "python")
    install = [*PIP, "--python", python, "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, env=ENVIRONMENT, check=True)
    (site,) = environment.glob("lib/python3*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return environment / "bin" / "hamu-ray"


def run(command: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command in an empty folder."""
    empty = command.parents[2] / "empty"
    empty.mkdir(exist_ok=True)
    return subprocess.run(
        [str(command), *arguments], cwd=empty, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )


def test_it_has_the_files_that_are_not_modules(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    spaces = {name.split("/search_spaces/")[1] for name in names if "/search_spaces/" in name}
    assert spaces == {f"{name}.yaml" for name in shipped_spaces()}
    studies = {name.split("/share/hamu_ray/study/")[1] for name in names if "/share/hamu_ray/study/" in name}
    assert studies == {
        path.name for path in (ROOT / "docs" / "study").iterdir() if path.suffix in (".csv", ".yaml")
    }
    templates = {str(path.relative_to(ROOT)) for path in (ROOT / "hamu_ray").rglob("templates/*")}
    assert templates
    assert templates <= set(names)
    assert not [name for name in names if name.startswith(("tests/", "scripts/"))]


def test_a_shipped_search_space_runs_by_name_from_an_empty_folder(installed: Path) -> None:
    assert "digits" in run(installed, "--help").stdout
    assert run(installed, "--version").stdout.startswith("hamu-ray ")
    planned = run(installed, "tune", "digits", "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "hamu-q" in planned.stdout
    missing = run(installed, "tune", "digitz")
    assert (missing.stderr, missing.returncode) == ("error: digitz: no such file; did you mean digits?\n", 2)
    usage = run(installed, "tune").stderr
    study = run(installed, "reproduce", "study/digits", "--methods", "gdif")
    assert study.returncode == 2
    assert "--methods gdif: not in" in study.stderr
    assert "did you mean gdiff?" in study.stderr
    assert usage.startswith("usage: hamu-ray tune ")
