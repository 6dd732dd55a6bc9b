"""Keys as files."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from hamu_ray.certificate.keys import fingerprint, load_private, load_public, new_key
from hamu_ray.config.sources.document import ConfigError


def test_only_its_owner_can_read_a_new_key(tmp_path: Path) -> None:
    public, known = new_key(tmp_path / "ada.pem")
    assert (tmp_path / "ada.pem").stat().st_mode & 0o777 == 0o600
    assert public == tmp_path / "ada.pub.pem"
    assert fingerprint(load_public(public)) == known
    assert fingerprint(load_private(tmp_path / "ada.pem").public_key()) == known


def test_a_key_is_never_replaced(key: Path) -> None:
    before = key.read_bytes()
    with pytest.raises(ConfigError, match="exists"):
        new_key(key)
    key.with_name("key.pub.pem").unlink()
    with pytest.raises(ConfigError, match="exists"):
        new_key(key)
    assert key.read_bytes() == before


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_openssl_has_the_same_fingerprint(key: Path) -> None:
    public = key.with_name("key.pub.pem")
    command = ["openssl", "pkey", "-pubin", "-in", public, "-outform", "DER"]
    der = subprocess.run(command, capture_output=True, check=True).stdout
    assert fingerprint(load_public(public)) == hashlib.sha256(der).hexdigest()


def test_a_key_that_others_can_read_is_refused(key: Path) -> None:
    key.chmod(0o640)
    with pytest.raises(ConfigError, match=r"chmod 600"):
        load_private(key)


def test_what_is_no_ed25519_key_is_refused(tmp_path: Path, key: Path) -> None:
    path = tmp_path / "other.pem"
    other = generate_private_key(SECP256R1())
    path.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=r"other\.pem: not an Ed25519 key"):
        load_private(path)
    path.write_text("-----BEGIN NONSENSE-----")
    with pytest.raises(ConfigError, match=r"other\.pem: not a private key"):
        load_private(path)
    with pytest.raises(ConfigError, match="not a public key"):
        load_public(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_private(tmp_path / "missing.pem")
