"""The ECG frames of the Polar H10 chest strap (Polar Measurement Data Specification).

A frame has a type u8 (0, ECG), the time stamp of its last sample u64 in ns, a frame type u8 (0),
then samples i24 in µV, little-endian, at 130 Hz.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np

from tocsin_agent.sources.devices.grid import SampleGrid
from tocsin_agent.sources.devices.live import Piece
from tocsin_agent.sources.devices.protocol.timing import LinkClock
from tocsin_dsp.signal import FloatArray, StreamSpec

CONTROL = "fb005c81-02e7-f387-1cad-8acd2d8df0c8"
DATA = "fb005c82-02e7-f387-1cad-8acd2d8df0c8"
RATE_HZ = 130.0
# Start the ECG; setting 0 (rate) has one value, 130; setting 1 (resolution) one value, 14 bits.
START = bytes((0x02, 0x00, 0x00, 0x01, 0x82, 0x00, 0x01, 0x01, 0x0E, 0x00))
STOP = bytes((0x03, 0x00))
LEAD = "chest"

_HEAD = struct.Struct("<BQB")
_LOST_S = 0.25  # frames hold 0.56 s: a frame that is later than this follows a lost one
_RESUMES_S = 3600.0  # after a longer pause the strap was off: a new stream begins


class Frame(NamedTuple):
    """Samples in mV, and the time of the last one on the strap's clock, in ns."""

    last_ns: int
    samples_mv: FloatArray


def decode_frame(data: bytes) -> Frame | None:
    """Read a notification; None for another measurement, another frame type, or a damaged one."""
    if len(data) < _HEAD.size + 3 or (len(data) - _HEAD.size) % 3:
        return None
    kind, last_ns, form = _HEAD.unpack_from(data)
    if kind != 0 or form & 0x7F != 0:
        return None
    raw = np.frombuffer(data, np.uint8, offset=_HEAD.size).reshape(-1, 3)
    high = raw[:, 2].view(np.int8).astype(np.int32)
    microvolts = (high << 16) | (raw[:, 1].astype(np.int32) << 8) | raw[:, 0]
    return Frame(last_ns, microvolts / 1000.0)


def started(answer: bytes) -> str | None:
    """Return the error in the control point's answer to `START`; None if the stream starts."""
    if len(answer) < 4 or answer[0] != 0xF0 or answer[1] != START[0]:
        return "an unknown answer"
    if answer[3] in {0, 6}:  # success, or already streaming
        return None
    return f"error {answer[3]}"


class PolarStream:
    """Frames in, samples with an index out; outlives a connection, so a break becomes a gap.

    Parameters
    ----------
    name : str
        Name of the strap, for the id of the stream.

    Attributes
    ----------
    damaged : int
        Frames that could not be read.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.damaged = 0
        self._last_ns: int | None = None
        self._begin(0)

    def _begin(self, first_ns: int) -> None:
        self.clock = LinkClock()
        self._grid = SampleGrid(RATE_HZ, _LOST_S)
        self._origin_ns = first_ns
        self.spec = StreamSpec(f"{self.name}/{first_ns:x}", RATE_HZ, (LEAD,))

    def feed(self, data: bytes, now_s: float) -> Piece | None:
        """Take a notification that arrived at `now_s` (monotonic); None if it cannot be read."""
        frame = decode_frame(data)
        if frame is None:
            self.damaged += 1
            return None
        count = len(frame.samples_mv)
        first_ns = frame.last_ns - round((count - 1) * 1e9 / RATE_HZ)
        before = self._last_ns
        if before is None or not before < frame.last_ns < before + _RESUMES_S * 1e9:
            self._begin(first_ns)  # the strap was off, or its clock was set
        self._last_ns = frame.last_ns
        self.clock.observe(frame.last_ns // 1000, now_s)
        start = self._grid.place((first_ns - self._origin_ns) * 1e-9, count)
        end_s = self.clock.gateway_s((frame.last_ns + round(1e9 / RATE_HZ)) // 1000)
        return Piece(self.spec, start, frame.samples_mv[:, None], end_s)
