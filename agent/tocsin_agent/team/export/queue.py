"""What waits to be exported, on disk: it survives this program, the other side and the power."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeAlias

import msgspec

from tocsin_agent.errors import ExportError, ExportFault
from tocsin_agent.messages.alert import Alert, decode_alert, encode_alert
from tocsin_agent.messages.response import Response
from tocsin_agent.messages.trend import Trend, encode_trend
from tocsin_agent.team.export.answer import Answer

Document: TypeAlias = Alert | Trend | Answer

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
"""How long what was sent is known: its key, and of an alert what a later answer refers to."""
_PRUNE_EVERY = 1000


class Item(NamedTuple):
    """One document that waits.

    Attributes
    ----------
    id : int
    key : str
        What makes it unique, the same at every attempt.
    document : type
        What `body` is.
    body : bytes
        The document as JSON.
    latest : bool
        False where a later document of its alert is known.
    group : str
        What keeps its order: an alert's id; a trend has none.
    """

    id: int
    key: str
    document: type[Document]
    body: bytes
    latest: bool
    group: str

    def decoded(self) -> Document:
        """Return the document.

        Raises
        ------
        msgspec.DecodeError
            If it is none.
        """
        return msgspec.json.decode(self.body, type=self.document)


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

    def put(self, documents: Iterable[Alert | Trend | Response]) -> int:
        """Commit documents; those that are known stay as they are. Return how many are new.

        A response is left out where it refuses the answer, or its alert did not pass here.
        """
        try:
            with self._lock, self._db:
                before = self._db.total_changes
                for document in documents:  # one by one: an answer may come with its alert
                    if (row := _row(self._db, document)) is not None:
                        self._db.execute(
                            "INSERT OR IGNORE INTO item (key, alert_id, sequence, state, body, at) "
                            "VALUES (?, ?, ?, ?, ?, ?)",
                            row,
                        )
                        self._writes += 1
                new = self._db.total_changes - before
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
            "SELECT id, key, alert_id, body, sequence, sequence >= (SELECT max(sequence) "
            "FROM item AS other WHERE other.alert_id = item.alert_id) FROM item WHERE state = ? "
            "AND iif(alert_id = '', key, alert_id) NOT IN (SELECT value FROM json_each(?)) "
            "ORDER BY alert_id = '', id LIMIT 1",
            (_WAITING, msgspec.json.encode(sorted(without)).decode()),
        )
        if not rows:
            return None
        number, key, alert_id, body, sequence, latest = rows[0]
        document = Trend if not alert_id else Alert if sequence else Answer
        return Item(number, key, document, body, bool(latest) or not alert_id, alert_id or key)

    def sent(self, item: Item) -> None:
        """Note that the other side has a document.

        Of an alert the last one stays, without its strip: a person may answer it later.
        """
        kept = None
        if item.document is Alert:
            kept = encode_alert(msgspec.structs.replace(decode_alert(item.body), strip=None))
        self._run(
            "UPDATE item SET state = ?, body = iif(id = ?, ?, NULL), reason = '', at = ? "
            "WHERE id = ? OR (alert_id = ? AND state = ? "
            "AND sequence < (SELECT sequence FROM item WHERE id = ?))",
            (_SENT, item.id, kept, _now(), item.id, item.group, _SENT, item.id),
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


def _row(db: sqlite3.Connection, document: Alert | Trend | Response) -> tuple[object, ...] | None:
    """Return the row of a document; None of a response that is left out."""
    if isinstance(document, Response):
        known = db.execute(
            "SELECT body FROM item WHERE alert_id = ? AND sequence > 0 AND body IS NOT NULL "
            "ORDER BY sequence DESC LIMIT 1",
            (document.alert_id,),
        ).fetchone()
        if document.outcome.refused or known is None:
            return None
        alert = msgspec.structs.replace(decode_alert(known[0]), strip=None)
        key = f"{alert.alert_id}/{document.id}"
        body = msgspec.json.encode(Answer(alert, document))
        return key, alert.alert_id, 0, _WAITING, body, _now()
    if isinstance(document, Alert):
        key = f"{document.alert_id}.{document.sequence}"
        body = encode_alert(document)
        return key, document.alert_id, document.sequence, _WAITING, body, _now()
    of = (document.site, document.device, document.stream, str(document.from_index))
    key, body = "\x1f".join(of), encode_trend(document)
    return key, "", document.from_index, _WAITING, body, _now()


def _now() -> str:
    return datetime.now(UTC).isoformat()
