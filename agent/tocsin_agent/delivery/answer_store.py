"""Where the states of alerts are kept over a restart: in the outbox's file, or in memory."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

import msgspec

from tocsin_agent.delivery import audit
from tocsin_agent.delivery.database import Database
from tocsin_agent.delivery.escalation import OpenAlert
from tocsin_agent.delivery.settings import AuditSettings

READ_AT_ONCE = 256
_CURSOR = "answered"

log = logging.getLogger(__name__)


class Arrived(NamedTuple):
    """An alert that was committed and not taken in yet; `position` is its place in the store.

    `document` is empty if nobody needs it any more.
    """

    position: int
    committed_at: datetime | None
    document: bytes


class Kept(NamedTuple):
    """An alert's state, and its first and latest document for levels that are addressed later."""

    alert: OpenAlert
    onset: bytes
    latest: bytes


class AnswerStore(Protocol):
    """What the answer desk needs of a store; `tests/contract/test_stores.py` is its contract."""

    def arrived(self) -> list[Arrived]:
        """Return the next alerts that were committed after the last `save`, the oldest first."""

    def held(self) -> list[Arrived]:
        """Return the alerts that only memory holds, because the disk takes none."""

    def unsent(self) -> set[str]:
        """Return the `alert_id` of each alert of which the broker lacks a document."""

    def load(self) -> list[Kept]:
        """Return every state that was saved and not forgotten."""

    def save(
        self,
        changed: Sequence[Kept],
        *,
        forgotten: Sequence[str] = (),
        entries: Sequence[audit.Entry] = (),
        position: int | None = None,
    ) -> None:
        """Save states, audit entries and how far `arrived` was taken in, all or none.

        Raises
        ------
        DeliveryError
            If nothing could be saved; the caller may try again.
        """

    def record(self, event: str, detail: str, *, who: str | None = None) -> bool:
        """Add an audit entry unless the latest of this event has the same detail.

        Returns
        -------
        bool
            True if an entry was added.
        """

    def remember(self, name: str, value: bytes) -> None:
        """Keep a value by its name, in the place of the one before."""

    def recall(self, name: str) -> bytes | None:
        """Return a value that was kept; None if there is none."""


class DatabaseAnswers:
    """An `AnswerStore` in the outbox's database.

    Parameters
    ----------
    database : Database
        Of the outbox.
    settings : AuditSettings
        How much of the audit trail is kept.
    utc : callable
        Returns aware UTC.
    """

    def __init__(
        self, database: Database, settings: AuditSettings, utc: Callable[[], datetime]
    ) -> None:
        self._database, self._settings, self._utc = database, settings, utc
        self._since_pruned = 0
        self._nothing_since = -1

    def arrived(self) -> list[Arrived]:
        """See `AnswerStore`."""

        def read(db: sqlite3.Connection) -> list[Arrived]:
            rows = db.execute(
                "SELECT created, committed, document FROM alert WHERE created > "
                "IFNULL((SELECT value FROM counter WHERE name = ?), 0) ORDER BY created LIMIT ?",
                (_CURSOR, READ_AT_ONCE),
            )
            return [Arrived(row[0], _time(row[1]), row[2] or b"") for row in rows]

        revision = self._database.revision
        if revision == self._nothing_since:
            return []
        found = self._database.read(read)
        if not found:
            self._nothing_since = revision
        return found

    def held(self) -> list[Arrived]:
        """See `AnswerStore`."""
        return []

    def unsent(self) -> set[str]:
        """See `AnswerStore`."""
        return self._database.read(
            lambda db: {
                row[0] for row in db.execute("SELECT DISTINCT alert_id FROM alert WHERE pending")
            }
        )

    def load(self) -> list[Kept]:
        """See `AnswerStore`."""

        def read(db: sqlite3.Connection) -> list[Kept]:
            rows = db.execute("SELECT state, onset, latest FROM answer ORDER BY rowid")
            return [kept for row in rows if (kept := _kept(*row)) is not None]

        return self._database.read(read)

    def save(
        self,
        changed: Sequence[Kept],
        *,
        forgotten: Sequence[str] = (),
        entries: Sequence[audit.Entry] = (),
        position: int | None = None,
    ) -> None:
        """See `AnswerStore`."""
        prune = self._since_pruned + len(entries) >= audit.PRUNE_EVERY

        def write(db: sqlite3.Connection) -> None:
            db.executemany(
                "INSERT INTO answer (alert_id, state, onset, latest) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (alert_id) DO UPDATE SET state = excluded.state, "
                "onset = excluded.onset, latest = excluded.latest",
                [
                    (kept.alert.alert_id, msgspec.json.encode(kept.alert), kept.onset, kept.latest)
                    for kept in changed
                ],
            )
            db.executemany("DELETE FROM answer WHERE alert_id = ?", [(one,) for one in forgotten])
            audit.append(db, entries)
            if position is not None:
                db.execute(
                    "INSERT INTO counter VALUES (?, ?) "
                    "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                    (_CURSOR, position),
                )
            if prune:
                audit.prune(db, self._settings, self._utc())

        self._database.write(write)
        self._since_pruned = 0 if prune else self._since_pruned + len(entries)

    def record(self, event: str, detail: str, *, who: str | None = None) -> bool:
        """See `AnswerStore`."""

        def write(db: sqlite3.Connection) -> bool:
            if audit.last_detail(db, event) == detail:
                return False
            audit.append(db, [audit.Entry(self._utc(), event, who=who, detail=detail)])
            return True

        return self._database.write(write)

    def remember(self, name: str, value: bytes) -> None:
        """See `AnswerStore`."""
        self._database.write(
            lambda db: db.execute("INSERT OR REPLACE INTO memo VALUES (?, ?)", (name, value))
        )

    def recall(self, name: str) -> bytes | None:
        """See `AnswerStore`."""

        def read(db: sqlite3.Connection) -> bytes | None:
            row = db.execute("SELECT value FROM memo WHERE name = ?", (name,)).fetchone()
            return None if row is None or not isinstance(row[0], bytes) else row[0]

        return self._database.read(read)


