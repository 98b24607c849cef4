from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import Empty, Queue

import numpy as np
import pytest

from tocsin_agent.errors import MissingExtraError, SourceError, SourceFault
from tocsin_agent.retry import Backoff
from tocsin_agent.sources.base import EndOfStream, Source
from tocsin_agent.sources.queued import QueuedSource, SourceState
from tocsin_dsp.signal import SampleBlock, StreamSpec

SPEC = StreamSpec("test", 250.0, ("II",))
LOST = SourceError(SourceFault.LOST, "the cable was pulled")


class Link(Source):
    """A device whose blocks and errors are put into `script` by the test."""

    def __init__(self) -> None:
        self.script: Queue[SampleBlock | Exception] = Queue()
        self.refuse: list[Exception] = []
        self.opened = 0
        self.closed = 0
        self.go_on = threading.Event()
        self.go_on.set()
        self.reading = threading.Event()

    def open(self) -> None:
        self.opened += 1
        if self.refuse:
            raise self.refuse.pop(0)
        self.spec = SPEC

    def read(self, timeout_s: float) -> SampleBlock | None:
        self.reading.set()
        self.go_on.wait(300.0)
        try:
            item = self.script.get(timeout=min(timeout_s, 0.02))
        except Empty:
            return None
        if isinstance(item, Exception):
            raise item
        return item

    def close(self) -> None:
        self.closed += 1

    def send(self, *starts: int) -> None:
        for start in starts:
            self.script.put(SampleBlock(SPEC, start, np.full((250, 1), float(start))))


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60.0
    while not holds():
        assert time.monotonic() < deadline, "it does not become true"
        time.sleep(0.002)


def test_blocks_come_in_order_and_none_if_there_is_none() -> None:
    link = Link()
    with QueuedSource(link) as source:
        assert source.health.state is SourceState.CONNECTED
        assert source.read(0.0) is None
        link.send(0, 250)
        first, second = source.read(60.0), source.read(60.0)
        assert first is not None
        assert second is not None
        assert (first.start_index, second.start_index) == (0, 250)
        began_s = time.monotonic()
        assert source.read(0.05) is None
        assert time.monotonic() - began_s >= 0.04


def test_a_full_queue_drops_the_oldest_states_the_gap_and_counts() -> None:
    link = Link()
    with QueuedSource(link, seconds=3.0) as source:
        link.send(*range(0, 2500, 250))
        until(lambda: source.health.dropped_blocks == 7)
        assert source.health.queued_s == pytest.approx(3.0)
        blocks = [source.read(1.0) for _ in range(3)]
        assert [block.start_index for block in blocks if block] == [1750, 2000, 2250]
        assert source.health.dropped_samples == 1750
        assert source.health.queued_s == pytest.approx(0.0)


def test_a_block_longer_than_the_queue_is_kept_alone() -> None:
    link = Link()
    with QueuedSource(link, seconds=0.5) as source:
        link.send(0, 250)
        until(lambda: source.health.dropped_blocks == 1)
        block = source.read(1.0)
        assert block is not None
        assert block.start_index == 250


def test_a_lost_connection_is_restored() -> None:
    link = Link()
    with QueuedSource(link, backoff=Backoff(0.01, 0.02)) as source:
        link.send(0)
        link.refuse = [
            SourceError(SourceFault.UNREACHABLE, "no answer"),
            SourceError(SourceFault.NOT_FOUND, "no such port"),
        ]
        link.script.put(LOST)
        link.send(5000)
        first, second = source.read(60.0), source.read(60.0)
        assert first is not None
        assert second is not None
        assert (first.start_index, second.start_index) == (0, 5000)
        health = source.health
        assert health.state is SourceState.CONNECTED
        assert health.reconnections == 1
        assert health.last_error == "no such port"
        assert link.opened == 4  # the first, two refused, the one that held


def test_while_it_is_lost_the_state_says_so_and_reading_goes_on() -> None:
    link = Link()
    with QueuedSource(link, backoff=Backoff(300.0, 300.0)) as source:
        link.script.put(LOST)
        until(lambda: source.health.state is SourceState.WAITING)
        assert source.read(0.01) is None
        assert source.health.last_error == "the cable was pulled"
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 60.0, "close does not wait for the backoff"
    assert source.health.state is SourceState.CLOSED


