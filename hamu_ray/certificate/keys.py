"""Ed25519 keys (RFC 8032) of the people who sign, as PEM files."""

import hashlib
import os
from getpass import getpass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from hamu_ray.config.sources.document import ConfigError

PRIVATE, PUBLIC = 0o600, 0o644
"""Permissions of the two files."""
OTHERS = 0o077
"""Permissions of group and others."""


def new_key(path: Path) -> tuple[Path, str]:
    """Write a new private key that only its owner can read, and its public key; existing files are not replaced.

    Returns the public key's file, and its fingerprint.

    Raises:
        ConfigError: A file exists, or cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    public = path.with_name(f"{path.stem}.pub.pem")
    if public.exists():
        raise ConfigError(f"{public}: exists; give another name, a key is never replaced")
    _write(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), PRIVATE)
    _write(public, pem(key.public_key()), PUBLIC)
    return public, fingerprint(key.public_key())


def load_private(path: Path) -> Ed25519PrivateKey:
    """Read a private key, asking for its password if it has one.

    Raises:
        ConfigError: It is no such key, others can read it, or the password is wrong.
    """
    content = _read(path)
    if path.stat().st_mode & OTHERS:
        raise ConfigError(f"{path}: other users can read this private key; run chmod 600 {path}")
    try:
        password = getpass(f"Password of {path}: ").encode() if b"ENCRYPTED" in content else None
        key = load_pem_private_key(content, password)
    except (ValueError, TypeError, UnsupportedAlgorithm, EOFError) as error:
        raise ConfigError(f"{path}: not a private key in PEM format, or a wrong password: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path}: not an Ed25519 key; make one with --new-key KEY.pem")
    return key


def load_public(path: Path) -> Ed25519PublicKey:
    """Read a public key; raises `ConfigError`."""
    try:
        return public_of(_read(path))
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error


def public_of(content: bytes) -> Ed25519PublicKey:
    """Return a public key from PEM; raises `ValueError`."""
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("not a public key in PEM format") from error
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("not an Ed25519 public key")
    return key


def pem(key: Ed25519PublicKey) -> bytes:
    """Return a public key as PEM."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def fingerprint(key: Ed25519PublicKey) -> str:
    """Return the SHA-256 of a public key in DER format, in hexadecimal."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error


def _write(path: Path, content: bytes, permissions: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, permissions)
    except FileExistsError:
        raise ConfigError(f"{path}: exists; give another name, a key is never replaced") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
