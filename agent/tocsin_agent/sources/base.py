"""The interface of every source: open it, read it block by block, close it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Generator
from datetime import datetime
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_dsp.errors import SignalError
from tocsin_dsp.signal import MAX_RATE_HZ, FloatArray, SampleBlock, StreamSpec


class EndOfStream(Exception):  # noqa: N818 - the regular end of a recording is not an error
    """The source is finite and its last block has been read."""


class DeviceEvent(NamedTuple):
    """What a device reports beside its samples, as the alarm that it raises or ends.

    Attributes
    ----------
    code : str
        A row of the table of alarms, such as `patient_call`, `battery_low` or `device_fault`.
    rule : str
        What was reported, in words.
    subject : str
        The lead or the fault, where each has an alarm of its own.
    measured : dict
        The figures.
    over : bool
        It ends the alarm.
    """

    code: str
    rule: str
    subject: str
    measured: dict[str, float | str]
    over: bool


class Content(NamedTuple):
    """One signal of a recording, used or not.

    Attributes
    ----------
    name : str
        As the file states it.
    unit : str
        As written; empty where none is stated.
    rate_hz : float or None
        None where the file does not state it.
    used : bool
        Whether it is a lead of the stream.
    reason : str
        Why it is left out; empty for a lead.
    """

    name: str
    unit: str
    rate_hz: float | None
    used: bool
    reason: str


class Source(ABC):
    """One stream of samples, used by one reader at a time.

    The interface fits a recording and a device: a block may be late (`read` returns None), samples
    may be lost (`start_index` jumps), the connection may break (`SourceFault.LOST`, and `open` may
    be called again), and the device may change its leads or rate between two blocks (`block.spec`
    holds for its own block).

    Attributes
    ----------
    spec : StreamSpec
        The stream; valid after `open`, or with the first block of a device that connects later.
    start_utc : datetime or None
        UTC of sample 0, aware, if the source states it; valid after `open`.
    stop_utc : datetime or None
        UTC of the end of the last block, aware, if the source has a better estimate than the
        arrival of the block.
    finite : bool
        True for a recording: it ends, and it waits for a slow reader.
    contents : tuple of Content
        What a file holds, leads and other signals; empty where that is not known.
    seconds : float or None
        Length of a recording with its gaps, where that is known before it is read.
    """

    spec: StreamSpec
    start_utc: datetime | None = None
    stop_utc: datetime | None = None
    finite: bool = False
    contents: tuple[Content, ...] = ()
    seconds: float | None = None

    @abstractmethod
    def open(self) -> None:
        """Start, or start again, at the first sample that the source can give.

        Raises
        ------
        SourceError
            If there is nothing to read from.
        """

    @abstractmethod
    def read(self, timeout_s: float) -> SampleBlock | None:
        """Return the next block, or None if there is none within `timeout_s`.

        Raises
        ------
        EndOfStream
            After the last block, and again at every later call.
        SourceError
            `LOST` if the connection broke: the caller may `open` again. Any other reason is final,
            and is raised after the samples that could still be read.
        """

    @abstractmethod
    def close(self) -> None:
        """Release all resources; harmless when called twice or before `open`."""

    def why_silent(self) -> str | None:
        """Return why no samples arrive, in the words of `source_lost`; None if that is unknown.

        It is asked while the source is silent; safe from any thread.
        """
        return None

    def take_events(self) -> list[DeviceEvent]:
        """Return what the device has reported since the last call; safe from any thread."""
        return []

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Recording(Source):
    """A finite source: a subclass yields chunks of any size, this class cuts them into blocks.

    Blocks hold `block_s` of signal and do not depend on the chunks; only the last block and a block
    before a gap are shorter.

    Parameters
    ----------
    block_s : float
        Seconds of signal in a block; at least one sample.
    """

    finite = True

    def __init__(self, *, block_s: float = 0.25) -> None:
        if not block_s > 0:
            raise ValueError(f"block_s is {block_s:g}: give a positive number of seconds")
        self.block_s = block_s
        self._chunks: Generator[tuple[int, FloatArray]] | None = None
        self._held: deque[FloatArray] = deque()  # contiguous rows, not yet delivered
        self._held_rows = 0
        self._next_index = 0
        self._after_gap: tuple[int, FloatArray] | None = None
        self._end: Exception | None = None

    @abstractmethod
    def _start(self) -> Generator[tuple[int, FloatArray]]:
        """Open the recording, set `spec`, and return its chunks as (start_index, samples_mv).

        A chunk that does not continue the last one states a gap. A `SourceError` raised by the
        generator reaches the reader after the samples before it.
        """

    def open(self) -> None:
        """Start at the first sample."""
        self.close()
        try:
            self._chunks = self._start()
        except SignalError as error:
            self.close()
            raise SourceError(SourceFault.MALFORMED, str(error)) from error
        except BaseException:
            self.close()
            raise
        self._next_index = 0
        self._end = None

    def read(self, timeout_s: float) -> SampleBlock | None:
        """Return the next block; a recording is never late."""
        if self._chunks is None:
            raise SourceError(SourceFault.LOST, "the source is not open: call open() first")
        rows = max(1, round(min(self.block_s * self.spec.rate_hz, 86_400 * MAX_RATE_HZ)))
        while self._held_rows < rows and self._after_gap is None and self._end is None:
            self._pull(self._chunks)
        if self._held_rows == 0:
            if self._after_gap is None:
                raise self._end or EndOfStream
            index, samples = self._after_gap
            self._after_gap = None
            self._hold(index, samples)
            return self.read(timeout_s)
        return self._cut(min(rows, self._held_rows))

    def close(self) -> None:
        """Close the files."""
        if self._chunks is not None:
            self._chunks.close()
        self._chunks = None
        self._held.clear()
        self._held_rows = 0
        self._after_gap = None

    def _pull(self, chunks: Generator[tuple[int, FloatArray]]) -> None:
        try:
            index, samples = next(chunks)
        except StopIteration:
            self._end = EndOfStream("the recording has been read to its end")
        except SourceError as error:
            self._end = error
        else:
            if self._held_rows and index != self._next_index + self._held_rows:
                self._after_gap = (index, samples)
            else:
                self._hold(index, samples)

    def _hold(self, index: int, samples: FloatArray) -> None:
        if not self._held_rows:
            self._next_index = index
        if len(samples):
            self._held.append(np.asarray(samples, dtype=np.float64))
            self._held_rows += len(samples)

    def _cut(self, rows: int) -> SampleBlock:
        parts: list[FloatArray] = []
        missing = rows
        while missing:
            part = self._held.popleft()
            if len(part) > missing:
                self._held.appendleft(part[missing:])
                part = part[:missing]
            parts.append(part)
            missing -= len(part)
        block = SampleBlock(
            self.spec, self._next_index, parts[0] if len(parts) == 1 else np.concatenate(parts)
        )
        self._held_rows -= rows
        self._next_index += rows
        return block
