"""Alerts whose times are put right once the clock of the gateway is set."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec

from tocsin_agent.messages.alert import Alert, ClockState, Phase
from tocsin_agent.wall_clock import is_set

MAX_KEPT = 200


class Corrections:
    """Keeps the alerts whose times a step of the clock makes wrong. Pure.

    These are the open ones, and those that have ended before the clock was set for the first time:
    beyond `MAX_KEPT` the oldest are forgotten.
    """

    def __init__(self) -> None:
        self._latest: OrderedDict[str, Alert] = OrderedDict()

    def note(self, alerts: Iterable[Alert]) -> None:
        """Note alerts as they are committed."""
        for alert in alerts:
            self._latest.pop(alert.alert_id, None)
            if alert.phase is not Phase.END or alert.clock is ClockState.UNSYNCHRONISED:
                self._latest[alert.alert_id] = msgspec.structs.replace(alert, strip=None)
        while len(self._latest) > MAX_KEPT:
            self._latest.popitem(last=False)

    def after(self, step_s: float) -> list[Alert]:
        """Return the next document of each alert, with the times that are right now.

        Parameters
        ----------
        step_s : float
            By how many seconds the clock was set.
        """
        corrected = [
            _corrected(alert, timedelta(seconds=step_s)) for alert in self._latest.values()
        ]
        self._latest.clear()
        self.note(corrected)
        return corrected


def _corrected(alert: Alert, step: timedelta) -> Alert:
    def right(when: datetime) -> datetime:
        # An episode that continues from an earlier run may have begun under a clock that was set.
        was_right = alert.clock is ClockState.UNSYNCHRONISED and is_set(when)
        return when if was_right else when + step

    detected_at = right(alert.detected_at)
    return msgspec.structs.replace(
        alert,
        sequence=alert.sequence + 1,
        phase=Phase.END if alert.phase is Phase.END else Phase.UPDATE,
        onset_at=right(alert.onset_at),
        detected_at=detected_at,
        clock=ClockState.CORRECTED if is_set(detected_at) else ClockState.UNSYNCHRONISED,
        published_at=None,
        presence=None,
    )
