"""The interface of every alert store, on disk or in memory.

The committer writes to a store and the publisher reads from it; `tests/contract/test_stores.py`
is what both may rely on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple, Protocol

from tocsin_agent.delivery.faults import DELIVERY_FAILED, OUTBOX_FAILED, Fault
from tocsin_agent.delivery.rows import Waiting
from tocsin_agent.delivery.trends import TrendStore
from tocsin_agent.messages.alert import Alert, Audience, Key, Kind, Priority

MAX_HELD = 10_000
PRESSURE_CODE = "outbox_pressure"
NOTICES = (PRESSURE_CODE, OUTBOX_FAILED, DELIVERY_FAILED)
"""Technical alarms that are updated once a minute while what they state lasts."""
PRESSED_ABOVE, RELIEVED_BELOW = 0.8, 0.5


class Pressure(NamedTuple):
    """How full a store is.

    `pressed` becomes true above 80 % of the limit, or when an alert was removed for lack of room,
    and false below 50 %. The alarm `outbox_pressure` is active while it is true.
    """

    pressed: bool
    pending: int
    max_pending: int
    dropped: int


class AlertStore(Protocol):
    """What the committer needs of a store."""

    @property
    def trends(self) -> TrendStore | None:
        """Where trends are kept; None where they are not."""

    def append(self, alerts: Sequence[Alert]) -> int:
        """Store alerts, all or none; a key that is known already changes nothing.

        Returns
        -------
        int
            How many were new.

        Raises
        ------
        DeliveryError
            If nothing could be stored; the caller may try again.
        """

    def hold(self, alerts: Sequence[Alert]) -> list[Alert]:
        """Keep alerts in memory that `append` refuses, so that the publisher can send them.

        Once `append` accepts them they are no longer held. A process that ends before that
        forgets them, and which of them the broker has.

        Returns
        -------
        list of Alert
            Those given up because memory has a limit too: the oldest of the lowest priority.
        """

    def held(self) -> list[Alert]:
        """Return the alerts that `hold` keeps, the oldest first."""

    def unsent(self) -> set[Key]:
        """Return the keys that `hold` keeps and the broker has not acknowledged."""

    def open_documents(self) -> list[Alert]:
        """Return the latest alert of each episode that has no `end` yet, the oldest first."""

    def pressure(self) -> Pressure:
        """Return how full it is; see `Pressure`."""

    def faults(self) -> list[Fault]:
        """Return what does not work now, and which losses have not been raised yet."""

    def losses_raised(self) -> None:
        """Note that the losses of `faults` have been raised: it returns them no more.

        Raises
        ------
        DeliveryError
            If that could not be stored; they are raised again then.
        """


class AlertQueue(Protocol):
    """What the publisher needs of a store."""

    @property
    def trends(self) -> TrendStore | None:
        """Trends that may wait to be sent; None where none are kept."""

    def pending(self) -> int:
        """Count the alerts that the broker has not acknowledged."""

    def dropped(self) -> int:
        """Count the alerts that were ever removed for lack of room."""

    def damaged(self) -> int:
        """Count the alerts that were ever lost because what holds them was damaged."""

    def faults(self) -> list[Fault]:
        """See `AlertStore`."""

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

    def mark_delivered(self, acknowledged: Iterable[tuple[Key, Audience]]) -> None:
        """Record which alerts the broker has acknowledged, and for whom, all or none.

        Raises
        ------
        DeliveryError
            If nothing could be recorded; the caller may try again.
        """

    def discard(self, key: Key) -> None:
        """Give up an alert whose document cannot be read; its key stays known."""

    def hand_over(self) -> int:
        """Queue for the team what only the bedside received and the team must know.

        Of an open episode these are the onset and the latest alert. Of an ended one it is the
        end, if the team received an earlier alert of it. What the team has is never queued again,
        so a second call changes nothing.

        Returns
        -------
        int
            How many alerts were queued.
        """

    def cancel_hand_over(self) -> int:
        """Take back what `hand_over` queued and has not been sent; return how many alerts."""


class InOrder:
    """Decides which waiting alerts may be sent now; parameters as in `AlertQueue.waiting`."""

    def __init__(
        self,
        exclude: Collection[Key],
        after: Collection[Key] | None,
        without: Collection[tuple[Kind, Priority]],
    ) -> None:
        self._exclude, self._without = exclude, without
        self._first: dict[str, int] = {}
        self._in_order = after is not None
        for alert_id, sequence in after or ():
            self._first[alert_id] = min(sequence, self._first.get(alert_id, sequence))

    def takes(self, key: Key, kind: str, priority: str) -> bool:
        """Return whether an alert may be sent; they are asked for in order."""
        alert_id, sequence = key
        if key in self._exclude or self._first.get(alert_id, sequence) < sequence:
            return False
        if (kind, priority) in self._without:
            return False
        if self._in_order:
            self._first[alert_id] = min(sequence, self._first.get(alert_id, sequence))
        return True


class PressureGauge:
    """Decides `Pressure.pressed`, which depends on what was measured before.

    Parameters
    ----------
    max_pending : int
        The limit of the store.
    dropped : int
        How many alerts had been removed before.
    """

    def __init__(self, max_pending: int, dropped: int = 0) -> None:
        self._max_pending, self._dropped = max_pending, dropped
        self._pressed = False

    def read(self, pending: int, dropped: int) -> Pressure:
        """Return the pressure at these counts."""
        if dropped > self._dropped or pending > PRESSED_ABOVE * self._max_pending:
            self._pressed = True
        elif pending < RELIEVED_BELOW * self._max_pending:
            self._pressed = False
        self._dropped = dropped
        return Pressure(self._pressed, pending, self._max_pending, dropped)
