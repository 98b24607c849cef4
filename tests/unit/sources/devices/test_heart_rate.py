"""Notifications of a heart-rate strap become marks with an index."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from tocsin_agent.sources.devices.ble import HeartRateSource
from tocsin_agent.sources.devices.heart_rate import (
    MEASUREMENT,
    MarkStream,
    Measurement,
    decode_measurement,
)
from tocsin_agent.sources.devices.live import Piece
from tocsin_agent.sources.opening import kind_of, open_source


def notification(*rr_s: float, bpm: int = 60, contact: bool | None = True) -> bytes:
    flags = 0x10 if rr_s else 0
    flags |= 0x00 if contact is None else 0x06 if contact else 0x04
    rr = struct.pack(f"<{len(rr_s)}H", *(round(1024 * one) for one in rr_s))
    return bytes((flags, bpm)) + rr


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (bytes((0x00, 72)), Measurement(72, (), True)),
        (bytes((0x10, 72, 0x00, 0x04, 0x00, 0x02)), Measurement(72, (1.0, 0.5), True)),
        (bytes((0x19, 44, 1, 9, 9, 0x00, 0x04)), Measurement(300, (1.0,), True)),
        (bytes((0x04, 0)), Measurement(0, (), False)),
        (bytes((0x06, 60)), Measurement(60, (), True)),
        (bytes((0x10, 72, 0x00)), Measurement(72, (), True)),
        (b"\x01\x48", None),
        (b"", None),
    ],
)
def test_a_measurement_is_read_as_the_service_defines_it(
    data: bytes, expected: Measurement | None
) -> None:
    assert decode_measurement(data) == expected


def beats(pieces: list[Piece]) -> list[int]:
    return [
        int(p.start_index + row) for p in pieces for row in np.flatnonzero(p.samples_mv[:, 0] > 0)
    ]


def fed(stream: MarkStream, *steps: tuple[float, bytes]) -> list[Piece]:
    pieces = [stream.feed(data, at_s) for at_s, data in steps]
    return [piece for piece in pieces if piece is not None]


def test_beats_follow_each_other_by_their_intervals_whenever_they_arrive() -> None:
    rng = np.random.default_rng(0)
    rr = rng.uniform(0.6, 1.0, 60)
    steps, held, at_s = [], [], 10.0
    for one in rr:
        at_s += one
        held.append(float(one))
        if len(held) == 2:
            steps.append((at_s + rng.uniform(0, 0.8), notification(*held)))
            held = []
    pieces = fed(MarkStream("hr"), *steps)
    got = np.diff(beats(pieces)) / 250
    np.testing.assert_allclose(got, rr[1:], atol=0.005)
    assert [b.start_index for b in pieces[1:]] == [a.stop_index for a in pieces[:-1]]


@pytest.mark.parametrize("away_s", [5.0, 600.0])
def test_a_lost_contact_is_missing_and_joins_no_interval(away_s: float) -> None:
    before = [(float(at), notification(1.0)) for at in range(1, 6)]
    off = [(5.0 + at, notification(contact=False, bpm=0)) for at in np.arange(1.0, away_s, 1.0)]
    after = [(5.0 + away_s + at, notification(1.0)) for at in range(1, 6)]
    pieces = fed(MarkStream("hr"), *before, *off, *after)
    assert all(a.stop_index == b.start_index for a, b in pairwise(pieces))
    rows = np.concatenate([piece.samples_mv[:, 0] for piece in pieces])
    assert np.isnan(rows).sum() / 250 == pytest.approx(away_s, abs=3.5)
    between = np.diff(np.array(beats(pieces)))
    assert (between == 250).sum() == 8


def test_a_lost_notification_begins_the_beats_anew() -> None:
    steps = [(float(at), notification(1.0)) for at in range(1, 20) if not 6 <= at < 12]
    pieces = fed(MarkStream("hr"), *steps)
    rows = np.concatenate([piece.samples_mv[:, 0] for piece in pieces])
    assert np.isnan(rows).any()


def test_a_strap_that_sends_its_rate_only_has_the_beats_of_that_rate() -> None:
    steps = [(float(at), notification(bpm=120, contact=None)) for at in range(1, 30)]
    got = beats(fed(MarkStream("hr"), *steps))
    np.testing.assert_array_equal(np.diff(got), 125)
    assert len(got) >= 50


def test_after_an_hour_a_new_stream_begins() -> None:
    stream = MarkStream("hr")
    first, last = fed(stream, (1.0, notification(1.0)), (4000.0, notification(1.0)))
    assert first.spec.stream_id != last.spec.stream_id


class FakeStrap:
    """Streams notifications to whoever subscribes to the heart rate."""

    def __init__(self, address: object, on_disconnect: object) -> None:  # noqa: ARG002
        self.tasks: list[asyncio.Task[None]] = []

    async def connect(self) -> None:
        pass

    async def disconnect(self) -> None:
        for task in self.tasks:
            task.cancel()

    async def start_notify(self, what: str, notify: Callable[[Any, bytearray], None]) -> None:
        assert what == MEASUREMENT

        async def send() -> None:
            while True:
                notify(None, bytearray(notification(0.4)))
                await asyncio.sleep(0.01)

        self.tasks.append(asyncio.create_task(send()))


def test_a_strap_is_a_source_of_marks_without_ecg() -> None:
    with HeartRateSource("A0:9E:1A:00:11:22", make_client=FakeStrap) as source:
        block = None
        while block is None:
            block = source.read(1.0)
    assert block.spec.marks_only
    assert block.spec.leads == ("RR",)
    assert not block.spec.calibrated


@pytest.mark.parametrize("uri", ["hr:A0:9E:1A:00:11:22", "hr:My Strap"])
def test_its_uri_is_understood(uri: str) -> None:
    assert isinstance(open_source(uri), HeartRateSource)
    assert not kind_of(uri).has_ecg
