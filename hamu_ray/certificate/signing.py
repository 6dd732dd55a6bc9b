"""Signed JSON: Ed25519 over the canonical form of RFC 8785 (JCS)."""

import base64
import binascii
import math
from collections.abc import Mapping
from typing import Any

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from hamu_ray.certificate.keys import fingerprint, pem, public_of

ALGORITHM = "Ed25519 over RFC 8785 (JCS)"

EXACT = 2**53 - 1
"""Largest integer that every JSON parser reads exactly."""


class NotSigned(ValueError):
    """A signature is missing or does not hold; the message says why."""


def plain(value: Any) -> Any:
    """Return a value as canonical JSON can hold it: undefined numbers as null, integers beyond 2**53 as text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > EXACT:
        return str(value)
    return value


def signature_of(document: Mapping[str, Any], key: Ed25519PrivateKey) -> dict[str, str]:
    """Return the signature of plain data, with the public key that verifies it."""
    public = key.public_key()
    return {
        "algorithm": ALGORITHM,
        "fingerprint": fingerprint(public),
        "public_key": pem(public).decode(),
        "value": base64.b64encode(key.sign(rfc8785.dumps(dict(document)))).decode(),
    }


def check_signature(
    document: Mapping[str, Any], signature: Mapping[str, Any] | None, expected: Ed25519PublicKey | None
) -> str:
    """Return the fingerprint of the key that signed a document.

    Without ``expected``, the public key is the one in the signature: the document is then known to be unchanged since
    it was signed with this key, not whose key it is.

    Raises:
        NotSigned: It is not signed, was changed, or was signed with another key than ``expected``.
    """
    if not signature:
        raise NotSigned("the certificate is not signed")
    if signature.get("algorithm") != ALGORITHM:
        raise NotSigned(f"the signature's algorithm is not {ALGORITHM}")
    try:
        public = public_of(str(signature.get("public_key")).encode())
        value = base64.b64decode(str(signature.get("value")), validate=True)
    except (ValueError, binascii.Error) as error:
        raise NotSigned(f"the signature is not readable: {error}") from error
    found = fingerprint(public)
    if expected is not None and fingerprint(expected) != found:
        raise NotSigned(f"signed with the key {found}, not with the given key {fingerprint(expected)}")
    if signature.get("fingerprint") != found:
        raise NotSigned("the fingerprint is not that of the public key")
    try:
        public.verify(value, rfc8785.dumps(dict(document)))
    except (InvalidSignature, rfc8785.CanonicalizationError):
        raise NotSigned("the certificate was changed after it was signed") from None
    return found
