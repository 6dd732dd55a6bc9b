"""Writing the certificate of a run."""

import json
from dataclasses import dataclass
from pathlib import Path

from hamu_ray.certificate.document import certificate_of
from hamu_ray.certificate.evidence import read_evidence
from hamu_ray.certificate.keys import fingerprint, load_private
from hamu_ray.certificate.page import page_of
from hamu_ray.certificate.pdf import pdf_of
from hamu_ray.certificate.signing import signature_of
from hamu_ray.certificate.statement import statement_of
from hamu_ray.results.folder import FORGET_FILE
from hamu_ray.results.provenance import sha256_of
from hamu_ray.storage import StoragePath, write_atomically

CERTIFICATE, PAGE, PDF = "certificate.json", "certificate.html", "certificate.pdf"


@dataclass(frozen=True)
class Written:
    """A written certificate."""

    files: tuple[StoragePath, ...]
    fingerprint: str | None
    """Of the key that signed it; None if it is not signed."""


def certify(folder: StoragePath, key: Path | None, output: StoragePath) -> Written:
    """Write the certificate of the run in a folder: JSON, page, PDF, and the list of the examples to forget.

    Raises:
        ConfigError: The folder or the key cannot be used; nothing is written then.
    """
    private = None if key is None else load_private(key)
    signer = None if private is None else fingerprint(private.public_key())
    evidence = read_evidence(folder)
    certificate = certificate_of(evidence)
    statement = statement_of(certificate, signer)
    pages = {PAGE: page_of(statement), PDF: pdf_of(statement, certificate["made"])}
    certificate["documents"] = {name: sha256_of(content) for name, content in pages.items()}
    document = {
        "certificate": certificate,
        "signature": None if private is None else signature_of(certificate, private),
    }
    files = {
        FORGET_FILE: evidence.forgotten,
        **pages,
        CERTIFICATE: json.dumps(document, indent=2, ensure_ascii=False).encode(),
    }
    for name, content in files.items():
        write_atomically(output / name, content)
    return Written(tuple(output / name for name in (PAGE, PDF, CERTIFICATE)), signer)
