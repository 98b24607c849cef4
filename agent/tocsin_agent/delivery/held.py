"""What memory keeps while the disk takes nothing: an alarm does not wait for a full disk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tocsin_agent.delivery.rows import Waiting
from tocsin_agent.delivery.store import MAX_HELD
from tocsin_agent.messages.alert import Alert, Audience, Key, encode_alert


@dataclass(slots=True)
class _Held:
    alert: Alert
    row: Waiting
    sent: Audience | None = None


class HeldAlerts:
    """Alerts that no disk holds, and which of them the broker has acknowledged.

    Not locked: the store that owns it is.

    Parameters
    ----------
    limit : int
        How many are kept at most.
    """

    def __init__(self, limit: int = MAX_HELD) -> None:
        self._limit = limit
        self._held: dict[Key, _Held] = {}

    def __len__(self) -> int:
        return len(self._held)

    def add(self, alerts: Sequence[Alert]) -> list[Alert]:
        """Keep alerts; return those given up beyond the limit, the oldest of the lowest priority.

        An alert that is held already stays as it is.
        """
        for alert in alerts:
            if alert.key not in self._held:
                row = Waiting(alert.key, alert.kind, alert.priority, False, encode_alert(alert))
                self._held[alert.key] = _Held(alert, row)
        excess = len(self._held) - self._limit
        if excess <= 0:
            return []
        by_rank = sorted(self._held.values(), key=lambda held: -held.alert.priority.rank)
        given_up = {held.alert.key for held in by_rank[:excess]}
        lost = [held.alert for key, held in self._held.items() if key in given_up]
        self.release(given_up)
        return lost

    def alerts(self) -> list[Alert]:
        """Return what is held, the oldest first."""
        return [held.alert for held in self._held.values()]

    def unsent(self) -> set[Key]:
        """Return what the broker has not acknowledged."""
        return {key for key, held in self._held.items() if held.sent is None}

    def waiting(self) -> list[Waiting]:
        """Return what the broker has not acknowledged, the oldest first."""
        return [held.row for held in self._held.values() if held.sent is None]

    def mark(self, key: Key, audience: Audience) -> bool:
        """Note that the broker has acknowledged an alert; False if it is not held here."""
        if key not in self._held:
            return False
        self._held[key].sent = audience
        return True

    def release(self, keys: Iterable[Key]) -> list[tuple[Key, Audience]]:
        """Forget these alerts; return those that the broker has acknowledged, and for whom."""
        gone = [self._held.pop(key) for key in keys if key in self._held]
        return [(held.alert.key, held.sent) for held in gone if held.sent is not None]
