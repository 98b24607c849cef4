"""Sources that speak the link protocol: a live device, and a capture of one."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.messages.printable import clean
from tocsin_agent.sources.base import DeviceEvent, Recording
from tocsin_agent.sources.devices.live import LiveSource, Piece, with_leads
from tocsin_agent.sources.devices.protocol.packets import Hello
from tocsin_agent.sources.devices.protocol.session import Session
from tocsin_agent.sources.devices.protocol.statistics import LinkStatistics
from tocsin_agent.sources.devices.wires.base import Wire
from tocsin_dsp.signal import FloatArray, StreamSpec

log = logging.getLogger(__name__)

_NOISE_BYTES = 800  # the longest packet has 644


class LinkSource(LiveSource):
    """A device that speaks the link protocol.

    `spec` is valid after the hello of the device, with the first block at the latest. The session
    outlives `close` and `open`, so that packets which the device sends again are not delivered
    twice.

    Parameters
    ----------
    wire : Wire
        What carries the frames.
    leads, block_s
        As in `LiveSource`.
    """

    def __init__(
        self, wire: Wire, *, leads: Sequence[str] | None = None, block_s: float = 0.25
    ) -> None:
        super().__init__(leads=leads, block_s=block_s)
        self.wire = wire
        self.session = Session(ordered=wire.ordered)
        self._noise = Noise()
        self._earlier: Hello | None = None  # the hello of an earlier connection

    @property
    def statistics(self) -> LinkStatistics:
        """Counts of what arrived; a copy, safe from any thread."""
        counts = self.session.statistics
        return replace(
            counts,
            off_samples=dict(counts.off_samples),
            electrode_ohm=dict(counts.electrode_ohm),
            faults=dict(counts.faults),
        )

    def take_events(self) -> list[DeviceEvent]:
        """Return the alarms that events of the device raise or end."""
        events = self.session.conditions
        return [events.popleft() for _ in range(len(events))]

    @property
    def _intact(self) -> int:
        """Intact packets since the link was created."""
        return self.session.statistics.frames - self.session.statistics.corrupt

    def why_silent(self) -> str | None:
        """Return what is wrong with the bytes that arrive, else what the wire knows."""
        if self._noise.is_noise:
            return f"bytes arrive but no packets: {self.wire.hint}"
        return self.wire.why_silent()

    def _check_device(self) -> None:
        """Raise `LOST` if the packets are not of the device that the wire is for."""
        hello = self.session.hello
        name = hello.device if hello is not None and hello is not self._earlier else ""
        if not self.wire.accepts(name):
            self.session = Session(ordered=self.wire.ordered)
            raise SourceError(SourceFault.LOST, f"another device sends here: {clean(name, 80)}")

    def _begin(self) -> None:
        self._earlier = self.session.hello
        self.wire.open()
        self.session.opened()
        self._noise = Noise(self._intact)

    def _receive(self, timeout_s: float) -> list[Piece]:
        data = self.wire.read(timeout_s)
        now_s = time.monotonic()
        pieces = self.session.feed(data, now_s)
        if self._noise.take(len(data), self._intact):
            log.warning("bytes arrive but no packets: %s", self.wire.hint)
        if self._noise.has_packets:
            self._check_device()
        if self.session.spec is not None:
            wanted = self._wanted or self.session.spec.leads
            self.spec = with_leads(self.session.spec, wanted)[0]
        self.wire.write(self.session.outgoing(now_s))
        return pieces

    def _end(self) -> None:
        self.wire.close()


class Noise:
    """Tells bytes that are no packets, as at a wrong baud rate, from those of a device.

    Parameters
    ----------
    packets : int
        Intact packets so far.

    Attributes
    ----------
    bytes_since : int
        Bytes since the last intact packet.
    has_packets : bool
        The last bytes completed an intact packet.
    """

    def __init__(self, packets: int = 0) -> None:
        self.bytes_since = 0
        self.has_packets = False
        self._packets = packets

    @property
    def is_noise(self) -> bool:
        """True after more bytes than the longest packet has, none of them intact."""
        return self.bytes_since >= _NOISE_BYTES

    def take(self, count: int, packets: int) -> bool:
        """Note bytes, and the intact packets so far; True when they are noise for the first time.

        Parameters
        ----------
        count : int
            Bytes that arrived now.
        packets : int
            Intact packets so far.
        """
        before = self.is_noise
        self.has_packets = packets > self._packets
        self._packets = packets
        self.bytes_since = 0 if self.has_packets else self.bytes_since + count
        return self.is_noise and not before


class CaptureSource(Recording):
    """The bytes that a device sent, in a file made by `tocsin link check --capture`.

    Parameters
    ----------
    path : Path
        The file.
    leads : sequence of str, optional
        The leads to take, in this order.
    block_s : float
        Seconds of signal in a block.
    """

    def __init__(
        self, path: Path, *, leads: Sequence[str] | None = None, block_s: float = 0.25
    ) -> None:
        super().__init__(block_s=block_s)
        self.path = path
        self._wanted = tuple(leads) if leads else None

    def _start(self) -> Generator[tuple[int, FloatArray]]:
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise SourceError(SourceFault.NOT_FOUND, f"{self.path}: {error.strerror}") from error
        session = Session()
        # All bytes at one instant: a packet that was sent again finds its place however late it is.
        pieces = session.feed(data, 0.0) + session.finish(0.0)
        if not pieces:
            why = session.statistics.last_violation or "no hello, or no samples after it"
            raise SourceError(SourceFault.MALFORMED, f"{self.path} holds no ECG: {why}")
        self.spec = self._spec_of(pieces[0].spec)
        return self._chunks_of(pieces)

    def _spec_of(self, spec: StreamSpec) -> StreamSpec:
        return spec if self._wanted is None else with_leads(spec, self._wanted)[0]

    def _chunks_of(self, pieces: list[Piece]) -> Generator[tuple[int, FloatArray]]:
        end = -1
        for piece in pieces:
            if self._spec_of(piece.spec) != self.spec or piece.start_index < end:
                raise SourceError(
                    SourceFault.MALFORMED,
                    f"{self.path}: the device restarted or changed its leads or rate here; what "
                    "follows is another recording",
                )
            end = piece.stop_index
            columns = with_leads(piece.spec, self._wanted or piece.spec.leads)[1]
            yield piece.start_index, piece.samples_mv[:, columns]
