"""One device on one link: bytes in, samples in order out, answers to the device.

Reads no socket and no clock: its caller hands in bytes and time. Samples leave in the order of the
device's counter, each once; a missing sample is a jump of the index or NaN.
"""

from __future__ import annotations

import logging
import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from tocsin_agent.messages.printable import clean
from tocsin_agent.sources.base import DeviceEvent
from tocsin_agent.sources.devices.live import Piece
from tocsin_agent.sources.devices.protocol.assembler import SampleAssembler
from tocsin_agent.sources.devices.protocol.conditions import conditions
from tocsin_agent.sources.devices.protocol.frames import FrameReader, frame
from tocsin_agent.sources.devices.protocol.ordering import Numbered, PacketOrder
from tocsin_agent.sources.devices.protocol.packets import (
    Alive,
    AskHello,
    AskTime,
    Event,
    Flag,
    Hello,
    Packet,
    PacketError,
    Time,
    Type,
    decode,
)
from tocsin_agent.sources.devices.protocol.samples import SamplePacket, decode_samples
from tocsin_agent.sources.devices.protocol.statistics import LinkStatistics
from tocsin_dsp.signal import StreamSpec

log = logging.getLogger(__name__)

_ASK_HELLO_S = 0.5
_ASK_TIME_S = 1.0
_NAMES = 1000  # streams that are remembered
_RESTART_S = 2.0  # a counter or a clock further back than this is that of a device that restarted


