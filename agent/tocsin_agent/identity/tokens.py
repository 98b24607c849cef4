"""One-time tokens: with one, a gateway that has no certificate yet gets its first.

A token is `SITE/DEVICE/SECRET`. The site keeps a hash of it, which is the key of the proofs on both
sides (HMAC): the token itself is never sent. It belongs to the first key that comes with it: the
same request again gets the same certificate, another key gets none.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import secrets
from base64 import b32encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, NamedTuple, Self

import msgspec
from msgspec import Meta

from tocsin_agent.durable_file import replace_file
from tocsin_agent.errors import SigningError
from tocsin_agent.messages.topics import Topics
from tocsin_agent.regular_file import read_regular

_SECRET_BYTES = 20
_SECRET_CHARS = 32
_NAME_BYTES = 64
_MAX_BYTES = 32 * 1024 * 1024
_HEX = r"^[0-9a-f]{64}$(?!\n)"


class Token(NamedTuple):
    """A token as a gateway has it.

    Parameters
    ----------
    site, device : str
        Who the gateway will be.
    key : bytes
        The hash of the whole token: the key of the proofs.
    """

    site: str
    device: str
    key: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `SITE/DEVICE/SECRET`; `SigningError` if it is no token."""
        site, _, rest = text.strip().partition("/")
        device, _, secret = rest.partition("/")
        try:
            Topics(site, device)
        except ValueError as error:
            raise SigningError(f"this is no token (SITE/DEVICE/SECRET): {error}") from error
        if len(secret) != _SECRET_CHARS or not secret.isalnum():
            raise SigningError(
                f"this is no token: its last part has {_SECRET_CHARS} letters and digits"
            )
        text = f"tocsin token\x1f{site}\x1f{device}\x1f{secret.lower()}"
        return cls(site, device, hashlib.sha256(text.encode()).digest())

    @property
    def id(self) -> str:
        """By which the site finds it; says nothing about the secret."""
        return hashlib.sha256(self.key).hexdigest()[:16]


def prove(key: bytes, content: bytes) -> bytes:
    """Return the proof that whoever sends a content knows the token."""
    return hmac.digest(key, content, "sha256")


def proves(key: bytes, proof: bytes, content: bytes) -> bool:
    """Return whether a proof is right."""
    return hmac.compare_digest(proof, prove(key, content))


class Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A token as the site keeps it."""

    device: str
    key: Annotated[str, Meta(pattern=_HEX, description="SHA-256 of the token.")]
    expires: Annotated[datetime, Meta(tz=True)]
    used_by: Annotated[str, Meta(description="SHA-256 of the public key that used it.")] = ""
    certificate: Annotated[str, Meta(description="What that key got, PEM.")] = ""


class _Content(msgspec.Struct, forbid_unknown_fields=True):
    tokens: dict[str, Kept] = {}
    revoked: dict[str, Annotated[datetime, Meta(tz=True)]] | list[str] = {}
    """When each device was revoked; files of earlier versions have names only."""

    def revocations(self) -> dict[str, datetime]:
        """Return when each device was revoked; of a name alone, now."""
        if isinstance(self.revoked, dict):
            return self.revoked
        return dict.fromkeys(self.revoked, datetime.now(UTC))


class TokenFile:
    """The tokens of a site in one file, readable for its owner only.

    Parameters
    ----------
    path : Path
        A JSON file; made by the first `add`.
    site : str
        The site.
    """

    def __init__(self, path: Path, site: str) -> None:
        self.path, self.site = path, site

    def add(self, device: str, expires: datetime) -> str:
        """Make a token for a device, keep its hash, and return it.

        Raises
        ------
        SigningError
            If the name is no level of a topic, or too long for a certificate, or the file cannot be
            read or written.
        """
        self._check(device)
        secret = b32encode(secrets.token_bytes(_SECRET_BYTES)).decode().lower()
        text = f"{self.site}/{device}/{secret}"
        token = Token.parse(text)
        with self._changed() as content:
            late = expires - timedelta(days=366)
            content.tokens = {i: one for i, one in content.tokens.items() if one.expires > late}
            content.tokens[token.id] = Kept(device, token.key.hex(), expires)
            content.revoked = content.revocations()
        return text

    def find(self, token_id: str) -> Kept | None:
        """Return the token with an id."""
        return self._read().tokens.get(token_id)

    def use(self, token_id: str, used_by: str, certificate: bytes, now: datetime) -> Kept | None:
        """Keep that a token was used, before anybody gets the certificate.

        Returns
        -------
        Kept or None
            The token with its first use: perhaps by another key and another desk, a moment before.
            None if it was revoked meanwhile.
        """
        with self._changed() as content:
            if (kept := content.tokens.get(token_id)) is None or kept.used_by:
                return kept
            content.tokens = {i: _after(one, now) for i, one in content.tokens.items()}
            kept = msgspec.structs.replace(
                kept, used_by=used_by, certificate=certificate.decode("ascii")
            )
            content.tokens[token_id] = kept
        return kept

    def revoke(self, device: str, now: datetime) -> int:
        """Refuse renewals of what a device has now, and remove its tokens; return how many.

        Errors as of `add`.
        """
        self._check(device)
        with self._changed() as content:
            kept = {i: one for i, one in content.tokens.items() if one.device != device}
            removed = len(content.tokens) - len(kept)
            content.tokens = kept
            content.revoked = {**content.revocations(), device: now}
        return removed

    def revoked(self, device: str) -> datetime | None:
        """Return when a device was revoked last: what began before is not renewed.

        A device that enrols again later has another certificate; the one before stays refused.
        """
        return self._read().revocations().get(device)

    def _check(self, device: str) -> None:
        try:
            Topics(self.site, device)
        except ValueError as error:
            raise SigningError(str(error)) from error
        if len(device.encode("utf-8", "surrogatepass")) > _NAME_BYTES:
            raise SigningError(f"a certificate holds a name of {_NAME_BYTES} bytes at most")

    def _read(self) -> _Content:
        try:
            return msgspec.json.decode(read_regular(self.path, _MAX_BYTES), type=_Content)
        except FileNotFoundError:
            return _Content()
        except OSError as error:
            raise SigningError(f"{self.path} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise SigningError(f"{self.path} is no file of tokens: {error}") from error

    @contextmanager
    def _changed(self) -> Iterator[_Content]:
        """Read the content, and write it by one rename when it was changed."""
        try:
            lock = os.open(f"{self.path}.lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with os.fdopen(lock, "wb") as held:
                fcntl.flock(held, fcntl.LOCK_EX)
                content = self._read()
                yield content
                made = msgspec.json.format(msgspec.json.encode(content)) + b"\n"
                if len(made) > _MAX_BYTES:
                    raise SigningError(f"{self.path} would be larger than {_MAX_BYTES >> 20} MB")
                replace_file(self.path, made, 0o600)
        except OSError as error:
            raise SigningError(f"{self.path} cannot be written: {error.strerror}") from error


def _after(kept: Kept, now: datetime) -> Kept:
    """Return a token without its certificate once it has expired: nobody gets that any more."""
    return kept if kept.expires > now else msgspec.structs.replace(kept, certificate="")
