"""Alerts that wait, and their rows in the outbox: a damaged row stops no other."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime
from typing import NamedTuple

from tocsin_agent.messages.alert import Alert, Key, Kind, Priority, decode_alert


class Waiting(NamedTuple):
    """An alert that the broker has not acknowledged yet."""

    key: Key
    kind: Kind
    priority: Priority
    handover: bool
    document: bytes
    committed_at: datetime | None = None


class Stored(NamedTuple):
    """The columns of a waiting row as SQLite returns them: any of them may be damaged."""

    created: int
    alert_id: object
    sequence: object
    kind: object
    priority: object
    handover: object
    document: object
    checksum: object
    committed: object = None


def checksum(key: Key, document: bytes) -> int:
    """Return the checksum (CRC-32) of an alert's key and document."""
    return zlib.crc32(document, zlib.crc32(f"{key[0]}/{key[1]}".encode()))


def read_row(row: Stored) -> Waiting | None:
    """Return a waiting alert; None where its row is damaged.

    Kind and priority are also in the document: where only those columns are damaged, the document
    says what they were.
    """
    alert_id, sequence, document = row.alert_id, row.sequence, row.document
    if not (isinstance(alert_id, str) and isinstance(sequence, int)):
        return None
    key = (alert_id, sequence)
    if not isinstance(document, bytes):
        return None
    if row.checksum is not None and row.checksum != checksum(key, document):
        return None
    try:
        kind, priority = Kind(str(row.kind)), Priority(str(row.priority))
    except ValueError:
        alert = _decoded(document)
        if alert is None or alert.key != key:
            return None
        kind, priority = alert.kind, alert.priority
    return Waiting(key, kind, priority, bool(row.handover), document, _utc(row.committed))


def _utc(seconds: object) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, UTC) if isinstance(seconds, float) else None
    except (ValueError, OverflowError, OSError):
        return None  # a damaged time is no reason not to send


def _decoded(document: bytes) -> Alert | None:
    try:
        return decode_alert(document)
    except (ValueError, OverflowError, RecursionError):  # msgspec's errors are ValueErrors
        return None
