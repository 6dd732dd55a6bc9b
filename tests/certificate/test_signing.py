"""Signatures of plain data."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from hamu_ray.certificate.signing import NotSigned, check_signature, plain, signature_of

KEY, OTHER = (Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in (1, 2))

leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)
documents = st.dictionaries(st.text(max_size=4), values, max_size=4).map(plain)


@settings(max_examples=40)
@given(documents)
def test_a_signature_holds_after_any_json_library(document: dict) -> None:
    signature = signature_of(document, KEY)
    again = json.loads(json.dumps(document, indent=3, sort_keys=True))
    assert check_signature(again, signature, KEY.public_key()) == signature["fingerprint"]
    assert check_signature(again, signature, None) == signature["fingerprint"]


@settings(max_examples=40)
@given(documents, documents)
def test_no_other_document_has_it(document: dict, other: dict) -> None:
    signature = signature_of(document, KEY)
    if json.dumps(plain(other), sort_keys=True) == json.dumps(document, sort_keys=True):
        return
    if other == document:  # 1 and 1.0, 0.0 and -0.0 are the same number in JSON
        return
    with pytest.raises(NotSigned, match="changed after it was signed"):
        check_signature(other, signature, None)


def test_another_key_is_named() -> None:
    signature = signature_of({"a": 1}, OTHER)
    with pytest.raises(
        NotSigned, match=f"signed with the key {signature['fingerprint']}, not with the given"
    ):
        check_signature({"a": 1}, signature, KEY.public_key())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"value": "no base64"}, "not readable"),
        ({"value": ""}, "changed"),
        ({"public_key": "none"}, "not readable"),
        ({"algorithm": "none"}, "algorithm"),
        ({"fingerprint": "0" * 64}, "fingerprint"),
    ],
)
def test_a_damaged_signature_does_not_hold(change: dict, reason: str) -> None:
    with pytest.raises(NotSigned, match=reason):
        check_signature({"a": 1}, {**signature_of({"a": 1}, KEY), **change}, None)


def test_a_missing_signature_does_not_hold() -> None:
    with pytest.raises(NotSigned, match="not signed"):
        check_signature({"a": 1}, None, None)
