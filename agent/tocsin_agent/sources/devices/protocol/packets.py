"""All packets but samples, to and from bytes (PROTOCOL.md, sections 3 and 4).

Sample packets arrive in large numbers; `samples.py` decodes them together.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import ClassVar, Self, TypeAlias

from tocsin_dsp.errors import SignalError
from tocsin_dsp.signal import MAX_LEADS, StreamSpec

VERSION = 1
_TEXT_LIMITS = {"device": 32, "firmware": 32, "stream": 64, "lead": 12, "fault": 64}


class PacketError(ValueError):
    """An intact packet that violates the protocol."""


class Type(IntEnum):
    """The first byte of a packet."""

    HELLO = 0x01
    SAMPLES = 0x02
    EVENT = 0x03
    ALIVE = 0x04
    TIME = 0x05
    ASK_HELLO = 0x81
    ACK = 0x82
    ASK_TIME = 0x83


class Flag(IntFlag):
    """Properties that a device states in its hello."""

    LISTENS = 1
    RESENDS = 2
    SYNTHETIC = 4
    NOMINAL = 8


class EventKind(IntEnum):
    """What kind of event a device reports."""

    BUTTON = 1
    BATTERY = 2
    IMPEDANCE = 3
    FAULT = 4


@dataclass(frozen=True, slots=True)
class Lead:
    """One lead: its name, the picovolts in one count, and the count for 0 mV."""

    name: str
    step_pv: int
    zero: int = 0


@dataclass(frozen=True, slots=True)
class Hello:
    """The identity of a device and the meaning of its samples; fields as in section 3.1."""

    session: int
    device: str
    leads: tuple[Lead, ...]
    rate_mhz: int
    bits: int = 16
    block: int = 25
    flags: int = 0
    next: int = 0
    oldest: int = 0
    counter: int = 0
    time_us: int = 0
    alive_ms: int = 0
    lowest: int = 0
    highest: int = 0
    firmware: str = ""
    stream: str = ""

    _FORM: ClassVar[struct.Struct] = struct.Struct("<BHBBHIHHQIIHBBii")

    def encode(self) -> bytes:
        """Return the body of the packet."""
        out = self._FORM.pack(
            Type.HELLO,
            self.session & 0xFFFF,
            VERSION,
            0,
            self.flags,
            self.session,
            self.next,
            self.oldest,
            self.counter,
            self.time_us,
            self.rate_mhz,
            self.alive_ms,
            self.bits,
            self.block,
            self.lowest,
            self.highest,
        )
        out += _text(self.device, "device") + _text(self.firmware, "firmware")
        out += _text(self.stream, "stream") + bytes((len(self.leads),))
        for lead in self.leads:
            out += struct.pack("<Ii", lead.step_pv, lead.zero) + _text(lead.name, "lead")
        return out

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Decode the body of a packet.

        Raises
        ------
        PacketError
            If it violates the protocol, with a message for the author of the firmware.
        """
        reader = _Reader(body, "hello")
        (_, low, version, _, flags, session, following, oldest, counter, time_us, rate_mhz) = (
            reader.take("<BHBBHIHHQII")
        )
        if version != VERSION:
            raise PacketError(f"hello: protocol version {version}; this gateway speaks {VERSION}")
        alive_ms, bits, block, lowest, highest = reader.take("<HBBii")
        device, firmware, stream = (reader.text(name) for name in ("device", "firmware", "stream"))
        (count,) = reader.take("<B")
        if not 1 <= count <= MAX_LEADS:
            raise PacketError(f"hello: {count} leads; 1 to {MAX_LEADS} expected")
        leads = []
        for _ in range(count):
            step, zero = reader.take("<Ii")
            leads.append(Lead(reader.text("lead"), step, zero))
        hello = cls(
            session,
            device,
            tuple(leads),
            rate_mhz,
            bits,
            block,
            flags,
            following,
            oldest,
            counter,
            time_us,
            alive_ms,
            lowest,
            highest,
            firmware,
            stream,
        )
        hello._check(low)
        return hello

    def _check(self, low: int) -> None:
        if low != self.session & 0xFFFF:
            raise PacketError(f"hello: session {self.session:#x}, but its low bits are {low:#x}")
        if self.bits not in {16, 24}:
            raise PacketError(f"hello: samples of {self.bits} bits; 16 or 24 expected")
        if not self.device or not all(lead.name for lead in self.leads):
            raise PacketError("hello: the device and every lead need a name")
        if not all(lead.step_pv for lead in self.leads):
            raise PacketError("hello: a lead's step is 0 pV: the gain is missing")
        try:
            self.spec()
        except SignalError as error:
            raise PacketError(f"hello: {error}") from error

    def spec(self) -> StreamSpec:
        """Return the stream as the rest of the agent knows it."""
        ranges = {self._range_mv(lead) for lead in self.leads}
        return StreamSpec(
            stream_id=self.stream or f"{self.device}/{self.session:08x}",
            rate_hz=self.rate_mhz / 1000,
            leads=tuple(lead.name for lead in self.leads),
            range_mv=ranges.pop() if len(ranges) == 1 else None,
            synthetic=bool(self.flags & Flag.SYNTHETIC),
            calibrated=not self.flags & Flag.NOMINAL,
        )

    def _range_mv(self, lead: Lead) -> tuple[float, float] | None:
        if self.lowest >= self.highest:
            return None
        per_mv = counts_per_mv(lead)
        return (self.lowest - lead.zero) / per_mv, (self.highest - lead.zero) / per_mv


