"""The Polar H10 by its documented frames, and by a simulated strap."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from support.brokers import until
from support.devices import FakeH10, h10_frames
from tocsin_agent.errors import MissingExtraError
from tocsin_agent.sources.devices import ble
from tocsin_agent.sources.devices.ble import PolarSource
from tocsin_agent.sources.devices.polar import (
    RATE_HZ,
    START,
    STOP,
    PolarStream,
    decode_frame,
    started,
)
from tocsin_dsp.signal import SampleBlock

ECG = np.arange(-500, 500) / 1000.0


def test_a_frame_is_read_as_it_is_documented() -> None:
    data = bytes.fromhex("0038c3a0ba591600000001ffff000080ff7f00")
    frame = decode_frame(data)
    assert frame is not None
    assert frame.last_ns == 0x1659BAA0C338
    assert frame.samples_mv.tolist() == [-0.255, -8388.608, 32.767]


@pytest.mark.parametrize(
    "wrong",
    [b"", b"\0" * 10, b"\0" * 12, b"\2" + b"\0" * 12, b"\0" * 9 + b"\1" + b"\0" * 3],
    ids=["empty", "no samples", "half a sample", "acceleration", "another form"],
)
def test_another_frame_than_an_ecg_frame_is_ignored(wrong: bytes) -> None:
    stream = PolarStream("strap")
    assert stream.feed(wrong, 0.0) is None
    assert stream.damaged == 1


def test_a_lost_frame_is_a_gap_of_its_samples() -> None:
    stream = PolarStream("strap")
    frames = h10_frames(ECG)
    pieces = [stream.feed(data, 0.0) for data in frames[:3] + frames[4:]]
    starts = [piece.start_index for piece in pieces if piece is not None]
    assert starts == [0, 73, 146, *range(292, 1000, 73)]


def test_a_strap_that_runs_slow_makes_no_gaps() -> None:
    stream = PolarStream("strap")
    for number in range(2000):
        last_ns = round((number + 1) * 73 * 1e9 / RATE_HZ * 1.002)
        data = b"\0" + last_ns.to_bytes(8, "little") + b"\0" + bytes(219)
        piece = stream.feed(data, 0.0)
        assert piece is not None
        assert piece.start_index == 73 * number


def test_the_answer_of_the_control_point() -> None:
    assert started(bytes.fromhex("f002000000")) is None
    assert started(bytes.fromhex("f002000600")) is None  # it streams already
    assert started(bytes.fromhex("f002000500")) == "error 5"
    assert started(b"") is not None


class Strap:
    """Makes fake clients and keeps them."""

    def __init__(self) -> None:
        self.clients: list[FakeH10] = []

    def __call__(self, _: str, on_disconnect: Callable[[Any], None]) -> FakeH10:
        client = FakeH10(h10_frames(ECG), on_disconnect)
        self.clients.append(client)
        self.prepare(client)
        return client

    def prepare(self, client: FakeH10) -> None:
        pass


def all_of(source: PolarSource, stop: int) -> list[SampleBlock]:
    got: list[SampleBlock] = []

    def came() -> bool:
        block = source.read(0.1)
        if block is not None:
            got.append(block)
        return bool(got) and got[-1].stop_index >= stop

    until(came, 60.0, f"sample {stop} arrives")
    return got


def test_it_starts_the_stream_and_stops_it() -> None:
    strap = Strap()
    with PolarSource("A0:9E:1A:00:11:22", make_client=strap) as source:
        got = all_of(source, len(ECG))
    np.testing.assert_allclose(np.concatenate([b.samples_mv[:, 0] for b in got]), ECG)
    assert got[0].spec.leads == ("chest",)
    assert got[0].spec.stream_id.startswith("polar-h10/a09e1a001122/")
    assert strap.clients[-1].written == [START, STOP]


def test_after_a_lost_connection_it_connects_again_and_states_the_gap() -> None:
    class Leaves(Strap):
        def prepare(self, client: FakeH10) -> None:
            connection = (
                len(self.clients) - 1
            )  # the first client only shows that bleak is installed
            if connection == 1:
                client.leave_after = 4
            elif connection == 2:
                client.frames = client.frames[8:]

    with PolarSource("A0:9E:1A:00:11:22", make_client=Leaves()) as source:
        got = all_of(source, len(ECG))
    jumps = [
        (a.stop_index, b.start_index) for a, b in pairwise(got) if a.stop_index != b.start_index
    ]
    assert jumps == [(4 * 73, 8 * 73)]
    assert len({block.spec for block in got}) == 1


def test_a_refusal_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Refuses(Strap):
        def prepare(self, client: FakeH10) -> None:
            client.answer = bytes((0xF0, 2, 0, 5, 0))
            client.frames = []

    with PolarSource("A0:9E:1A:00:11:22", make_client=Refuses()) as source:
        until(lambda: "refuses to stream" in caplog.text, 60.0, "the refusal is logged")
        assert source.read(0.0) is None


def test_closing_does_not_wait_for_a_strap_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = threading.active_count()

    class Away(Strap):
        def prepare(self, client: FakeH10) -> None:
            async def connect() -> None:
                raise OSError("not found")

            client.connect = connect  # type: ignore[method-assign]

    monkeypatch.setattr(ble, "_FIRST_WAIT_S", 300.0)
    monkeypatch.setattr(ble, "_LONGEST_WAIT_S", 300.0)
    source = PolarSource("A0:9E:1A:00:11:22", make_client=Away())
    source.open()
    assert source.read(0.2) is None
    source.close()
    until(lambda: threading.active_count() <= threads, 60.0, "its thread ends")


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "bleak", None)
    with pytest.raises(MissingExtraError, match=r"tocsin\[ble\]") as caught:
        PolarSource("A0:9E:1A:00:11:22").open()
    assert caught.value.extra == "ble"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TimeoutError(), "does not answer in time"),
        (FileNotFoundError(2, "No such file or directory"), "start bluetooth.service"),
        (OSError("No powered Bluetooth adapters found."), "power on"),
        (OSError("Device with address A0 was not found."), "is it worn"),
        (PermissionError("not allowed"), "group bluetooth"),
        (OSError("something else"), "something else"),
    ],
    ids=str,
)
def test_a_fault_is_logged_once_in_words_and_says_why_it_is_silent(
    error: Exception, words: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Away(Strap):
        def prepare(self, client: FakeH10) -> None:
            async def connect() -> None:
                raise error

            client.connect = connect  # type: ignore[method-assign]

    monkeypatch.setattr(ble, "_FIRST_WAIT_S", 0.01)
    strap = Away()
    with PolarSource("A0:9E:1A:00:11:22", make_client=strap) as source:
        until(lambda: len(strap.clients) > 4, 60.0, "it is tried again")
        assert words in str(source.why_silent())
    assert sum(words in record.message for record in caplog.records) == 1


def test_a_strap_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ble, "_FIRST_WAIT_S", 0.01)
    found: list[object | None] = [None, "device"]
    asked: list[object] = []

    class Named(Strap):
        def __call__(self, target: str, on_disconnect: Callable[[Any], None]) -> FakeH10:
            asked.append(target)
            return super().__call__(target, on_disconnect)

    async def find(name: str) -> object:
        assert name == "Polar H10 A0B1C2D3"
        return found.pop(0)

    with PolarSource("Polar H10 A0B1C2D3", make_client=Named(), find_by_name=find) as source:
        all_of(source, 73)
    assert asked[-1] == "device"
