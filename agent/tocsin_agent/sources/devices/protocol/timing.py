"""Offset and drift of a device's clock against the gateway's (PROTOCOL.md, section 6).

Of several exchanges the quickest is the most accurate (Mills, RFC 5905, clock filter): delays only
add to the measured time. A line through the quickest exchanges gives offset and drift; the drift of
a crystal hardly changes within minutes.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

_BUCKET_S = 8.0
_BUCKETS = 40
_MAX_DRIFT = 0.01  # more than any crystal: the device's time is not usable
_WRAP_US = 1 << 32


def unwrap(low: int, near: int, modulus: int = _WRAP_US) -> int:
    """Return the number nearest to `near` that equals `low` modulo `modulus`."""
    return near + (low - near + modulus // 2) % modulus - modulus // 2


@dataclass(slots=True)
class _Best:
    """The quickest exchange of one bucket."""

    device_s: float
    gateway_s: float
    cost_s: float
    two_way: bool


class LinkClock:
    """Estimates a device's clock.

    Its state is at most 40 points, however long the stream is.
    """

    def __init__(self) -> None:
        self._past: deque[_Best] = deque(maxlen=_BUCKETS)
        self._now: _Best | None = None
        self._bucket = -1
        self._origin_s = (0.0, 0.0)  # device, gateway: origin of the line
        self._offset_s = 0.0
        self._slope = 1.0
        self._fitted = False

    @property
    def drift_ppm(self) -> float | None:
        """How much faster the gateway's clock runs than the device's; None before a fit."""
        return (self._slope - 1.0) * 1e6 if self._fitted else None

    def observe(self, device_us: int, gateway_s: float, round_trip_s: float | None = None) -> None:
        """Take one observation: the device's clock showed `device_us` at `gateway_s`.

        Parameters
        ----------
        device_us : int
            Unwrapped.
        gateway_s : float
            Monotonic: the middle of an exchange, or when a packet arrived.
        round_trip_s : float, optional
            Duration of the exchange; None for the arrival of a packet, which is one-way.
        """
        device_s = device_us * 1e-6
        bucket = int(gateway_s // _BUCKET_S)
        if bucket != self._bucket:
            self._bucket = bucket
            if self._now is not None:
                self._past.append(self._now)
                self._now = None
                self._fit()
        two_way = round_trip_s is not None
        cost_s = gateway_s - self._line(device_s) if round_trip_s is None else round_trip_s / 2
        best = self._now
        if best is None or (two_way, -cost_s) > (best.two_way, -best.cost_s):
            if not self._past:
                self._origin_s, self._offset_s = (device_s, gateway_s), 0.0
                cost_s = cost_s if two_way else 0.0
            self._now = _Best(device_s, gateway_s, cost_s, two_way)

    def gateway_s(self, device_us: int) -> float | None:
        """Return the gateway's monotonic time at which the device's clock showed `device_us`."""
        if self._now is None and not self._past:
            return None
        return None if abs(self._slope - 1.0) > _MAX_DRIFT else self._line(device_us * 1e-6)

    def _line(self, device_s: float) -> float:
        device0_s, gateway0_s = self._origin_s
        return gateway0_s + self._offset_s + self._slope * (device_s - device0_s)

    def _fit(self) -> None:
        points = [p for p in self._past if p.two_way] if self._past[-1].two_way else self._past
        last = self._past[-1]
        device = np.array([p.device_s - last.device_s for p in points])
        gateway = np.array([p.gateway_s - last.gateway_s for p in points])
        self._origin_s = (last.device_s, last.gateway_s)
        if len(points) < 2:
            self._offset_s, self._slope, self._fitted = 0.0, 1.0, False
            return
        slope, offset = _line_through(device, gateway)
        late = gateway - (offset + slope * device)
        good = (
            late <= 2.0 * np.sqrt(np.mean(late**2)) + 1e-6
        )  # not every bucket has a quick exchange
        if good.sum() >= 2:
            slope, offset = _line_through(device[good], gateway[good])
        self._slope, self._offset_s, self._fitted = slope, offset, True


def _line_through(
    x: np.ndarray[tuple[int], np.dtype[np.float64]], y: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> tuple[float, float]:
    """Return slope and offset of the least-squares line."""
    mean_x, mean_y = float(x.mean()), float(y.mean())
    spread = float(((x - mean_x) ** 2).sum())
    # a device's clock that stands still: a slope of 0, which `gateway_s` refuses
    slope = float(((x - mean_x) * (y - mean_y)).sum()) / spread if spread > 1e-6 else 0.0
    return slope, mean_y - slope * mean_x
