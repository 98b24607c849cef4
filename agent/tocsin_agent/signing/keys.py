"""Ed25519 keys (RFC 8032) in PEM files, and the short id by which a signature names one."""

from __future__ import annotations

import hashlib
import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from tocsin_agent.errors import MissingExtraError, SigningError
from tocsin_agent.regular_file import read_regular

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

KEY_BYTES = 32
_ID_CHARS = 16
_MAX_BYTES = 16 * 1024
_HOW_TO_MAKE = "make one with `tocsin key new FILE`"


def key_id(public: bytes) -> str:
    """Return the id of a key: the first 16 hexadecimal digits of the SHA-256 of its 32 bytes."""
    return hashlib.sha256(public).hexdigest()[:_ID_CHARS]


def public_bytes(key: Ed25519PublicKey) -> bytes:
    """Return the 32 bytes of a public key."""
    return key.public_bytes_raw()


def new_private_key(path: Path) -> Ed25519PrivateKey:
    """Make a key and write it, in PEM, to a new file that only its owner can read.

    Raises
    ------
    SigningError
        If the file exists or cannot be written.
    MissingExtraError
        Without the package cryptography.
    """
    require_cryptography()
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - an extra
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

    key = ed25519.Ed25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(pem)
    except OSError as error:
        raise SigningError(f"{path} cannot be written: {error.strerror}") from error
    return key


def load_private_key(path: Path) -> Ed25519PrivateKey:
    """Read an ed25519 private key from a PEM file.

    Raises
    ------
    SigningError
        If it cannot be read or holds no such key.
    MissingExtraError
        Without the package cryptography.
    """
    pem = _read(path)
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - an extra
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SigningError(f"{path} is not a private key: {error}") from error
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise SigningError(f"{path} is not an ed25519 key: {_HOW_TO_MAKE}")
    return key


def load_public_key(path: Path) -> Ed25519PublicKey:
    """Read an ed25519 public key from a PEM file; raises as `load_private_key`."""
    pem = _read(path)
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - an extra
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SigningError(f"{path} is not a public key: {error}") from error
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise SigningError(f"{path} is not an ed25519 key: {_HOW_TO_MAKE}")
    return key


def open_to_others(path: Path) -> bool:
    """Return whether other users can read a file."""
    try:
        return bool(path.stat().st_mode & 0o007)
    except OSError:
        return False


def _read(path: Path) -> bytes:
    require_cryptography()
    try:
        return read_regular(path, _MAX_BYTES)
    except OSError as error:
        raise SigningError(f"{path} cannot be read: {error.strerror}") from error


def require_cryptography() -> None:
    """Raise `MissingExtraError` without the package cryptography."""
    if find_spec("cryptography") is None:
        raise MissingExtraError(
            "signing", "signatures need cryptography: pip install 'tocsin[signing]'"
        )
