"""What the console keeps on disk: documents, minutes, what people did, logins. SQLite, bounded.

The broker keeps what is open, and the devices an audit trail of their own: a lost file costs the
history, no alert. Any thread.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from tocsin_agent.messages.alert import Alert, decode_alert, encode_alert
from tocsin_agent.messages.trend import Trend, decode_trend, encode_trend
from tocsin_agent.team.console.people import RIGHTS
from tocsin_agent.team.console.protocol import Right, Session
from tocsin_agent.team.console.settings import Role

log = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS document (
    alert_id TEXT NOT NULL, sequence INTEGER NOT NULL, site TEXT NOT NULL, device TEXT NOT NULL,
    onset_at TEXT NOT NULL, received_at TEXT NOT NULL, audience TEXT NOT NULL,
    unproven TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (alert_id, sequence)
);
CREATE INDEX IF NOT EXISTS document_by_onset ON document (onset_at);
CREATE TABLE IF NOT EXISTS event (
    id INTEGER PRIMARY KEY, at TEXT NOT NULL, site TEXT NOT NULL, device TEXT NOT NULL,
    alert_id TEXT NOT NULL, event TEXT NOT NULL, who TEXT, text TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS event_by_alert ON event (alert_id);
CREATE INDEX IF NOT EXISTS event_by_time ON event (at);
CREATE TABLE IF NOT EXISTS trend (
    site TEXT NOT NULL, device TEXT NOT NULL, stream TEXT NOT NULL, from_index INTEGER NOT NULL,
    to_at TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (site, device, stream, from_index)
);
CREATE INDEX IF NOT EXISTS trend_by_time ON trend (site, device, to_at);
CREATE TABLE IF NOT EXISTS login (
    key TEXT PRIMARY KEY, user TEXT NOT NULL, role TEXT NOT NULL, language TEXT NOT NULL,
    csrf TEXT NOT NULL, by_proxy INTEGER NOT NULL, expires_at TEXT NOT NULL, used_at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS push (
    endpoint TEXT PRIMARY KEY, key TEXT NOT NULL, user TEXT NOT NULL, p256dh TEXT NOT NULL,
    auth TEXT NOT NULL, language TEXT NOT NULL, renewed_at TEXT NOT NULL
);
"""
_TREND_KEEP = timedelta(hours=73)
PRUNE_EVERY = 500
"""Writes between two looks at age and size."""
_MOST_ROUNDS = 50  # a tenth each: 99 % is removed
_VERSION = 1


class Kept(NamedTuple):
    """A document, when it arrived, and to whom it was sent."""

    alert: Alert
    received_at: datetime
    audience: str
    unproven: str


class Happened(NamedTuple):
    """What happened to an alert, or what a person did; `who` is None for the device's doing."""

    at: datetime
    site: str
    device: str
    alert_id: str
    event: str
    who: str | None = None
    text: str = ""


class Subscription(NamedTuple):
    """Where a browser of a person is called: `key` is that of the login that asked for it."""

    endpoint: str
    key: str
    user: str
    p256dh: str
    auth: str
    language: str
    renewed_at: datetime


class Login(NamedTuple):
    """A login: who, in which role, by which way, until when.

    `key` is the hash of its token, `csrf` what each POST must state.
    """

    key: str
    user: str
    role: Role
    language: str
    csrf: str
    by_proxy: bool
    expires_at: datetime
    used_at: datetime

    @property
    def rights(self) -> tuple[Right, ...]:
        """What this person may do."""
        return RIGHTS[self.role]

    def shown(self) -> Session:
        """Return it as its page sees it."""
        return Session(
            user=self.user,
            role=self.role,
            rights=self.rights,
            language=self.language,
            csrf=self.csrf,
            expires_at=self.expires_at,
        )