class Session:
    """Follows one device through all its sessions.

    Reason for its size: packets of all kinds meet here. Ordering, samples, questions and counts
    have classes of their own; the methods hand packets to them and notice a restart of the device.

    Parameters
    ----------
    ordered : bool
        False if the link lets packets overtake one another: UDP, MQTT.

    Attributes
    ----------
    hello : Hello or None
        The last hello.
    statistics : LinkStatistics
        Counts of everything that arrived.
    events : deque of Event
        The last hundred events.
    conditions : deque of DeviceEvent
        The alarms that they raise or end, until somebody takes them.
    """

    def __init__(self, *, ordered: bool = True) -> None:
        self.hello: Hello | None = None
        self.statistics = LinkStatistics()
        self.events: deque[Event] = deque(maxlen=100)
        self.conditions: deque[DeviceEvent] = deque(maxlen=100)
        self._ordered = ordered
        self._frames = FrameReader()
        self._order = PacketOrder(self.statistics, ordered=ordered)
        self._questions = _Questions()
        self._samples: SampleAssembler | None = None
        self._pieces: list[Piece] = []  # of sessions that have ended
        self._begun: Counter[tuple[str, int]] = Counter()  # of a stream and session
        self._suspect: Hello | None = None  # a hello that may be old, or that of a restart
        self._is_reopened = False  # no hello has arrived since the link was opened

    @property
    def spec(self) -> StreamSpec | None:
        """The stream; None before the first hello."""
        return None if self._samples is None else self._samples.spec

    def opened(self) -> None:
        """Note that the link was opened, or opened again."""
        self._frames.reset()
        self._questions.reopen()
        self._order.reopen()
        self._is_reopened = True

    def feed(self, data: bytes, now_s: float) -> list[Piece]:
        """Take bytes, cut anywhere, and return the samples that are due.

        Parameters
        ----------
        data : bytes
            May be empty: samples that waited long enough for a lost packet are returned then.
        now_s : float
            Monotonic time at which the bytes arrived.
        """
        if data:
            bodies = self._frames.feed(data)
            statistics, frames = self.statistics, self._frames
            statistics.bytes, statistics.frames = frames.bytes_read, frames.frames
            statistics.corrupt = frames.corrupt
            for packet in _decoded(bodies, self.statistics.note_violation):
                self._take(packet, now_s)
        self._deliver(self._order.give_up_late(now_s), now_s)
        return self._take_pieces()

    def finish(self, now_s: float) -> list[Piece]:
        """Return the samples that wait for a lost packet: nothing more will arrive."""
        while self._order.misses:
            self._deliver(self._order.give_up(now_s), now_s)
        return self._take_pieces()

    def outgoing(self, now_s: float) -> bytes:
        """Return the frames to send to the device now; none to one that cannot receive."""
        out: list[bytes] = []
        if self._questions.hello_is_due(now_s):
            out.append(AskHello().encode())
        hello = self.hello
        if hello is not None and hello.flags & Flag.LISTENS:
            if (question := self._questions.time_question(now_s)) is not None:
                out.append(question.encode())
            if (ack := self._order.ack(hello.session, now_s)) is not None:
                out.append(ack.encode())
        frames = b"".join(frame(body) for body in out)
        return frames and b"\0" + frames  # the first zero ends noise that arrived before

    def _take(self, packet: SamplePacket | Packet | None, now_s: float) -> None:
        if packet is None:
            self.statistics.unknown += 1
        elif isinstance(packet, Hello):
            self._take_hello(packet, now_s)
        elif isinstance(packet, SamplePacket | Event | Alive | Time):
            samples = self._session_of(packet.session)
            if samples is None:
                return
            if isinstance(packet, Alive):
                self.statistics.lost_in_device = packet.lost
                self._order.announce(packet.next, now_s)
            elif isinstance(packet, Time):
                asked_s = self._questions.asked_s(packet.token)
                if asked_s is not None:
                    samples.take_time(packet, asked_s, now_s)
            else:
                is_new = isinstance(packet, SamplePacket) and samples.is_new(packet.counter)
                self._deliver(self._order.take(packet, now_s, is_new=is_new), now_s)

    def _session_of(self, session: int) -> SampleAssembler | None:
        """Return the session with these low bits; ask for a hello if it is not the current one."""
        if self.hello is not None and session == self.hello.session & 0xFFFF:
            return self._samples
        self.statistics.foreign_packets += 1
        self._questions.wants_hello = True
        return None

    def _has_restarted(
        self, hello: Hello, samples: SampleAssembler, now_s: float, *, is_first: bool
    ) -> bool:
        """Tell whether a hello of the same session shows that the device began again.

        A device without memory may have one session number for all its runs. After a restart its
        counter goes back; where it goes back a little, so must its clock or its sequence. Where a
        device that ran for a moment answers again only when it has counted further than that, the
        first hello of the new connection shows that its clock is behind.
        """
        if samples.position is None:
            return False
        behind_s = samples.behind_s(hello.time_us, now_s)
        if is_first and behind_s > _RESTART_S:
            return True
        back = samples.position - hello.counter
        if back <= 0:
            return False
        return (
            back > _RESTART_S * hello.rate_mhz / 1000
            or samples.is_earlier(hello.time_us)
            or self._order.is_back(hello.next)
        )

    def _take_hello(self, hello: Hello, now_s: float) -> None:
        self._questions.wants_hello = False
        known, samples = self.hello, self._samples
        is_first, self._is_reopened = self._is_reopened, False
        if (
            known is None
            or samples is None
            or (hello.device, hello.session) != (known.device, known.session)
        ):
            self._begin(hello, now_s)
        elif (hello.spec(), hello.leads) != (known.spec(), known.leads):
            self.statistics.note_violation(
                "leads, rate or gains changed, but the session number did not"
            )
            self._begin(hello, now_s)
        elif self._has_restarted(hello, samples, now_s, is_first=is_first):
            # The device has restarted without a new number. But if packets may overtake one
            # another, this may be an old hello: the next one decides.
            again = self._suspect is not None and hello.time_us != self._suspect.time_us
            if self._ordered or is_first or again:
                self._begin(hello, now_s)
            else:
                self._suspect, self._questions.wants_hello = hello, True
        else:
            self._suspect = None
            self.hello = hello
            self._order.resends = _resends(hello)

    def _begin(self, hello: Hello, now_s: float) -> None:
        """Begin a session; no packet of the previous one can still arrive."""
        while self._order.holds:
            self._deliver(self._order.give_up(now_s), now_s)
        self._pieces = self._take_pieces()
        if self.hello is not None:
            self.statistics.restarts += 1
            if hello.device != self.hello.device:
                names = clean(self.hello.device, 80), clean(hello.device, 80)
                log.warning("another device on the link: %s, then %s", *names)
        name, firmware = clean(hello.device, 80), clean(hello.firmware, 80)
        log.info("device %s (%s): session %#x", name, firmware, hello.session)
        self.hello, self._suspect = hello, None
        spec = hello.spec()
        key = (spec.stream_id, hello.session)
        self._begun[key] += 1
        if len(self._begun) > _NAMES:
            del self._begun[next(iter(self._begun))]
        spec = again(spec, self._begun[key])
        self._samples = SampleAssembler(hello, spec, self.statistics, now_s)
        self._order.resends = _resends(hello)
        self._order.restart(hello.oldest if self._order.resends else None)

    def _deliver(self, packets: Iterable[Numbered], now_s: float) -> None:
        for packet in packets:
            if isinstance(packet, Event):
                self.events.append(packet)
                log.info("device: %s", clean(packet.describe(), 200))
                self._note_event(packet)
            elif self._samples is not None:
                try:
                    self._samples.add(packet, now_s)
                except PacketError as error:
                    self.statistics.note_violation(str(error))

    def _note_event(self, event: Event) -> None:
        leads = self.hello.leads if self.hello is not None else ()
        try:
            self.conditions.extend(conditions(event, leads, self.statistics))
        except PacketError as error:
            self.statistics.note_violation(str(error))

    def _take_pieces(self) -> list[Piece]:
        pieces, self._pieces = self._pieces, []
        return pieces if self._samples is None else pieces + self._samples.take_pieces()


