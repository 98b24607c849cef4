"""What a site has given away, and who withdrew: an append-only file that never leaves (art. 30)."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from tocsin_agent.errors import LabError


class Given(msgspec.Struct, frozen=True, kw_only=True, tag="given"):
    """A release that was exported, and whose ECG is in it."""

    at: datetime
    release: str
    purpose: str
    recipient: str
    manifest: str
    """SHA-256."""
    people: dict[str, tuple[str, ...]]
    """Patient to the names of the items of theirs."""


class Revoked(msgspec.Struct, frozen=True, kw_only=True, tag="revoked"):
    """A withdrawal."""

    at: datetime
    patient: str


class Ledger:
    """The ledger of a site.

    Parameters
    ----------
    file : Path
        Made with mode 0600 at the first entry.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.entries: tuple[Given | Revoked, ...] = ()
        if not file.exists():
            return
        try:
            lines = file.read_bytes().splitlines()
            self.entries = tuple(msgspec.json.decode(one, type=Given | Revoked) for one in lines)
        except (OSError, msgspec.DecodeError) as error:
            raise LabError(f"{file} is no ledger: {error}") from error

    @property
    def revoked(self) -> frozenset[str]:
        """The people who withdrew."""
        return frozenset(one.patient for one in self.entries if isinstance(one, Revoked))

    def given(self, patient: str) -> list[Given]:
        """Return the releases with a person's ECG, in order."""
        releases = (one for one in self.entries if isinstance(one, Given))
        return [one for one in releases if patient in one.people]

    def prepare(self) -> None:
        """Make the file if it is not there: whoever cannot enter a release must not write one.

        Raises
        ------
        LabError
            If it cannot be written.
        """
        self._append(b"")

    def add(self, entry: Given | Revoked) -> None:
        """Append an entry; on return it survives a power cut.

        Raises
        ------
        LabError
            If it cannot be written.
        """
        self._append(msgspec.json.encode(entry) + b"\n")
        self.entries = (*self.entries, entry)

    def _append(self, line: bytes) -> None:
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            with os.fdopen(os.open(self._file, flags, 0o600), "ab") as opened:
                opened.write(line)
                opened.flush()
                os.fsync(opened.fileno())
        except OSError as error:
            raise LabError(f"{self._file} cannot be written: {error}") from error


def now() -> datetime:
    """Return UTC, to the second."""
    return datetime.now(UTC).replace(microsecond=0)
