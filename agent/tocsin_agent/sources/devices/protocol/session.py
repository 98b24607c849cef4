"""One device on one link: packets in, samples in order out, answers to the device.

Knows no socket and no clock: bytes and the time are handed in. What is delivered leaves in the
order of the device's counter, each sample once; what is missing is a jump of the index or NaN.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from tocsin_agent.sources.devices.live import Piece
from tocsin_agent.sources.devices.protocol.frames import FrameReader, frame
from tocsin_agent.sources.devices.protocol.packets import (
    Ack,
    Alive,
    AskHello,
    AskTime,
    Event,
    Flag,
    Hello,
    PacketError,
    Time,
    Type,
    counts_per_mv,
    decode,
)
from tocsin_agent.sources.devices.protocol.samples import (
    MISSING,
    IntArray,
    SamplePacket,
    decode_samples,
)
from tocsin_agent.sources.devices.protocol.timing import LinkClock, unwrap
from tocsin_dsp.signal import StreamSpec

log = logging.getLogger(__name__)

_PATIENCE_RESEND_S = 0.8  # for a packet that was asked for again; below the limit of source_lost
_PATIENCE_REORDER_S = 0.15  # for one that another has overtaken, where the link allows that
_PATIENCE_ASKED = 4  # times: a gateway that was itself held up has not waited
_MAX_HELD = 4096
_ACK_S, _ACK_MISSING_S = 0.5, 0.05
_ASK_HELLO_S = 0.5
_ASK_TIME_S = 1.0
_RESTART_S = 2.0
_PULSE_S = 0.016  # a pacing pulse, and what a front end's filter makes of it
_OLD = 1 << 14  # the protocol lets a device keep no more packets than this

_Numbered: TypeAlias = "SamplePacket | Event"


@dataclass(slots=True)
class LinkStatistics:
    """What became of everything that arrived; counts since the link was made."""

    bytes: int = 0
    frames: int = 0
    corrupt: int = 0  # frames whose COBS or CRC did not fit
    malformed: int = 0  # intact packets that contradict the protocol
    unknown: int = 0  # intact packets of types that are not known
    samples: int = 0  # delivered, for each lead
    sample_packets: int = 0
    missing_packets: int = 0  # never arrived
    mended_packets: int = 0  # arrived after a later one: resent, or overtaken
    repeated_packets: int = 0  # arrived again, or too late
    gaps: int = 0  # jumps of the counter
    missing_samples: int = 0
    lost_in_device: int = 0  # as the device says
    foreign_packets: int = 0  # of a session whose hello has not come
    restarts: int = 0  # sessions after the first
    off_samples: dict[str, int] = field(default_factory=dict)  # by lead
    saturated_packets: int = 0
    paced: int = 0
    complaint: str = ""  # the last thing that contradicted the protocol, in words


class Session:
    """See the module.

    Parameters
    ----------
    ordered : bool
        False where packets may overtake one another: UDP, MQTT.
    """

    def __init__(self, *, ordered: bool = True) -> None:
        self.hello: Hello | None = None
        self.clock = LinkClock()
        self.statistics = LinkStatistics()
        self.events: deque[Event] = deque(maxlen=100)
        self._ordered = ordered
        self._frames = FrameReader()
        self._spec: StreamSpec | None = None
        self._position: int | None = None  # index of the next sample to deliver
        self._time: tuple[int, int] | None = None  # counter and device time, unwrapped, of a packet
        self._heard: tuple[int, float] | None = None  # device time, unwrapped, and when it was
        self._next: int | None = None  # sequence, unwrapped, of the next packet to deliver
        self._held: dict[int, _Numbered] = {}
        self._pulse_until = 0  # index of the sample after the last pacing pulse
        self._announced = 0  # one past the newest packet that the device says it has made
        self._stuck_s = 0.0  # since when nothing that was missing has come
        self._asked = 0  # how often it was asked for since then
        self._suspect: Hello | None = None
        self._run: list[IntArray] = []  # delivered, not yet made into a piece
        self._run_start = 0
        self._run_end_us = 0
        self._pieces: list[Piece] = []
        self._ask_hello = True
        self._said: dict[str, float] = {}
        self._arrived = 0
        self._answered = -1
        self._questions: dict[int, float] = {}
        self._token = 0

    @property
    def spec(self) -> StreamSpec | None:
        """The stream, once the device has introduced itself."""
        return self._spec

    def opened(self) -> None:
        """Say that the link was opened, or opened again."""
        self._frames.reset()
        self._ask_hello = True
        self._said.clear()
        self._questions.clear()

    def feed(self, data: bytes, now_s: float) -> list[Piece]:
        """Take bytes, cut anywhere, and give the samples that have become due.

        Parameters
        ----------
        data : bytes
            May be empty: what waited long enough is given then.
        now_s : float
            Monotonic time at which they arrived.
        """
        if data:
            bodies = self._frames.feed(data)
            statistics, frames = self.statistics, self._frames
            statistics.bytes, statistics.frames = frames.bytes_read, frames.frames
            statistics.corrupt = frames.corrupt
            if bodies:
                self._take(bodies, now_s)
        if self._misses and self._has_waited(now_s):
            self._skip(now_s)
        return self._due_pieces()

    def finish(self, now_s: float) -> list[Piece]:
        """Give what still waits for a packet before it: nothing more will come."""
        while self._misses:
            self._skip(now_s)
        return self._due_pieces()

    def outgoing(self, now_s: float) -> bytes:
        """Return the frames that should now go to the device; none for one that cannot listen."""
        out: list[Ack | AskHello | AskTime] = []
        if self._ask_hello and self._due("hello", _ASK_HELLO_S, now_s):
            out.append(AskHello())
        hello = self.hello
        if hello is not None and hello.flags & Flag.LISTENS:
            if self._due("time", _ASK_TIME_S, now_s):
                self._token = (self._token + 1) & 0xFFFFFFFF
                self._questions = {self._token: now_s}
                out.append(AskTime(self._token))
            if self._resends and self._next is not None:
                fresh = self._arrived != self._answered
                wait_s = _ACK_MISSING_S if self._misses else _ACK_S
                if (fresh or self._misses) and self._due("ack", wait_s, now_s):
                    self._answered = self._arrived
                    self._asked += self._misses
                    out.append(self._ack(hello, self._next))
        frames = b"".join(frame(packet.encode()) for packet in out)
        return frames and b"\0" + frames  # the first byte ends whatever noise came before

    # -- what arrives -------------------------------------------------------------------------

    def _take(self, bodies: list[bytes], now_s: float) -> None:
        samples = iter(decode_samples([body for body in bodies if body[0] == Type.SAMPLES]))
        for body in bodies:
            if body[0] == Type.SAMPLES:
                packet = next(samples)
                if packet is None:
                    self._complain("a samples packet is not as section 3.2 has it")
                else:
                    self._take_numbered(packet, now_s)
                continue
            try:
                other = decode(body)
            except PacketError as error:
                self._complain(str(error))
                continue
            self._take_other(other, now_s)

    def _complain(self, what: str) -> None:
        self.statistics.malformed += 1
        if what != self.statistics.complaint:
            log.warning("the device contradicts the protocol: %s", what)
        self.statistics.complaint = what

    def _take_other(self, packet: object, now_s: float) -> None:
        if isinstance(packet, Hello):
            self._take_hello(packet, now_s)
        elif isinstance(packet, Event):
            self._take_numbered(packet, now_s)
        elif isinstance(packet, Alive):
            if self._is_ours(packet.session):
                self.statistics.lost_in_device = packet.lost
                self._take_announcement(packet.next, now_s)
        elif isinstance(packet, Time):
            if self._is_ours(packet.session):
                self._take_time(packet, now_s)
        elif packet is None:
            self.statistics.unknown += 1

    def _is_ours(self, session: int) -> bool:
        if self.hello is not None and session == self.hello.session & 0xFFFF:
            return True
        self.statistics.foreign_packets += 1
        self._ask_hello = True
        return False

    def _take_hello(self, hello: Hello, now_s: float) -> None:
        self._ask_hello = False
        known = self.hello
        if known is None or (hello.device, hello.session) != (known.device, known.session):
            self._begin(hello, now_s)
        elif (hello.spec(), hello.leads) != (self._spec, known.leads):
            self._complain("leads, rate or gains changed, but the session number did not")
            self._begin(hello, now_s)
        elif self._position is not None and (
            hello.counter + _RESTART_S * hello.rate_mhz / 1000 < self._position
        ):
            # It has started anew without a new number; or, where packets may overtake one
            # another, this hello is an old one: then the next will show it.
            again = self._suspect is not None and hello.time_us != self._suspect.time_us
            if self._ordered or again:
                self._begin(hello, now_s)
            else:
                self._suspect, self._ask_hello = hello, True
        else:
            self._suspect = None
            self.hello = hello

    def _begin(self, hello: Hello, now_s: float) -> None:
        """Begin a session: nothing of the one before can come any more."""
        while self._held:
            self._skip(now_s)
        self._announced = 0
        self._close_run()
        if self.hello is not None:
            self.statistics.restarts += 1
            if hello.device != self.hello.device:
                log.warning(
                    "another device on the link: %s, then %s", self.hello.device, hello.device
                )
        log.info("device %s (%s): session %#x", hello.device, hello.firmware, hello.session)
        self.hello, self._spec, self._suspect = hello, hello.spec(), None
        self.clock = LinkClock()
        self._position, self._pulse_until = None, 0
        self._time = (hello.counter, hello.time_us)
        self._heard = (hello.time_us, now_s)
        self._next = hello.oldest if self._resends else None

    def _take_time(self, reply: Time, now_s: float) -> None:
        asked_s = self._questions.pop(reply.token, None)
        if asked_s is None or self._heard is None:
            return
        heard_us, heard_s = self._heard
        inside_s = ((reply.sent_us - reply.received_us) & 0xFFFFFFFF) * 1e-6
        round_trip_s = now_s - asked_s - inside_s
        if round_trip_s < 0:
            return
        middle = reply.received_us + round(inside_s * 5e5)
        device_us = unwrap(middle & 0xFFFFFFFF, heard_us + round((now_s - heard_s) * 1e6))
        self._heard = (device_us, now_s)
        self.clock.observe(device_us, (asked_s + now_s) / 2, round_trip_s)

    def _take_announcement(self, following: int, now_s: float) -> None:
        """Learn that the device has made packets before this one; the last may be missing."""
        if not self._resends or self._next is None:
            return
        announced = unwrap(following, self._next, 1 << 16)
        if announced > max(self._announced, self._next):
            if not self._misses:
                self._progress(now_s)
            self._announced = announced

    # -- order --------------------------------------------------------------------------------

    @property
    def _misses(self) -> bool:
        """Whether a packet is known to be under way or lost."""
        return bool(self._held) or (self._next is not None and self._announced > self._next)

    @property
    def _resends(self) -> bool:
        both = Flag.LISTENS | Flag.RESENDS
        return self.hello is not None and self.hello.flags & both == both

    @property
    def _patience_s(self) -> float:
        if self._resends:
            return _PATIENCE_RESEND_S
        return 0.0 if self._ordered else _PATIENCE_REORDER_S

    def _take_numbered(self, packet: _Numbered, now_s: float) -> None:
        if not self._is_ours(packet.session):
            return
        self._arrived += 1
        if self._next is None:
            self._next = packet.sequence
        ahead = unwrap(packet.sequence, self._next, 1 << 16) - self._next
        if ahead < 0 and (ahead < -_OLD or self._is_new(packet)):
            # So many were lost that the sequence has wrapped: the counter shows that it is new.
            ahead &= 0xFFFF
        sequence = self._next + ahead
        if ahead < 0 or sequence in self._held:
            self.statistics.repeated_packets += 1
            return
        if ahead == 0:
            if self._misses:
                self.statistics.mended_packets += 1
                self._progress(now_s)
            self._deliver(packet, now_s)
            self._next += 1
            self._deliver_held(now_s)
            return
        if not self._misses:
            self._progress(now_s)
        elif sequence < max(self._held, default=self._announced):
            self.statistics.mended_packets += 1
            self._progress(now_s)
        self._held[sequence] = packet
        if len(self._held) > _MAX_HELD or not self._patience_s:
            self._skip(now_s)

    def _is_new(self, packet: _Numbered) -> bool:
        return (
            isinstance(packet, SamplePacket)
            and self._position is not None
            and unwrap(packet.counter, self._position) >= self._position
        )

    def _deliver_held(self, now_s: float) -> None:
        while self._next in self._held:
            self._deliver(self._held.pop(self._next), now_s)
            self._next += 1

    def _progress(self, now_s: float) -> None:
        self._stuck_s, self._asked = now_s, 0

    def _has_waited(self, now_s: float) -> bool:
        asked = not self._resends or self._asked >= _PATIENCE_ASKED
        return asked and now_s - self._stuck_s >= self._patience_s

    def _skip(self, now_s: float) -> None:
        """Go on without the packets before the first that is held."""
        assert self._next is not None  # noqa: S101 - something is held
        first = min(self._held, default=self._announced)
        self.statistics.missing_packets += first - self._next
        self._next = first
        self._progress(now_s)
        self._deliver_held(now_s)

    def _ack(self, hello: Hello, following: int) -> Ack:
        window = 0
        for sequence in self._held:
            if 0 <= sequence - following - 1 < 32:
                window |= 1 << (sequence - following - 1)
        highest = max(max(self._held, default=following - 1) + 1, self._announced, following)
        return Ack(hello.session & 0xFFFF, following & 0xFFFF, highest & 0xFFFF, window)

    def _due(self, what: str, every_s: float, now_s: float) -> bool:
        if now_s - self._said.get(what, -1e9) < every_s:
            return False
        self._said[what] = now_s
        return True

    # -- samples ------------------------------------------------------------------------------

    def _deliver(self, packet: _Numbered, now_s: float) -> None:
        if isinstance(packet, Event):
            self.events.append(packet)
            log.info("device: %s", packet.describe())
            return
        assert self.hello is not None  # noqa: S101 - checked by `_is_ours`
        assert self._time is not None  # noqa: S101 - set with the hello
        hello, statistics = self.hello, self.statistics
        values = packet.values
        if values.shape[1] != len(hello.leads):
            self._complain(f"samples of {values.shape[1]} leads, the hello has {len(hello.leads)}")
            return
        near = self._time[0] if self._position is None else self._position
        start = unwrap(packet.counter, near)
        if self._position is not None and start != self._position:
            if start < self._position:
                statistics.repeated_packets += 1
                return
            statistics.gaps += 1
            statistics.missing_samples += start - self._position
            self._close_run()
        period_us = 1e9 / hello.rate_mhz
        known_at, known_us = self._time
        begin_us = unwrap(packet.time_us, known_us + round((start - known_at) * period_us))
        self._time = (start, begin_us)
        last_us = begin_us + round((len(values) - 1) * period_us)
        self._heard = (last_us, now_s)
        self.clock.observe(last_us, now_s)
        self._note_marks(packet, hello, start)
        if not self._run:
            self._run_start = start
        self._run.append(values)
        self._run_end_us = begin_us + round(len(values) * period_us)
        self._position = start + len(values)
        statistics.sample_packets += 1
        statistics.samples += len(values)

    def _note_marks(self, packet: SamplePacket, hello: Hello, start: int) -> None:
        if packet.off:
            for lead, described in enumerate(hello.leads):
                if packet.off >> lead & 1:
                    packet.values[:, lead] = MISSING
                    off = self.statistics.off_samples
                    off[described.name] = off.get(described.name, 0) + len(packet.values)
        self.statistics.saturated_packets += bool(packet.saturated)
        self.statistics.paced += len(packet.paced)
        self._leave_out_pulses(packet, start, math.ceil(_PULSE_S * hello.rate_mhz / 1000))

    def _leave_out_pulses(self, packet: SamplePacket, start: int, length: int) -> None:
        """Take pacing pulses for missing samples, so that none looks like a beat."""
        packet.values[: max(self._pulse_until - start, 0)] = MISSING  # of the packet before
        for row in packet.paced:
            if row < len(packet.values):  # a mark beyond its packet says nothing
                packet.values[row : row + length] = MISSING
                self._pulse_until = max(self._pulse_until, start + row + length)

    def _due_pieces(self) -> list[Piece]:
        self._close_run()
        pieces, self._pieces = self._pieces, []
        return pieces

    def _close_run(self) -> None:
        """Make the samples delivered so far into a piece."""
        if not self._run:
            return
        assert self.hello is not None  # noqa: S101 - they were delivered under it
        assert self._spec is not None  # noqa: S101
        counts = np.concatenate(self._run)
        self._run = []
        zeros = np.array([lead.zero for lead in self.hello.leads], dtype=np.float64)
        gains = np.array([counts_per_mv(lead) for lead in self.hello.leads])
        samples = (counts - zeros) / gains
        samples[counts == MISSING] = np.nan
        end_s = self.clock.gateway_s(self._run_end_us)
        self._pieces.append(Piece(self._spec, self._run_start, samples, end_s))
