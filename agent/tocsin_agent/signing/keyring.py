"""Whose keys are trusted: a TOML file of public keys, and of those that are revoked.

::

    [[key]]
    name = "dr-k"                # the pseudonym, or site/device of a device
    public = "mF2…"              # base64 of the 32 bytes
    roles = ["team"]             # in which roles; left out: in any

    [[revoked]]
    id = "3f2a77c01d9e8b54"
    at = 2026-12-14T00:00:00Z    # refused from then on
    reason = "replaced"

A name may have several keys: the new one is added before the old one is revoked.
"""

from __future__ import annotations

import binascii
import logging
import re
import tomllib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from tocsin_agent.errors import MissingExtraError, SigningError
from tocsin_agent.messages.topics import Address, Branch
from tocsin_agent.regular_file import read_regular
from tocsin_agent.signing.envelope import PROPERTY, Signature, read_signature, signed_bytes
from tocsin_agent.signing.keys import KEY_BYTES, key_id, require_cryptography

log = logging.getLogger(__name__)

_MAX_BYTES = 1_048_576
_LOOK_S = 2.0
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,160}")


class TrustedKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A public key that is trusted, and whose it is."""

    name: Annotated[str, Meta(min_length=1, max_length=160)]
    public: Annotated[str, Meta(min_length=1, max_length=100)]
    roles: tuple[str, ...] = ()

    @property
    def raw(self) -> bytes:
        """The 32 bytes."""
        return binascii.a2b_base64(self.public, strict_mode=True)

    @property
    def id(self) -> str:
        """The id by which a signature names it."""
        return key_id(self.raw)


class Revoked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A key that is refused from a time on, whatever time a signature states."""

    id: str
    at: datetime
    reason: str = ""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: tuple[TrustedKey, ...] = ()
    revoked: tuple[Revoked, ...] = ()


class Verdict(NamedTuple):
    """What is known of who published a message.

    Parameters
    ----------
    by : str or None
        Whose key signed it; None if no trusted key did.
    reason : str
        Why the message is not to be believed; empty if it is.
    signature : Signature or None
        The signature, where there is a readable one.
    """

    by: str | None
    reason: str = ""
    signature: Signature | None = None

    @property
    def genuine(self) -> bool:
        """True if who should have signed the message did."""
        return not self.reason


class Keyring:
    """Trusted keys by id.

    Parameters
    ----------
    keys : tuple of TrustedKey
        The keys.
    revoked : tuple of Revoked
        Those that are refused, some from a time on.

    Raises
    ------
    SigningError
        If a key is no ed25519 public key.
    """

    def __init__(
        self, keys: tuple[TrustedKey, ...] = (), revoked: tuple[Revoked, ...] = ()
    ) -> None:
        self.keys: dict[str, TrustedKey] = {}
        for key in keys:
            try:
                usable = len(key.raw) == KEY_BYTES and _NAME.fullmatch(key.name)
            except ValueError:
                usable = False
            if not usable:
                raise SigningError(f"the key of {key.name!r} is no ed25519 public key in base64")
            self.keys[key.id] = key
        self.revoked: dict[str, Revoked] = {}
        for entry in revoked:
            earlier = self.revoked.get(entry.id)
            if earlier is None or entry.at < earlier.at:
                self.revoked[entry.id] = entry

    def verify(
        self,
        topic: str,
        payload: bytes,
        user: Mapping[str, str],
        owner: Owner | None,
        now: datetime,
    ) -> Verdict:
        """Return who signed a message, and why it is not to be believed, if so.

        Parameters
        ----------
        topic : str
        payload : bytes
        user : mapping
            Its user properties, the signature among them.
        owner : Owner or None
            Who should have signed it; None if the payload does not say.
        now : datetime
            Aware UTC.
        """
        signature = read_signature(user.get(PROPERTY, ""))
        if signature is None:
            why = "its signature cannot be read" if PROPERTY in user else "it is not signed"
            return Verdict(None, why)
        key = self.keys.get(signature.key)
        if key is None:
            return Verdict(None, f"its key {signature.key!r} is not known here", signature)
        if (revoked := self.revoked.get(key.id)) is not None and revoked.at <= now:
            why = f"the key {key.id} of {key.name} is revoked {revoked.reason}".rstrip()
            return Verdict(None, why, signature)
        if not _is_by(key, signature, signed_bytes(topic, signature.at_us, payload, user)):
            return Verdict(None, f"it is no message that {key.name} signed", signature)
        return Verdict(key.name, _not_theirs(key, owner), signature)


class Owner(NamedTuple):
    """Who should have signed a message, and in which role a person acts."""

    name: str
    role: str = ""


class _Claim(msgspec.Struct, frozen=True):
    """What a message says of who sent it, and the state that a status or a lease has."""

    who: str = ""
    id: str = ""
    role: str = ""
    state: str = ""


