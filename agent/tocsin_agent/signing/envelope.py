"""The signature of one message: what is signed, and how it travels.

Signed are the bytes that are published, the topic and the time, so that a document can neither be
changed, nor moved to another topic, nor sent again later without notice. The signature travels
beside the payload, as an MQTT 5 user property: documents do not change, and a receiver that knows
nothing of signatures ignores it.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tocsin_agent.signing.keys import key_id, load_private_key, public_bytes

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PROPERTY = "tocsin-signature"
"""Name of the user property."""
MAX_CHARS = 256
_PREFIX = "tocsin-"
_NOTHING: Mapping[str, str] = {}
_VERSION = "v1"
_SIGNATURE_BYTES = 64
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Signature(NamedTuple):
    """A signature as it was read: whose key, when, and the 64 bytes; nothing is checked yet."""

    key: str
    at_us: int
    signature: bytes

    @property
    def at(self) -> datetime:
        """UTC at which it was made, as it states; the end of the calendar at the latest."""
        try:
            return _EPOCH + self.at_us * _MICROSECOND
        except OverflowError:
            return datetime.max.replace(tzinfo=UTC)


class Signer:
    """Signs messages with one key; used by one thread at a time.

    Parameters
    ----------
    key : Ed25519PrivateKey
        The key.
    utc : callable, optional
        Returns aware UTC; for tests.

    Attributes
    ----------
    id : str
        The id of the key.
    """

    def __init__(
        self, key: Ed25519PrivateKey, utc: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.id = key_id(public_bytes(key.public_key()))
        self._key, self._utc = key, utc
        self._last_us = 0

    @classmethod
    def from_file(cls, path: Path) -> Signer:
        """Return the signer of a PEM file; raises as `load_private_key`."""
        return cls(load_private_key(path))

    def sign(self, topic: str, payload: bytes, user: Mapping[str, str] = _NOTHING) -> str:
        """Return the value of the user property; each call states a later time than the last."""
        # A clock that is set back must not make the next message look like a replay of the last.
        now_us = max((self._utc() - _EPOCH) // _MICROSECOND, self._last_us + 1)
        self._last_us = now_us
        signature = self._key.sign(signed_bytes(topic, now_us, payload, user))
        text = binascii.b2a_base64(signature, newline=False).decode("ascii")
        return f"{_VERSION} {self.id} {now_us} {text}"


def signed_bytes(
    topic: str, at_us: int, payload: bytes, user: Mapping[str, str] = _NOTHING
) -> bytes:
    """Return the bytes that a signature covers.

    These are, each as its length, a colon and UTF-8: the version, the topic, the time, name and
    value of each user property whose name begins with `tocsin-` but the signature, by name; then
    the payload. A broker may add properties of its own.
    """
    parts = [PROPERTY, _VERSION, topic, str(at_us)]
    for name in sorted(user):
        if name.startswith(_PREFIX) and name != PROPERTY:
            parts += [name, user[name]]
    encoded = [part.encode("utf-8", "surrogatepass") for part in parts]
    return b"".join(b"%d:%b" % (len(part), part) for part in encoded) + payload


def read_signature(text: str) -> Signature | None:
    """Read the value of the user property; None if it is none."""
    parts = text.split(" ") if len(text) <= MAX_CHARS and text.isascii() else []
    if len(parts) != 4 or parts[0] != _VERSION or not parts[2].isdigit() or len(parts[2]) > 18:
        return None
    try:
        signature = binascii.a2b_base64(parts[3], strict_mode=True)
    except ValueError:
        return None
    if len(signature) != _SIGNATURE_BYTES:
        return None
    return Signature(parts[1], int(parts[2]), signature)