@pytest.mark.parametrize(
    ("stable_after_s", "waits_s"),
    [(0.0, [1.0, 2.0, 4.0, 1.0]), (1e9, [1.0, 2.0, 4.0, 5.0])],
    ids=["it held", "it broke at once"],
)
def test_delays_grow_to_their_limit_and_begin_anew_after_a_good_connection(
    stable_after_s: float, waits_s: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    link = Link()
    backoff = Backoff(1.0, 5.0, jitter=0.0)
    source = QueuedSource(link, backoff=backoff, stable_after_s=stable_after_s)
    waited: list[float] = []
    stop = threading.Event()

    def wait(seconds: float) -> bool:
        waited.append(seconds)
        return False

    monkeypatch.setattr(stop, "wait", wait)
    link.refuse = [SourceError(SourceFault.UNREACHABLE, "no answer")] * 2
    for event in (LOST, LOST, EndOfStream()):
        link.script.put(event)
    source._run(stop)
    assert source.health.state is SourceState.ENDED
    assert waited == waits_s


@pytest.mark.parametrize(
    "error",
    [
        *(SourceError(fault, f"it is {fault}") for fault in SourceFault),
        ZeroDivisionError("a fault in the driver"),
    ],
    ids=str,
)
@pytest.mark.parametrize("at_open", [False, True])
def test_a_live_source_is_opened_again_whatever_the_error(error: Exception, at_open: bool) -> None:
    link = Link()
    with QueuedSource(link, backoff=Backoff(0.01, 0.02)) as source:
        link.refuse = [error] if at_open else []
        link.script.put(LOST if at_open else error)
        until(lambda: source.health.reconnections == 1)
        assert str(error) in str(source.health.last_error)
        link.send(0)
        assert source.read(60.0) is not None


def test_while_it_is_lost_the_last_error_says_why_it_is_silent() -> None:
    link = Link()
    with QueuedSource(link, backoff=Backoff(300.0, 300.0)) as source:
        assert source.why_silent() is None
        link.script.put(SourceError(SourceFault.BUSY, "in use by gpsd"))
        until(lambda: source.health.state is SourceState.WAITING)
        assert source.why_silent() == "in use by gpsd"


@pytest.mark.parametrize("error", [MissingExtraError("ble", "pip install"), EndOfStream()], ids=str)
def test_a_missing_package_and_an_end_are_final(error: Exception) -> None:
    link = Link()
    with QueuedSource(link) as source:
        link.send(0)
        link.script.put(error)
        assert source.read(60.0) is not None
        for _ in range(2):
            with pytest.raises(type(error)):
                source.read(60.0)


def test_the_first_opening_is_not_retried() -> None:
    link = Link()
    link.refuse = [SourceError(SourceFault.UNREACHABLE, "no answer")]
    source = QueuedSource(link)
    with pytest.raises(SourceError, match="no answer"):
        source.open()
    source.close()
    source.open()
    source.close()


def test_close_wakes_a_reader_in_another_thread() -> None:
    source = QueuedSource(Link())
    source.open()
    threading.Timer(0.05, source.close).start()
    began_s = time.monotonic()
    with pytest.raises(SourceError, match="not open"):
        source.read(300.0)
    assert time.monotonic() - began_s < 60.0


def test_a_link_that_hangs_does_not_hang_the_agent() -> None:
    link = Link()
    source = QueuedSource(link, stop_s=0.1)
    link.go_on.clear()
    source.open()
    assert link.reading.wait(60.0)
    began_s = time.monotonic()
    source.close()
    assert time.monotonic() - began_s < 60.0
    with pytest.raises(SourceError, match="has not stopped") as caught:
        source.open()
    assert caught.value.reason is SourceFault.UNREACHABLE
    link.go_on.set()
    until(lambda: link.closed == 1)
    source.close()
    source.open()
    link.send(0)
    assert source.read(60.0) is not None
    source.close()


class Slow(Link):
    """A recording: finite, so it must not lose a sample."""

    finite = True


def test_a_finite_source_waits_for_its_reader() -> None:
    link = Slow()
    link.send(*range(0, 5000, 250))
    link.script.put(EndOfStream())
    with QueuedSource(link, seconds=2.0) as source:
        until(lambda: source.health.queued_s == 2.0)
        blocks = [source.read(60.0) for _ in range(20)]
        assert [block.start_index for block in blocks if block] == list(range(0, 5000, 250))
        with pytest.raises(EndOfStream):
            source.read(60.0)
        assert source.health.dropped_blocks == 0
        assert source.health.state is SourceState.ENDED


def test_closing_does_not_wait_for_a_full_queue() -> None:
    link = Slow()
    link.send(*range(0, 5000, 250))
    source = QueuedSource(link, seconds=1.0)
    source.open()
    until(lambda: source.health.queued_s == 1.0)
    began_s = time.monotonic()
    source.close()
    assert time.monotonic() - began_s < 60.0


def test_no_thread_is_left_behind() -> None:
    with QueuedSource(Link()):
        assert any(thread.name == "tocsin-source" for thread in threading.enumerate())
    assert not any(thread.name == "tocsin-source" for thread in threading.enumerate())


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_a_queue_must_have_a_length(seconds: float) -> None:
    with pytest.raises(ValueError, match="queue"):
        QueuedSource(Link(), seconds)