class _Questions:
    """What the gateway asks the device: who it is, and what time it has."""

    def __init__(self) -> None:
        self._token = 0
        self.reopen()

    def reopen(self) -> None:
        """Ask everything again: the link was opened."""
        self.wants_hello = True
        self._hello_s = -math.inf  # when it was last asked, monotonic
        self._time_s = -math.inf
        self._unanswered = False

    def hello_is_due(self, now_s: float) -> bool:
        """Tell whether to ask for a hello at `now_s`; counts as asked if so."""
        if not self.wants_hello or now_s - self._hello_s < _ASK_HELLO_S:
            return False
        self._hello_s = now_s
        return True

    def time_question(self, now_s: float) -> AskTime | None:
        """Return the question for the time, if it is due at `now_s`."""
        if now_s - self._time_s < _ASK_TIME_S:
            return None
        self._time_s = now_s
        self._token, self._unanswered = (self._token + 1) & 0xFFFFFFFF, True
        return AskTime(self._token)

    def asked_s(self, token: int) -> float | None:
        """Return when the question with this token was asked, once; None if it is not the last."""
        if token != self._token or not self._unanswered:
            return None
        self._unanswered = False
        return self._time_s


def again(spec: StreamSpec, number: int) -> StreamSpec:
    """Return the stream of a device that has begun one of this name for the `number`-th time.

    A device without memory may begin again with a session number that it had before: its samples
    are counted from zero again, so it is another stream, `NAME/2`.
    """
    return spec if number == 1 else replace(spec, stream_id=f"{spec.stream_id}/{number}")


def _resends(hello: Hello) -> bool:
    both = Flag.LISTENS | Flag.RESENDS
    return hello.flags & both == both


def _decoded(
    bodies: list[bytes], note_violation: Callable[[str], None]
) -> Iterator[SamplePacket | Packet | None]:
    """Yield the packets in these bodies, None for an unknown type; leave out violations."""
    samples = iter(decode_samples([body for body in bodies if body[0] == Type.SAMPLES]))
    for body in bodies:
        try:
            packet = next(samples) if body[0] == Type.SAMPLES else decode(body)
        except PacketError as error:
            note_violation(str(error))
            continue
        if packet is None and body[0] == Type.SAMPLES:
            note_violation("a samples packet is not as section 3.2 requires")
            continue
        yield packet
