"""Heart Rate Measurements of Bluetooth straps (GATT 0x2A37), as a stream of marks.

A strap that sends RR intervals only gives no ECG. Its stream has 250 samples a second, 1 where a
beat is and 0 elsewhere; what is not known (no skin contact, a lost notification) is missing.

A measurement has flags u8, the rate u8 or u16, the energy u16 where flagged, and RR intervals u16
in 1/1024 s, little-endian.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np

from tocsin_agent.sources.devices.live import Piece
from tocsin_dsp.signal import StreamSpec

MEASUREMENT = "00002a37-0000-1000-8000-00805f9b34fb"
RATE_HZ = 250.0
LEAD = "RR"

_LATE_S = 3.0  # beats that are so far from the time of arrival do not continue those before
_LONGEST_RR_S = 10.0
_RESUMES_S = 3600.0  # after a longer pause a new stream begins


class Measurement(NamedTuple):
    """The rate in beats a minute, the intervals in s, and whether the strap touches the skin."""

    bpm: int
    rr_s: tuple[float, ...]
    has_contact: bool


def decode_measurement(data: bytes) -> Measurement | None:
    """Read a notification; None for one that is too short."""
    if not data:
        return None
    flags, at = data[0], 1
    form = "<H" if flags & 0x01 else "<B"
    try:
        (bpm,) = struct.unpack_from(form, data, at)
    except struct.error:
        return None
    at += struct.calcsize(form) + (2 if flags & 0x08 else 0)
    intervals: tuple[float, ...] = ()
    if flags & 0x10:
        count = max(len(data) - at, 0) // 2
        intervals = tuple(rr / 1024 for rr in struct.unpack_from(f"<{count}H", data, at))
    is_off = flags & 0x06 == 0x04  # contact is detected by this strap, and there is none
    return Measurement(bpm, intervals, not is_off)


class MarkStream:
    """Measurements in, marks with an index out.

    A notification states the intervals that ended since the one before it, not when: beats follow
    each other by their intervals, and begin anew where they would differ from the time of arrival
    by more than 3 s.

    Parameters
    ----------
    name : str
        Name of the strap, for the id of the stream.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.damaged = 0
        self._runs = 0
        self._began_s = 0.0
        self._last_s: float | None = None  # monotonic, of the last notification

    def _begin(self, now_s: float) -> None:
        self._runs += 1
        self._began_s = now_s
        self._next = 0  # index of the next sample
        self._beat: int | None = None  # index of the last beat, where the next follows it
        stream = f"{self.name}/{self._runs}"
        self.spec = StreamSpec(stream, RATE_HZ, (LEAD,), calibrated=False, marks_only=True)

    def feed(self, data: bytes, now_s: float) -> Piece | None:
        """Take a notification that arrived at `now_s` (monotonic); None if it adds no sample."""
        measurement = decode_measurement(data)
        if measurement is None:
            self.damaged += 1
            return None
        if self._last_s is None or now_s - self._last_s > _RESUMES_S:
            self._begin(now_s)
        self._last_s = now_s
        arrival = round((now_s - self._began_s) * RATE_HZ)
        beats = self._beats(measurement, arrival)
        if not beats:
            return self._unknown(arrival)
        start, stop = self._next, beats[-1] + 1
        rows = np.zeros((stop - start, 1))
        known_from = beats[0] if self._beat is None else start
        rows[: known_from - start] = np.nan
        rows[np.array(beats) - start] = 1.0
        self._beat, self._next = beats[-1], stop
        return Piece(self.spec, start, rows, self._began_s + stop / RATE_HZ)

    def _beats(self, measurement: Measurement, arrival: int) -> list[int]:
        """Return the indices of the beats of a measurement, none before the next sample."""
        intervals = measurement.rr_s if measurement.has_contact else ()
        if not measurement.has_contact:
            self._beat = None
        elif not intervals and measurement.bpm > 0:
            intervals = self._by_rate(60.0 / measurement.bpm, arrival)
        if not intervals or not all(0 < rr <= _LONGEST_RR_S for rr in intervals):
            return []
        length = round(sum(intervals) * RATE_HZ)
        origin = self._beat
        if origin is None or abs(origin + length - arrival) > _LATE_S * RATE_HZ:
            self._beat = None
            origin = max(arrival - length, self._next)
        ends = np.rint(np.cumsum(intervals) * RATE_HZ).astype(int) + origin
        return [int(at) for at in ends if at >= self._next]

    def _by_rate(self, rr_s: float, arrival: int) -> tuple[float, ...]:
        """Return intervals of a strap that sends none, from its rate: those due by now."""
        since = arrival if self._beat is None else self._beat
        due = int((arrival - since) / (rr_s * RATE_HZ))
        return (rr_s,) * (due if self._beat is not None else 1)

    def _unknown(self, arrival: int) -> Piece | None:
        """Return missing samples once no beat has been reported for long."""
        stop = arrival - round(_LATE_S * RATE_HZ)
        if stop <= self._next:
            return None
        start, self._next, self._beat = self._next, stop, None
        rows = np.full((stop - start, 1), np.nan)
        return Piece(self.spec, start, rows, self._began_s + stop / RATE_HZ)
