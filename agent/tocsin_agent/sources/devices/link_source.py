"""Sources that speak the link protocol: a live device, and what one has sent."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.sources.base import Recording, Source
from tocsin_agent.sources.devices.protocol.session import LinkStatistics, Piece, Session
from tocsin_agent.sources.devices.wires.base import Wire
from tocsin_dsp.signal import FloatArray, SampleBlock, StreamSpec

_TURN_S = 0.05  # answers to the device are due at least so often
_LINGER_S = 0.5  # samples wait so long for their block to become full
_MAX_BLOCK_S = 60.0


class LiveSource(Source):
    """What live sources have in common: they open whether or not a device is there.

    Parameters
    ----------
    leads : sequence of str, optional
        The leads to take, in this order.
    block_s : float
        Seconds of signal in a block; a shorter one is given before a gap, and when no more comes.
    """

    def __init__(self, *, leads: Sequence[str] | None = None, block_s: float = 0.25) -> None:
        self._wanted = tuple(leads) if leads else None
        self._cutter = _Cutter(block_s)
        self._is_open = False
        self._fault: SourceError | None = None

    @abstractmethod
    def _begin(self) -> None:
        """Be ready for the device."""

    @abstractmethod
    def _listen(self, timeout_s: float) -> list[Piece]:
        """Wait a while for what the device sends, and answer it."""

    @abstractmethod
    def _end(self) -> None:
        """Let go; harmless when called twice."""

    def open(self) -> None:
        """Be ready for the device, whether it is there or not."""
        self.close()
        self._begin()
        self._fault = None
        self._is_open = True

    def read(self, timeout_s: float) -> SampleBlock | None:
        """Return the next block, or None; talks to the device meanwhile."""
        if not self._is_open:
            raise SourceError(SourceFault.LOST, "the source is not open: call open() first")
        until_s = time.monotonic() + timeout_s
        while True:
            ready = self._cutter.take()
            if ready is not None:
                return self._timed(*ready)
            if self._fault is not None:
                raise self._fault
            now_s = time.monotonic()
            self._turn(min(max(until_s - now_s, 0.0), _TURN_S))
            if now_s >= until_s and self._cutter.is_empty:
                return None

    def close(self) -> None:
        """Let go of the link."""
        self._is_open = False
        self._end()
        self._cutter.clear()

    def _turn(self, timeout_s: float) -> None:
        try:
            pieces = self._listen(timeout_s)
        except SourceError as error:
            self._cutter.flush()
            self._fault = error
            return
        now_s = time.monotonic()
        for piece in pieces:
            self._cutter.add(self._selected(piece), now_s)
        self._cutter.linger(now_s)

    def _timed(self, block: SampleBlock, end_s: float | None) -> SampleBlock:
        self.spec, self.stop_utc = block.spec, None
        if end_s is not None:
            self.stop_utc = datetime.now(UTC) + timedelta(seconds=end_s - time.monotonic())
        return block

    def _selected(self, piece: Piece) -> Piece:
        if self._wanted is None:
            return piece
        spec, columns = _with_leads(piece.spec, self._wanted)
        return piece._replace(spec=spec, samples_mv=piece.samples_mv[:, columns])


class LinkSource(LiveSource):
    """A device that speaks the link protocol.

    `spec` is there after its hello, with the first block at the latest. What is known of the device
    outlives `close` and `open`, so that packets which it sends again are not delivered twice.

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

    @property
    def statistics(self) -> LinkStatistics:
        """What became of everything that arrived; a copy, for any thread."""
        said = self.session.statistics
        return replace(said, off_samples=dict(said.off_samples))

    def _begin(self) -> None:
        self.wire.open()
        self.session.opened()

    def _listen(self, timeout_s: float) -> list[Piece]:
        data = self.wire.read(timeout_s)
        now_s = time.monotonic()
        pieces = self.session.feed(data, now_s)
        if self.session.spec is not None:
            wanted = self._wanted or self.session.spec.leads
            self.spec = _with_leads(self.session.spec, wanted)[0]
        self.wire.write(self.session.outgoing(now_s))
        return pieces

    def _end(self) -> None:
        self.wire.close()


