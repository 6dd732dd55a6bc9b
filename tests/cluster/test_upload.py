"""The upload of `ray job submit --working-dir .`, packed by Ray itself."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from ray._private.ray_constants import get_runtime_env_default_excludes
from ray._private.runtime_env.packaging import create_package

ROOT = Path(__file__).parents[2]
MOST_BYTES = 3_000_000
NEEDED_BY_PIP = {"pyproject.toml", "constraints.txt", "README.md", "LICENSE"}
"""`cluster/runtime_env.yaml` makes pip install the upload itself."""
STUDY = {
    str(path.relative_to(ROOT)) for kind in ("csv", "yaml") for path in ROOT.glob(f"docs/study/*.{kind}")
}
"""What `python -m hamu_ray.reproduce` compares with."""
NOT_FOR_JOBS = {
    "runs/sweeps/digits-1/front.csv",
    "runs/models/1/model.safetensors",
    ".venv/lib/big.so",
    ".git/config",
    ".env",
    ".hamu-ray-17-abc/token",
    "hamu_ray/__pycache__/tune.cpython-311.pyc",
    "mlflow.db",
    "server.pem",
    "kept/model.safetensors",
}


@pytest.fixture(scope="module")
def uploaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str]]:
    """The archive of a used checkout, and its files."""
    folder = tmp_path_factory.mktemp("checkout")
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    for name in tracked.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    for name in NOT_FOR_JOBS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\0" * 100_000)
    archive = folder.parent / "upload.zip"
    create_package(str(folder), archive, include_gitignore=True, excludes=get_runtime_env_default_excludes())
    with zipfile.ZipFile(archive) as file:
        return archive, {info.filename for info in file.infolist() if not info.is_dir()}


def test_it_is_small(uploaded: tuple[Path, set[str]]) -> None:
    assert uploaded[0].stat().st_size < MOST_BYTES


def test_it_has_what_a_job_needs(uploaded: tuple[Path, set[str]], tmp_path: Path) -> None:
    package = {str(path.relative_to(ROOT)) for path in (ROOT / "hamu_ray").rglob("*.py")}
    spaces = {str(path.relative_to(ROOT)) for path in (ROOT / "search_spaces").glob("*.yaml")}
    assert package | spaces | STUDY | NEEDED_BY_PIP <= uploaded[1]
    with zipfile.ZipFile(uploaded[0]) as file:
        file.extractall(tmp_path)
    found = "from hamu_ray.reproduce.published import published; print(published('study/digits').path)"
    done = subprocess.run(
        [sys.executable, "-c", found],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == str(tmp_path / "docs/study/digits.yaml"), done.stderr


def test_it_has_nothing_else(uploaded: tuple[Path, set[str]]) -> None:
    others = {name for name in uploaded[1] if name.split("/")[0] not in ("hamu_ray", "search_spaces")}
    assert others <= STUDY | NEEDED_BY_PIP | {".gitignore", ".rayignore"}
    assert not uploaded[1] & NOT_FOR_JOBS