def counts_per_mv(lead: Lead) -> float:
    """Return the gain; for whole gains, dividing by it is exact to the last bit."""
    return 1e9 / lead.step_pv


@dataclass(frozen=True, slots=True)
class Event:
    """An event beside the ECG; `value` depends on the kind, as in section 3.3."""

    session: int
    sequence: int
    counter: int
    time_us: int
    kind: int
    value: bytes = b""

    _FORM: ClassVar[struct.Struct] = struct.Struct("<BHHIIB")

    def encode(self) -> bytes:
        """Return the body of the packet."""
        head = (self.session, self.sequence, self.counter, self.time_us, self.kind)
        return self._FORM.pack(Type.EVENT, *head) + self.value

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Decode the body of a packet; raises `PacketError`."""
        reader = _Reader(body, "event")
        _, session, sequence, counter, time_us, kind = reader.take("<BHHIIB")
        return cls(session, sequence, counter, time_us, kind, body[cls._FORM.size :])

    def battery(self) -> tuple[int, int, int]:
        """Return percent, millivolts and state; raises `PacketError`."""
        percent, millivolts, state = _Reader(self.value, "event").take("<BHB")
        return percent, millivolts, state

    def impedances(self) -> list[tuple[int, int]]:
        """Return numbers of leads and ohms; raises `PacketError`."""
        reader = _Reader(self.value, "event")
        (count,) = reader.take("<B")
        pairs = [reader.take("<BI") for _ in range(count)]
        return [(lead, ohm) for lead, ohm in pairs]

    def fault(self) -> tuple[bool, int, str]:
        """Return whether a fault is present, its code and its name; raises `PacketError`."""
        reader = _Reader(self.value, "event")
        state, code = reader.take("<BH")
        return bool(state & 1), code, reader.text("fault")

    def describe(self) -> str:
        """Return the event in words."""
        try:
            if self.kind == EventKind.FAULT:
                present, code, name = self.fault()
                over = "" if present else ", over"
                return f"fault {code} {name}".rstrip() + over
            if self.kind == EventKind.BUTTON:
                return "the patient pressed the button"
            if self.kind == EventKind.BATTERY:
                percent, millivolts, state = self.battery()
                details = ", charging" * (state & 1) + ", low" * (state >> 1 & 1)
                return f"battery {percent} %, {millivolts / 1000:.2f} V{details}"
            if self.kind == EventKind.IMPEDANCE:
                pairs = self.impedances()
                return "impedance " + ", ".join(f"lead {k}: {ohm} ohm" for k, ohm in pairs)
        except PacketError:
            pass
        return f"event of kind {self.kind}, {len(self.value)} bytes"


@dataclass(frozen=True, slots=True)
class Alive:
    """The periodic sign that the device works; fields as in section 3.4."""

    session: int
    next: int
    oldest: int
    counter: int
    time_us: int
    lost: int

    def encode(self) -> bytes:
        """Return the body of the packet."""
        head = (self.session, self.next, self.oldest, self.counter, self.time_us, self.lost)
        return struct.pack("<BHHHIII", Type.ALIVE, *head)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Decode the body of a packet; raises `PacketError`."""
        _, *fields = _Reader(body, "alive").take("<BHHHIII")
        return cls(*fields)


