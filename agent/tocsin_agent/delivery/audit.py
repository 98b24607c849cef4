"""The audit trail: an append-only table of what happened to each alert, when, and by whom.

It is in the file of the outbox, so that an entry is committed together with what it reports. A
trigger refuses to change an entry; only age and size remove the oldest ones.
"""

from __future__ import annotations

import contextlib
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import msgspec

from tocsin_agent.delivery.settings import AuditSettings
from tocsin_agent.errors import DeliveryError, DeliveryFault

SCHEMA = """
CREATE TABLE IF NOT EXISTS audit (
    entry    INTEGER PRIMARY KEY AUTOINCREMENT,
    at       TEXT NOT NULL,
    event    TEXT NOT NULL,
    alert_id TEXT,
    sequence INTEGER,
    who      TEXT,
    level    TEXT,
    detail   TEXT NOT NULL DEFAULT '',
    document BLOB
);
CREATE INDEX IF NOT EXISTS audit_at ON audit (at);
CREATE TRIGGER IF NOT EXISTS audit_is_append_only
BEFORE UPDATE OF entry, at, event, alert_id, sequence, who, level, detail ON audit
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
"""
COLUMNS = "entry, at, event, alert_id, sequence, who, level, detail, document"
PRUNE_EVERY = 1000
"""Entries between two looks at age and size."""

COMMITTED, SENT, DELIVERED = "committed", "sent", "delivered"
CONFIGURATION, MODELS, VERSION = "configuration", "models", "version"
CLOCK_SET, SUPPRESSED = "clock_set", "suppressed"
SIGNATURE_REFUSED = "signature_refused"
"""Events beside those of `escalation.StepKind`: `delivered` is the broker's acknowledgement."""


class Entry(NamedTuple):
    """One entry; `document` is the alert as it was committed, or empty."""

    at: datetime
    event: str
    alert_id: str | None = None
    sequence: int | None = None
    who: str | None = None
    level: str | None = None
    detail: str = ""
    document: bytes = b""


def append(db: sqlite3.Connection, entries: Iterable[Entry]) -> None:
    """Add entries, in the transaction that `db` is in."""
    db.executemany(
        "INSERT INTO audit (at, event, alert_id, sequence, who, level, detail, document) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                _text(entry.at),
                *entry[1:7],
                zlib.compress(entry.document) if entry.document else None,
            )
            for entry in entries
        ],
    )


def last_detail(db: sqlite3.Connection, event: str) -> str | None:
    """Return the detail of the latest entry of an event; None if there is none."""
    row = db.execute(
        "SELECT detail FROM audit WHERE event = ? ORDER BY entry DESC LIMIT 1", (event,)
    ).fetchone()
    return None if row is None else str(row[0])


def prune(db: sqlite3.Connection, settings: AuditSettings, now: datetime) -> None:
    """Remove what is too old; beyond the size, the oldest documents, then the oldest entries."""
    oldest = _text(now - timedelta(days=settings.keep_days))
    db.execute("DELETE FROM audit WHERE at < ?", (oldest,))
    limit = int(settings.max_mb * 1e6)
    for statement in (
        "UPDATE audit SET document = NULL WHERE entry <= ?",
        "DELETE FROM audit WHERE entry <= ?",
    ):
        last = _entry_beyond(db, limit)
        if last is None:
            return
        db.execute(statement, (last,))


def _entry_beyond(db: sqlite3.Connection, limit: int) -> int | None:
    """Return the newest entry that no longer fits into `limit` bytes, if any."""
    row = db.execute(
        "SELECT MAX(entry) FROM (SELECT entry, SUM(100 + LENGTH(detail) + "
        "IFNULL(LENGTH(document), 0)) OVER (ORDER BY entry DESC) AS bytes FROM audit) "
        "WHERE bytes > ?",
        (limit,),
    ).fetchone()
    return None if row[0] is None else int(row[0])


def read_audit(
    path: Path, *, since: datetime | None = None, alert_id: str | None = None
) -> Iterator[Entry]:
    """Read the trail of an outbox, the oldest entry first, also while an agent runs.

    Parameters
    ----------
    path : Path
        The outbox.
    since : datetime, optional
        Aware; leaves out what is older.
    alert_id : str, optional
        Only this alert; the beginning of its id is enough.

    Raises
    ------
    DeliveryError
        OUTBOX_UNWRITABLE if the file does not exist or is not an outbox with a trail.
    """
    if not path.is_file():
        raise DeliveryError(
            DeliveryFault.OUTBOX_UNWRITABLE,
            f"{path} does not exist: name the outbox of an agent (outbox.path)",
        )
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            rows = db.execute(
                f"SELECT {COLUMNS} FROM audit WHERE at >= ? AND IFNULL(alert_id, '') LIKE ? "  # noqa: S608
                "ORDER BY entry",
                (_text(since) if since else "", f"{alert_id or ''}%"),
            )
            for _, at, *rest, packed in rows:
                event, alert_id, sequence, who, level, detail = rest
                document = zlib.decompress(packed) if packed else b""
                time = datetime.fromisoformat(at)
                yield Entry(time, event, alert_id, sequence, who, level, detail, document)
    except sqlite3.Error as exc:
        raise DeliveryError(
            DeliveryFault.OUTBOX_UNWRITABLE,
            f"{path} has no audit trail ({exc}): name the outbox of an agent of this version",
        ) from exc


def to_record(entry: Entry, *, document: bool = True) -> dict[str, object]:
    """Return an entry as plain data, the document decoded."""
    record: dict[str, object] = dict(zip(Entry._fields, entry, strict=True))
    raw = record.pop("document")
    if document:
        record["document"] = msgspec.json.decode(entry.document) if raw else None
    return record


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds")
