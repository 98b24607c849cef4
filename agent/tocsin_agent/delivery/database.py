"""The SQLite file of the outbox: one owner, whole transactions, and recovery when it is damaged."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, TypeVar

from tocsin_agent.delivery import audit
from tocsin_agent.delivery.salvage import COLUMNS, salvage
from tocsin_agent.errors import DeliveryError, DeliveryFault

log = logging.getLogger(__name__)

_CACHE_KIB = 256
T = TypeVar("T")

_SCHEMA = f"""
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
CREATE TABLE IF NOT EXISTS memo (name TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS answer (
    alert_id TEXT PRIMARY KEY,
    state    BLOB NOT NULL,
    onset    BLOB,
    latest   BLOB
);
{audit.SCHEMA}"""
# Added to a file of an earlier version when it is opened: UTC of the commit, in seconds; `checksum`
# of `rows`, NULL for rows of an earlier version.
_ADDED = {"committed": "REAL", "checksum": "INTEGER"}
OUTBOX_FORMAT = 1
"""Counts up with a change that an earlier version cannot work with; what is only added changes
nothing. It is kept in the file, and stated by an update of the agent."""
DAMAGED = "damaged"
"""The counter of rows that were set aside or lost because they were damaged."""
_NUMBERED = ("created", "entry")  # the rows that memory held come after those of the file
_RETRY_S = 5.0
_MAY_PASS = (DeliveryFault.OUTBOX_FULL, DeliveryFault.OUTBOX_UNWRITABLE)
_CORRUPT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Database:
    """The tables of the outbox in one SQLite file, in WAL mode with ``synchronous=FULL``.

    `alert` holds the documents, `answer` the states of the alerts, `audit` the audit trail, `memo`
    what else must survive a restart. A file of an earlier version gets what it lacks when opened.

    Several threads may use it: one connection is shared under a lock, since a transaction takes a
    few milliseconds. One process at a time owns the file.

    Parameters
    ----------
    path : Path
        The file; its folder is created.
    stand_in : bool
        Where the disk is full or read-only at the start, work in memory and try the file again
        every 5 s: what memory holds is then copied to it.

    Attributes
    ----------
    failure : str
        Why memory stands in for the file; empty where it does not.
    recovered_from : Path or None
        Where a damaged file was moved to, if one was found. All rows that could be read from it
        are in the new file.
    revision : int
        Changes with whatever is written: what was read at the same revision is still true.

    Raises
    ------
    DeliveryError
        OUTBOX_LOCKED if another process owns the file, OUTBOX_FULL if the disk is full,
        OUTBOX_UNWRITABLE if the path cannot be written.
    """

    def __init__(self, path: Path, *, stand_in: bool = False) -> None:
        self.path = path
        self.revision = 0
        self.failure = ""
        self.recovered_from: Path | None = None
        self._lock = threading.RLock()
        self._closed = False
        self._retry_at_s = 0.0
        self._lock_fd = -1
        self._write_failure = ""
        try:
            self._lock_fd, self._db = self._claim_and_open()
        except DeliveryError as exc:
            if not stand_in or exc.reason not in _MAY_PASS:
                raise
            self.failure = str(exc)
            self._retry_at_s = time.monotonic() + _RETRY_S
            self._db = _open(None)
            log.error("%s; alerts are kept in memory until it can", exc)  # noqa: TRY400

    @property
    def trouble(self) -> str:
        """Why the disk takes no alerts; empty where it does."""
        return self.failure or self._write_failure

    def close(self) -> None:
        """Close the file, so that another process can own it; safe to call twice."""
        with self._lock:
            if not self._closed:
                self._return_to_disk()
                self._closed = True
                if self.failure:
                    sql = "SELECT alert_id, sequence FROM alert WHERE pending = 1"
                    for alert_id, sequence in self._db.execute(sql):
                        log.critical("LOST: %s/%d: %s", alert_id, sequence, self.failure)
                self._db.close()
                if self._lock_fd >= 0:
                    os.close(self._lock_fd)

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work`, which only reads; parameters and errors as in `write`.

        It needs no transaction: nothing else can write while it runs.
        """
        return self._transaction(work, "")

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in a transaction that writes, and commit it to the disk.

        Parameters
        ----------
        work : callable
            Gets the connection; what it returns is returned. If it raises, nothing is written.
            It is run a second time if the file turns out to be damaged and is replaced.

        Raises
        ------
        DeliveryError
            If the database is closed or the disk fails: nothing was written.
        """
        with self._lock:
            try:
                result = self._transaction(work, "BEGIN IMMEDIATE")
            except DeliveryError as exc:
                self._write_failure = str(exc)
                raise
            self._write_failure = ""
            self.revision += 1
            if not self.failure:
                self._write_mark()
            return result

    def _transaction(self, work: Callable[[sqlite3.Connection], T], begin: str) -> T:
        with self._lock:
            if self._closed:
                raise DeliveryError(
                    DeliveryFault.OUTBOX_UNWRITABLE, f"{self.path} is closed: open it again"
                )
            if self.failure and time.monotonic() >= self._retry_at_s:
                self._return_to_disk()
            try:
                return _attempt(self._db, work, begin)
            except sqlite3.Error as exc:
                if not _is_corrupt(exc):
                    raise self._fault(exc) from exc
                self._db.close()
                self._db = self._recover(exc)
                self.revision += 1
            try:
                return _attempt(self._db, work, begin)
            except sqlite3.Error as exc:
                raise self._fault(exc) from exc

    def _write_mark(self) -> None:
        """Note beside the file which row was the last, and how many wait; see `_Mark`."""
        with contextlib.suppress(OSError, sqlite3.Error):
            os.pwrite(self._lock_fd, _mark_of(self._db).encode(), 0)

    def _claim_and_open(self) -> tuple[int, sqlite3.Connection]:
        lock_fd = _claim(self.path)
        try:
            return lock_fd, self._open_or_recover(_Mark.read(lock_fd))
        except BaseException:
            os.close(lock_fd)
            raise

    def _return_to_disk(self) -> None:
        """Try to open the file in whose place memory stands, and copy to it what memory holds."""
        if not self.failure:
            return
        self._retry_at_s = time.monotonic() + _RETRY_S
        try:
            lock_fd, db = self._claim_and_open()
        except DeliveryError as exc:
            self.failure = str(exc)
            return
        try:
            _copy(self._db, db)
        except sqlite3.Error as exc:
            self.failure = str(self._fault(exc))
            db.close()
            os.close(lock_fd)
            return
        self._db.close()
        self._db, self._lock_fd, self.failure = db, lock_fd, ""
        self.revision += 1
        log.warning("outbox %s can be written: what memory held is in it", self.path)

    def _open_or_recover(self, before: _Mark) -> sqlite3.Connection:
        try:
            db = _open(self.path)
            missing = before.last - _mark_of(db).last
            if missing > 0:
                log.critical(
                    "LOST: up to %d rows of the outbox %s: the file was cut or removed",
                    missing,
                    self.path,
                )
                _attempt(
                    db, lambda db: _continue_after(db, before.last, missing), "BEGIN IMMEDIATE"
                )
        except sqlite3.Error as exc:
            if _is_corrupt(exc):
                return self._recover(exc, before)
            raise self._fault(exc) from exc
        return db

    def _recover(self, cause: sqlite3.Error, before: _Mark | None = None) -> sqlite3.Connection:
        """Move the damaged files aside, create a new one, and copy the readable rows into it."""
        before = before or _Mark.read(self._lock_fd)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        aside = self.path.with_name(f"{self.path.name}.corrupt-{stamp}")
        for suffix in ("", "-wal", "-shm"):
            source = self.path.with_name(self.path.name + suffix)
            if source.exists():
                source.rename(aside.with_name(aside.name + suffix))
        self.recovered_from = aside
        try:
            db = _open(self.path)
            kept, lost = _attempt(db, lambda db: salvage(aside, db), "BEGIN IMMEDIATE")
            found = _mark_of(db)
            lost = max(lost, before.waiting - found.waiting)
            _attempt(
                db,
                lambda db: _continue_after(db, max(before.last, found.last), lost),
                "BEGIN IMMEDIATE",
            )
        except sqlite3.Error as exc:
            raise self._fault(exc) from exc
        log.error(
            "outbox %s is damaged (%s): moved to %s; the new file has its %d readable rows, and at "
            "least %d were lost",
            self.path,
            cause,
            aside,
            kept,
            lost,
        )
        return db

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
            f"{self.path}: {exc}: check that the disk works, is mounted and is writable",
        )


class _Mark(NamedTuple):
    """What the lock file states of the outbox: the last row that was written, and how many waited.

    SQLite reads a file that was cut, or a log that was cut, as an older database without a word:
    this tells. It is written after each commit, without waiting for the disk.
    """

    last: int = 0
    waiting: int = 0

    def encode(self) -> bytes:
        return b"%020d %020d\n" % self

    @classmethod
    def read(cls, lock_fd: int) -> _Mark:
        """Read the mark; zeros where there is none."""
        try:
            last, waiting = os.pread(lock_fd, 42, 0).split()
            return cls(int(last), int(waiting))
        except (OSError, ValueError):
            return cls()


def _mark_of(db: sqlite3.Connection) -> _Mark:
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'alert'").fetchone()
    waiting = db.execute("SELECT COUNT(*) FROM alert WHERE pending = 1").fetchone()
    return _Mark(int(row[0]) if row else 0, int(waiting[0]))


def _continue_after(db: sqlite3.Connection, last: int, lost: int) -> None:
    """Count lost rows, and number new rows after the last that was written."""
    if lost > 0:
        count_up(db, DAMAGED, lost)
    db.execute("DELETE FROM sqlite_sequence WHERE name = 'alert'")
    db.execute("INSERT INTO sqlite_sequence VALUES ('alert', ?)", (last,))


def count_up(db: sqlite3.Connection, name: str, by: int) -> None:
    """Add to a counter of the file."""
    db.execute(
        "INSERT INTO counter VALUES (?, ?) "
        "ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
        (name, by),
    )


class _Damaged(sqlite3.DatabaseError):
    """SQLite opened the file, but its integrity check failed."""


def _claim(path: Path) -> int:
    """Take the lock file beside the database; return its descriptor."""
    lock = path.with_name(path.name + ".lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise DeliveryError(
            DeliveryFault.OUTBOX_UNWRITABLE,
            f"{lock} cannot be written ({exc.strerror}): check outbox.path and its permissions",
        ) from exc
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        os.close(fd)
        raise DeliveryError(
            DeliveryFault.OUTBOX_LOCKED,
            f"{path} belongs to another running process: stop it, or give this one "
            "another outbox.path",
        ) from exc
    return fd


def _keep_private(path: Path) -> None:
    """Create the file for its owner alone: it names patients; SQLite gives its WAL the same mode.

    A file that another user owns is left as it is: opening it says what is wrong.
    """
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(handle, 0o600)
        finally:
            os.close(handle)


def _copy(memory: sqlite3.Connection, disk: sqlite3.Connection) -> None:
    """Copy all rows in one transaction; a key that the disk has stays as it is there."""

    def copy(db: sqlite3.Connection) -> None:
        made = "SELECT name, sql FROM sqlite_master WHERE type = 'table'"
        for table, sql in memory.execute(made).fetchall():
            if table.startswith("sqlite_"):
                continue
            db.execute(sql.replace("CREATE TABLE ", "CREATE TABLE IF NOT EXISTS ", 1))
            info = memory.execute(f"PRAGMA table_info({table})")
            names = [row[1] for row in info if row[1] not in _NUMBERED]
            columns, marks = ", ".join(names), ", ".join("?" * len(names))
            rows = memory.execute(f"SELECT {columns} FROM {table} ORDER BY rowid")  # noqa: S608
            db.executemany(
                f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({marks})",  # noqa: S608
                rows,
            )

    _attempt(disk, copy, "BEGIN IMMEDIATE")


def _open(path: Path | None) -> sqlite3.Connection:
    """Open the file, or memory where there is none."""
    if path is not None:
        _keep_private(path)
    db = sqlite3.connect(
        path or ":memory:", isolation_level=None, check_same_thread=False, timeout=5.0
    )
    try:
        found = _format_of(db, path)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA journal_size_limit = 4194304")
        # Pages of the file in memory, in KiB: SQLite keeps 2 MB, which 64 patients fill in days.
        db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        _check(db)
        db.executescript(_SCHEMA)
        present = {row[1] for row in db.execute("PRAGMA table_info(alert)")}
        for name, kind in _ADDED.items():
            if name not in present:
                db.execute(f"ALTER TABLE alert ADD COLUMN {name} {kind}")
        db.execute(f"SELECT {COLUMNS} FROM alert LIMIT 1").fetchone()  # noqa: S608
        if found < OUTBOX_FORMAT:
            with contextlib.suppress(sqlite3.OperationalError):  # a full disk: the next start
                db.execute(f"PRAGMA user_version = {OUTBOX_FORMAT}")
    except BaseException:
        db.close()
        raise
    return db


def _format_of(db: sqlite3.Connection, path: Path | None) -> int:
    """Return the format of the file; refuse that of a newer version of the agent."""
    found = int(db.execute("PRAGMA user_version").fetchone()[0])
    if found > OUTBOX_FORMAT:
        raise DeliveryError(
            DeliveryFault.OUTBOX_UNWRITABLE,
            f"{path} was written by a newer version of the agent (format {found}, this one knows "
            f"{OUTBOX_FORMAT}): it is left as it is; install the newer version again",
        )
    return found


def _check(db: sqlite3.Connection) -> None:
    verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise _Damaged(verdict)


def _attempt(db: sqlite3.Connection, work: Callable[[sqlite3.Connection], T], begin: str) -> T:
    if not begin:
        return work(db)
    db.execute(begin)
    try:
        result = work(db)
        db.execute("COMMIT")
    except BaseException:
        # SQLite has already rolled back by itself if the disk is full.
        if db.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                db.execute("ROLLBACK")
        raise
    return result


def _is_corrupt(exc: sqlite3.Error) -> bool:
    if isinstance(exc, _Damaged):
        return True
    code = getattr(exc, "sqlite_errorcode", None)
    # A database of another program: a column is missing although the schema was just applied.
    foreign = code == sqlite3.SQLITE_ERROR and "no such column" in str(exc)
    return foreign or (code is not None and code & 0xFF in _CORRUPT)
