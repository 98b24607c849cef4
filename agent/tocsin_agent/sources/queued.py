"""A bounded queue between a link that will not wait and a reader that may be late."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.sources.base import EndOfStream, Source
from tocsin_dsp.signal import SampleBlock

_POLL_S = 0.1  # how long the reader thread waits before it looks whether it should stop


class SourceState(StrEnum):
    """Where the link stands."""

    CLOSED = "closed"
    CONNECTED = "connected"  # opened, and reading
    WAITING = "waiting"  # it broke; the next attempt is due after the backoff
    CONNECTING = "connecting"  # an attempt is under way
    ENDED = "ended"  # a finite source came to its end
    FAILED = "failed"  # an error that trying again does not mend


@dataclass(frozen=True, slots=True)
class Reconnection:
    """When a broken link is tried again.

    Parameters
    ----------
    first_delay_s : float
        From the break to the first attempt.
    factor : float
        Each further delay is so many times the one before.
    longest_delay_s : float
        No delay is longer.
    stable_after_s : float
        A connection that held so long counts as good: the delays begin again at the first.
    """

    first_delay_s: float = 0.5
    factor: float = 2.0
    longest_delay_s: float = 30.0
    stable_after_s: float = 10.0


@dataclass(frozen=True, slots=True)
class SourceHealth:
    """What became of the link so far, for the health message."""

    state: SourceState
    queued_s: float
    dropped_blocks: int
    dropped_samples: int
    reconnections: int
    last_error: str | None
    statistics: object = None  # what the source itself counts, such as corrupt frames


class QueuedSource(Source):
    """Reads a source in a thread of its own and keeps what the reader has not yet taken.

    A live link cannot wait: when the queue is full its oldest block is dropped, which the reader
    sees as a jump of `start_index` and the health counts. A finite source is made to wait instead.
    When the link breaks it is tried again, for ever, at the stated times; meanwhile `read` returns
    None and `health` says so. The first `open` is not retried: its error goes to the caller, since
    without it there is no `spec`.

    Parameters
    ----------
    source : Source
        What to read; used by no one else from then on.
    seconds : float
        How much signal the queue holds. One block is always kept, however long.
    reconnection : Reconnection
        When a broken link is tried again.
    stop_s : float
        How long `close` waits for the thread.
    """

    def __init__(
        self,
        source: Source,
        seconds: float = 30.0,
        *,
        reconnection: Reconnection | None = None,
        stop_s: float = 5.0,
    ) -> None:
        if not seconds > 0:
            raise ValueError(f"a queue of {seconds:g} s: give a positive number of seconds")
        self.source = source
        self.finite = source.finite
        self.seconds = seconds
        self._reconnection = reconnection or Reconnection()
        self._stop_s = stop_s
        self._changed = threading.Condition()  # guards everything below
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._blocks: deque[tuple[SampleBlock, datetime | None]] = deque()
        self._queued_s = 0.0
        self._state = SourceState.CLOSED
        self._end: Exception | None = None
        self._dropped_blocks = 0
        self._dropped_samples = 0
        self._reconnections = 0
        self._last_error: str | None = None

    @property
    def health(self) -> SourceHealth:
        """A consistent view of state and counters; safe from any thread."""
        with self._changed:
            return SourceHealth(
                self._state,
                self._queued_s,
                self._dropped_blocks,
                self._dropped_samples,
                self._reconnections,
                self._last_error,
                getattr(self.source, "statistics", None),
            )

    def open(self) -> None:
        """Open the link and begin to read it; counters go on from an earlier time.

        Raises
        ------
        SourceError
            As the source does; `UNREACHABLE` too while an earlier reading of it still hangs.
        """
        self.close()
        if self._thread is not None:
            raise SourceError(
                SourceFault.UNREACHABLE,
                f"the earlier reading of the source has not stopped after {self._stop_s:g} s",
            )
        self.source.open()
        self._describe()
        self._stop = threading.Event()
        self._end = None
        self._state = SourceState.CONNECTED
        self._thread = threading.Thread(
            target=self._run, args=(self._stop,), name="tocsin-source", daemon=True
        )
        self._thread.start()

    def read(self, timeout_s: float) -> SampleBlock | None:
        """Return the oldest block that is kept, or None where none comes within `timeout_s`.

        Raises
        ------
        EndOfStream, SourceError
            What ended the source, after the last block that it gave; again at every later call.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._blocks or self._over(), timeout_s)
            if self._blocks:
                block, self.stop_utc = self._blocks.popleft()
                self.spec = block.spec
                self._queued_s -= _length_s(block)
                self._changed.notify_all()
                return block
            if self._end is not None:
                raise self._end
            if self._state is SourceState.CLOSED:
                raise SourceError(SourceFault.LOST, "the source is not open: call open() first")
            return None

    def close(self) -> None:
        """Stop the thread and close the link; returns within `stop_s` whatever the link does."""
        self._stop.set()
        with self._changed:
            thread = self._thread
            self._state = SourceState.CLOSED
            self._blocks.clear()
            self._queued_s = 0.0
            self._end = None
            self._changed.notify_all()
        if thread is None:
            self.source.close()
            return
        thread.join(self._stop_s)
        if not thread.is_alive():
            self._thread = None

    def _describe(self) -> None:
        self.start_utc = self.source.start_utc
        spec = getattr(self.source, "spec", None)  # a live device may have yet to come
        if spec is not None:
            self.spec = spec

    def _over(self) -> bool:
        return self._end is not None or self._state is SourceState.CLOSED

    def _run(self, stop: threading.Event) -> None:
        try:
            self._read_until(stop)
        except Exception as error:  # noqa: BLE001 - it is handed to the reader, whatever it is
            self._finish(stop, error)
        finally:
            self.source.close()

    def _finish(self, stop: threading.Event, error: Exception) -> None:
        with self._changed:
            if stop.is_set():
                return
            self._end = error
            ended = isinstance(error, EndOfStream)
            self._state = SourceState.ENDED if ended else SourceState.FAILED
            if not ended:
                self._last_error = str(error)
            self._changed.notify_all()

    def _read_until(self, stop: threading.Event) -> None:
        delay_s = self._reconnection.first_delay_s
        while not stop.is_set():
            connected_s = time.monotonic()
            try:
                self._pump(stop)
            except SourceError as error:
                if error.reason is not SourceFault.LOST or self.finite:
                    raise
                if time.monotonic() - connected_s >= self._reconnection.stable_after_s:
                    delay_s = self._reconnection.first_delay_s
                delay_s = self._reconnect(stop, delay_s, error)

    def _pump(self, stop: threading.Event) -> None:
        while not stop.is_set():
            block = self.source.read(_POLL_S)
            if block is not None and len(block):
                self._put(stop, block)

    def _put(self, stop: threading.Event, block: SampleBlock) -> None:
        length_s = _length_s(block)
        with self._changed:
            if self.finite:
                self._changed.wait_for(
                    lambda: stop.is_set() or not self._blocks or self._fits(length_s)
                )
            if stop.is_set():
                return
            while self._blocks and not self._fits(length_s):
                dropped, _ = self._blocks.popleft()
                self._queued_s -= _length_s(dropped)
                self._dropped_blocks += 1
                self._dropped_samples += len(dropped)
            self._blocks.append((block, self.source.stop_utc))
            self._queued_s += length_s
            self._changed.notify_all()

    def _fits(self, length_s: float) -> bool:
        return self._queued_s + length_s <= self.seconds + 1e-9

    def _reconnect(self, stop: threading.Event, delay_s: float, error: SourceError) -> float:
        """Try until the link is back or this is stopped; return the delay that comes next."""
        while not stop.is_set():
            self.source.close()
            self._enter(stop, SourceState.WAITING, error)
            if stop.wait(delay_s):
                break
            delay_s = min(delay_s * self._reconnection.factor, self._reconnection.longest_delay_s)
            self._enter(stop, SourceState.CONNECTING, error)
            try:
                self.source.open()
            except SourceError as again:
                if not again.reason.transient_after_connection:
                    raise
                error = again
                continue
            with self._changed:
                self._reconnections += 1
                self._describe()
            self._enter(stop, SourceState.CONNECTED, error)
            break
        return delay_s

    def _enter(self, stop: threading.Event, state: SourceState, error: SourceError) -> None:
        with self._changed:
            if not stop.is_set():
                self._state = state
                self._last_error = str(error)


def _length_s(block: SampleBlock) -> float:
    return len(block) / block.spec.rate_hz