_CLAIM = msgspec.json.Decoder(_Claim)
_BY_PEOPLE = {Branch.ACK, Branch.CONTEXT, Branch.PRESENCE, Branch.RECEIPT, Branch.REVIEW}


def owner_of(address: Address, payload: bytes) -> Owner | None:
    """Return who should have signed a message; None if its payload does not say.

    What a device publishes belongs to `site/device`, as its topic has it; an acknowledgement, a
    context, a review and a lease belong to the person whom they name, a receipt to the receiver of
    its topic.
    An empty payload of a person names nobody, and may be signed by anybody who is trusted.
    """
    if address.branch not in _BY_PEOPLE:
        return Owner(f"{address.site}/{address.device}")
    if not payload:
        return Owner("")
    if address.branch is Branch.RECEIPT:
        return Owner(address.leaf)
    try:
        claim = _CLAIM.decode(payload)
    except (ValueError, RecursionError):
        return None
    if address.branch is Branch.PRESENCE:
        return Owner(claim.id, claim.role)
    return Owner(claim.who, claim.role)


def is_will(address: Address, payload: bytes) -> bool:
    """Return whether a message is one that the broker publishes for a lost connection.

    It was signed when the connection began, so that it is older than all that came over it. Sent
    again by a stranger, it says that a device is offline or a person is gone: alerts go to the
    team, and the next message of the sender puts it right.
    """
    states = {Branch.STATUS: "offline", Branch.PRESENCE: "gone"}
    try:
        return address.branch in states and _CLAIM.decode(payload).state == states[address.branch]
    except (ValueError, RecursionError):
        return False


def id_of(payload: bytes) -> str | None:
    """Return the id that a person's message states, so that its sender recognises the answer."""
    try:
        return _CLAIM.decode(payload).id[:64] or None
    except (ValueError, RecursionError):
        return None


def _not_theirs(key: TrustedKey, owner: Owner | None) -> str:
    """Return why the owner of a key may not have signed a message; empty if they may."""
    if owner is None:
        return "it does not say whose it is"
    if owner.name not in {"", key.name}:
        return f"{key.name} signed it in another's name"
    if key.roles and owner.role and owner.role not in key.roles:
        return f"the key of {key.name} is not for the role {owner.role!r}"
    return ""


class KeyFile:
    """A keyring that is read again when its file changes; a bad file leaves the last good one.

    Parameters
    ----------
    path : Path
        The TOML file.
    now_s : callable, optional
        Returns seconds on a clock that is never set; for tests.

    Attributes
    ----------
    failure : str
        Why the file cannot be used now; empty if it can.
    """

    def __init__(self, path: Path, now_s: Callable[[], float] = monotonic) -> None:
        self._path, self._now_s = path, now_s
        self.failure = ""
        self._keyring = Keyring()
        self._mark: tuple[int, ...] | None = None
        self._looked_s = float("-inf")

    def current(self) -> Keyring:
        """Return the keys; the file is looked at every two seconds at most."""
        now_s = self._now_s()
        if now_s - self._looked_s < _LOOK_S:
            return self._keyring
        self._looked_s = now_s
        try:
            status = self._path.stat()
            mark = (status.st_mtime_ns, status.st_size, status.st_ino)
            if mark != self._mark:
                self._keyring = read_keyring(self._path)
                self._mark, self.failure = mark, ""
                log.info("%d keys are trusted by %s", len(self._keyring.keys), self._path)
        except (SigningError, MissingExtraError, OSError) as error:
            why = self.failure = str(getattr(error, "strerror", None) or error)
            self._mark = None  # read again at each look: its mode may be put right
            log.error("the keys in %s cannot be used: %s; those before apply", self._path, why)  # noqa: TRY400
        return self._keyring


def read_keyring(path: Path) -> Keyring:
    """Read a file of keys.

    Raises
    ------
    SigningError
        If it cannot be read, is not such a file, or holds a key that is none.
    MissingExtraError
        Without the package cryptography.
    """
    require_cryptography()
    try:
        raw = tomllib.loads(read_regular(path, _MAX_BYTES).decode("utf-8"))
        file = msgspec.convert(raw, _File)
    except OSError as error:
        raise SigningError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise SigningError(f"{path} is no file of keys: {error}") from error
    revoked = tuple(
        entry
        if entry.at.tzinfo
        else msgspec.structs.replace(entry, at=entry.at.replace(tzinfo=UTC))
        for entry in file.revoked
    )
    try:
        return Keyring(file.key, revoked)
    except SigningError as error:
        raise SigningError(f"{path}: {error}") from error


def _is_by(key: TrustedKey, signature: Signature, content: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an extra
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

    public = ed25519.Ed25519PublicKey.from_public_bytes(key.raw)
    try:
        public.verify(signature.signature, content)
    except InvalidSignature:
        return False
    return True
