"""An alert store in memory, for replays that deliver nothing and for tests."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tocsin_agent.delivery.answer_store import MemoryAnswers
from tocsin_agent.delivery.faults import Fault, memory_full
from tocsin_agent.delivery.held import HeldAlerts
from tocsin_agent.delivery.rows import Waiting
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
    Phase,
    Priority,
    encode_alert,
)

_NO_LIMIT = 2**31


@dataclass(slots=True)
class _Row:
    alert: Alert
    pending: bool = True
    handover: bool = False
    team: bool = False
    bedside: bool = False
    readable: bool = True


class MemoryStore:
    """Alerts in memory, gone with the process; it keeps every alert until it is closed.

    It answers as `Outbox` does, which is what `tests/contract/test_stores.py` checks. For one
    thread. Reason for its size: it has the methods of two interfaces, `AlertStore` and
    `AlertQueue`.

    Parameters
    ----------
    max_pending : int, optional
        Alerts that may wait; no limit if unset.
    max_held : int
        Alerts that may be held after a refused `append`.

    Attributes
    ----------
    answers : MemoryAnswers
        The states of the alerts.
    """

    def __init__(self, max_pending: int = _NO_LIMIT, *, max_held: int = MAX_HELD) -> None:
        self.max_pending = max_pending
        self.trends: TrendStore | None = None  # kept on disk only
        self._rows: dict[Key, _Row] = {}
        self._held = HeldAlerts(max_held)
        self._dropped = 0
        self._given_up = 0
        self._gauge = PressureGauge(max_pending)
        self._closed = False
        self.answers = MemoryAnswers(
            lambda: (
                {key[0] for key, row in self._rows.items() if row.pending}
                | {key[0] for key in self._held.unsent()}
            )
        )

    @property
    def alerts(self) -> list[Alert]:
        """Everything that was appended and not removed, the oldest first."""
        return [row.alert for row in self._rows.values()]

    def close(self) -> None:
        """Take no more alerts."""
        self._closed = True

    # -- for the committer --------------------------------------------------------------------

    def append(self, alerts: Sequence[Alert]) -> int:
        """See `AlertStore`."""
        if self._closed:
            raise DeliveryError(DeliveryFault.OUTBOX_UNWRITABLE, "the store is closed")
        rows = dict(self._rows)
        for alert in alerts:
            rows.setdefault(alert.key, _Row(alert))
        new = len(rows) - len(self._rows)
        for key, row in rows.items():
            if key not in self._rows:
                self.answers.add(encode_alert(row.alert), datetime.now(UTC))
        for key in self._expendable(rows):
            del rows[key]
            self._dropped += 1
        self._rows = rows
        self.mark_delivered(self._held.release([alert.key for alert in alerts]))
        return new

    def hold(self, alerts: Sequence[Alert]) -> list[Alert]:
        """See `AlertStore`."""
        given_up = self._held.add(alerts)
        self._given_up += len(given_up)
        return given_up

    def held(self) -> list[Alert]:
        """See `AlertStore`."""
        return self._held.alerts()

    def unsent(self) -> set[Key]:
        """See `AlertStore`."""
        return self._held.unsent()

    def open_documents(self) -> list[Alert]:
        """See `AlertStore`."""
        latest = [
            max(rows, key=lambda row: row.alert.sequence)
            for rows in self._episodes()
            if not any(row.alert.phase is Phase.END for row in rows)
        ]
        return [row.alert for row in latest if row.readable]

    def pressure(self) -> Pressure:
        """See `AlertStore`."""
        return self._gauge.read(self.pending(), self._dropped)

    def faults(self) -> list[Fault]:
        """See `AlertStore`."""
        return [memory_full(self._given_up)] if self._given_up else []

    def losses_raised(self) -> None:
        """See `AlertStore`."""
        self._given_up = 0

    def _expendable(self, rows: dict[Key, _Row]) -> list[Key]:
        """Return what must be removed for the rest to fit, the least grave updates first."""
        pending = [row.alert for row in rows.values() if row.pending]
        excess = len(pending) - self.max_pending
        if excess <= 0:
            return []
        candidates = sorted(
            (alert for alert in pending if _is_expendable(alert)),
            key=lambda alert: (
                alert.code not in NOTICES,
                -alert.priority.rank,
                alert.phase is not Phase.UPDATE,
            ),
        )
        if len(candidates) < excess:
            raise DeliveryError(
                DeliveryFault.OUTBOX_FULL,
                f"{self.max_pending} alerts wait and none of them may be removed",
            )
        return [alert.key for alert in candidates[:excess]]

    def _episodes(self) -> list[list[_Row]]:
        episodes: dict[str, list[_Row]] = {}
        for row in self._rows.values():
            episodes.setdefault(row.alert.alert_id, []).append(row)
        return list(episodes.values())

    # -- for the publisher --------------------------------------------------------------------

    def pending(self) -> int:
        """See `AlertQueue`."""
        return len(self.unsent()) + sum(row.pending for row in self._rows.values())

    def dropped(self) -> int:
        """See `AlertQueue`."""
        return self._dropped

    def damaged(self) -> int:
        """See `AlertQueue`."""
        return 0

    def waiting(
        self,
        limit: int,
        exclude: Collection[Key] = (),
        *,
        after: Collection[Key] | None = None,
        without: Collection[tuple[Kind, Priority]] = (),
    ) -> list[Waiting]:
        """See `AlertQueue`."""
        stored = [
            Waiting(key, row.alert.kind, row.alert.priority, row.handover, encode_alert(row.alert))
            for key, row in self._rows.items()
            if row.pending
        ]
        order = InOrder(exclude, after, without)
        found = sorted(stored + self._held.waiting(), key=lambda row: row.priority.rank)
        return [row for row in found if order.takes(row.key, row.kind, row.priority)][:limit]

    def mark_delivered(self, acknowledged: Iterable[tuple[Key, Audience]]) -> None:
        """See `AlertQueue`."""
        for key, audience in acknowledged:
            if not self._held.mark(key, audience) and key in self._rows:
                row = self._rows[key]
                row.pending = row.handover = False
                row.team |= audience is Audience.TEAM
                row.bedside |= audience is Audience.BEDSIDE

    def discard(self, key: Key) -> None:
        """See `AlertQueue`."""
        row = self._rows[key]
        row.pending = row.handover = row.readable = False

    def hand_over(self) -> int:
        """See `AlertQueue`."""
        queued = 0
        for rows in self._episodes():
            if not any(row.bedside and not row.team for row in rows):
                continue
            in_order = sorted(rows, key=lambda row: row.alert.sequence)
            ends = [row for row in rows if row.alert.phase is Phase.END]
            known = any(row.team for row in rows)
            owed = (ends if known else []) if ends else [in_order[0], in_order[-1]]
            for row in owed:
                if not row.pending and not row.team and row.readable:
                    row.pending = row.handover = True
                    queued += 1
        return queued

    def cancel_hand_over(self) -> int:
        """See `AlertQueue`."""
        queued = [row for row in self._rows.values() if row.handover and row.pending]
        for row in queued:
            row.pending = row.handover = False
        return len(queued)


def _is_expendable(alert: Alert) -> bool:
    """Return whether a full store may remove an alert."""
    if alert.code in NOTICES:
        return alert.phase is Phase.UPDATE
    return alert.priority is not Priority.HIGH
