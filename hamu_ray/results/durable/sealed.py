"""JSON files with a digest of their content, so that damage is detected."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from hamu_ray.results.wording import shown
from hamu_ray.storage import StoragePath, write_atomically

DIGEST = "digest"
"""Key of the digest."""


class Damaged(ValueError):
    """A file's content was damaged; the message is one line that names the file."""


def digest_of(content: bytes, size: int = 16) -> str:
    """Return the BLAKE2b digest of some bytes, ``size`` bytes long, in hexadecimal."""
    return hashlib.blake2b(content, digest_size=size).hexdigest()


def seal(document: Mapping[str, Any]) -> bytes:
    """Serialise plain data to indented JSON with its digest; NaN stays NaN, which Python's JSON parser accepts."""
    plain = json.loads(json.dumps(document))  # as a reader sees it: string keys, lists
    return json.dumps({**plain, DIGEST: _digest(plain)}, indent=2).encode()


def unseal(content: bytes, name: str) -> dict[str, Any]:
    """Parse the output of `seal`; raises `Damaged` with the file's ``name`` if the content does not match."""
    try:
        document = json.loads(content)
        found = document.pop(DIGEST)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise Damaged(f"{name}: damaged: it is not a JSON document with a digest") from error
    if found != _digest(document):
        raise Damaged(f"{name}: damaged: its content does not match its digest")
    return dict(document)


def write_sealed(path: StoragePath, document: Mapping[str, Any]) -> None:
    """Write plain data as JSON with its digest."""
    write_atomically(path, seal(document))


def read_sealed(path: StoragePath) -> dict[str, Any]:
    """Read the output of `write_sealed`; raises `Damaged`, or `FileNotFoundError` if the file does not exist."""
    return unseal(path.read_bytes(), shown(path))


def _digest(document: Mapping[str, Any]) -> str:
    return digest_of(json.dumps(document, sort_keys=True).encode())
