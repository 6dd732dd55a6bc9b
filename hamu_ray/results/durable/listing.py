"""A folder's list of its files with their digests, for files whose own format has none."""

from collections.abc import Iterable, Mapping

from hamu_ray.results.durable.sealed import Damaged, digest_of, read_sealed, write_sealed
from hamu_ray.storage import StoragePath, write_atomically

LISTING_FILE = "files.json"
"""File with the digest of each listed file, by name."""


def write_listed(folder: StoragePath, contents: Mapping[str, bytes]) -> None:
    """Write files by name, and add them to the folder's list."""
    for name, content in contents.items():
        write_atomically(folder / name, content)
    _add(folder, {name: digest_of(content) for name, content in contents.items()})


def list_files(folder: StoragePath, names: Iterable[str]) -> None:
    """Add existing files to the folder's list."""
    _add(folder, {name: digest_of((folder / name).read_bytes()) for name in names})


def read_listing(folder: StoragePath) -> dict[str, str]:
    """Return the digests of the listed files by name; empty without a list. Raises `Damaged`."""
    try:
        return dict(read_sealed(folder / LISTING_FILE)["files"])
    except FileNotFoundError:
        return {}


def unlist_files(folder: StoragePath, names: Iterable[str]) -> None:
    """Remove files from the folder's list."""
    gone = set(names)
    kept = {name: digest for name, digest in read_listing(folder).items() if name not in gone}
    write_sealed(folder / LISTING_FILE, {"files": kept})


def differs(path: StoragePath, digest: str) -> bool:
    """Whether a file is missing or has another digest."""
    try:
        return digest_of(path.read_bytes()) != digest
    except FileNotFoundError:
        return True


def _add(folder: StoragePath, digests: Mapping[str, str]) -> None:
    try:
        known = read_listing(folder)
    except Damaged:
        known = {}
    write_sealed(folder / LISTING_FILE, {"files": {**known, **digests}})
