"""The outbox: alerts committed to disk before anything else happens to them.

An alert is in the outbox from the moment `Outbox.append` returns until the broker has acknowledged
it, whatever dies in between. Its key stays for a bounded time after that, so that the same episode
cannot be sent a second time by a replay or a restart.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, TypeVar

import msgspec

from tocsin_agent.delivery.settings import OutboxSettings
from tocsin_agent.errors import DeliveryError, DeliveryFault
from tocsin_agent.messages.alert import (
    Alert,
    Audience,
    Key,
    Kind,
    Phase,
    Priority,
    decode_alert,
    encode_alert,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

PRESSURE_CODE = "outbox_pressure"
PRESSED_ABOVE, RELIEVED_BELOW = 0.8, 0.5
_PRUNE_EVERY = 256

_SCHEMA = """
CREATE TABLE IF NOT EXISTS alert (
    created  INTEGER PRIMARY KEY AUTOINCREMENT,
    alert_id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    phase    TEXT NOT NULL,
    kind     TEXT NOT NULL,
    code     TEXT NOT NULL,
    priority TEXT NOT NULL,
    rank     INTEGER NOT NULL,
    pending  INTEGER NOT NULL DEFAULT 1,
    handover INTEGER NOT NULL DEFAULT 0,
    team     INTEGER NOT NULL DEFAULT 0,
    bedside  INTEGER NOT NULL DEFAULT 0,
    document BLOB,
    UNIQUE (alert_id, sequence)
);
CREATE INDEX IF NOT EXISTS waiting ON alert (rank, created) WHERE pending = 1;
CREATE INDEX IF NOT EXISTS bedside_only ON alert (alert_id) WHERE bedside = 1 AND team = 0;
CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""
_COLUMNS = (
    "created, alert_id, sequence, phase, kind, code, priority, rank, pending, handover, team, "
    "bedside, document"
)
_COMBINATIONS = {
    (str(phase), str(kind), str(priority))
    for phase in Phase
    for kind in Kind
    for priority in Priority
}
_CORRUPT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

# The open episodes that only the bedside has: their onset and their latest document. And the ends
# of episodes that the team knows of but whose end only the bedside has: nobody is left waiting.
_HAND_OVER = """
WITH episode AS (
    SELECT alert_id, MIN(sequence) AS first, MAX(sequence) AS last,
           MAX(phase = 'end') AS ended, MAX(team) AS known
    FROM alert
    WHERE alert_id IN (SELECT alert_id FROM alert WHERE bedside = 1 AND team = 0)
    GROUP BY alert_id
)
UPDATE alert SET pending = 1, handover = 1
WHERE pending = 0 AND team = 0 AND document IS NOT NULL AND EXISTS (
    SELECT 1 FROM episode WHERE episode.alert_id = alert.alert_id AND (
        (NOT ended AND sequence IN (first, last)) OR (ended AND known AND phase = 'end')
    )
)
"""

# What gives way in a full outbox, the first row first: updates before the rest, the least grave
# and the oldest before others. Never a high priority, never the notice that the outbox is full.
_EXPENDABLE = f"""
SELECT created FROM alert
WHERE pending = 1 AND rank > {Priority.HIGH.rank} AND code <> '{PRESSURE_CODE}'
ORDER BY rank DESC, phase = 'update' DESC, created LIMIT ?
"""  # noqa: S608  # constants only


class Waiting(NamedTuple):
    """A row that the broker has not acknowledged yet."""

    key: Key
    kind: Kind
    priority: Priority
    handover: bool
    document: bytes


class Pressure(NamedTuple):
    """How full the outbox is.

    `pressed` rises above 80 % of the limit, or when an alert had to give way, and falls below
    50 %: the agent rings `outbox_pressure` while it is true.
    """

    pressed: bool
    pending: int
    max_pending: int
    dropped: int


@dataclass(slots=True)
class _Offer:
    """A row that no disk holds, and who has received it."""

    row: Waiting
    sent: Audience | None = None


