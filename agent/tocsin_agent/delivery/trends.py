"""Trends on disk: a table of their own in the outbox's file, the last hours of every stream.

A trend is not an alert. It is sent at QoS 0 once no alert waits, retained, and the last ones before
a broken connection are sent again; what the disk does not take is kept in memory for an hour of
minutes. A damaged outbox loses its trends, never its alerts.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import msgspec

from tocsin_agent.delivery.database import Database
from tocsin_agent.errors import DeliveryError, DeliveryFault
from tocsin_agent.messages.trend import Trend, decode_trend, encode_trend

log = logging.getLogger(__name__)

SENT_AGAIN = 5
"""So many trends sent before a connection broke are sent over the next one too."""
MAX_HELD = 60
"""Trends that memory holds while the disk takes none."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS trend (
    created    INTEGER PRIMARY KEY AUTOINCREMENT,
    stream     TEXT NOT NULL,
    from_index INTEGER NOT NULL,
    to_at      TEXT NOT NULL,
    pending    INTEGER NOT NULL DEFAULT 1,
    document   BLOB NOT NULL,
    UNIQUE (stream, from_index)
)
"""


class WaitingTrend(NamedTuple):
    """A trend that was not sent yet."""

    created: int
    document: bytes


class TrendStore:
    """The table `trend`; any thread.

    Parameters
    ----------
    database : Database
        The outbox's.
    keep_h : float
        How long before the newest trend is kept.

    Attributes
    ----------
    unread : bool
        Whether there may be trends that `waiting` has not returned.
    """

    def __init__(self, database: Database, keep_h: float = 72.0) -> None:
        self._database, self._keep = database, timedelta(hours=keep_h)
        self._held: deque[Trend] = deque(maxlen=MAX_HELD)
        self._lock = threading.Lock()
        self.unread = True

    def append(self, trends: Sequence[Trend]) -> None:
        """Commit trends; what the disk refuses is committed with the next ones."""
        if not trends:
            return
        with self._lock:
            self._held.extend(trends)
            held = list(self._held)
        rows = [(t.stream, t.from_index, _stamp(t.to_at), encode_trend(t)) for t in held]
        oldest = _stamp(max(t.to_at for t in held) - self._keep)

        def insert(db: sqlite3.Connection) -> None:
            db.execute(_SCHEMA)
            db.executemany(
                "INSERT OR IGNORE INTO trend (stream, from_index, to_at, document) "
                "VALUES (?, ?, ?, ?)",
                rows,
            )
            db.execute("DELETE FROM trend WHERE to_at < ?", (oldest,))

        try:
            self._database.write(insert)
        except DeliveryError as exc:
            log.warning("trends cannot be stored yet, %d are in memory: %s", len(held), exc)
            return
        with self._lock:
            self._held.clear()
            self.unread = True

    def waiting(self, limit: int) -> list[WaitingTrend]:
        """Return the next trends to send, the oldest first.

        Raises
        ------
        DeliveryError
            As `Database.write` does; so do `sent` and `send_again`.
        """
        self.unread = False

        def select(db: sqlite3.Connection) -> list[WaitingTrend]:
            db.execute(_SCHEMA)
            rows = db.execute(
                "SELECT created, document FROM trend WHERE pending = 1 ORDER BY created LIMIT ?",
                (limit,),
            )
            return [WaitingTrend(*row) for row in rows]

        rows = self._database.write(select)
        self.unread = len(rows) == limit
        return rows

    def sent(self, rows: Sequence[WaitingTrend]) -> None:
        """Record that trends were sent."""
        if not rows:
            return
        marks = [(row.created,) for row in rows]
        self._database.write(
            lambda db: db.executemany("UPDATE trend SET pending = 0 WHERE created = ?", marks)
        )

    def send_again(self) -> None:
        """Have the last trends sent again: the connection broke, and may have lost them."""

        def mark(db: sqlite3.Connection) -> None:
            db.execute(_SCHEMA)
            db.execute(
                "UPDATE trend SET pending = 1 WHERE created IN "
                "(SELECT created FROM trend WHERE pending = 0 ORDER BY created DESC LIMIT ?)",
                (SENT_AGAIN,),
            )

        self._database.write(mark)
        self.unread = True


def read_trends(path: Path, since: datetime | None = None) -> list[Trend]:
    """Return the trends in an outbox, the oldest first; an agent may own it meanwhile.

    Parameters
    ----------
    path : Path
        The outbox's file, or the folder that contains ``outbox.db``.
    since : datetime, optional
        Only those that end later; aware.

    Raises
    ------
    DeliveryError
        If the file does not exist, or is not an outbox that can be read.
    """
    file = path / "outbox.db" if path.is_dir() else path
    if not file.exists():
        raise DeliveryError(
            DeliveryFault.OUTBOX_UNWRITABLE,
            f"{file} does not exist: name the file of outbox.path, where `tocsin run` keeps it",
        )
    try:
        with contextlib.closing(
            sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)
        ) as db:
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'trend'").fetchone():
                return []
            rows = db.execute(
                "SELECT document FROM trend WHERE to_at > ? ORDER BY to_at, created",
                (_stamp(since) if since else "",),
            ).fetchall()
        return [decode_trend(document) for (document,) in rows]
    except (sqlite3.Error, msgspec.DecodeError) as exc:
        raise DeliveryError(
            DeliveryFault.OUTBOX_CORRUPT, f"{file} cannot be read as an outbox: {exc}"
        ) from exc


def _stamp(at: datetime) -> str:
    """Return UTC as text that sorts as it passes."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds")
