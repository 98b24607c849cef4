"""Signatures of model cards: ed25519 (RFC 8032), 64 bytes beside the card.

A card states the SHA-256 of its `.onnx` file, so that a signature of the card covers both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tocsin_agent.errors import MissingExtraError, SigningError
from tocsin_agent.signing import keys
from tocsin_agent.updates.files import contract_of, read_file, unwritable
from tocsin_models import Model, check_answers
from tocsin_models.errors import ModelError, ModelFault

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def sign(path: Path, private_key: Path, release: int | None = None) -> Path:
    """Sign a model, after checking that it can be used; return the path of the signature.

    Parameters
    ----------
    path : Path
        The `.onnx` file, with its card beside it.
    private_key : Path
        The vendor's ed25519 private key, PEM.
    release : int, optional
        Written into the card before it is signed. A device refuses a lower number than that of a
        model that it has used.

    Raises
    ------
    ModelError
        If the model cannot be used with this version, the key is not an ed25519 key, or the files
        cannot be written.
    """
    with _as_model_error():
        key = keys.load_private_key(private_key)
    check_answers(Model(path, contract_of(path)))
    signature, card = path.with_suffix(".sig"), path.with_suffix(".json")
    try:
        if release is not None:
            stated = msgspec.json.decode(read_file(card)) | {"release": release}
            card.write_bytes(msgspec.json.format(msgspec.json.encode(stated), indent=2) + b"\n")
        signature.write_bytes(key.sign(read_file(card)))
    except OSError as error:
        raise unwritable(signature, error) from error
    return signature


def check_signature(path: Path, files: Mapping[str, bytes], public_key: Path) -> None:
    """Check the signature of a model's card.

    Parameters
    ----------
    path : Path
        The `.onnx` file, named in errors.
    files : mapping of str to bytes
        What the card (`.json`) and the signature (`.sig`) hold.
    public_key : Path
        The vendor's ed25519 public key, PEM.

    Raises
    ------
    ModelError
        `SIGNATURE`, if the card was not signed with the key that belongs to `public_key`;
        `MISSING`, if a file cannot be read; `MISSING_EXTRA` without the package cryptography.
    """
    key = load_public_key(public_key)
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an extra

    try:
        key.verify(files[".sig"], files[".json"])
    except InvalidSignature as error:
        raise ModelError(
            ModelFault.SIGNATURE,
            f"{path.stem}.sig is no signature of {path.stem}.json by the owner of {public_key}: "
            "ask the vendor for the three files again",
        ) from error


def load_public_key(path: Path) -> Ed25519PublicKey:
    """Return a vendor's ed25519 public key from a PEM file; raises as `check_signature`."""
    with _as_model_error():
        return keys.load_public_key(path)
    raise AssertionError  # the block above returns or raises


@contextmanager
def _as_model_error() -> Iterator[None]:
    """Turn the errors of keys into those of models."""
    try:
        yield
    except SigningError as error:
        missing = isinstance(error.__cause__, FileNotFoundError)
        fault = ModelFault.MISSING if missing else ModelFault.SIGNATURE
        raise ModelError(fault, str(error)) from error
    except MissingExtraError as error:
        raise ModelError(
            ModelFault.MISSING_EXTRA,
            "signatures of models need cryptography: pip install 'tocsin[update]'",
        ) from error
