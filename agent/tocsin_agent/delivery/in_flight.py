"""What was sent over one connection and is not acknowledged yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tocsin_agent.messages.alert import Audience, Key, Priority


class Sent(NamedTuple):
    """An alert that was sent; `at_s` is monotonic, `size` that of its payload in bytes."""

    key: Key
    audience: Audience
    at_s: float
    priority: Priority = Priority.MEDIUM
    topic: str = ""
    size: int = 0
    strip: bool = False


class InFlight:
    """The unacknowledged alerts of one connection.

    Parameters
    ----------
    window : int
        How many may be unacknowledged at once.
    monotonic : callable
        Returns seconds on a clock that is never set.
    """

    def __init__(self, window: int, monotonic: Callable[[], float]) -> None:
        self._window, self._monotonic = window, monotonic
        self._sent: dict[int, Sent] = {}
        self._progress_s = monotonic()

    @property
    def room(self) -> int:
        """How many alerts may be sent now."""
        return self._window - len(self._sent)

    @property
    def keys(self) -> set[Key]:
        """The keys of all unacknowledged alerts."""
        return {sent.key for sent in self._sent.values()}

    def progress(self) -> None:
        """Note that the broker acknowledges messages."""
        self._progress_s = self._monotonic()

    def add(self, mid: int, sent: Sent) -> None:
        """Note that an alert was sent as the message `mid`."""
        self._sent[mid] = sent

    def acknowledge(self, mid: int) -> Sent | None:
        """Note an acknowledgement; return the alert that it is for, if it is for one."""
        self._progress_s = self._monotonic()
        return self._sent.pop(mid, None)

    def silent_s(self, waiting_since_s: float | None) -> float:
        """Return for how long the broker has acknowledged nothing although it should.

        It is measured from the last acknowledgement: a slow uplink is not a dead broker.

        Parameters
        ----------
        waiting_since_s : float or None
            When something else was sent that is not acknowledged yet, if anything was.
        """
        since = [sent.at_s for sent in self._sent.values()]
        if waiting_since_s is not None:
            since.append(waiting_since_s)
        if not since:
            return 0.0
        return self._monotonic() - max(min(since), self._progress_s)
