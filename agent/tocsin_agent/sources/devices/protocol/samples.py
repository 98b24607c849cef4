"""Sample packets, many at once (PROTOCOL.md, section 3.2).

Packets of one form (leads, count, width, codes) are rows of equal length, so all packets of a form
are decoded together with a few array operations.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tocsin_agent.sources.devices.protocol.packets import PacketError, Type

Bytes: TypeAlias = NDArray[np.uint8]
Indices: TypeAlias = NDArray[np.int64]
IntArray: TypeAlias = NDArray[np.int32]

_HEAD = np.dtype(
    [
        ("type", "u1"),
        ("session", "<u2"),
        ("sequence", "<u2"),
        ("counter", "<u4"),
        ("time_us", "<u4"),
        ("count", "u1"),
        ("shape", "u1"),
        ("marks", "u1"),
    ]
)
HEAD_BYTES = _HEAD.itemsize  # 16
_WIDE = 0x10
MISSING = np.iinfo(np.int32).min
OFF, SATURATED, PACED = 1, 2, 4


@dataclass(slots=True)
class SamplePacket:
    """One packet of samples.

    Parameters
    ----------
    session, sequence, counter, time_us : int
        Low bits, as sent.
    values : ndarray of int32, shape (count, leads)
        Counts; `MISSING` for a missing sample.
    off, saturated : int
        One bit a lead.
    paced : tuple of int
        Rows in which the device detected a pacing pulse.
    """

    session: int
    sequence: int
    counter: int
    time_us: int
    values: IntArray
    off: int = 0
    saturated: int = 0
    paced: tuple[int, ...] = ()


def decode_samples(bodies: Sequence[bytes]) -> list[SamplePacket | None]:
    """Read sample packets; None stands for one that violates the protocol.

    Parameters
    ----------
    bodies : sequence of bytes
        Bodies of type SAMPLES.
    """
    out: list[SamplePacket | None] = [None] * len(bodies)
    data: Bytes = np.frombuffer(b"".join(bodies), np.uint8)
    lengths = np.fromiter(map(len, bodies), np.int64, len(bodies))
    whole = np.flatnonzero(lengths > HEAD_BYTES)
    starts = (np.cumsum(lengths) - lengths)[whole]
    heads = data[starts[:, None] + np.arange(HEAD_BYTES)].view(_HEAD)[:, 0]
    leads = (heads["shape"] & 0x0F) + 1
    # count, shape and codes give all lengths: packets that agree in them are decoded together
    form = heads["count"].astype(np.int64) | (heads["shape"].astype(np.int64) << 8)
    for k in range(4):
        at = np.minimum(starts + HEAD_BYTES + k, len(data) - 1)
        form |= np.where(4 * k < leads, data[at].astype(np.int64), 0) << (16 + 8 * k)
    sessions, sequences = heads["session"].tolist(), heads["sequence"].tolist()
    counters, times = heads["counter"].tolist(), heads["time_us"].tolist()
    marks = heads["marks"].tolist()
    forms, inverse = np.unique(form, return_inverse=True)
    for number, each in enumerate(forms.tolist()):
        rows = np.flatnonzero(inverse == number)
        layout = _Layout.of(each)
        if layout is None:
            continue
        rows = rows[lengths[whole[rows]] >= layout.stop]
        if not len(rows):
            continue
        values = _values(layout, data, starts[rows])
        for block, row in zip(values, rows.tolist(), strict=True):
            index = int(whole[row])
            packet = SamplePacket(sessions[row], sequences[row], counters[row], times[row], block)
            mark = marks[row]
            if not mark or _read_sections(packet, mark, bodies[index][layout.stop :]):
                out[index] = packet
    return out


@dataclass(frozen=True, slots=True)
class _Layout:
    """Positions of all fields in packets of one form."""

    count: int
    width: int
    codes: tuple[int, ...]
    begin: int
    stop: int

    @classmethod
    def of(cls, form: int) -> _Layout | None:
        count, shape = form & 0xFF, form >> 8 & 0xFF
        if not count or shape & 0xE0:
            return None
        leads = (shape & 0x0F) + 1
        width = 3 if shape & _WIDE else 2
        codes = tuple(form >> (16 + 2 * k) & 3 for k in range(leads))
        begin = HEAD_BYTES + (leads + 3) // 4
        sizes = (count * width, width + count - 1, width + 2 * (count - 1), 0)
        return cls(count, width, codes, begin, begin + sum(sizes[code] for code in codes))


def _values(layout: _Layout, data: Bytes, starts: Indices) -> IntArray:
    """Return the samples of packets of one form, shape (packets, count, leads), in counts."""
    raw = data[starts[:, None] + np.arange(layout.begin, layout.stop)]
    out = np.empty((len(starts), layout.count, len(layout.codes)), dtype=np.int32)
    at, width, steps = 0, layout.width, layout.count - 1
    lowest = -(1 << (8 * width - 1))
    for lead, code in enumerate(layout.codes):
        column = out[:, :, lead]
        if code == 3:
            column[:] = MISSING
            continue
        size = layout.count * width if code == 0 else width + code * steps
        part = raw[:, at : at + size]
        at += size
        if code == 0:
            column[:] = _signed(part, width)
        else:
            column[:, :1] = _signed(part[:, :width], width)
            column[:, 1:] = _signed(part[:, width:], code)
            np.cumsum(column, axis=1, out=column)
        column[(column <= lowest) | (column >= -lowest)] = MISSING
    return out


def _signed(raw: Bytes, width: int) -> IntArray:
    """Decode signed little-endian numbers of 1, 2 or 3 bytes from rows of bytes."""
    parts = raw.reshape(len(raw), -1, width)
    value = parts[:, :, width - 1].view(np.int8).astype(np.int32)
    for k in range(width - 2, -1, -1):
        value = (value << 8) | parts[:, :, k]
    return value


def _read_sections(packet: SamplePacket, marks: int, rest: bytes) -> bool:
    """Decode the sections that the marks announce; False if they are not complete."""
    at = 0
    for mark in (OFF, SATURATED):
        if marks & mark:
            if at + 2 > len(rest):
                return False
            mask = int.from_bytes(rest[at : at + 2], "little")
            at += 2
            if mark == OFF:
                packet.off = mask
            else:
                packet.saturated = mask
    if marks & PACED:
        count = rest[at] if at < len(rest) else 255
        if at + 1 + count > len(rest):
            return False
        packet.paced = tuple(rest[at + 1 : at + 1 + count])
    return True


def encode_samples(packet: SamplePacket, *, bits: int = 16) -> bytes:
    """Return the body of a packet, with each lead in its shortest code.

    Raises
    ------
    PacketError
        If a value does not fit into `bits`, or the packet is longer than allowed.
    """
    values = packet.values.astype(np.int64)
    count, leads = values.shape
    width, lowest = bits // 8, -(1 << (bits - 1))
    present = values != MISSING
    if not 1 <= count <= 255 or not 1 <= leads <= 16:
        raise PacketError(f"{count} samples of {leads} leads do not make a packet")
    if np.any(present & ((values <= lowest) | (values >= -lowest))):
        raise PacketError(f"a sample does not fit into {bits} bits")
    values = np.where(present, values, lowest)
    codes, body = bytearray((leads + 3) // 4), bytearray()
    for lead in range(leads):
        code, data = _shortest(values[:, lead], width, empty=not present[:, lead].any())
        codes[lead // 4] |= code << 2 * (lead % 4)
        body += data
    marks = OFF * bool(packet.off) | SATURATED * bool(packet.saturated) | PACED * bool(packet.paced)
    shape = (leads - 1) | (_WIDE if bits == 24 else 0)
    head = struct.pack(
        "<BHHIIBBB",
        Type.SAMPLES,
        packet.session & 0xFFFF,
        packet.sequence,
        packet.counter & 0xFFFFFFFF,
        packet.time_us,
        count,
        shape,
        marks,
    )
    out = head + bytes(codes) + bytes(body)
    out += b"".join(mask.to_bytes(2, "little") for mask in (packet.off, packet.saturated) if mask)
    if packet.paced:
        out += bytes((len(packet.paced), *packet.paced))
    if len(out) > 636:
        raise PacketError(f"{count} samples of {leads} leads need {len(out)} bytes; 636 allowed")
    return out


def _shortest(column: NDArray[np.int64], width: int, *, empty: bool) -> tuple[int, bytes]:
    if empty:
        return 3, b""
    steps = np.diff(column)
    if (column == -(1 << (8 * width - 1))).any():
        return 0, _raw(column, width)  # differences cannot express a missing sample
    for code, limit in ((1, 127), (2, 32767)):
        raw_is_no_longer = len(column) * width <= width + code * len(steps)
        if not raw_is_no_longer and (-limit - 1 <= steps).all() and (steps <= limit).all():
            return code, _raw(column[:1], width) + _raw(steps, code)
    return 0, _raw(column, width)


def _raw(values: NDArray[np.int64], width: int) -> bytes:
    return values.astype("<i8").view(np.uint8).reshape(-1, 8)[:, :width].tobytes()
