from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from tocsin_agent.sources.base import EndOfStream, Source
from tocsin_agent.sources.pacing import PacedSource
from tocsin_dsp.signal import SampleBlock, StreamSpec

SPEC = StreamSpec("test", 250.0, ("II",))


class Blocks(Source):
    """Yields blocks of one second that begin at the given samples."""

    finite = True

    def __init__(self, *starts: int, spec: StreamSpec = SPEC) -> None:
        self.starts = starts
        self.spec = spec

    def open(self) -> None:
        self.left = list(self.starts)

    def read(self, timeout_s: float) -> SampleBlock | None:  # noqa: ARG002
        if not self.left:
            raise EndOfStream
        return SampleBlock(self.spec, self.left.pop(0), np.zeros((250, 1)))

    def close(self) -> None: ...


class Clock:
    """A clock that only waiting moves; a wait may take longer than requested."""

    def __init__(self, late_s: float = 0.0) -> None:
        self.now_s = 1000.0
        self.late_s = late_s

    def __call__(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> bool:
        self.now_s += seconds + self.late_s
        return False


def paced(source: Source, speed: float, clock: Clock) -> PacedSource:
    made = PacedSource(source, speed, clock_s=clock)
    made._closed.wait = clock.wait  # type: ignore[method-assign,assignment]
    made.open()
    return made


def returned_at(source: PacedSource, clock: Clock, blocks: int) -> list[float]:
    out = []
    for _ in range(blocks):
        assert source.read(1e9) is not None
        out.append(clock.now_s - 1000.0)
    return out


@pytest.mark.parametrize("speed", [1.0, 10.0, 0.5])
def test_a_block_is_returned_when_its_last_sample_is_due(speed: float) -> None:
    clock = Clock()
    source = paced(Blocks(0, 250, 500), speed, clock)
    assert returned_at(source, clock, 3) == pytest.approx([1 / speed, 2 / speed, 3 / speed])
    with pytest.raises(EndOfStream):
        source.read(0.0)


def test_delays_do_not_add_up() -> None:
    clock = Clock(late_s=0.01)
    source = paced(Blocks(*range(0, 250 * 1000, 250)), 1.0, clock)
    assert returned_at(source, clock, 1000)[-1] == pytest.approx(1000.0, abs=0.011)


def test_a_late_reader_gets_everything_that_is_due_at_once() -> None:
    clock = Clock()
    source = paced(Blocks(0, 250, 500, 750), 1.0, clock)
    source.read(1e9)
    clock.now_s += 2.5
    assert returned_at(source, clock, 3) == pytest.approx([3.5, 3.5, 4.0])


def test_what_is_not_due_within_the_timeout_is_kept() -> None:
    clock = Clock()
    source = paced(Blocks(0), 1.0, clock)
    assert source.read(0.4) is None
    assert source.read(0.4) is None
    assert clock.now_s == pytest.approx(1000.8)
    block = source.read(0.4)
    assert block is not None
    assert clock.now_s == pytest.approx(1001.0)


def test_a_gap_takes_as_long_as_it_took() -> None:
    clock = Clock()
    source = paced(Blocks(0, 2500), 1.0, clock)
    assert returned_at(source, clock, 2) == pytest.approx([1.0, 11.0])


def test_a_sample_clock_that_jumps_back_does_not_bring_a_flood() -> None:
    clock = Clock()
    source = paced(Blocks(100_000, 0, 250), 1.0, clock)
    assert returned_at(source, clock, 3) == pytest.approx([1.0, 2.0, 3.0])


def test_close_wakes_a_read_that_waits() -> None:
    source = PacedSource(Blocks(0), 0.001)
    source.open()
    threading.Timer(0.05, source.close).start()
    began_s = time.monotonic()
    assert source.read(300.0) is None
    assert time.monotonic() - began_s < 60.0


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan")])
def test_a_speed_must_go_forward(speed: float) -> None:
    with pytest.raises(ValueError, match="speed"):
        PacedSource(Blocks(0), speed)
