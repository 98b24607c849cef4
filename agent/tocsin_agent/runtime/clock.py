"""From sample indices to UTC: the only place that relates a stream to a wall clock."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

_TIME_CONSTANT_S = 60.0
_TIME_CONSTANT_EXACT_S = 4.0
_MAX_DRIFT = 500e-6
_STEP_S = 2.0
_STEP_AFTER_S = 30.0


class StreamClock:
    """Returns the UTC at which a sample was taken.

    The clock of a device is its sample counter. Its crystal drifts by some tens of ppm, and samples
    arrive after a delay that varies. Each observation (a sample index and its UTC) corrects the
    estimate by a small step: a second-order tracking loop (alpha-beta filter, time constant 60 s)
    over offset and drift. It averages the jitter of a link and follows a drift without a lag. A
    link that has measured the clock of its device has no jitter: the time constant is 4 s then.
    The state is five numbers, whatever the length of the stream.

    An observation that is off by more than 2 s is not used: a stalled link delivers late, but its
    clock is right. Where observations stay off for 30 s of stream, the device or this machine has
    changed its time: the clock is set again, and the step counted.

    Parameters
    ----------
    rate_hz : float
        Samples per second of the stream.
    start_utc : datetime
        UTC of sample 0, aware.

    Attributes
    ----------
    drift_ppm : float
        How much longer than its nominal duration a second of stream takes, at most 500.
    steps : int
        How often the clock was set again.
    """

    def __init__(self, rate_hz: float, start_utc: datetime) -> None:
        if start_utc.tzinfo is None:
            raise ValueError("start_utc has no time zone: give an aware datetime")
        self.rate_hz = rate_hz
        self.steps = 0
        self._epoch = start_utc.astimezone(UTC)
        self._anchor_s = 0.0  # stream time of the last observation
        self._offset_s = 0.0  # UTC - epoch - stream time, there
        self._drift = 0.0
        self._off_since_s: float | None = None

    @classmethod
    def anchored(cls, rate_hz: float, index: int, utc: datetime) -> StreamClock:
        """Return a clock by which sample `index` was taken at `utc`."""
        return cls(rate_hz, utc - timedelta(seconds=index / rate_hz))

    @property
    def drift_ppm(self) -> float:
        """Estimated drift in parts per million."""
        return self._drift * 1e6

    def utc(self, index: int) -> datetime:
        """Return the UTC of a sample."""
        return self._epoch + timedelta(seconds=self._elapsed_s(index / self.rate_hz))

    def observe(self, index: int, utc: datetime, *, exact: bool = False) -> None:
        """Correct the clock by one observation.

        Parameters
        ----------
        index : int
            A sample index.
        utc : datetime
            When the sample arrived, aware.
        exact : bool
            `utc` is when the sample was taken, free of the jitter of a link.
        """
        stream_s = index / self.rate_hz
        passed_s = stream_s - self._anchor_s
        error_s = (utc - self._epoch).total_seconds() - self._elapsed_s(stream_s)
        if abs(error_s) > _STEP_S:
            self._consider_step(stream_s, error_s)
            return
        self._off_since_s = None
        if passed_s <= 0:
            return
        pull = 1.0 - math.exp(-passed_s / (_TIME_CONSTANT_EXACT_S if exact else _TIME_CONSTANT_S))
        self._offset_s += self._drift * passed_s + pull * error_s
        # a quarter of the square is critical damping: no overshoot after a disturbance
        drift = self._drift + pull * pull / 4.0 * error_s / passed_s
        self._drift = min(max(drift, -_MAX_DRIFT), _MAX_DRIFT)
        self._anchor_s = stream_s

    def set_by(self, seconds: float) -> None:
        """Take over that the clock of this machine was set by so many seconds."""
        self._offset_s += seconds
        self._off_since_s = None
        self.steps += 1

    def _elapsed_s(self, stream_s: float) -> float:
        return stream_s + self._offset_s + self._drift * (stream_s - self._anchor_s)

    def _consider_step(self, stream_s: float, error_s: float) -> None:
        if self._off_since_s is None or stream_s < self._off_since_s:
            self._off_since_s = stream_s
        elif stream_s - self._off_since_s >= _STEP_AFTER_S:
            self._offset_s = self._elapsed_s(stream_s) + error_s - stream_s
            self._anchor_s = stream_s
            self._drift = 0.0
            self._off_since_s = None
            self.steps += 1