class Outbox:
    """Alerts on disk: SQLite in WAL mode with ``synchronous=FULL``.

    Safe to use from several threads; one connection is shared under a lock, since each
    transaction is a few milliseconds. One process at a time owns the file.

    Parameters
    ----------
    path : Path
        The database, or an existing folder that gets ``outbox.db``. Parents are created.
    max_pending : int
        Alerts that may wait.
    keep_delivered : int
        Delivered alerts whose key is remembered.

    Attributes
    ----------
    recovered_from : Path or None
        Where a corrupt database was moved to, if one was found. What could be read of it was
        taken over.

    Raises
    ------
    DeliveryError
        OUTBOX_LOCKED if another process owns it, OUTBOX_FULL if the disk is, OUTBOX_UNWRITABLE if
        the path cannot be written.
    """

    def __init__(
        self, path: Path, *, max_pending: int = 10_000, keep_delivered: int = 10_000
    ) -> None:
        self.path = path / "outbox.db" if path.is_dir() else path
        self.max_pending = max_pending
        self.keep_delivered = keep_delivered
        self.recovered_from: Path | None = None
        self._lock = threading.RLock()
        self._marked = 0
        self._pressed = False
        self._dropped_seen = 0
        self._offers: dict[Key, _Offer] = {}
        self._lock_fd = self._claim()
        try:
            self._db = self._open_or_recover()
        except BaseException:
            os.close(self._lock_fd)
            raise
        self._dropped_seen = self.dropped()

    @classmethod
    def from_settings(cls, settings: OutboxSettings) -> Outbox:
        """Open the outbox that a configuration describes."""
        return cls(
            Path(settings.path),
            max_pending=settings.max_pending,
            keep_delivered=settings.keep_delivered,
        )

    def close(self) -> None:
        """Close the database and let another process have it."""
        with self._lock:
            if self._lock_fd >= 0:
                self._db.close()
                os.close(self._lock_fd)
                self._lock_fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # -- what the monitor's side uses ---------------------------------------------------------

    def append(self, alerts: Sequence[Alert]) -> int:
        """Commit alerts in one transaction; those already known are left as they are.

        Parameters
        ----------
        alerts : sequence of Alert
            In the order in which they happened.

        Returns
        -------
        int
            How many were new.

        Raises
        ------
        DeliveryError
            OUTBOX_FULL where the disk is full, or where the limit is reached and everything that
            waits is of high priority: nothing was written, the caller may try again.
            OUTBOX_UNWRITABLE where the disk fails otherwise.
        """
        if not alerts:
            return 0
        rows = [
            (*a.key, a.phase, a.kind, a.code, a.priority, a.priority.rank, encode_alert(a))
            for a in alerts
        ]

        def insert(db: sqlite3.Connection) -> int:
            before = db.total_changes
            db.executemany(
                "INSERT OR IGNORE INTO alert (alert_id, sequence, phase, kind, code, priority, "
                "rank, document) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )
            new = db.total_changes - before
            self._make_room(db)
            return new

        with self._lock:
            new = self._transaction(insert)
            # What went out while it was only on offer is on disk now: the note can follow.
            keys = {alert.key for alert in alerts}
            sent = [(key, offer.sent) for key, offer in self._offers.items() if key in keys]
            self._offers = {k: offer for k, offer in self._offers.items() if k not in keys}
            self.mark_delivered((key, audience) for key, audience in sent if audience is not None)
        return new

    def offer(self, alerts: Sequence[Alert]) -> None:
        """Let the publisher send these although they cannot be committed: better once too often.

        For a disk that takes nothing. They replace what was on offer before; a later `append` of
        them notes which ones the broker has meanwhile. A process that dies until then forgets
        that, and a receiver may see them again under the same key.
        """
        with self._lock:
            before = self._offers
            self._offers = {}
            for alert in alerts:
                key = alert.key
                row = Waiting(key, alert.kind, alert.priority, False, encode_alert(alert))
                self._offers[key] = before.get(key, _Offer(row))

    def unsent(self) -> set[Key]:
        """Return what is on offer and the broker has not acknowledged yet."""
        with self._lock:
            return {key for key, offer in self._offers.items() if offer.sent is None}

    def _make_room(self, db: sqlite3.Connection) -> None:
        excess = _count(db, "pending = 1") - self.max_pending
        if excess <= 0:
            return
        victims = db.execute(_EXPENDABLE, (excess,)).fetchall()
        if len(victims) < excess:
            raise DeliveryError(
                DeliveryFault.OUTBOX_FULL,
                f"{self.path}: {self.max_pending} alerts wait and none of them may give way: "
                "reconnect the broker or raise outbox.max_pending",
            )
        # Its key goes too: if the source is read again the alert gets another chance.
        db.executemany("DELETE FROM alert WHERE created = ?", victims)
        db.execute(
            "INSERT INTO counter VALUES ('dropped', ?) "
            "ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
            (len(victims),),
        )
        log.warning(
            "outbox is full (%d): %d alerts of lower priority gave way",
            self.max_pending,
            len(victims),
        )

    def pressure(self) -> Pressure:
        """Tell how full it is; `pressed` has hysteresis and is also set by a new drop."""
        with self._lock:
            pending, dropped = self.pending(), self.dropped()
            if dropped > self._dropped_seen or pending > PRESSED_ABOVE * self.max_pending:
                self._pressed = True
            elif pending < RELIEVED_BELOW * self.max_pending:
                self._pressed = False
            self._dropped_seen = dropped
            return Pressure(self._pressed, pending, self.max_pending, dropped)

    def pending(self) -> int:
        """Count the alerts that wait for the broker's acknowledgement."""
        with self._lock:
            return len(self.unsent()) + self._transaction(
                lambda db: _count(db, "pending = 1"), write=False
            )

    def dropped(self) -> int:
        """Count the alerts that ever gave way to graver ones in a full outbox."""

        def read(db: sqlite3.Connection) -> int:
            row = db.execute("SELECT value FROM counter WHERE name = 'dropped'").fetchone()
            return int(row[0]) if row else 0

        return self._transaction(read, write=False)

    def open_documents(self) -> list[Alert]:
        """Return the latest document of each episode that has no `end` yet, the oldest first."""

        def read(db: sqlite3.Connection) -> list[bytes]:
            rows = db.execute(
                "SELECT document FROM alert JOIN (SELECT alert_id AS id, MAX(sequence) AS last, "
                "MIN(created) AS first FROM alert GROUP BY alert_id HAVING NOT MAX(phase = 'end')) "
                "ON alert_id = id AND sequence = last WHERE document IS NOT NULL ORDER BY first"
            )
            return [row[0] for row in rows]

        found: list[Alert] = []
        for document in self._transaction(read, write=False):
            try:
                found.append(decode_alert(document))
            except msgspec.DecodeError as exc:
                log.warning("an open episode of an earlier version cannot be read: %s", exc)
        return found

    # -- what the publisher uses --------------------------------------------------------------

    def waiting(self, limit: int, exclude: Collection[Key] = ()) -> list[Waiting]:
        """Read the next rows to send: the graver first, then the older.

        Parameters
        ----------
        limit : int
            How many at most.
        exclude : collection of Key
            Rows that are already on their way.
        """

        def read(db: sqlite3.Connection) -> list[Waiting]:
            rows = db.execute(
                "SELECT alert_id, sequence, kind, priority, handover, document FROM alert "
                "WHERE pending = 1 ORDER BY rank, created LIMIT ?",
                (limit + len(exclude),),
            )
            found = (
                Waiting((r[0], r[1]), Kind(r[2]), Priority(r[3]), bool(r[4]), r[5]) for r in rows
            )
            return [row for row in found if row.key not in exclude][:limit]

        with self._lock:
            offered = [offer.row for offer in self._offers.values() if offer.sent is None]
            urgent = [row for row in offered if row.key not in exclude]
            rows = self._transaction(read, write=False) + urgent
        return sorted(rows, key=lambda row: row.priority.rank)[:limit]

    def mark_delivered(self, acknowledged: Iterable[tuple[Key, Audience]]) -> None:
        """Record what the broker has acknowledged, in one transaction.

        Raises
        ------
        DeliveryError
            If the disk is full: nothing was recorded, the caller may try again.
        """
        with self._lock:
            marks: list[tuple[Key, Audience]] = []
            for key, audience in acknowledged:
                if key in self._offers:
                    self._offers[key].sent = audience
                else:
                    marks.append((key, audience))
            if marks:
                self._mark(marks)

    def _mark(self, marks: list[tuple[Key, Audience]]) -> None:
        def update(db: sqlite3.Connection) -> None:
            for (alert_id, sequence), audience in marks:
                db.execute(
                    "UPDATE alert SET pending = 0, handover = 0, team = team OR ?, "
                    "bedside = bedside OR ? WHERE alert_id = ? AND sequence = ?",
                    (audience is Audience.TEAM, audience is Audience.BEDSIDE, alert_id, sequence),
                )
                # What nobody can be owed any more keeps its key only: documents are large. The
                # latest of an open episode stays, for the end that a restart may have to give it.
                db.execute(
                    "UPDATE alert SET document = NULL WHERE alert_id = ?1 AND pending = 0 AND ("
                    " team = 1 OR (SELECT MAX(phase = 'end' AND pending = 0) AND NOT MAX(team)"
                    " FROM alert WHERE alert_id = ?1)) AND (SELECT MAX(phase = 'end') OR"
                    " MAX(sequence) > alert.sequence FROM alert AS other WHERE alert_id = ?1)",
                    (alert_id,),
                )
            self._marked += len(marks)
            if self._marked >= _PRUNE_EVERY:
                self._marked = 0
                self._prune(db)

        self._transaction(update)

    def _prune(self, db: sqlite3.Connection) -> None:
        excess = _count(db, "pending = 0") - self.keep_delivered
        if excess > 0:
            # A row that still holds its document may yet be owed to the team: it goes last.
            db.execute(
                "DELETE FROM alert WHERE created IN (SELECT created FROM alert WHERE pending = 0 "
                "ORDER BY document IS NOT NULL, created LIMIT ?)",
                (excess,),
            )

    def discard(self, key: Key) -> None:
        """Give up a row whose document cannot be read; its key stays known."""
        self._transaction(
            lambda db: db.execute(
                "UPDATE alert SET pending = 0, handover = 0, document = NULL "
                "WHERE alert_id = ? AND sequence = ?",
                key,
            )
        )

    def hand_over(self) -> int:
        """Queue for the team what only the bedside received of episodes that still matter.

        Of an open episode its onset and its latest document; of an ended one its `end`, if the
        team was told that it began. Rows that the team has are never queued again, so this may be
        called as often as one likes.

        Returns
        -------
        int
            How many rows were queued.
        """

        def update(db: sqlite3.Connection) -> int:
            before = db.total_changes
            db.execute(_HAND_OVER)  # its rowcount is unknown: it begins with WITH
            return db.total_changes - before

        return self._transaction(update)

    def cancel_hand_over(self) -> int:
        """Take back what `hand_over` queued and was not sent: someone is present again."""
        return self._transaction(
            lambda db: (
                db.execute(
                    "UPDATE alert SET pending = 0, handover = 0 WHERE handover = 1 AND pending = 1"
                ).rowcount
            )
        )

    # -- the file -----------------------------------------------------------------------------

    def _claim(self) -> int:
        lock = self.path.with_name(self.path.name + ".lock")
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise DeliveryError(
                DeliveryFault.OUTBOX_UNWRITABLE,
                f"{lock} cannot be written ({exc.strerror}): check outbox.path and its rights",
            ) from exc
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(fd)
            raise DeliveryError(
                DeliveryFault.OUTBOX_LOCKED,
                f"{self.path} belongs to another running process: stop it, or give this one "
                "another outbox.path",
            ) from exc
        return fd

    def _open_or_recover(self) -> sqlite3.Connection:
        try:
            return self._open()
        except sqlite3.Error as exc:
            if _is_corrupt(exc):
                return self._recover(exc)
            raise self._fault(exc) from exc

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=5.0)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA journal_size_limit = 4194304")
            _check(db)
            db.executescript(_SCHEMA)
            db.execute(f"SELECT {_COLUMNS} FROM alert LIMIT 1").fetchone()  # noqa: S608
        except BaseException:
            db.close()
            raise
        return db

    def _recover(self, cause: sqlite3.Error) -> sqlite3.Connection:
        """Move the damaged files aside, start afresh, and take over what can still be read."""
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        aside = self.path.with_name(f"{self.path.name}.corrupt-{stamp}")
        for suffix in ("", "-wal", "-shm"):
            source = self.path.with_name(self.path.name + suffix)
            if source.exists():
                source.rename(aside.with_name(aside.name + suffix))
        self.recovered_from = aside
        try:
            db = self._open()
            rows = _salvage(aside)
            with db:
                db.execute("BEGIN IMMEDIATE")
                marks = ", ".join("?" * len(_COLUMNS.split(",")))
                db.executemany(
                    f"INSERT OR IGNORE INTO alert ({_COLUMNS}) VALUES ({marks})",  # noqa: S608
                    rows,
                )
        except sqlite3.Error as exc:
            raise self._fault(exc) from exc
        log.error(
            "outbox %s is corrupt (%s): moved to %s, a fresh one has taken over %d readable rows",
            self.path,
            cause,
            aside,
            len(rows),
        )
        return db

    def _transaction(self, work: Callable[[sqlite3.Connection], T], *, write: bool = True) -> T:
        with self._lock:
            if self._lock_fd < 0:
                raise DeliveryError(
                    DeliveryFault.OUTBOX_UNWRITABLE, f"{self.path} is closed: open it again"
                )
            try:
                return self._attempt(work, write=write)
            except sqlite3.Error as exc:
                if not _is_corrupt(exc):
                    raise self._fault(exc) from exc
                self._db.close()
                self._db = self._recover(exc)
            try:
                return self._attempt(work, write=write)
            except sqlite3.Error as exc:
                raise self._fault(exc) from exc

    def _attempt(self, work: Callable[[sqlite3.Connection], T], *, write: bool) -> T:
        db = self._db
        db.execute("BEGIN IMMEDIATE" if write else "BEGIN")
        try:
            result = work(db)
            db.execute("COMMIT")
        except BaseException:
            # A full disk may already have rolled it back.
            if db.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
            raise
        return result

    def _fault(self, exc: sqlite3.Error) -> DeliveryError:
        if getattr(exc, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            return DeliveryError(
                DeliveryFault.OUTBOX_FULL,
                f"{self.path}: the disk is full, nothing was written: free some space",
            )
        if _is_corrupt(exc):
            return DeliveryError(DeliveryFault.OUTBOX_CORRUPT, f"{self.path}: {exc}")
        return DeliveryError(
            DeliveryFault.OUTBOX_UNWRITABLE,
            f"{self.path}: {exc}: check that the disk is sound, mounted and writable",
        )


class _Damaged(sqlite3.DatabaseError):
    """SQLite opened the file, but its own check finds it damaged."""


def _check(db: sqlite3.Connection) -> None:
    verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise _Damaged(verdict)


def _is_corrupt(exc: sqlite3.Error) -> bool:
    if isinstance(exc, _Damaged):
        return True
    code = getattr(exc, "sqlite_errorcode", None)
    # A foreign database: no such table or column although the schema was just applied.
    foreign = code == sqlite3.SQLITE_ERROR and "no such column" in str(exc)
    return foreign or (code is not None and code & 0xFF in _CORRUPT)


def _salvage(aside: Path) -> list[tuple[object, ...]]:
    """Read as many rows of a damaged database as it yields."""
    rows: list[tuple[object, ...]] = []
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(aside)) as old:
        for row in old.execute(f"SELECT {_COLUMNS} FROM alert ORDER BY created"):  # noqa: S608
            if _is_whole(row):
                rows.append(row)  # noqa: PERF401  # keeps what came before the damage
    return rows


def _is_whole(row: tuple[object, ...]) -> bool:
    """Tell whether a row read from a damaged file is one that was written."""
    texts, numbers, document = row[1:2] + row[3:7], row[:1] + row[2:3] + row[7:12], row[12]
    return (
        all(isinstance(text, str) for text in texts)
        and all(isinstance(number, int) for number in numbers)
        and (row[3], row[4], row[6]) in _COMBINATIONS
        and (isinstance(document, bytes) or (document is None and not row[8]))
    )


def _count(db: sqlite3.Connection, where: str) -> int:
    return int(db.execute(f"SELECT COUNT(*) FROM alert WHERE {where}").fetchone()[0])  # noqa: S608