@dataclass(frozen=True, slots=True)
class Time:
    """The answer to `AskTime`; fields as in section 3.5."""

    session: int
    token: int
    received_us: int
    sent_us: int

    def encode(self) -> bytes:
        """Return the body of the packet."""
        head = (self.session, self.token, self.received_us, self.sent_us)
        return struct.pack("<BHIII", Type.TIME, *head)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Decode the body of a packet; raises `PacketError`."""
        _, *fields = _Reader(body, "time").take("<BHIII")
        return cls(*fields)


@dataclass(frozen=True, slots=True)
class AskHello:
    """Requests a hello."""

    version: int = VERSION

    def encode(self) -> bytes:
        """Return the body of the packet."""
        return bytes((Type.ASK_HELLO, self.version))

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Decode the body of a packet; raises `PacketError`."""
        return cls(_Reader(body, "ask hello").take("<BB")[1])


@dataclass(frozen=True, slots=True)
class Ack:
    """Acknowledges packets; fields as in section 5."""

    session: int
    next: int
    highest: int
    window: int

    def encode(self) -> bytes:
        """Return the body of the packet."""
        return struct.pack(
            "<BHHHI", Type.ACK, self.session & 0xFFFF, self.next, self.highest, self.window
        )

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Decode the body of a packet; raises `PacketError`."""
        _, *fields = _Reader(body, "ack").take("<BHHHI")
        return cls(*fields)


@dataclass(frozen=True, slots=True)
class AskTime:
    """Requests the time of the device's clock."""

    token: int

    def encode(self) -> bytes:
        """Return the body of the packet."""
        return struct.pack("<BI", Type.ASK_TIME, self.token)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Decode the body of a packet; raises `PacketError`."""
        return cls(_Reader(body, "ask time").take("<BI")[1])


Packet: TypeAlias = Hello | Event | Alive | Time | AskHello | Ack | AskTime

_KINDS: dict[int, type[Packet]] = {
    Type.HELLO: Hello,
    Type.EVENT: Event,
    Type.ALIVE: Alive,
    Type.TIME: Time,
    Type.ASK_HELLO: AskHello,
    Type.ACK: Ack,
    Type.ASK_TIME: AskTime,
}


def decode(body: bytes) -> Packet | None:
    """Decode a packet other than samples; None for an unknown type.

    Raises
    ------
    PacketError
        If a packet of a known type is too short or violates the protocol.
    """
    kind = _KINDS.get(body[0])
    return None if kind is None else kind.decode(body)


def _text(text: str, kind: str) -> bytes:
    raw = text.encode()
    if len(raw) > _TEXT_LIMITS[kind]:
        raise PacketError(f"the {kind} {text!r} has more than {_TEXT_LIMITS[kind]} bytes")
    return bytes((len(raw),)) + raw


class _Reader:
    def __init__(self, body: bytes, what: str) -> None:
        self._body, self._at, self._what = body, 0, what

    def take(self, form: str) -> tuple[int, ...]:
        size = struct.calcsize(form)
        if self._at + size > len(self._body):
            raise PacketError(f"{self._what}: it ends too early, after {len(self._body)} bytes")
        fields = struct.unpack_from(form, self._body, self._at)
        self._at += size
        return fields

    def text(self, kind: str) -> str:
        (length,) = self.take("<B")
        if length > _TEXT_LIMITS[kind]:
            raise PacketError(
                f"{self._what}: {kind} has {length} bytes; at most {_TEXT_LIMITS[kind]} allowed"
            )
        raw = self._body[self._at : self._at + length]
        if len(raw) < length:
            raise PacketError(f"{self._what}: it ends within the text of {kind}")
        self._at += length
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise PacketError(f"{self._what}: {kind} is no UTF-8") from error
