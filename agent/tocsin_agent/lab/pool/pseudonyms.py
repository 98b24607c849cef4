"""Pseudonyms and shifted times from the key of a site: HMAC-SHA256 (RFC 2104).

Who does not have the key can neither compute a pseudonym of a name nor try all names. A person has
the same pseudonym in all releases of one purpose, and another one in those of another purpose.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tocsin_agent.errors import LabError
from tocsin_agent.regular_file import read_regular

KEY_BYTES = 32
ORIGIN = datetime(1950, 1, 1, tzinfo=UTC)
"""The earliest time that is shifted."""
_LATER = datetime(2100, 1, 1, tzinfo=UTC) - ORIGIN
_SPAN_DAYS = 9131


class SiteKey:
    """The secret of a site.

    Parameters
    ----------
    key : bytes
        `KEY_BYTES` long.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def name(self, *parts: str) -> str:
        """Return 32 hexadecimal digits for some words; never the same for other words."""
        return self._digest(*parts).hex()[:32]

    def number(self, below: int, *parts: str) -> int:
        """Return a number for some words."""
        return int.from_bytes(self._digest(*parts), "big") % below

    def _digest(self, *parts: str) -> bytes:
        message = b"".join(len(p.encode()).to_bytes(4, "big") + p.encode() for p in parts)
        return hmac.new(self._key, message, hashlib.sha256).digest()


def make_key(file: Path) -> None:
    """Write a new key, mode 0600.

    Raises
    ------
    LabError
        If the file is there: with another key every person would have another pseudonym.
    """
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise LabError(f"{file} is not written: {error}") from error
    with os.fdopen(handle, "w", encoding="ascii") as opened:
        opened.write(secrets.token_hex(KEY_BYTES) + "\n")


def read_key(file: Path) -> SiteKey:
    """Read the key of a site.

    Raises
    ------
    LabError
        If it is no key, or others than its owner may read it.
    """
    try:
        text = read_regular(file, 1024).decode().strip()
        others = file.stat().st_mode & 0o077
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"{file}: {error}; make a key by `tocsin pool key`") from error
    if not re.fullmatch(rf"[0-9a-f]{{{2 * KEY_BYTES}}}", text):
        raise LabError(f"{file} is no site key: make one by `tocsin pool key`")
    if others:
        raise LabError(f"{file} can be read by others: chmod 600 {file}")
    return SiteKey(bytes.fromhex(text))


def shift(key: SiteKey, purpose: str, patient: str, recording: str = "") -> timedelta:
    """Return by how much the times of a person are shifted.

    150 years, a random number of days up to 25 years, and a random time of the day: no shifted time
    can be taken for a real one, and intervals stay.

    Parameters
    ----------
    key : SiteKey
    purpose, patient : str
    recording : str
        A recording without a date has a shift of its own.
    """
    day = key.number(_SPAN_DAYS, "day", purpose, patient, recording)
    # To the millisecond: what stays of a time must not be found in the log of the alerts.
    moment = key.number(86_400_000, "moment", purpose, patient, recording)
    return _LATER + timedelta(days=day, milliseconds=moment)