class CaptureSource(Recording):
    """What a device sent, byte by byte, in a file: `tocsin link check --capture` makes one.

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
        # All at one instant, so that what was sent again finds its place however late it came.
        pieces = session.feed(data, 0.0) + session.finish(0.0)
        if not pieces:
            why = session.statistics.complaint or "no hello, or no samples after it"
            raise SourceError(SourceFault.MALFORMED, f"{self.path} holds no ECG: {why}")
        self.spec = self._spec_of(pieces[0].spec)
        return self._chunks_of(pieces)

    def _spec_of(self, spec: StreamSpec) -> StreamSpec:
        return spec if self._wanted is None else _with_leads(spec, self._wanted)[0]

    def _chunks_of(self, pieces: list[Piece]) -> Generator[tuple[int, FloatArray]]:
        end = -1
        for piece in pieces:
            if self._spec_of(piece.spec) != self.spec or piece.start_index < end:
                raise SourceError(
                    SourceFault.MALFORMED,
                    f"{self.path}: the device started anew or changed its leads or rate here; "
                    "what follows is another recording",
                )
            end = piece.start_index + len(piece.samples_mv)
            columns = _with_leads(piece.spec, self._wanted or piece.spec.leads)[1]
            yield piece.start_index, piece.samples_mv[:, columns]


def _with_leads(spec: StreamSpec, wanted: Sequence[str]) -> tuple[StreamSpec, list[int]]:
    """Return the stream with only these leads, and their columns."""
    for name in wanted:
        if name not in spec.leads:
            raise SourceError(
                SourceFault.NOT_FOUND,
                f"the device has no lead {name!r}; its leads are {', '.join(spec.leads)}",
            )
    chosen = StreamSpec(
        spec.stream_id,
        spec.rate_hz,
        tuple(wanted),
        spec.range_mv,
        spec.synthetic,
        spec.calibrated,
    )
    return chosen, [spec.leads.index(name) for name in wanted]


class _Cutter:
    """Makes blocks of one length of pieces of any."""

    def __init__(self, block_s: float) -> None:
        if not block_s > 0:
            raise ValueError(f"block_s is {block_s:g}: give a positive number of seconds")
        self._block_s = min(block_s, _MAX_BLOCK_S)
        self._ready: deque[tuple[SampleBlock, float | None]] = deque()
        self._held: Piece | None = None
        self._since_s = 0.0

    @property
    def is_empty(self) -> bool:
        return not self._ready

    def add(self, piece: Piece, now_s: float) -> None:
        held = self._held
        if held is not None:
            if held.spec == piece.spec and (
                held.start_index + len(held.samples_mv) == piece.start_index
            ):
                joined = np.concatenate((held.samples_mv, piece.samples_mv))
                piece = piece._replace(start_index=held.start_index, samples_mv=joined)
            else:
                self.flush()
        rate_hz = piece.spec.rate_hz
        rows = max(1, round(self._block_s * rate_hz))
        length = len(piece.samples_mv)
        whole = length - length % rows
        for at in range(0, whole, rows):
            self._emit(piece, at, at + rows)
        self._since_s = now_s
        left = piece._replace(
            start_index=piece.start_index + whole, samples_mv=piece.samples_mv[whole:]
        )
        self._held = left if whole < length else None

    def linger(self, now_s: float) -> None:
        """Give what has waited long enough."""
        if self._held is not None and now_s - self._since_s >= _LINGER_S:
            self.flush()

    def flush(self) -> None:
        """Give what there is."""
        held, self._held = self._held, None
        if held is not None:
            self._emit(held, 0, len(held.samples_mv))

    def take(self) -> tuple[SampleBlock, float | None] | None:
        return self._ready.popleft() if self._ready else None

    def clear(self) -> None:
        self._held = None
        self._ready.clear()

    def _emit(self, piece: Piece, start: int, stop: int) -> None:
        after = len(piece.samples_mv) - stop
        end_s = None if piece.end_s is None else piece.end_s - after / piece.spec.rate_hz
        rows = piece.samples_mv[start:stop]
        self._ready.append((SampleBlock(piece.spec, piece.start_index + start, rows), end_s))
