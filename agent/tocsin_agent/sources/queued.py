"""A bounded queue between a device that does not wait and a reader that may be late."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tocsin_agent.errors import MissingExtraError, SourceError, SourceFault
from tocsin_agent.retry import Backoff
from tocsin_agent.sources.base import DeviceEvent, EndOfStream, Source
from tocsin_dsp.signal import SampleBlock

log = logging.getLogger(__name__)

_POLL_S = 0.1  # the longest read of the thread, so that it notices a stop
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0


class SourceState(StrEnum):
    """The state of a queued source."""

    CLOSED = "closed"
    CONNECTED = "connected"  # open, and being read
    WAITING = "waiting"  # the connection is lost; the next attempt is due after the backoff
    CONNECTING = "connecting"  # an attempt is in progress
    ENDED = "ended"  # a finite source came to its end
    FAILED = "failed"  # a recording that cannot be read on, or a live source that never can


@dataclass(frozen=True, slots=True)
class SourceHealth:
    """What the health message reports of a source.

    Parameters
    ----------
    state : SourceState
        Its state.
    queued_s : float
        Seconds of signal that wait for the reader.
    dropped_blocks, dropped_samples : int
        What a full queue dropped; samples of each lead.
    reconnections : int
        How often a lost connection was restored.
    last_error : str or None
        The last error in words.
    statistics : object
        Counts of the source itself, such as corrupt frames; None if it has none.
    """

    state: SourceState
    queued_s: float
    dropped_blocks: int
    dropped_samples: int
    reconnections: int
    last_error: str | None
    statistics: object = None


class QueuedSource(Source):
    """Reads a source in a thread of its own and queues what the reader has not yet taken.

    A device does not wait: a full queue drops its oldest block, which the reader sees as a jump of
    `start_index` and the health counts. A finite source waits instead. A lost connection is opened
    again after the waits of the backoff, without end and whatever the fault is; meanwhile `read`
    returns None and `health` reports it. Only a missing extra ends it. The first `open` is not
    retried: its error goes to the caller, because a recording has no `spec` without it.

    Reason for its size: four of its attributes are those of every source.

    Parameters
    ----------
    source : Source
        What to read; nothing else may use it.
    seconds : float
        How much signal the queue holds; one block is always kept, however long.
    backoff : Backoff, optional
        The waits before a lost connection is opened again; 0.5 to 30 s by default.
    stable_after_s : float
        A connection that lasted so long resets the backoff.
    stop_s : float
        The longest time that `close` waits for the thread.
    """

    def __init__(
        self,
        source: Source,
        seconds: float = 30.0,
        *,
        backoff: Backoff | None = None,
        stable_after_s: float = 10.0,
        stop_s: float = 5.0,
    ) -> None:
        if not seconds > 0:
            raise ValueError(f"a queue of {seconds:g} s: give a positive number of seconds")
        self.source = source
        self.finite = source.finite
        self._backoff = backoff or Backoff(_FIRST_WAIT_S, _LONGEST_WAIT_S)
        self._stable_after_s = stable_after_s
        self._stop_s = stop_s
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()  # guards everything below
        self._queue = _BlockQueue(seconds)
        self._progress = _Progress()

    @property
    def health(self) -> SourceHealth:
        """State and counters at one instant; safe from any thread."""
        with self._changed:
            return SourceHealth(
                self._progress.state,
                self._queue.held_s,
                self._queue.dropped_blocks,
                self._queue.dropped_samples,
                self._progress.reconnections,
                self._progress.last_error,
                getattr(self.source, "statistics", None),
            )

    def open(self) -> None:
        """Open the source and begin to read it; counters continue from earlier readings.

        Raises
        ------
        SourceError
            As the source does; `UNREACHABLE` also while an earlier reading of it still hangs.
        """
        self.close()
        if self._thread is not None:
            raise SourceError(
                SourceFault.UNREACHABLE,
                f"the earlier reading of the source has not stopped after {self._stop_s:g} s",
            )
        try:
            self.source.open()
        except SourceError as error:
            self._progress.last_error = str(error)
            raise
        self._describe()
        self._stop = threading.Event()
        self._progress.end = None
        self._progress.state = SourceState.CONNECTED
        self._thread = threading.Thread(
            target=self._run, args=(self._stop,), name="tocsin-source", daemon=True
        )
        self._thread.start()

    def read(self, timeout_s: float) -> SampleBlock | None:
        """Return the oldest block in the queue, or None if none comes within `timeout_s`.

        Raises
        ------
        EndOfStream, SourceError
            What ended the source, after its last block; again at every later call.
        """
        progress = self._progress
        with self._changed:
            self._changed.wait_for(lambda: self._queue or progress.is_over, timeout_s)
            if self._queue:
                block, self.stop_utc = self._queue.get()
                self.spec = block.spec
                self._changed.notify_all()
                return block
            if progress.end is not None:
                raise progress.end
            if progress.state is SourceState.CLOSED:
                raise SourceError(SourceFault.LOST, "the source is not open: call open() first")
            return None

    def close(self) -> None:
        """Stop the thread and close the source; returns within `stop_s` even if it hangs."""
        self._stop.set()
        with self._changed:
            thread = self._thread
            self._progress.state = SourceState.CLOSED
            self._progress.end = None
            self._queue.clear()
            self._changed.notify_all()
        if thread is None:
            self.source.close()
            return
        thread.join(self._stop_s)
        if not thread.is_alive():
            self._thread = None

    def why_silent(self) -> str | None:
        """Return what keeps the source from being opened, else what the source itself knows."""
        with self._changed:
            progress = self._progress
            if progress.state is not SourceState.CONNECTED:
                return progress.last_error
        return self.source.why_silent()

    def take_events(self) -> list[DeviceEvent]:
        """Return what the device has reported."""
        return self.source.take_events()

    def _describe(self) -> None:
        self.start_utc = self.source.start_utc
        spec = getattr(self.source, "spec", None)  # a device may not be connected yet
        if spec is not None:
            self.spec = spec

    def _run(self, stop: threading.Event) -> None:
        """Read the source until it ends or is stopped; the body of the thread."""
        try:
            while not stop.is_set():
                opened_s = time.monotonic()
                try:
                    self._pump(stop)
                except Exception as error:
                    fault = self._passing(error)
                    if fault is None:
                        raise
                    if time.monotonic() - opened_s >= self._stable_after_s:
                        self._backoff.reset()
                    self._reconnect(stop, fault)
        except Exception as error:  # noqa: BLE001 - the reader gets it, whatever it is
            self._finish(stop, error)
        finally:
            self.source.close()

    def _finish(self, stop: threading.Event, error: Exception) -> None:
        with self._changed:
            if stop.is_set():
                return
            self._progress.end = error
            if isinstance(error, EndOfStream):
                self._progress.state = SourceState.ENDED
            else:
                self._progress.state = SourceState.FAILED
                self._progress.last_error = str(error)
            self._changed.notify_all()

    def _pump(self, stop: threading.Event) -> None:
        """Move blocks from the source into the queue."""
        while not stop.is_set():
            block = self.source.read(_POLL_S)
            if block is not None and len(block):
                self._put(stop, block)

    def _put(self, stop: threading.Event, block: SampleBlock) -> None:
        with self._changed:
            if self.finite:
                self._changed.wait_for(lambda: stop.is_set() or self._queue.has_room(block))
            if not stop.is_set():
                self._queue.put(block, self.source.stop_utc)
                self._changed.notify_all()

    def _reconnect(self, stop: threading.Event, error: SourceError) -> None:
        """Open the source again and again until it opens or this is stopped."""
        while not stop.is_set():
            self.source.close()
            self._enter(stop, SourceState.WAITING, error)
            if stop.wait(self._backoff.next_s()):
                return
            self._enter(stop, SourceState.CONNECTING, error)
            try:
                self.source.open()
            except Exception as again:
                fault = self._passing(again)
                if fault is None:
                    raise
                error = fault
                continue
            with self._changed:
                self._progress.reconnections += 1
                self._describe()
            self._enter(stop, SourceState.CONNECTED, error)
            return

    def _passing(self, error: Exception) -> SourceError | None:
        """Return the fault after which the source is opened again; None after which it is not.

        An error that no source should raise is logged, and must not end the monitoring either.
        """
        if self.finite or isinstance(error, EndOfStream | MissingExtraError):
            return None
        if isinstance(error, SourceError):
            return error
        log.error("the source failed in an unexpected way", exc_info=error)
        return SourceError(SourceFault.LOST, f"the source failed: {error or type(error).__name__}")

    def _enter(self, stop: threading.Event, state: SourceState, error: SourceError) -> None:
        with self._changed:
            if not stop.is_set():
                self._progress.state = state
                self._progress.last_error = str(error)


@dataclass(slots=True)
class _Progress:
    """What has become of a source."""

    state: SourceState = SourceState.CLOSED
    end: Exception | None = None  # what every further read raises
    reconnections: int = 0
    last_error: str | None = None

    @property
    def is_over(self) -> bool:
        """True if no further block will come."""
        return self.end is not None or self.state is SourceState.CLOSED


class _BlockQueue:
    """Blocks in order of arrival, up to a limit; its owner guards it against other threads."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._blocks: deque[tuple[SampleBlock, datetime | None]] = deque()
        self.held_s = 0.0
        self.dropped_blocks = 0
        self.dropped_samples = 0

    def __len__(self) -> int:
        return len(self._blocks)

    def has_room(self, block: SampleBlock) -> bool:
        """Tell whether this block fits without dropping another; an empty queue has room."""
        return not self._blocks or self.held_s + _length_s(block) <= self._limit_s + 1e-9

    def put(self, block: SampleBlock, stop_utc: datetime | None) -> None:
        """Append a block and drop the oldest ones that exceed the limit."""
        while not self.has_room(block):
            dropped, _ = self.get()
            self.dropped_blocks += 1
            self.dropped_samples += len(dropped)
        self._blocks.append((block, stop_utc))
        self.held_s += _length_s(block)

    def get(self) -> tuple[SampleBlock, datetime | None]:
        """Remove and return the oldest block, and the time of its end."""
        block, stop_utc = self._blocks.popleft()
        self.held_s -= _length_s(block)
        return block, stop_utc

    def clear(self) -> None:
        """Remove all blocks; they do not count as dropped."""
        self._blocks.clear()
        self.held_s = 0.0


def _length_s(block: SampleBlock) -> float:
    return len(block) / block.spec.rate_hz
