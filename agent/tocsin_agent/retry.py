"""The only reconnection policy of the agent: wait, twice as long after each failure."""

from __future__ import annotations

import random


class Backoff:
    """Waiting times that double up to a limit, each shortened by a random share.

    The random share keeps many devices from reconnecting to one broker at the same instant after
    an outage. The caller waits by itself, so that it can stop early.

    Parameters
    ----------
    min_s, max_s : float
        The first and the longest wait, in seconds.
    jitter : float
        The largest share of a wait by which it is shortened, 0 to 1; 0 gives exact times.
    """

    def __init__(self, min_s: float, max_s: float, *, jitter: float = 0.2) -> None:
        self._min_s, self._max_s, self._jitter = min_s, max_s, jitter
        self._next_s = min_s

    def next_s(self) -> float:
        """Return the next wait in seconds, and double the one after it."""
        wait_s, self._next_s = self._next_s, min(2 * self._next_s, self._max_s)
        return wait_s * random.uniform(1.0 - self._jitter, 1.0)  # noqa: S311  # not a secret

    def reset(self) -> None:
        """Start again from the shortest wait, after a success."""
        self._next_s = self._min_s
