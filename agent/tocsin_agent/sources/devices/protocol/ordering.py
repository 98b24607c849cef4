"""Numbered packets in the order in which the device made them (PROTOCOL.md, section 5)."""

from __future__ import annotations

import math
from typing import TypeAlias

from tocsin_agent.sources.devices.protocol.packets import Ack, Event
from tocsin_agent.sources.devices.protocol.samples import SamplePacket
from tocsin_agent.sources.devices.protocol.statistics import LinkStatistics
from tocsin_agent.sources.devices.protocol.timing import unwrap

Numbered: TypeAlias = SamplePacket | Event

_PATIENCE_RESEND_S = 0.8  # for a packet that was requested again; below the limit of `source_lost`
_PATIENCE_REORDER_S = 0.15  # for a packet that was overtaken, if the link allows that
_PATIENCE_REQUESTS = 4  # requests before a packet is given up: the gateway itself may have stalled
_MAX_HELD = 4096
_ACK_S, _ACK_MISSING_S = 0.5, 0.05
_OLD = 1 << 14  # the protocol lets a device keep no more packets than this
_SEQUENCES = 1 << 16


class PacketOrder:
    """Releases packets in the order of their sequence numbers, and gives up those that are lost.

    Reason for its size: what arrives, what is announced, what is late and what a hello says of the
    sequence are asked one by one.

    Parameters
    ----------
    statistics : LinkStatistics
        Where missing, recovered and repeated packets are counted.
    ordered : bool
        False if the link lets packets overtake one another.

    Attributes
    ----------
    resends : bool
        True if the device sends packets again on request, as its hello says.
    """

    def __init__(self, statistics: LinkStatistics, *, ordered: bool) -> None:
        self.resends = False
        self._statistics = statistics
        self._ordered = ordered
        self._next: int | None = None  # sequence, unwrapped, of the next packet to release
        self._held: dict[int, Numbered] = {}
        self._announced = 0  # sequence after the newest packet that the device reports
        self._stuck_s = 0.0  # since when no missing packet has arrived
        self._requests = 0  # acknowledgements sent since then
        self._arrived = 0
        self._acknowledged = -1  # `_arrived` at the last acknowledgement
        self._acknowledged_s = -math.inf

    def restart(self, oldest: int | None) -> None:
        """Begin a session: the first sequence to expect, or None to take the first that arrives."""
        self._held.clear()
        self._announced = 0
        self._next = oldest

    def reopen(self) -> None:
        """Acknowledge at once: the link was opened again."""
        self._acknowledged_s = -math.inf

    @property
    def misses(self) -> bool:
        """True if a packet is known to be lost or on its way."""
        return bool(self._held) or (self._next is not None and self._announced > self._next)

    @property
    def holds(self) -> bool:
        """True if packets wait for an earlier one."""
        return bool(self._held)

    def is_back(self, sequence: int) -> bool:
        """Tell whether a device that makes this packet next has begun its sequence again."""
        return self._next is not None and unwrap(sequence, self._next, _SEQUENCES) < self._next

    def take(self, packet: Numbered, now_s: float, *, is_new: bool) -> list[Numbered]:
        """Take a packet that arrived at `now_s`; return the packets that are due now.

        Parameters
        ----------
        packet : SamplePacket or Event
            Of this session.
        now_s : float
            Monotonic.
        is_new : bool
            True if its counter shows that it is newer than all that was released.
        """
        self._arrived += 1
        if self._next is None:
            self._next = packet.sequence
        ahead = unwrap(packet.sequence, self._next, _SEQUENCES) - self._next
        if ahead < 0 and (ahead < -_OLD or is_new):
            ahead &= 0xFFFF  # so many packets were lost that the sequence has wrapped
        sequence = self._next + ahead
        if ahead < 0 or sequence in self._held:
            self._statistics.repeated_packets += 1
            return []
        if ahead == 0:
            if self.misses:
                self._progress(now_s, recovered=1)
            self._next += 1
            return [packet, *self._consecutive()]
        if not self.misses:
            self._progress(now_s)
        elif sequence < max(self._held, default=self._announced):
            self._progress(now_s, recovered=1)
        self._held[sequence] = packet
        waits = _patience_s(resends=self.resends, ordered=self._ordered) > 0
        if len(self._held) > _MAX_HELD or not waits:
            return self.give_up(now_s)
        return []

    def announce(self, following: int, now_s: float) -> None:
        """Note that the device has made the packets before `following`; the last may be lost."""
        if not self.resends or self._next is None:
            return
        announced = unwrap(following, self._next, _SEQUENCES)
        if announced > max(self._announced, self._next):
            if not self.misses:
                self._progress(now_s)
            self._announced = announced

    def give_up_late(self, now_s: float) -> list[Numbered]:
        """Give up packets that were waited for long enough; return the packets that are due now."""
        patience_s = _patience_s(resends=self.resends, ordered=self._ordered)
        requested = not self.resends or self._requests >= _PATIENCE_REQUESTS
        if self.misses and requested and now_s - self._stuck_s >= patience_s:
            return self.give_up(now_s)
        return []

    def give_up(self, now_s: float) -> list[Numbered]:
        """Give up the packets before the first that is held; return those that are due now."""
        if self._next is None:
            return []
        first = min(self._held, default=self._announced)
        self._statistics.missing_packets += first - self._next
        self._next = first
        self._progress(now_s)
        return self._consecutive()

    def ack(self, session: int, now_s: float) -> Ack | None:
        """Return the acknowledgement that is due at `now_s`, if one is."""
        following = self._next
        if not self.resends or following is None:
            return None
        wait_s = _ACK_MISSING_S if self.misses else _ACK_S
        nothing_new = self._arrived == self._acknowledged and not self.misses
        if nothing_new or now_s - self._acknowledged_s < wait_s:
            return None
        self._acknowledged, self._acknowledged_s = self._arrived, now_s
        self._requests += self.misses
        window = 0
        for sequence in self._held:
            if 0 <= sequence - following - 1 < 32:
                window |= 1 << (sequence - following - 1)
        highest = max(max(self._held, default=following - 1) + 1, self._announced, following)
        return Ack(session & 0xFFFF, following & 0xFFFF, highest & 0xFFFF, window)

    def _consecutive(self) -> list[Numbered]:
        """Release the held packets that follow without a hole."""
        out = []
        while self._next is not None and self._next in self._held:
            out.append(self._held.pop(self._next))
            self._next += 1
        return out

    def _progress(self, now_s: float, *, recovered: int = 0) -> None:
        self._statistics.recovered_packets += recovered
        self._stuck_s, self._requests = now_s, 0


def _patience_s(*, resends: bool, ordered: bool) -> float:
    """Return how long a missing packet is waited for."""
    if resends:
        return _PATIENCE_RESEND_S
    return 0.0 if ordered else _PATIENCE_REORDER_S
