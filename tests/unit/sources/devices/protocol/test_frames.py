from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin_agent.errors import MissingExtraError
from tocsin_agent.sources.devices.protocol.frames import MAX_FRAME, FrameReader, frame
from tocsin_agent.sources.devices.protocol.packets import Type
from tocsin_agent.sources.devices.protocol.samples import decode_samples
from tocsin_agent.sources.devices.protocol.session import Session
from tocsin_agent.sources.opening import open_source

BODIES = st.one_of(
    st.binary(min_size=1, max_size=636),
    st.integers(1, 636).map(lambda n: b"\x07" * n),  # no zero: groups of 254
    st.lists(st.sampled_from(b"\x00\x00\x01\xff"), min_size=1, max_size=636).map(bytes),
)


def test_the_crc_has_its_published_check_value() -> None:
    assert frame(b"123456789") == b"\x0e123456789" + bytes.fromhex("839206e3") + b"\0"
    assert frame(bytes(32))[-6:-1] == b"\5" + bytes.fromhex("aa36918a")  # RFC 3720, B.4


def test_without_its_packages_the_link_protocol_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "google_crc32c", None)
    for module in ("link_source", "protocol.session", "protocol.frames"):
        monkeypatch.delitem(sys.modules, f"tocsin_agent.sources.devices.{module}", raising=False)
    with pytest.raises(MissingExtraError, match=r"pip install 'tocsin\[link\]'") as caught:
        open_source("tcp://127.0.0.1:7208")
    assert caught.value.extra == "link"


@given(st.lists(BODIES, max_size=20), st.data())
@settings(deadline=None, max_examples=60)
def test_any_cut_gives_the_same_packets(sent: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(frame(body) for body in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    reader, got = FrameReader(), []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += reader.feed(stream[begin:end])
    assert got == sent
    assert (reader.frames, reader.corrupt) == (len(sent), 0)


@given(st.binary(max_size=3000), BODIES, BODIES)
@settings(deadline=None)
def test_garbage_destroys_the_packet_that_it_touches_and_no_other(
    garbage: bytes, touched: bytes, after: bytes
) -> None:
    got = FrameReader().feed(garbage + frame(touched) + frame(after))
    assert got[-1] == after
    assert len(got) <= 2


@given(BODIES, st.sets(st.integers(0, 8 * 660), min_size=1, max_size=5))
@settings(deadline=None)
def test_five_flipped_bits_are_always_detected(body: bytes, bits: set[int]) -> None:
    # Where a flip makes or removes a zero byte, frames are cut elsewhere: then chance alone, one in
    # four thousand million, would pass them.
    raw = bytearray(frame(body))
    for bit in {bit % (8 * (len(raw) - 1)) for bit in bits}:
        raw[bit // 8] ^= 1 << bit % 8
    assert FrameReader().feed(bytes(raw)) == []


def test_a_frame_without_end_counts_once_and_is_not_kept() -> None:
    reader = FrameReader()
    for _ in range(100):
        assert reader.feed(b"\x01" * 1000) == []
    assert len(reader._tail) <= MAX_FRAME
    assert reader.feed(b"\x05\0" + frame(b"later")) == [b"later"]
    assert (reader.frames, reader.corrupt) == (2, 1)


def test_a_million_random_frames_yield_no_packet() -> None:
    rng = np.random.default_rng(5)
    reader = FrameReader()
    while reader.frames < 1_000_000:
        noise = rng.integers(0, 256, 1 << 19, dtype=np.uint8)
        noise[rng.random(len(noise)) < 0.03] = 0
        assert reader.feed(noise.tobytes()) == []
    assert reader.corrupt == reader.frames


@pytest.mark.parametrize("seed", range(4))
def test_intact_packets_with_random_contents_are_handled(seed: int) -> None:
    """A correct CRC does not mean a valid packet: the firmware may be faulty."""
    rng = np.random.default_rng(seed)
    session = Session(ordered=bool(seed % 2))
    stream = bytearray()
    for _ in range(3000):
        body = bytearray(rng.integers(0, 256, int(rng.integers(1, 300)), dtype=np.uint8).tobytes())
        body[0] = int(rng.choice([1, 2, 2, 2, 3, 4, 5, 0x81, 0x82, 0x83, 0x40]))
        if len(body) > 16 and body[0] == 2 and rng.random() < 0.7:
            body[13:16] = bytes((int(rng.integers(1, 20)), int(rng.integers(0, 3)), 0))
        stream += frame(bytes(body))
    reader = FrameReader()
    got = reader.feed(bytes(stream))
    assert len(got) == 3000
    samples = [body for body in got if body[0] == Type.SAMPLES]
    assert any(packet is not None for packet in decode_samples(samples))
    for at in range(0, len(stream), 5000):
        session.feed(bytes(stream[at : at + 5000]), at / 5000)
        session.outgoing(at / 5000)
    assert session.statistics.malformed > 0
