"""Frames: COBS and CRC, over whole buffers at once (PROTOCOL.md, section 1).

The codes of a COBS frame form a chain, each saying where the next one is, which reads like a loop.
Here all frames of a buffer are walked together by doubling: knowing the chain's first k codes and
the jump over k codes gives its first 2k. Ten array operations do for any number of frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tocsin_agent.sources.devices.protocol.crc32c import Bytes, Indices, crc32c, crc32c_each

MAX_PACKET = 640
MAX_FRAME = 644
_CRC = 4
_MIN_PACKET = 1 + _CRC


def frame(body: bytes) -> bytes:
    """Return a body as it travels: with its CRC, stuffed, ended by a zero byte."""
    packet = body + crc32c(body).to_bytes(_CRC, "little")
    out = bytearray()
    *groups, last = packet.split(b"\0")
    for group in groups:
        out += _full(group)
        rest = group[len(group) // 254 * 254 :]
        out += bytes((len(rest) + 1,)) + rest
    out += _full(last)
    rest = last[len(last) // 254 * 254 :]
    if rest or not last:
        out += bytes((len(rest) + 1,)) + rest
    return bytes(out) + b"\0"


def _full(group: bytes) -> bytes:
    """Return the part of a group that fills codes of 255, which stand for no zero."""
    return b"".join(b"\xff" + group[at : at + 254] for at in range(0, len(group) - 253, 254))


@dataclass(frozen=True, slots=True)
class Bodies:
    """The bodies of packets that are as they were sent, one after the other.

    Parameters
    ----------
    data : ndarray of uint8
        All of them.
    starts, lengths : ndarray of int64, shape (n,)
        Where each begins, and how long it is without its CRC.
    """

    data: Bytes
    starts: Indices
    lengths: Indices

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> bytes:
        start = self.starts[index]
        return self.data[start : start + self.lengths[index]].tobytes()

    @property
    def types(self) -> Bytes:
        """The type of each packet."""
        return self.data[self.starts]


class FrameReader:
    """Takes bytes as they come and gives the packets that have become whole.

    Holds at most one frame that is not ended yet.

    Attributes
    ----------
    frames, corrupt : int
        Frames seen, without empty ones; those of them that were dropped.
    bytes_read : int
        All bytes.
    """

    def __init__(self) -> None:
        self.frames = 0
        self.corrupt = 0
        self.bytes_read = 0
        self._tail = b""
        self._skipping = False

    def feed(self, data: bytes) -> Bodies:
        """Take the next bytes, cut anywhere."""
        self.bytes_read += len(data)
        buffer = self._tail + data
        end = buffer.rfind(0) + 1
        self._tail = buffer[end:]
        if self._skipping and end:
            first = buffer.find(0) + 1
            buffer, end, self._skipping = buffer[first:end], end - first, False
        if len(self._tail) > MAX_FRAME:
            if not self._skipping:
                self.frames, self.corrupt = self.frames + 1, self.corrupt + 1
            self._tail, self._skipping = b"", True
        if not end:
            return _NOTHING
        seen, bodies = _unframe(np.frombuffer(buffer, np.uint8, end))
        self.frames += seen
        self.corrupt += seen - len(bodies)
        return bodies

    def reset(self) -> None:
        """Forget the frame that has begun: the link was opened again."""
        self._tail, self._skipping = b"", False


def _unframe(buffer: Bytes) -> tuple[int, Bodies]:
    """Return how many frames a buffer that ends with 0 holds, and the good ones."""
    stops = np.flatnonzero(buffer == 0)
    sizes = np.diff(stops, prepend=-1) - 1
    seen = int(np.count_nonzero(sizes))
    good = (sizes > _MIN_PACKET) & (sizes < MAX_FRAME)
    if not good.all():  # leave out what cannot be a frame, so that it costs nothing below
        keep = np.repeat(good, sizes + 1)
        buffer, sizes = buffer[keep], sizes[good]
        stops = np.cumsum(sizes + 1) - 1
    if not len(stops):
        return seen, _NOTHING
    starts = stops - sizes
    is_code, intact = _codes(buffer, starts, stops)
    keep = ~is_code
    keep[stops] = False
    # A code stands for the zero before it, unless it is the first or follows a full group.
    zeros = np.flatnonzero(is_code)
    previous = zeros[:-1]
    follows = (zeros[1:] == previous + buffer[previous]) & (buffer[previous] != 0xFF)
    keep[zeros[1:][follows]] = True
    keep[starts] = False
    keep &= np.repeat(intact, sizes + 1)
    data = np.where(is_code, np.uint8(0), buffer)[keep]
    lengths = np.add.reduceat(keep, starts, dtype=np.int64)[intact]
    long_enough = (lengths >= _MIN_PACKET) & (lengths <= MAX_PACKET)
    if not long_enough.all():
        data, lengths = data[np.repeat(long_enough, lengths)], lengths[long_enough]
    return seen, _checked(data, lengths)


def _codes(buffer: Bytes, starts: Indices, stops: Indices) -> tuple[np.ndarray, np.ndarray]:
    """Return which bytes are codes, and which frames have a chain that ends at their end."""
    size = len(buffer)
    own_stop = np.repeat(stops, stops - starts + 1)
    jump = np.arange(size + 1)
    jump[:size] += buffer
    astray = jump[:size] > own_stop
    jump[:size][astray] = size
    is_code = np.zeros(size + 1, dtype=np.bool_)
    is_code[starts] = True
    found, over = len(starts), jump
    while True:
        is_code[over[np.flatnonzero(is_code)]] = True
        now = int(np.count_nonzero(is_code))
        if now == found:
            break
        found, over = now, over[over]
    is_code = is_code[:size]
    is_code[stops] = False
    intact = np.ones(len(starts), dtype=np.bool_)
    lost = np.flatnonzero(is_code & astray)
    intact[np.searchsorted(stops, lost)] = False
    return is_code, intact


def _checked(data: Bytes, lengths: Indices) -> Bodies:
    """Return the bodies of the packets whose CRC fits."""
    if not len(lengths):
        return _NOTHING
    starts = np.cumsum(lengths) - lengths
    # The CRC of a packet with its own CRC is one constant for all.
    good = crc32c_each(data, lengths) == _RESIDUE
    return Bodies(data, starts[good], lengths[good] - _CRC)


_NOTHING = Bodies(np.empty(0, np.uint8), np.empty(0, np.int64), np.empty(0, np.int64))
_RESIDUE = np.uint32(0x48674BC7)