def _kept(state: bytes, onset: object, latest: object) -> Kept | None:
    """Return a state as it was saved; None where its row is damaged."""
    try:
        alert = msgspec.json.decode(bytes(state), type=OpenAlert)
    except (ValueError, TypeError, RecursionError) as exc:  # msgspec's errors are ValueErrors
        log.error("the state of an alert in the outbox is damaged: %s", exc)  # noqa: TRY400
        return None
    return Kept(
        alert,
        onset if isinstance(onset, bytes) else b"",
        latest if isinstance(latest, bytes) else b"",
    )


class MemoryAnswers:
    """An `AnswerStore` that is gone with the process.

    Attributes
    ----------
    entries : list of Entry
        The audit trail.
    """

    def __init__(self, unsent: Callable[[], set[str]]) -> None:
        self.entries: list[audit.Entry] = []
        self.unsent = unsent
        self._arrived: list[Arrived] = []
        self._position = 0
        self._kept: dict[str, Kept] = {}
        self._memo: dict[str, bytes] = {}

    def add(self, document: bytes, committed_at: datetime) -> None:
        """Add a committed alert."""
        position = self._arrived[-1].position + 1 if self._arrived else self._position + 1
        self._arrived.append(Arrived(position, committed_at, document))

    def arrived(self) -> list[Arrived]:
        """See `AnswerStore`."""
        return self._arrived[:READ_AT_ONCE]

    def held(self) -> list[Arrived]:
        """See `AnswerStore`."""
        return []

    def load(self) -> list[Kept]:
        """See `AnswerStore`."""
        return list(self._kept.values())

    def save(
        self,
        changed: Sequence[Kept],
        *,
        forgotten: Sequence[str] = (),
        entries: Sequence[audit.Entry] = (),
        position: int | None = None,
    ) -> None:
        """See `AnswerStore`."""
        self._kept |= {kept.alert.alert_id: kept for kept in changed}
        for alert_id in forgotten:
            self._kept.pop(alert_id, None)
        self.entries += entries
        if position is not None:
            self._position = position
            self._arrived = [one for one in self._arrived if one.position > position]

    def record(self, event: str, detail: str, *, who: str | None = None) -> bool:
        """See `AnswerStore`."""
        last = next((e.detail for e in reversed(self.entries) if e.event == event), None)
        if last != detail:
            self.entries.append(audit.Entry(datetime.now(UTC), event, who=who, detail=detail))
        return last != detail

    def remember(self, name: str, value: bytes) -> None:
        """See `AnswerStore`."""
        self._memo[name] = value

    def recall(self, name: str) -> bytes | None:
        """See `AnswerStore`."""
        return self._memo.get(name)


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
