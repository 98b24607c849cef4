"""The signed description of a version of the agent: what it is, what it needs, every file's hash.

The rules are those of The Update Framework's role "targets": a threshold of keys, an expiry,
numbered releases, and length and SHA-256 of all content. There is one file to describe and no
repository, so the roles "snapshot" and "timestamp" have nothing to do (decision 57).
"""

from __future__ import annotations

import base64
import binascii
import platform
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from tocsin_agent.errors import SigningError, UpdateError, UpdateFault
from tocsin_agent.signing import keys

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

FORMAT = 1
MAX_MANIFEST_BYTES = 8 * 1024 * 1024
MAX_SIGNATURES_BYTES = 64 * 1024
_MAX_PAYLOAD_BYTES = 512 * 1024 * 1024
_MAX_FILES = 50_000

Size = Annotated[int, Meta(ge=0, le=_MAX_PAYLOAD_BYTES)]
Hash = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]


class File(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Length and SHA-256 of a file."""

    size: Size
    sha256: Hash


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A version of the agent.

    Attributes
    ----------
    format : int
        Of this description.
    version : str
        As `tocsin --version` states it.
    release : int
        Counts up; a device refuses a lower one than it has used.
    least_release : int
        The lowest release from which there is a step to this one; the package counts as 0.
    python, machine : str
        Such as `3.11` and `x86_64`: what the compiled modules were built for.
    outbox_format : int
        Of the outbox that it writes.
    expires : datetime
        Aware UTC; not accepted afterwards. A version in use does not expire.
    compression : str
        Of the payload: `xz`, or `none` where what carries it compresses, or sends differences only.
    payload : File
        The archive.
    files : dict
        Every file of the version, by its path below the slot's folder.
    """

    format: int
    version: Annotated[str, Meta(pattern=r"^[0-9A-Za-z.+~-]{1,64}$(?!\n)")]
    release: Annotated[int, Meta(ge=1, le=2**53)]
    least_release: Annotated[int, Meta(ge=0, le=2**53)] = 0
    python: Annotated[str, Meta(pattern=r"^3\.\d{1,3}$(?!\n)")]
    machine: Annotated[str, Meta(pattern=r"^[0-9a-z_]{1,32}$(?!\n)")]
    outbox_format: Annotated[int, Meta(ge=0)]
    expires: Annotated[datetime, Meta(tz=True)]
    compression: Literal["xz", "none"] = "xz"
    payload: File
    files: Annotated[dict[str, File], Meta(max_length=_MAX_FILES)]

    def __post_init__(self) -> None:
        for path in self.files:
            parts = path.split("/")
            if {"", ".", ".."} & set(parts) or "\\" in path or not path.isprintable():
                raise ValueError(f"the path {path!r} leads out of the slot")

    @property
    def name(self) -> str:
        """Version and release, for messages."""
        return f"{self.version} (release {self.release})"

    @property
    def unpacked_bytes(self) -> int:
        """Size of all files."""
        return sum(file.size for file in self.files.values())


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A signature of the manifest's bytes, and the id of the key."""

    key: str
    signature: str


def decode(content: bytes) -> Manifest:
    """Decode a manifest.

    Raises
    ------
    UpdateError
        `UNREADABLE`, or `UNFIT` if a newer agent is needed to read it.
    """
    try:
        stated = msgspec.json.decode(content, type=_Format).format
        if stated == FORMAT:
            return msgspec.json.decode(content, type=Manifest)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise UpdateError(UpdateFault.UNREADABLE, f"no manifest of an agent: {error}") from error
    raise UpdateError(
        UpdateFault.UNFIT,
        f"a bundle of format {stated}, and this version reads format {FORMAT}: install the package",
    )


class _Format(msgspec.Struct):
    format: int


def sign(content: bytes, key: Ed25519PrivateKey) -> Signature:
    """Return the signature of a manifest."""
    public = keys.public_bytes(key.public_key())
    return Signature(keys.key_id(public), base64.b64encode(key.sign(content)).decode())


def check_signatures(
    content: bytes, signatures: bytes, trusted: Sequence[Path], threshold: int
) -> None:
    """Check that enough of the trusted keys have signed a manifest; each counts once.

    Raises
    ------
    UpdateError
        `SIGNATURE`, also where a key cannot be read.
    """
    try:
        made = msgspec.json.decode(signatures, type=tuple[Signature, ...])
        known = [keys.load_public_key(path) for path in trusted]
    except (msgspec.MsgspecError, RecursionError, SigningError) as error:
        raise UpdateError(UpdateFault.SIGNATURE, f"it cannot be verified: {error}") from error
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an extra

    signed = set[str]()
    for key in known:
        name = keys.key_id(keys.public_bytes(key))
        for one in made:
            if one.key != name:
                continue
            try:
                key.verify(base64.b64decode(one.signature, validate=True), content)
            except (InvalidSignature, binascii.Error, ValueError):
                continue
            signed.add(name)
    if len(signed) < threshold:
        raise UpdateError(
            UpdateFault.SIGNATURE,
            f"{len(signed)} of the {len(trusted)} keys under update.keys have signed it, and "
            f"{threshold} must",
        )


def check_fit(manifest: Manifest) -> None:
    """Check that a version can run on this machine, by this Python.

    Raises
    ------
    UpdateError
        `UNFIT`.
    """
    python = "{}.{}".format(*sys.version_info)
    for what, needed, here in (
        ("processor", manifest.machine, platform.machine()),
        ("Python", manifest.python, python),
    ):
        if needed != here:
            raise UpdateError(
                UpdateFault.UNFIT, f"it was built for the {what} {needed}, and here is {here}"
            )
