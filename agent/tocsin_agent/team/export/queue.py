"""What waits to be exported, on disk: it survives this program, the other side and the power."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec

from tocsin_agent.errors import ExportError, ExportFault
from tocsin_agent.messages.alert import Alert, encode_alert
from tocsin_agent.messages.trend import Trend, encode_trend

_SCHEMA = """
CREATE TABLE IF NOT EXISTS item (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, alert_id TEXT NOT NULL,
    sequence INTEGER NOT NULL, state TEXT NOT NULL, body BLOB, reason TEXT NOT NULL DEFAULT '',
    at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS item_waiting ON item (state, alert_id = '', id);
CREATE INDEX IF NOT EXISTS item_of_alert ON item (alert_id, sequence);
"""
_VERSION = 1
_WAITING, _SENT, _REFUSED = "waiting", "sent", "refused"
MAX_TRENDS = 100_000
"""Minutes that wait at most; the oldest are dropped. Alerts are never dropped."""
KEEP_SENT = timedelta(days=30)
"""How long the key of what was sent is known; its content is removed at once."""
_PRUNE_EVERY = 1000


class Item(NamedTuple):
    """One document that waits.

    Attributes
    ----------
    id : int
    key : str
        What makes it unique, the same at every attempt.
    is_alert : bool
    body : bytes
        The document, as its message.
    latest : bool
        False where a later document of its alert is known.
    group : str
        What keeps its order: an alert's id; a trend has none.
    """

    id: int
    key: str
    is_alert: bool
    body: bytes
    latest: bool
    group: str


class Counts(NamedTuple):
    """How many wait, were sent, and were refused."""

    waiting: int
    sent: int
    refused: int


class Queue:
    """A SQLite file, mode 0600; any thread. Alerts before trends, each in the order of arrival.

    Parameters
    ----------
    file : Path

    Raises
    ------
    ExportError
        `QUEUE` if the file cannot be used; every method may raise it.
    """

    def __init__(self, file: Path) -> None:
        self._file, self._lock, self._writes = file, threading.Lock(), 0
        try:
            file.touch(0o600)
            self._db = sqlite3.connect(file, check_same_thread=False, timeout=10.0)
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            tables = {name for (name,) in self._db.execute("SELECT name FROM sqlite_master")}
            if tables and "item" not in tables:
                raise sqlite3.DatabaseError("it is no queue of an export, but another database")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            if version not in {0, _VERSION}:
                raise sqlite3.DatabaseError(f"version {version}, {_VERSION} expected")
            self._db.executescript(_SCHEMA)
            self._db.execute(f"PRAGMA user_version = {_VERSION}")
        except (sqlite3.Error, OSError) as exc:
            raise self._error(exc) from exc

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def put(self, documents: Iterable[Alert | Trend]) -> int:
        """Commit documents; those that are known stay as they are. Return how many are new."""
        rows = [_row(document) for document in documents]
        try:
            with self._lock, self._db:
                before = self._db.total_changes
                self._db.executemany(
                    "INSERT OR IGNORE INTO item (key, alert_id, sequence, state, body, at) "
                    "VALUES (?, ?, ?, ?, ?, ?)",
                    rows,
                )
                new = self._db.total_changes - before
                self._writes += len(rows)
                if self._writes >= _PRUNE_EVERY:
                    self._writes = 0
                    self._prune()
                return new
        except sqlite3.Error as exc:
            raise self._error(exc) from exc

    def next(self, without: Collection[str] = ()) -> Item | None:
        """Return the next document; None if none waits.

        Parameters
        ----------
        without : collection of str
            Groups that are passed over.
        """
        rows = self._run(
            "SELECT id, key, alert_id, body, sequence >= (SELECT max(sequence) FROM item AS other "
            "WHERE other.alert_id = item.alert_id) FROM item WHERE state = ? "
            "AND iif(alert_id = '', key, alert_id) NOT IN (SELECT value FROM json_each(?)) "
            "ORDER BY alert_id = '', id LIMIT 1",
            (_WAITING, msgspec.json.encode(sorted(without)).decode()),
        )
        if not rows:
            return None
        number, key, alert_id, body, latest = rows[0]
        latest = bool(latest) or not alert_id
        return Item(number, key, bool(alert_id), body, latest, alert_id or key)

    def sent(self, item: Item) -> None:
        """Note that the other side has a document."""
        self._run(
            "UPDATE item SET state = ?, body = NULL, reason = '', at = ? WHERE id = ?",
            (_SENT, _now(), item.id),
        )

    def refused(self, item: Item, reason: str) -> None:
        """Set a document aside, so that the others go on."""
        self._run(
            "UPDATE item SET state = ?, reason = ?, at = ? WHERE id = ?",
            (_REFUSED, reason, _now(), item.id),
        )

    def retry_refused(self) -> int:
        """Let what was set aside wait again; return how many."""
        waiting = self.counts().refused
        self._run("UPDATE item SET state = ? WHERE state = ?", (_WAITING, _REFUSED))
        return waiting

    def set_aside(self) -> list[tuple[str, str, str]]:
        """Return key, reason and time of what was refused."""
        return [
            (str(key), str(reason), str(at))
            for key, reason, at in self._run(
                "SELECT key, reason, at FROM item WHERE state = ? ORDER BY id", (_REFUSED,)
            )
        ]

    def counts(self) -> Counts:
        """Return how many are in each state."""
        by_state = dict(self._run("SELECT state, count(*) FROM item GROUP BY state", ()))
        return Counts(*(by_state.get(state, 0) for state in (_WAITING, _SENT, _REFUSED)))

    def _prune(self) -> None:
        oldest = (datetime.now(UTC) - KEEP_SENT).isoformat()
        self._db.execute("DELETE FROM item WHERE state = ? AND at < ?", (_SENT, oldest))
        self._db.execute(
            "DELETE FROM item WHERE alert_id = '' AND state != ? AND id NOT IN "
            "(SELECT id FROM item WHERE alert_id = '' ORDER BY id DESC LIMIT ?)",
            (_SENT, MAX_TRENDS),
        )

    def _run(self, statement: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        try:
            with self._lock, self._db:
                return self._db.execute(statement, values).fetchall()
        except sqlite3.Error as exc:
            raise self._error(exc) from exc

    def _error(self, exc: Exception) -> ExportError:
        return ExportError(
            ExportFault.QUEUE,
            f"{self._file}: {exc}; give a file on a disk that can be written, or move a damaged "
            "one aside: the broker keeps what was not acknowledged",
        )


def _row(document: Alert | Trend) -> tuple[object, ...]:
    if isinstance(document, Alert):
        key = f"{document.alert_id}.{document.sequence}"
        body = encode_alert(document)
        return key, document.alert_id, document.sequence, _WAITING, body, _now()
    key = "\x1f".join((document.site, document.device, document.stream, str(document.from_index)))
    return key, "", document.from_index, _WAITING, encode_trend(document), _now()


def _now() -> str:
    return datetime.now(UTC).isoformat()
