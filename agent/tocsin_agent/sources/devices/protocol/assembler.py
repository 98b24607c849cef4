"""The samples of one session: packets in order in, pieces with index and time out."""

from __future__ import annotations

import math

import numpy as np

from tocsin_agent.sources.devices.live import Piece
from tocsin_agent.sources.devices.protocol.packets import (
    Hello,
    PacketError,
    Time,
    counts_per_mv,
)
from tocsin_agent.sources.devices.protocol.samples import MISSING, IntArray, SamplePacket
from tocsin_agent.sources.devices.protocol.statistics import LinkStatistics
from tocsin_agent.sources.devices.protocol.timing import LinkClock, unwrap
from tocsin_dsp.signal import StreamSpec

_PULSE_S = 0.016  # a pacing pulse, with the response of the filter of the front end


class SampleAssembler:
    """Joins consecutive packets into pieces; a jump of the counter ends a piece.

    Parameters
    ----------
    hello : Hello
        The hello that began the session.
    spec : StreamSpec
        The stream: that of the hello, with another name if a stream of its name began before.
    statistics : LinkStatistics
        Where samples and gaps are counted.
    now_s : float
        Monotonic time at which the hello arrived.

    Attributes
    ----------
    spec : StreamSpec
        The stream.
    clock : LinkClock
        The clock of the device.
    position : int or None
        Index of the next sample; None before the first.
    """

    def __init__(
        self, hello: Hello, spec: StreamSpec, statistics: LinkStatistics, now_s: float
    ) -> None:
        self.spec = spec
        self.clock = LinkClock()
        self.position: int | None = None
        self._hello = hello
        self._statistics = statistics
        self._anchor = (hello.counter, hello.time_us)  # index and device time, unwrapped
        self._latest = (hello.time_us, now_s)  # device time, unwrapped, and when it arrived
        self._pulse_until = 0  # index after the last pacing pulse
        self._run: list[IntArray] = []  # consecutive samples that are not yet in a piece
        self._run_start = 0
        self._run_end_us = 0
        self._pieces: list[Piece] = []

    def is_new(self, counter: int) -> bool:
        """Tell whether a packet with this counter lies after all samples so far."""
        return self.position is not None and unwrap(counter, self.position) >= self.position

    def add(self, packet: SamplePacket, now_s: float) -> None:
        """Take the next packet, which arrived at `now_s` (monotonic).

        Raises
        ------
        PacketError
            If it has another number of leads than the hello.
        """
        hello, statistics, values = self._hello, self._statistics, packet.values
        if values.shape[1] != len(hello.leads):
            raise PacketError(
                f"samples of {values.shape[1]} leads, the hello has {len(hello.leads)}"
            )
        known_at, known_us = self._anchor
        start = unwrap(packet.counter, known_at if self.position is None else self.position)
        if self.position is not None and start != self.position:
            if start < self.position:
                statistics.repeated_packets += 1
                return
            statistics.gaps += 1
            statistics.missing_samples += start - self.position
            self._close_run()
        period_us = 1e9 / hello.rate_mhz
        begin_us = unwrap(packet.time_us, known_us + round((start - known_at) * period_us))
        self._anchor = (start, begin_us)
        last_us = begin_us + round((len(values) - 1) * period_us)
        self._latest = (last_us, now_s)
        self.clock.observe(last_us, now_s)
        self._blank_leads_off(packet)
        self._blank_pulses(packet, start)
        statistics.saturated_packets += bool(packet.saturated)
        if not self._run:
            self._run_start = start
        self._run.append(values)
        self._run_end_us = begin_us + round(len(values) * period_us)
        self.position = start + len(values)
        statistics.sample_packets += 1
        statistics.samples += len(values)

    def behind_s(self, time_us: int, now_s: float) -> float:
        """Return by how much a time of the device, read at `now_s`, is behind its clock so far.

        Parameters
        ----------
        time_us : int
            As in a hello: the low 32 bits.
        now_s : float
            Monotonic.
        """
        latest_us, latest_s = self._latest
        expected_us = latest_us + round((now_s - latest_s) * 1e6)
        return (expected_us - unwrap(time_us, expected_us)) * 1e-6

    def is_earlier(self, time_us: int) -> bool:
        """Tell whether a time of the device is before that of its last sample."""
        latest_us, _ = self._latest
        return unwrap(time_us, latest_us) < latest_us

    def take_time(self, reply: Time, asked_s: float, now_s: float) -> None:
        """Take the answer of the device to a question about its time, asked at `asked_s`."""
        latest_us, latest_s = self._latest
        inside_s = ((reply.sent_us - reply.received_us) & 0xFFFFFFFF) * 1e-6
        round_trip_s = now_s - asked_s - inside_s
        if round_trip_s < 0:
            return
        middle = reply.received_us + round(inside_s * 5e5)
        device_us = unwrap(middle & 0xFFFFFFFF, latest_us + round((now_s - latest_s) * 1e6))
        self._latest = (device_us, now_s)
        self.clock.observe(device_us, (asked_s + now_s) / 2, round_trip_s)

    def take_pieces(self) -> list[Piece]:
        """Return the pieces that are ready, once."""
        self._close_run()
        pieces, self._pieces = self._pieces, []
        return pieces

    def _blank_leads_off(self, packet: SamplePacket) -> None:
        off = self._statistics.off_samples
        for lead, described in enumerate(self._hello.leads):
            if packet.off >> lead & 1:
                packet.values[:, lead] = MISSING
                off[described.name] = off.get(described.name, 0) + len(packet.values)

    def _blank_pulses(self, packet: SamplePacket, start: int) -> None:
        """Replace pacing pulses by missing samples, so that none is taken for a beat."""
        self._statistics.paced += len(packet.paced)
        length = math.ceil(_PULSE_S * self._hello.rate_mhz / 1000)
        packet.values[: max(self._pulse_until - start, 0)] = MISSING  # a pulse of the last packet
        for row in packet.paced:
            if row < len(packet.values):  # a mark beyond its packet means nothing
                packet.values[row : row + length] = MISSING
                self._pulse_until = max(self._pulse_until, start + row + length)

    def _close_run(self) -> None:
        """Make a piece of the consecutive samples so far."""
        if not self._run:
            return
        counts = np.concatenate(self._run)
        self._run = []
        zeros = np.array([lead.zero for lead in self._hello.leads], dtype=np.float64)
        gains = np.array([counts_per_mv(lead) for lead in self._hello.leads])
        samples = (counts - zeros) / gains
        samples[counts == MISSING] = np.nan
        end_s = self.clock.gateway_s(self._run_end_us)
        self._pieces.append(Piece(self.spec, self._run_start, samples, end_s))
