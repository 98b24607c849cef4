"""Alerts that the broker has acknowledged and that no receiver has confirmed yet. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from tocsin_agent.delivery.faults import DELIVERY_FAILED, Fault
from tocsin_agent.delivery.settings import ReceiptSettings
from tocsin_agent.messages.alert import Audience, Key, Priority
from tocsin_agent.messages.receipt import Received

MAX_CHAINED = 20_000
MAX_CONFIRMED = 1_000
"""Receipts that are remembered: one may come before the broker's acknowledgement of the alert."""
_LONGEST_WAIT_S = 60.0
_RAISED_AFTER_WAITS = 3


@dataclass(slots=True)
class _Awaited:
    audience: Audience
    due_s: float
    times: int = 1


class AwaitedReceipts:
    """Which alerts of high priority wait for a receipt, and when each is sent again.

    The broker may lose what it has acknowledged, and so may a receiver that was killed before it
    showed it. An alert is sent again after `wait_s`, then after pauses that double up to a minute,
    until a receipt names it. Later documents of its episode wait for the first `wait_s`, so that
    they do not overtake it.

    Parameters
    ----------
    settings : ReceiptSettings
        Whether receipts are expected, and how long one is waited for.
    """

    def __init__(self, settings: ReceiptSettings | None = None) -> None:
        self._settings = settings or ReceiptSettings()
        self._awaited: dict[Key, _Awaited] = {}
        self._chained: dict[Key, None] = {}  # the broker has it for the team, by the chain
        self._confirmed: dict[tuple[Key, Audience], None] = {}  # lately, the oldest first
        self._unsigned = False

    def __len__(self) -> int:
        return len(self._awaited)

    @property
    def expected(self) -> bool:
        """Whether alerts of high priority count as delivered only with a receipt."""
        return self._settings.expected

    def use(self, settings: ReceiptSettings) -> None:
        """Use other settings; without receipts nothing is awaited any more."""
        self._settings = settings
        if not settings.expected:
            self._awaited.clear()
            self._chained.clear()
            self._confirmed.clear()
            self._unsigned = False

    def published(self, key: Key, priority: Priority, audience: Audience, now_s: float) -> bool:
        """Note that the broker has an alert; False where that is all that is waited for."""
        if not self.expected or priority is not Priority.HIGH or (key, audience) in self._confirmed:
            return False
        times = self._awaited[key].times + 1 if key in self._awaited else 1
        wait_s = min(self._settings.wait_s * 2 ** (times - 1), _LONGEST_WAIT_S)
        self._awaited[key] = _Awaited(audience, now_s + wait_s, times)
        return True

    def dispatched(self, key: Key, priority: Priority) -> bool:
        """Note that the broker has what the chain sent the team; False where that is enough."""
        confirmed = (key, Audience.TEAM) in self._confirmed
        if not self.expected or priority is not Priority.HIGH or confirmed:
            return False
        self._chained[key] = None
        for oldest in list(islice(self._chained, max(0, len(self._chained) - MAX_CHAINED))):
            del self._chained[oldest]
        return True

    def refused(self) -> None:
        """Note that a receipt came and does not count, for its signature."""
        self._unsigned = True

    def confirm(self, received: Iterable[Received]) -> list[tuple[Key, Audience]]:
        """Take a receipt; return what counts as delivered now, and to whom.

        An alert that waits for the bedside is delivered, too, once the team has it by the chain.
        """
        confirmed = []
        self._unsigned = False
        for one in received:
            key = (one.alert_id, one.sequence)
            self._confirmed[key, one.audience] = None
            awaited = self._awaited.get(key)
            chained = one.audience is Audience.TEAM and key in self._chained
            if chained or (awaited is not None and awaited.audience is one.audience):
                self._awaited.pop(key, None)
                self._chained.pop(key, None)
                confirmed.append((key, one.audience))
        for oldest in list(islice(self._confirmed, max(0, len(self._confirmed) - MAX_CONFIRMED))):
            del self._confirmed[oldest]
        return confirmed

    def not_due(self, audience: Audience, now_s: float) -> set[Key]:
        """Return what is not to be sent again yet; to another audience everything is."""
        return {
            key
            for key, awaited in self._awaited.items()
            if awaited.audience is audience and awaited.due_s > now_s
        }

    def overtaken(self) -> set[Key]:
        """Return what later documents of the same episode must not overtake."""
        return {key for key, awaited in self._awaited.items() if awaited.times == 1}

    def episodes(self) -> set[str]:
        """Return the `alert_id` of each alert that waits for a receipt."""
        return {alert_id for alert_id, _ in self._awaited}

    def next_due_s(self, now_s: float) -> float | None:
        """Return when the next alert becomes due; what is due already may wait for the broker."""
        times = (one.due_s for one in self._awaited.values() if one.due_s > now_s)
        return min(times, default=None)

    def faults(self) -> list[Fault]:
        """Return that no receiver confirms alerts, once one was sent three times in vain."""
        if all(awaited.times <= _RAISED_AFTER_WAITS for awaited in self._awaited.values()):
            return []
        if self._unsigned:
            return [
                Fault(
                    DELIVERY_FAILED,
                    "receipts",
                    "receivers confirm alerts of high priority without a signature that counts",
                    "they are sent again and again; start the receivers with --sign-with and a key "
                    "of signing.people_file",
                )
            ]
        return [
            Fault(
                DELIVERY_FAILED,
                "receipts",
                "no receiver has confirmed alerts of high priority",
                "they are sent again and again; look whether a receiver runs that sends receipts",
            )
        ]
