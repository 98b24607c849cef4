"""A recording played at the pace at which it was recorded, or a multiple of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from tocsin_agent.sources.base import Source
from tocsin_dsp.signal import SampleBlock


class PacedSource(Source):
    """Holds each block back until its last sample would have been recorded.

    The time at which a block is due is counted from the first sample, not from the block before it,
    so delays do not add up to a drift. A late reader gets all blocks that are due at once; none is
    skipped. If the sample index jumps back or the rate changes, counting starts again.

    Parameters
    ----------
    source : Source
        What to pace.
    speed : float
        1 for real time, 10 for ten times as fast.
    clock_s : callable, optional
        A monotonic clock, in seconds.
    """

    def __init__(
        self, source: Source, speed: float = 1.0, *, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        if not speed > 0:
            raise ValueError(f"speed is {speed:g}: give a positive number, or none for no pacing")
        self.source = source
        self.speed = speed
        self.finite = source.finite
        self._clock_s = clock_s
        self._closed = threading.Event()
        self._held: SampleBlock | None = None
        self._anchor: tuple[float, int, float] | None = None  # clock, sample index, rate
        self._last_index = 0

    def open(self) -> None:
        """Open the source; its first sample is due at the first `read`."""
        self.source.open()
        self.spec = self.source.spec
        self.start_utc = self.source.start_utc
        self._closed.clear()
        self._held = None
        self._anchor = None

    def read(self, timeout_s: float) -> SampleBlock | None:
        """Return the next block when it is due, or None if that is later than `timeout_s`."""
        began_s = self._clock_s()
        if self._held is None:
            self._held = self.source.read(timeout_s)
            if self._held is None:
                return None
        block = self._held
        wait_s = self._due_s(block, began_s) - self._clock_s()
        left_s = timeout_s - (self._clock_s() - began_s)
        if wait_s > 0:
            self._closed.wait(min(wait_s, max(left_s, 0.0)))
            if wait_s > left_s:
                return None
        self._held = None
        return block

    def close(self) -> None:
        """Close the source; a `read` that waits in another thread returns."""
        self._closed.set()
        self.source.close()
        self._held = None

    def _due_s(self, block: SampleBlock, now_s: float) -> float:
        anchor = self._anchor
        if (
            anchor is None
            or block.start_index < self._last_index
            or block.spec.rate_hz != anchor[2]
        ):
            anchor = (now_s, block.start_index, block.spec.rate_hz)
            self._anchor = anchor
        self._last_index = block.start_index
        start_s, first_index, rate_hz = anchor
        return start_s + (block.stop_index - first_index) / (rate_hz * self.speed)
