"""The clock of this gateway: whether it has been set, and when it is set again."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

SET_SINCE = datetime(2025, 1, 1, tzinfo=UTC)
"""A clock that shows an earlier time has not been set: this software is younger."""

LEAST_STEP_S = 2.0
"""A smaller change is a correction that no reader of a time notices."""


def is_set(utc: datetime) -> bool:
    """Return whether a time (aware) can be of a clock that has been set."""
    return utc >= SET_SINCE


def _steady_s() -> float:
    """Return seconds on a clock that nobody sets; it counts on while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class WallClock:
    """Notices that the clock of this gateway is set, as by NTP some seconds after a start.

    Parameters
    ----------
    utc_s, steady_s : callable
        Return seconds since 1970, and on a clock that nobody sets; for tests.
    """

    def __init__(
        self,
        utc_s: Callable[[], float] = time.time,
        steady_s: Callable[[], float] = _steady_s,
    ) -> None:
        self._utc_s, self._steady_s = utc_s, steady_s
        self._offset_s = utc_s() - steady_s()

    @property
    def is_set(self) -> bool:
        """Whether it shows a time that a clock shows which has been set."""
        return self._utc_s() >= SET_SINCE.timestamp()

    def step(self) -> float | None:
        """Return by how many seconds the clock was set since the last call; None if it was not."""
        before, self._offset_s = self._offset_s, self._utc_s() - self._steady_s()
        by_s = self._offset_s - before
        return by_s if abs(by_s) >= LEAST_STEP_S else None
