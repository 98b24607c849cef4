"""A running agent lends its samples, and never waits for who reads them."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import numpy as np
import pytest

from support.brokers import until
from support.programs import PATIENCE_S
from tocsin_agent.errors import DeliveryError, DeliveryFault
from tocsin_agent.runtime.local_server import short_address
from tocsin_agent.runtime.tap import Reading, Tap, read_tap, tap_of
from tocsin_dsp.signal import SampleBlock, StreamSpec

SPEC = StreamSpec("bed7", 250.0, ("II", "V1"))


def block(start: int, rows: int, spec: StreamSpec = SPEC) -> SampleBlock:
    values = np.arange(start, start + rows, dtype=float)
    return SampleBlock(spec, start, np.column_stack([values, -values]))


class Reader:
    """Reads a tap in a thread."""

    def __init__(self, outbox: Path, seconds: float, wait_s: float = PATIENCE_S) -> None:
        self.reading: Reading | None = None
        self._arguments = (outbox, seconds, wait_s)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self.reading = read_tap(*self._arguments)

    def result(self) -> Reading | None:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        return self.reading


def connected(tap: Tap) -> None:
    until(lambda: tap._blocks is not None, what="somebody reads")


def test_the_samples_are_those_of_the_agent_and_a_gap_is_missing(tmp_path: Path) -> None:
    with Tap(tmp_path / "o.db") as tap:
        reader = Reader(tmp_path / "o.db", 2.0)
        connected(tap)
        tap.take(block(1000, 200))
        tap.take(block(1300, 200))
        reading = reader.result()
    assert reading is not None
    assert (reading.rate_hz, reading.leads) == (250.0, ("II", "V1"))
    assert reading.samples_mv[:200].tolist() == block(1000, 200).samples_mv.tolist()
    assert np.isnan(reading.samples_mv[200:300]).all()
    assert reading.samples_mv[300:].tolist() == block(1300, 200).samples_mv.tolist()
    assert tap_of(tmp_path / "o.db").exists() is False


@pytest.mark.parametrize(
    "after", [block(0, 100), block(200, 100, StreamSpec("other", 250.0, ("II", "V1")))]
)
def test_another_stream_ends_the_reading(tmp_path: Path, after: SampleBlock) -> None:
    with Tap(tmp_path / "o.db") as tap:
        reader = Reader(tmp_path / "o.db", 60.0)
        connected(tap)
        tap.take(block(100, 100))
        tap.take(after)
        reading = reader.result()
    assert reading is not None
    assert len(reading.samples_mv) == 100


def test_a_reader_that_does_not_read_is_dropped_and_the_next_one_gets_samples(
    tmp_path: Path,
) -> None:
    with Tap(tmp_path / "o.db") as tap:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as lazy:
            with short_address(tap_of(tmp_path / "o.db")) as address:
                lazy.connect(address)
            connected(tap)
            for n in range(2000):
                tap.take(block(1000 * n, 1000))
            assert tap._blocks is None, "dropped, and nobody waited"
        reader = Reader(tmp_path / "o.db", 0.4)
        connected(tap)
        tap.take(block(0, 100))
        reading = reader.result()
    assert reading is not None
    assert len(reading.samples_mv) == 100


def test_an_agent_that_ends_gives_what_there_was(tmp_path: Path) -> None:
    with Tap(tmp_path / "o.db") as tap:
        reader = Reader(tmp_path / "o.db", 60.0)
        connected(tap)
        tap.take(block(0, 100))
        until(lambda: tap._blocks is not None and tap._blocks.empty(), what="it is sent")
    reading = reader.result()
    assert reading is not None
    assert len(reading.samples_mv) == 100


def test_without_an_agent_there_is_an_error_and_without_an_ecg_nothing(tmp_path: Path) -> None:
    with pytest.raises(DeliveryError) as caught:
        read_tap(tmp_path / "o.db", 1.0, 1.0)
    assert caught.value.reason is DeliveryFault.AGENT_UNREACHABLE
    with Tap(tmp_path / "o.db") as tap:
        reader = Reader(tmp_path / "o.db", 60.0)
        connected(tap)
    assert reader.result() is None