class Store:
    """The console's SQLite file, mode 0600; one that is damaged is moved aside.

    Reason for its size: one method a question.

    Parameters
    ----------
    file : Path
    keep : timedelta
        Older documents and events are removed.
    max_bytes : int
        With more, the oldest documents are removed.
    """

    def __init__(self, file: Path, keep: timedelta, max_bytes: int) -> None:
        self._keep, self._max_bytes = keep, max_bytes
        self._lock, self._writes = threading.Lock(), 0
        try:
            self._db = _open(file)
        except sqlite3.OperationalError:
            raise  # locked, full or not writable: nothing is wrong with what it holds
        except sqlite3.DatabaseError as exc:
            aside = file.with_name(f"{file.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S}")
            file.replace(aside)
            log.error("%s is damaged (%s): moved to %s, begun anew", file, exc, aside)  # noqa: TRY400
            self._db = _open(file)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def keep(
        self, kept: Sequence[Kept], events: Sequence[Happened] = (), trends: Sequence[Trend] = ()
    ) -> None:
        """Keep what has arrived, in one transaction; what is kept already stays as it is.

        A device sends a document again with the same key; a genuine one replaces one whose origin
        was not proven. A full disk is logged: the page goes on without history.
        """
        if not (kept or events or trends):
            return
        documents = [
            (
                one.alert.alert_id,
                one.alert.sequence,
                one.alert.site,
                one.alert.device,
                _stamp(one.alert.onset_at),
                _stamp(one.received_at),
                one.audience,
                one.unproven,
                encode_alert(one.alert),
            )
            for one in kept
        ]
        minutes = [
            (t.site, t.device, t.stream, t.from_index, _stamp(t.to_at), encode_trend(t))
            for t in trends
        ]
        try:
            with self._lock, self._db:
                self._db.executemany(
                    "INSERT INTO document VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "
                    "ON CONFLICT DO UPDATE SET body = excluded.body, unproven = excluded.unproven, "
                    "received_at = excluded.received_at "
                    "WHERE document.unproven != '' AND excluded.unproven = ''",
                    documents,
                )
                self._db.executemany(
                    "INSERT INTO event (at, site, device, alert_id, event, who, text) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?)",
                    [(_stamp(e.at), *e[1:]) for e in events],
                )
                self._db.executemany(
                    "INSERT OR IGNORE INTO trend VALUES (?, ?, ?, ?, ?, ?)", minutes
                )
                self._writes += 1
                if self._writes % PRUNE_EVERY == 1:
                    self._prune(datetime.now(UTC))
        except sqlite3.Error as exc:
            log.error("the history cannot be written: %s", exc)  # noqa: TRY400

    def documents(self, alert_id: str) -> list[Kept]:
        """Return the documents of an alert, in order."""
        return self._kept(
            "SELECT body, received_at, audience, unproven FROM document WHERE alert_id = ? "
            "ORDER BY sequence",
            (alert_id,),
        )

    def latest(
        self, *, site: str = "", device: str = "", before: datetime | None = None, limit: int = 50
    ) -> list[Kept]:
        """Return the last document of each alert, the newest onset first."""
        where, values = ["1"], list[Any]()
        for column, value in (("site", site), ("device", device)):
            if value:
                where.append(f"{column} = ?")
                values.append(value)
        if before is not None:
            where.append("onset_at < ?")
            values.append(_stamp(before))
        return self._kept(
            "SELECT body, received_at, audience, unproven, max(sequence) FROM document "  # noqa: S608  # columns are fixed
            f"WHERE {' AND '.join(where)} GROUP BY alert_id ORDER BY onset_at DESC LIMIT ?",
            (*values, limit),
        )

    def keys(self) -> set[tuple[str, int]]:
        """Return (`alert_id`, `sequence`) of all documents."""
        return set(self._read("SELECT alert_id, sequence FROM document", ()))

    def events(self, alert_id: str | None = None, limit: int = 500) -> list[Happened]:
        """Return what happened to an alert, in order; without one, the newest of all first."""
        columns = "at, site, device, alert_id, event, who, text"
        if alert_id is None:
            rows = self._read(f"SELECT {columns} FROM event ORDER BY id DESC LIMIT ?", (limit,))  # noqa: S608
        else:
            rows = self._read(
                f"SELECT {columns} FROM event WHERE alert_id = ? ORDER BY id LIMIT ?",  # noqa: S608
                (alert_id, limit),
            )
        return [Happened(datetime.fromisoformat(row[0]), *row[1:]) for row in rows]

    def trends(self, site: str, device: str, since: datetime) -> list[Trend]:
        """Return the minutes of a bed that end later, the oldest first."""
        rows = self._read(
            "SELECT body FROM trend WHERE site = ? AND device = ? AND to_at > ? ORDER BY to_at",
            (site, device, _stamp(since)),
        )
        return [decode_trend(body) for (body,) in rows]

    def logins(self) -> list[Login]:
        """Return the logins, the least recently used first."""
        return [
            Login._make((*row[:5], bool(row[5]), *map(datetime.fromisoformat, row[6:])))
            for row in self._read("SELECT * FROM login ORDER BY used_at", ())
        ]

    def keep_login(self, login: Login) -> None:
        """Keep a login, or its last use."""
        values = (*login[:5], int(login.by_proxy), _stamp(login.expires_at), _stamp(login.used_at))
        self._write("INSERT OR REPLACE INTO login VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)

    def drop_login(self, key: str) -> None:
        """Forget a login."""
        self._write("DELETE FROM login WHERE key = ?", (key,))

    def pushes(self) -> list[Subscription]:
        """Return the browsers that are called by web push."""
        rows = self._read("SELECT * FROM push", ())
        return [Subscription._make((*row[:6], datetime.fromisoformat(row[6]))) for row in rows]

    def keep_push(self, one: Subscription) -> None:
        """Keep a browser that is called."""
        values = (*one[:6], _stamp(one.renewed_at))
        self._write("INSERT OR REPLACE INTO push VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def drop_push(self, endpoint: str = "", *, key: str = "") -> None:
        """Forget a browser, or those of a login."""
        self._write("DELETE FROM push WHERE endpoint = ? OR key = ?", (endpoint, key))

    def _prune(self, now: datetime) -> None:
        oldest = _stamp(now - self._keep)
        self._db.execute("DELETE FROM document WHERE received_at < ?", (oldest,))
        self._db.execute("DELETE FROM event WHERE at < ?", (oldest,))
        self._db.execute("DELETE FROM trend WHERE to_at < ?", (_stamp(now - _TREND_KEEP),))
        for _ in range(_MOST_ROUNDS):
            if self._used_bytes() <= self._max_bytes:
                return
            # A tenth at a time: the file is not shrunk, its pages are used again.
            for table, order in (("document", "received_at"), ("event", "at"), ("trend", "to_at")):
                (count,) = self._db.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608
                self._db.execute(
                    f"DELETE FROM {table} WHERE rowid IN "  # noqa: S608  # fixed names
                    f"(SELECT rowid FROM {table} ORDER BY {order} LIMIT ?)",
                    (count // 10 + 1,),
                )

    def _used_bytes(self) -> int:
        """Return the size of the pages that hold something."""
        pages, free, size = (
            int(self._db.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size

    def _kept(self, query: str, values: Iterable[Any]) -> list[Kept]:
        found = list[Kept]()
        for row in self._read(query, tuple(values)):
            try:
                alert = decode_alert(row[0])
            except msgspec.DecodeError:
                continue
            found.append(Kept(alert, datetime.fromisoformat(row[1]), row[2], row[3]))
        return found

    def _read(self, query: str, values: tuple[Any, ...]) -> list[Any]:
        with self._lock:
            return self._db.execute(query, values).fetchall()

    def _write(self, query: str, values: tuple[Any, ...]) -> None:
        try:
            with self._lock, self._db:
                self._db.execute(query, values)
        except sqlite3.Error as exc:
            log.error("logins and calls cannot be kept over a restart: %s", exc)  # noqa: TRY400


def _open(file: Path) -> sqlite3.Connection:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(0o600)
    file.chmod(0o600)
    db = sqlite3.connect(file, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version not in {0, _VERSION}:
            raise sqlite3.DatabaseError(f"version {version}, {_VERSION} expected")
        db.executescript(_SCHEMA)
        db.execute(f"PRAGMA user_version = {_VERSION}")
    except sqlite3.Error:
        db.close()
        raise
    return db


def _stamp(at: datetime) -> str:
    """Return UTC as text that sorts as it passes."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds")
