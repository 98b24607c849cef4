"""The maxima of the envelope of one lead that stand out from those around them.

An envelope has some seven maxima a second, so that each is compared with the few around it, one by
one, and not sample by sample. Times are analysis samples (4 ms).
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

EARLY = 12  # 48 ms, a peak with the shape of the last beats is reported after so long
CLOSE = 45  # 180 ms, a candidate is the highest peak within so much on both sides: `SHORTEST_RR`
CONFIRM = 55  # 220 ms, and beyond `CLOSE` no peak within so much is higher by `PEER`
PEER = 1.15  # ratio of levels; not 1, so that beats at 300 per minute do not suppress each other
LOCAL = 20  # 80 ms, in noise a candidate is the highest peak within so much on both sides
DWARFED = 0.2  # and has at least this share of the level of any peak within `CONFIRM`

AFTER_CONFIRM, AFTER_CLOSE, AFTER_EARLY = range(3)
"""When a maximum is judged; of those judged at one sample, in this order."""


class StandingOut(NamedTuple):
    """A maximum that stands out, as far as the first `known` samples of the stream show it.

    `look` is one of `AFTER_CONFIRM`, `AFTER_CLOSE` and `AFTER_EARLY`; `peak` the index of the
    maximum, `level` its height in mV. `dominant` states whether it is the highest around; those of
    `AFTER_CLOSE` and `AFTER_EARLY` always are, as far as is known by then.
    """

    known: int
    look: int
    peak: int
    level: float
    dominant: bool


class _Maximum:
    """A maximum, and how it compares with those around it that are known."""

    def __init__(self, peak: int, level: float) -> None:
        self.peak, self.level = peak, level
        self.before = 0.0  # the highest within `CONFIRM` before it
        self.early = self.close = self.confirm = 0.0  # within each distance after it
        self.is_local = True  # none within `LOCAL` is higher
        self.is_highest = False  # none within `CLOSE` is, and none much higher before it


class Maxima:
    """Decide which maxima of an envelope stand out.

    Each is judged three times: when `EARLY`, when `CLOSE` and when `CONFIRM` samples and one more
    after it are known.
    """

    def __init__(self) -> None:
        # What waits to be judged; those that wait for the last look are all that can be near.
        self._early: deque[_Maximum] = deque()
        self._close: deque[_Maximum] = deque()
        self._confirm: deque[_Maximum] = deque()

    def add(self, peak: int, level: float) -> None:
        """Add the next maximum, mV, and compare it with those before."""
        new, rises = _Maximum(peak, level), True
        for old in reversed(self._confirm):
            distance = peak - old.peak
            if distance > CONFIRM:
                break
            if level > old.confirm:  # noqa: PLR1730  # a third of the time of `max`
                old.confirm = level
            if old.level > new.before:  # noqa: PLR1730
                new.before = old.level
            if distance <= CLOSE:
                old.close = old.confirm  # what is nearer came before
                if distance <= LOCAL:
                    if distance <= EARLY:
                        old.early = old.confirm
                    (old if old.level < level else new).is_local = False
                if old.level >= level:
                    rises = False
        self._confirm.append(new)
        if rises and new.before <= PEER * level:
            self._early.append(new)

    def judge(self, known: int) -> list[StandingOut]:
        """Return what the first `known` samples show of the maxima.

        Returns
        -------
        list of StandingOut
            In the order in which it becomes known.
        """
        found = []
        while self._early and (at := self._early[0].peak + EARLY + 2) <= known:
            one = self._early.popleft()
            if one.early <= one.level:
                self._close.append(one)
                found.append(StandingOut(at, AFTER_EARLY, one.peak, one.level, True))
        while self._close and (at := self._close[0].peak + CLOSE + 2) <= known:
            one = self._close.popleft()
            if one.close <= one.level:
                one.is_highest = True
                found.append(StandingOut(at, AFTER_CLOSE, one.peak, one.level, True))
        while self._confirm and (at := self._confirm[0].peak + CONFIRM + 2) <= known:
            one = self._confirm.popleft()
            if one.is_local and one.level >= DWARFED * max(one.before, one.confirm):
                dominant = one.is_highest and one.confirm <= PEER * one.level
                found.append(StandingOut(at, AFTER_CONFIRM, one.peak, one.level, dominant))
        found.sort()
        return found
