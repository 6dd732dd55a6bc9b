"""Checking a certificate: its signature, and the hashes of the model, the forget list and the page."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hamu_ray.certificate.document import FORMAT, VERSION
from hamu_ray.certificate.signing import NotSigned, check_signature
from hamu_ray.config.sources.document import ConfigError
from hamu_ray.results.wording import shown
from hamu_ray.storage import StoragePath, sha256_of_file


@dataclass(frozen=True)
class Check:
    """One thing that was checked."""

    holds: bool
    text: str
    """What was found."""


def verify(path: Path, model: StoragePath | None, public: Ed25519PublicKey | None) -> list[Check]:
    """Check the certificate in a file; it is true if all checks hold.

    ``model`` is the folder of the unlearned model, by default that of the certificate. The list of the examples to
    forget is looked for in both.

    Raises:
        ConfigError: The file is no certificate, or the model's folder does not exist.
    """
    certificate, signature = read_certificate(path)
    beside: StoragePath = path.absolute().parent
    folder = beside if model is None else model
    if not folder.is_dir():
        raise ConfigError(f"--model {shown(folder)}: no such folder; give the folder of the unlearned model")
    try:
        files = dict(certificate["provenance"]["files"])
        listed, list_hash = certificate["removed"]["list"], certificate["removed"]["list_sha256"]
        documents = dict(certificate["documents"])
    except (LookupError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{path}: a certificate without {error}; give the file that certify wrote"
        ) from error
    lists = [place for place in dict.fromkeys([beside, folder]) if (place / listed).is_file()]
    return [
        _signature(certificate, signature, public),
        *(_file(place / listed, list_hash) for place in lists or [folder]),
        *(_file(folder / name, expected) for name, expected in files.items()),
        *(
            _file(beside / name, expected)
            for name, expected in documents.items()
            if (beside / name).is_file()
        ),
    ]


def read_certificate(path: Path) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return the certificate and the signature in a file; raises `ConfigError`."""
    try:
        document = json.loads(path.read_bytes(), object_pairs_hook=_once)
        certificate, signature = document["certificate"], document["signature"]
        known = certificate["format"] == FORMAT
        version = certificate["format_version"]
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise ConfigError(
            f"{path}: not a certificate; give the certificate.json that certify wrote"
        ) from error
    if not known or version != VERSION:
        raise ConfigError(
            f"{path}: not a certificate of version {VERSION}; use the version of hamu_ray that wrote it"
        )
    return certificate, signature


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object's items; raises `ValueError` for a repeated key, which readers may understand differently."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _signature(
    certificate: Mapping[str, Any], signature: Mapping[str, Any] | None, public: Ed25519PublicKey | None
) -> Check:
    try:
        found = check_signature(certificate, signature, public)
    except NotSigned as error:
        return Check(False, str(error))
    whose = "as given" if public else "which the certificate itself names: compare it with the signer's"
    return Check(True, f"signed with the key {found}, {whose}")


def _file(path: StoragePath, expected: str) -> Check:
    if not path.is_file():
        return Check(False, f"{shown(path)} is missing")
    found = sha256_of_file(path)
    if found == expected:
        return Check(True, f"{shown(path)} is unchanged")
    return Check(False, f"{shown(path)} was changed: its SHA-256 is {found}, the certificate has {expected}")


def lines_of(checks: list[Check]) -> Iterator[str]:
    """Yield the answer, and what was found: what does not hold first."""
    yield "true" if all(check.holds for check in checks) else "false"
    for check in sorted(checks, key=lambda check: check.holds):
        yield f"  {'ok   ' if check.holds else 'wrong'} {check.text}"
