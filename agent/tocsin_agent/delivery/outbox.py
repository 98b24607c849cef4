"""The outbox: alerts committed to disk before anything else happens to them.

From the moment `Outbox.append` returns, an alert is in the outbox until the broker has
acknowledged it, even if the process or the power fails. Its key stays for a bounded time after
that, so that a replay or a restart cannot send the same episode a second time.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from tocsin_agent.delivery import audit
from tocsin_agent.delivery.answer_store import Arrived, DatabaseAnswers
from tocsin_agent.delivery.database import DAMAGED, Database, count_up
from tocsin_agent.delivery.faults import Fault, disk_fault, memory_full, rows_lost
from tocsin_agent.delivery.held import HeldAlerts
from tocsin_agent.delivery.rows import Stored, Waiting, checksum, read_row
from tocsin_agent.delivery.settings import AuditSettings, OutboxSettings
from tocsin_agent.delivery.store import (
    MAX_HELD,
    NOTICES,
    InOrder,
    Pressure,
    PressureGauge,
)
from tocsin_agent.delivery.trends import TrendStore
from tocsin_agent.errors import DeliveryError, DeliveryFault
from tocsin_agent.messages.alert import (
    Alert,
    Audience,
    Key,
    Kind,
    Priority,
    decode_alert,
    encode_alert,
)
from tocsin_agent.messages.printable import clean

log = logging.getLogger(__name__)

_PRUNE_EVERY = 256
_RAISED = "damage_raised"

# Of the open episodes that only the bedside received: the onset and the latest document. Of the
# ended episodes of which the team received an earlier alert: the end, if the team lacks it.
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

# What is removed from a full outbox, in this order: updates of the notices, which come once a
# minute; then the lowest priority first, its updates before the rest, the oldest before the newer.
# Never a high priority, never the onset and the end of a notice.
_EXPENDABLE = f"""
SELECT created FROM alert
WHERE pending = 1 AND rank > {Priority.HIGH.rank}
AND (code NOT IN {NOTICES} OR phase = 'update')
ORDER BY code IN {NOTICES} DESC, rank DESC, phase = 'update' DESC, created LIMIT ?
"""  # noqa: S608  # constants only


class Outbox:
    """Alerts on disk, in one SQLite file that one process owns; any thread may use it.

    Reason for its size: it has two users, the committer through `AlertStore` and the publisher
    through `AlertQueue`, and both see the same rows under one lock.

    Parameters
    ----------
    path : Path
        The database, or an existing folder that gets ``outbox.db``. Parents are created.
    max_pending : int
        Alerts that may wait.
    keep_delivered : int
        Delivered alerts whose key is remembered.
    keep_trends_h : float
        Hours of trends that are kept.
    max_held : int
        Alerts that memory may hold while the disk takes none.
    audit : AuditSettings, optional
        How much of the audit trail is kept.
    stand_in : bool
        Begin in memory where the disk is full or read-only; see `Database`.
    utc : callable
        Returns aware UTC; for tests.

    Attributes
    ----------
    answers : AnswerStore
        The states of the alerts, in the same file.

    Raises
    ------
    DeliveryError
        OUTBOX_LOCKED if another process owns it, OUTBOX_FULL if the disk is full,
        OUTBOX_UNWRITABLE if the path cannot be written.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_pending: int = 10_000,
        keep_delivered: int = 10_000,
        keep_trends_h: float = 72.0,
        max_held: int = MAX_HELD,
        audit: AuditSettings | None = None,
        stand_in: bool = False,
        utc: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.path = path / "outbox.db" if path.is_dir() else path
        self.max_pending = max_pending
        self.keep_delivered = keep_delivered
        self._lock = threading.RLock()
        self._marked = 0
        self._given_up = 0
        self._held = HeldAlerts(max_held)
        self._known: dict[str, tuple[int, int]] = {}
        self._database = Database(self.path, stand_in=stand_in)
        self._gauge = PressureGauge(max_pending, self.dropped())
        self.trends: TrendStore | None = TrendStore(self._database, keep_trends_h)
        self._utc = utc
        self.answers = _Answers(self._database, audit or AuditSettings(), utc, self._held)

    @classmethod
    def from_settings(cls, settings: OutboxSettings, audit: AuditSettings | None = None) -> Outbox:
        """Open the outbox that a configuration describes."""
        return cls(
            Path(settings.path),
            max_pending=settings.max_pending,
            keep_delivered=settings.keep_delivered,
            keep_trends_h=settings.keep_trends_h,
            audit=audit,
            stand_in=True,  # a patient is monitored whatever the disk does
        )

    @property
    def failure(self) -> str:
        """Why memory stands in for the file; empty where it does not."""
        return self._database.failure

    @property
    def recovered_from(self) -> Path | None:
        """Where a damaged database was moved to, if one was found; see `Database`."""
        return self._database.recovered_from

    def close(self) -> None:
        """Close the database, so that another process can open it."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- for the committer: AlertStore --------------------------------------------------------

    def append(self, alerts: Sequence[Alert]) -> int:
        """Commit alerts in one transaction; those whose key is known are left as they are.

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
            OUTBOX_FULL if the disk is full, or if the limit is reached and every waiting alert is
            of high priority: nothing was written, the caller may try again.
            OUTBOX_UNWRITABLE if the disk fails otherwise.
        """
        if not alerts:
            return 0
        now = self._utc()
        documents = [(alert, encode_alert(alert)) for alert in alerts]

        def insert(db: sqlite3.Connection) -> int:
            new = [(a, document) for a, document in documents if _insert(db, a, document, now)]
            audit.append(db, [_committed(alert, document, now) for alert, document in new])
            _make_room(db, self.max_pending)
            return len(new)

        with self._lock:
            new = self._database.write(insert)
            # What was sent from memory is on disk now, so its acknowledgement can be recorded.
            self.mark_delivered(self._held.release([alert.key for alert in alerts]))
        return new

    def hold(self, alerts: Sequence[Alert]) -> list[Alert]:
        """Keep in memory what `append` refuses, so that the publisher sends it all the same.

        Returns
        -------
        list of Alert
            Those given up beyond `max_held`: the oldest of the lowest priority.
        """
        with self._lock:
            given_up = self._held.add(alerts)
            self._given_up += len(given_up)
            return given_up

    def held(self) -> list[Alert]:
        """Return what `hold` keeps, the oldest first."""
        if not self._held:
            return []  # without waiting for the disk: it is asked twice a block
        with self._lock:
            return self._held.alerts()

    def unsent(self) -> set[Key]:
        """Return the keys of what `hold` keeps and the broker has not acknowledged."""
        with self._lock:
            return self._held.unsent()

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
        for document in self._database.read(read):
            try:
                found.append(decode_alert(document))
            except (ValueError, TypeError, RecursionError) as exc:  # msgspec's are ValueErrors
                log.warning("an open episode of an earlier version cannot be read: %s", exc)
        return found

    def pressure(self) -> Pressure:
        """Return how full it is; see `Pressure`."""
        with self._lock:
            self._known.clear()  # so that the disk is read now and then
            return self._gauge.read(self.pending(), self.dropped())

    def faults(self) -> list[Fault]:
        """Return what does not work now, and which losses have not been raised yet."""
        with self._lock:
            found = []
            if self._database.trouble:
                found.append(disk_fault(self._database.trouble))
            if self._given_up:
                found.append(memory_full(self._given_up))
            try:
                lost = self.damaged() - self._counted(_RAISED)
            except DeliveryError as exc:
                return found or [disk_fault(str(exc))]
            return [*found, rows_lost(lost)] if lost > 0 else found

    def losses_raised(self) -> None:
        """Note that the losses of `faults` have been raised, also after a restart."""
        with self._lock:
            self._given_up = 0
            lost = self.damaged() - self._counted(_RAISED)
            if lost > 0:
                self._database.write(lambda db: count_up(db, _RAISED, lost))

    # -- for the publisher: AlertQueue --------------------------------------------------------

    def pending(self) -> int:
        """Count the alerts that the broker has not acknowledged, on disk and in memory."""
        with self._lock:
            return len(self._held.unsent()) + self._stored()

    def _stored(self) -> int:
        return self._unchanged("", lambda db: _count(db, "pending = 1"))

    def dropped(self) -> int:
        """Count the alerts that were ever removed from a full outbox."""
        return self._counted("dropped")

    def damaged(self) -> int:
        """Count the rows that were ever set aside or lost because they were damaged."""
        return self._counted(DAMAGED)

    def _counted(self, name: str) -> int:
        def read(db: sqlite3.Connection) -> int:
            row = db.execute("SELECT value FROM counter WHERE name = ?", (name,)).fetchone()
            return int(row[0]) if row else 0

        return self._unchanged(name, read)

    def _unchanged(self, name: str, read: Callable[[sqlite3.Connection], int]) -> int:
        """Return a count; it is read again once something was written."""
        with self._lock:
            known = self._known.get(name)
            if known is None or known[0] != self._database.revision or self._database.trouble:
                known = (self._database.revision, self._database.read(read))
                self._known[name] = known
            return known[1]

    def waiting(
        self,
        limit: int,
        exclude: Collection[Key] = (),
        *,
        after: Collection[Key] | None = None,
        without: Collection[tuple[Kind, Priority]] = (),
    ) -> list[Waiting]:
        """Return the next alerts to send: the gravest first, then the oldest.

        Parameters
        ----------
        limit : int
            How many at most.
        exclude : collection of Key
            Alerts that have been sent and may be acknowledged any moment.
        after : collection of Key, optional
            Alerts that no later one of the same episode may overtake; with it, one alert of each
            episode is returned.
        without : collection of tuple
            Kinds and priorities that cannot be sent now.
        """
        with self._lock:
            if not self._stored() and not self._held.waiting():
                return []
            while True:
                order = InOrder(exclude, after, without)
                found = self._database.read(lambda db, order=order: _next(db, limit, order))  # type: ignore[misc]
                rows = [(row, read_row(row)) for row in found]
                damaged = [row for row, waiting in rows if waiting is None]
                if not damaged:
                    break
                self._database.write(lambda db, rows=damaged: _set_aside(db, rows))  # type: ignore[misc]
            held = [
                row for row in self._held.waiting() if order.takes(row.key, row.kind, row.priority)
            ]
        stored = [row for _, row in rows if row is not None]
        return sorted(stored + held, key=lambda row: row.priority.rank)[:limit]

    def mark_delivered(self, acknowledged: Iterable[tuple[Key, Audience]]) -> None:
        """Record what the broker has acknowledged, in one transaction.

        Raises
        ------
        DeliveryError
            If the disk fails: nothing was recorded, the caller may try again.
        """
        with self._lock:
            stored = [mark for mark in acknowledged if not self._held.mark(*mark)]
            if not stored:
                return
            self._marked += len(stored)
            prune = self._marked >= _PRUNE_EVERY
            if prune:
                self._marked = 0
            self._database.write(
                lambda db: _mark(db, stored, keep=self.keep_delivered if prune else None)
            )

    def discard(self, key: Key) -> None:
        """Give up a row whose document cannot be read; its key stays known."""
        self._database.write(
            lambda db: db.execute(
                "UPDATE alert SET pending = 0, handover = 0, document = NULL "
                "WHERE alert_id = ? AND sequence = ?",
                key,
            )
        )

    def hand_over(self) -> int:
        """Queue for the team what only the bedside received and the team must know.

        Of an open episode these are the onset and the latest document. Of an ended one it is the
        end, if the team received an earlier alert of it. What the team has is never queued again,
        so a second call changes nothing.

        Returns
        -------
        int
            How many rows were queued.
        """

        def update(db: sqlite3.Connection) -> int:
            before = db.total_changes
            db.execute(_HAND_OVER)  # sqlite3 gives no rowcount for a statement with WITH
            return db.total_changes - before

        return self._database.write(update)

    def cancel_hand_over(self) -> int:
        """Take back what `hand_over` queued and has not been sent; return how many rows."""
        return self._database.write(
            lambda db: (
                db.execute(
                    "UPDATE alert SET pending = 0, handover = 0 WHERE handover = 1 AND pending = 1"
                ).rowcount
            )
        )


class _Answers(DatabaseAnswers):
    """Adds what only memory holds while the disk takes nothing."""

    def __init__(
        self,
        database: Database,
        settings: AuditSettings,
        utc: Callable[[], datetime],
        held: HeldAlerts,
    ) -> None:
        super().__init__(database, settings, utc)
        self._held_alerts = held

    def held(self) -> list[Arrived]:
        """See `AnswerStore`."""
        return [Arrived(0, None, encode_alert(alert)) for alert in self._held_alerts.alerts()]

    def unsent(self) -> set[str]:
        """See `AnswerStore`."""
        return super().unsent() | {alert_id for alert_id, _ in self._held_alerts.unsent()}


def _insert(db: sqlite3.Connection, alert: Alert, document: bytes, now: datetime) -> bool:
    """Insert an alert; False if its key is known."""
    cursor = db.execute(
        "INSERT OR IGNORE INTO alert (alert_id, sequence, phase, kind, code, priority, rank, "
        "document, committed, checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *alert.key,
            alert.phase,
            alert.kind,
            alert.code,
            alert.priority,
            alert.priority.rank,
            document,
            now.timestamp(),
            checksum(alert.key, document),
        ),
    )
    return cursor.rowcount == 1


def _next(db: sqlite3.Connection, limit: int, order: InOrder) -> list[Stored]:
    """Return the next rows to send; documents are read of these alone."""
    chosen: list[int] = []
    for created, alert_id, sequence, kind, priority in db.execute(
        "SELECT created, alert_id, sequence, kind, priority FROM alert WHERE pending = 1 "
        "ORDER BY rank, created"
    ):
        damaged = not (isinstance(alert_id, str) and isinstance(sequence, int))
        if damaged or order.takes((alert_id, sequence), kind, priority):
            chosen.append(created)
            if len(chosen) >= limit:
                break
    found = [
        db.execute(
            "SELECT created, alert_id, sequence, kind, priority, handover, document, checksum, "
            "committed FROM alert WHERE created = ?",
            (created,),
        ).fetchone()
        for created in chosen
    ]
    return [Stored(*row) for row in found]


def _set_aside(db: sqlite3.Connection, rows: Sequence[Stored]) -> None:
    """Leave damaged rows in the file for an analysis, and send them no more; count them."""
    db.executemany(
        "UPDATE alert SET pending = 0, handover = 0 WHERE created = ?",
        [(row.created,) for row in rows],
    )
    count_up(db, DAMAGED, len(rows))
    for row in rows:
        name = clean(f"{row.alert_id}/{row.sequence}", 80)
        log.critical("LOST: row %d of the outbox is damaged (%s) and set aside", row.created, name)


def _committed(alert: Alert, document: bytes, now: datetime) -> audit.Entry:
    detail = (
        f"{alert.code} {alert.phase} {alert.priority}, detected {alert.detected_at.isoformat()}"
    )
    return audit.Entry(now, audit.COMMITTED, *alert.key, detail=detail, document=document)


def _make_room(db: sqlite3.Connection, max_pending: int) -> None:
    """Remove what is expendable until no more than `max_pending` rows wait."""
    excess = _count(db, "pending = 1") - max_pending
    if excess <= 0:
        return
    rows = db.execute(_EXPENDABLE, (excess,)).fetchall()
    if len(rows) < excess:
        raise DeliveryError(
            DeliveryFault.OUTBOX_FULL,
            f"{max_pending} alerts wait in the outbox and none of them may be removed: reconnect "
            "the broker, start a receiver where receipts are expected, or raise outbox.max_pending",
        )
    # The key is removed too: if the source is read again, the alert can be stored again.
    db.executemany("DELETE FROM alert WHERE created = ?", rows)
    count_up(db, "dropped", len(rows))
    log.warning(
        "the outbox is full (%d): removed %d alerts of lower priority", max_pending, len(rows)
    )


def _mark(db: sqlite3.Connection, marks: list[tuple[Key, Audience]], keep: int | None) -> None:
    """Note what was delivered to whom; with `keep`, forget delivered rows beyond that number."""
    for (alert_id, sequence), audience in marks:
        db.execute(
            "UPDATE alert SET pending = 0, handover = 0, team = team OR ?, "
            "bedside = bedside OR ? WHERE alert_id = ? AND sequence = ?",
            (audience is Audience.TEAM, audience is Audience.BEDSIDE, alert_id, sequence),
        )
        # Documents are large: one that nobody needs any more goes, its key stays. The latest of an
        # open episode stays, since a restart may have to end that episode.
        db.execute(
            "UPDATE alert SET document = NULL WHERE alert_id = ?1 AND pending = 0 AND ("
            " team = 1 OR (SELECT MAX(phase = 'end' AND pending = 0) AND NOT MAX(team)"
            " FROM alert WHERE alert_id = ?1)) AND (SELECT MAX(phase = 'end') OR"
            " MAX(sequence) > alert.sequence FROM alert AS other WHERE alert_id = ?1)",
            (alert_id,),
        )
    excess = 0 if keep is None else _count(db, "pending = 0") - keep
    if excess > 0:
        # A row that still has its document may have to go to the team: it is forgotten last.
        db.execute(
            "DELETE FROM alert WHERE created IN (SELECT created FROM alert WHERE pending = 0 "
            "ORDER BY document IS NOT NULL, created LIMIT ?)",
            (excess,),
        )


def _count(db: sqlite3.Connection, where: str) -> int:
    return int(db.execute(f"SELECT COUNT(*) FROM alert WHERE {where}").fetchone()[0])  # noqa: S608
