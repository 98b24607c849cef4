"""What every live source shares: pieces of any length in, blocks of one length out."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.sources.base import Source
from tocsin_dsp.signal import FloatArray, SampleBlock, StreamSpec

_TURN_S = 0.05  # the longest time without an answer to the device
_LINGER_S = 0.5  # the longest time that samples wait for their block to become full
_MAX_BLOCK_S = 60.0


class Piece(NamedTuple):
    """Consecutive samples of a device.

    Parameters
    ----------
    spec : StreamSpec
        The stream that they belong to.
    start_index : int
        Index of the first.
    samples_mv : ndarray of float64, shape (n, leads)
        The samples; NaN where one is missing.
    end_s : float or None
        Monotonic time just after the last sample, if it is known.
    """

    spec: StreamSpec
    start_index: int
    samples_mv: FloatArray
    end_s: float | None

    @property
    def stop_index(self) -> int:
        """Index after the last sample."""
        return self.start_index + len(self.samples_mv)


class LiveSource(Source):
    """A device: it opens whether or not the device is there.

    Parameters
    ----------
    leads : sequence of str, optional
        The leads to take, in this order.
    block_s : float
        Seconds of signal in a block; a block before a gap or a pause is shorter.
    """

    def __init__(self, *, leads: Sequence[str] | None = None, block_s: float = 0.25) -> None:
        self._wanted = tuple(leads) if leads else None
        self._cutter = Cutter(block_s)
        self._is_open = False
        self._fault: SourceError | None = None

    @abstractmethod
    def _begin(self) -> None:
        """Make ready for the device."""

    @abstractmethod
    def _receive(self, timeout_s: float) -> list[Piece]:
        """Wait up to `timeout_s` for samples of the device, and answer it."""

    @abstractmethod
    def _end(self) -> None:
        """Release the device; harmless when called twice."""

    def open(self) -> None:
        """Make ready for the device, whether or not it is there."""
        self.close()
        self._begin()
        self._fault = None
        self._is_open = True

    def read(self, timeout_s: float) -> SampleBlock | None:
        """Return the next block, or None; answers the device meanwhile."""
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
        """Release the device."""
        self._is_open = False
        self._end()
        self._cutter.clear()

    def _turn(self, timeout_s: float) -> None:
        try:
            pieces = self._receive(timeout_s)
        except SourceError as error:
            self._cutter.flush()
            self._fault = error
            return
        now_s = time.monotonic()
        for piece in pieces:
            self._cutter.add(self._selected(piece), now_s)
        self._cutter.flush_late(now_s)

    def _timed(self, block: SampleBlock, end_s: float | None) -> SampleBlock:
        self.spec, self.stop_utc = block.spec, None
        if end_s is not None:
            self.stop_utc = datetime.now(UTC) + timedelta(seconds=end_s - time.monotonic())
        return block

    def _selected(self, piece: Piece) -> Piece:
        if self._wanted is None:
            return piece
        spec, columns = with_leads(piece.spec, self._wanted)
        return piece._replace(spec=spec, samples_mv=piece.samples_mv[:, columns])


def with_leads(spec: StreamSpec, wanted: Sequence[str]) -> tuple[StreamSpec, list[int]]:
    """Return the stream with only these leads, and their columns.

    Raises
    ------
    SourceError
        `NOT_FOUND` for a lead that the device does not have.
    """
    for name in wanted:
        if name not in spec.leads:
            raise SourceError(
                SourceFault.NOT_FOUND,
                f"the device has no lead {name!r}; its leads are {', '.join(spec.leads)}",
            )
    chosen = replace(spec, leads=tuple(wanted))
    return chosen, [spec.leads.index(name) for name in wanted]


class Cutter:
    """Cuts pieces of any length into blocks of one length.

    Parameters
    ----------
    block_s : float
        Seconds of signal in a block, at most 60.
    """

    def __init__(self, block_s: float) -> None:
        if not block_s > 0:
            raise ValueError(f"block_s is {block_s:g}: give a positive number of seconds")
        self._block_s = min(block_s, _MAX_BLOCK_S)
        self._ready: deque[tuple[SampleBlock, float | None]] = deque()
        self._held: Piece | None = None
        self._since_s = 0.0

    @property
    def is_empty(self) -> bool:
        """True if no block is ready."""
        return not self._ready

    def add(self, piece: Piece, now_s: float) -> None:
        """Take a piece that arrived at `now_s` (monotonic); a jump of its index ends a block."""
        held = self._held
        if held is not None:
            if held.spec == piece.spec and held.stop_index == piece.start_index:
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

    def flush_late(self, now_s: float) -> None:
        """Make a block of the samples that have waited half a second for more."""
        if self._held is not None and now_s - self._since_s >= _LINGER_S:
            self.flush()

    def flush(self) -> None:
        """Make a block of the samples that wait for more."""
        held, self._held = self._held, None
        if held is not None:
            self._emit(held, 0, len(held.samples_mv))

    def take(self) -> tuple[SampleBlock, float | None] | None:
        """Return the next block and the monotonic time of its end, or None."""
        return self._ready.popleft() if self._ready else None

    def clear(self) -> None:
        """Drop all samples."""
        self._held = None
        self._ready.clear()

    def _emit(self, piece: Piece, start: int, stop: int) -> None:
        after = len(piece.samples_mv) - stop
        end_s = None if piece.end_s is None else piece.end_s - after / piece.spec.rate_hz
        rows = piece.samples_mv[start:stop]
        self._ready.append((SampleBlock(piece.spec, piece.start_index + start, rows), end_s))
