"""Files that come with the package, found by name: search spaces such as `digits` and `cifar/job_grid`, and studies."""

from importlib import metadata
from pathlib import Path, PurePosixPath

import hamu_ray

FOLDER = "search_spaces"
SUFFIXES = (".yaml", ".yml")


def shipped_spaces() -> dict[str, Path]:
    """Return the search spaces by name."""
    return shipped_files(FOLDER)


def shipped_files(folder: str) -> dict[str, Path]:
    """Return the YAML files of a folder by name: of the checkout that the package runs from, or installed with it."""
    checkout = Path(hamu_ray.__file__).parents[1] / folder
    if checkout.is_dir():
        files = {path.relative_to(checkout): path for path in checkout.rglob("*.yaml")}
    else:
        files = {Path(name): path for name, path in _installed(Path(folder).name).items()}
    return {name.with_suffix("").as_posix(): path for name, path in sorted(files.items())}


def space_path(given: str) -> str:
    """Return the path of a configuration that is given by its path or by the name of a shipped search space."""
    if given.endswith(SUFFIXES) or "://" in given or Path(given).is_file():
        return given
    return str(shipped_spaces().get(given, given))


def name_of(path: str | Path) -> str | None:
    """Return the name of the shipped space that a path would be in a checkout; None if there is none."""
    parts = PurePosixPath(str(path)).with_suffix("").parts
    inside = parts[parts.index(FOLDER) + 1 :] if FOLDER in parts else parts
    name = "/".join(inside)
    return name if name in shipped_spaces() else None


def _installed(folder: str) -> dict[str, Path]:
    """Return the files below `share/hamu_ray/FOLDER` by their path in it."""
    try:
        files = metadata.files("hamu-ray") or []
    except metadata.PackageNotFoundError:
        return {}
    inside = ((file.as_posix().partition(f"share/hamu_ray/{folder}/")[2], file) for file in files)
    return {
        name: Path(str(file.locate())).resolve() for name, file in inside if name and file.suffix == ".yaml"
    }
