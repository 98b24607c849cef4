"""The compiled device and the gateway over a channel that loses, damages and reorders frames.

A delivered sample is always the one that was sampled at that index, and indices only increase
within a session.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from support.firmware import Device, Setup
from tocsin_agent.sources.devices.live import Piece
from tocsin_agent.sources.devices.protocol.packets import Flag, Lead
from tocsin_agent.sources.devices.protocol.samples import MISSING, IntArray
from tocsin_agent.sources.devices.protocol.session import Session

TURN_S = 0.1


@dataclass(frozen=True)
class Channel:
    """The probability of each fault, for each frame."""

    flip: float = 0.0
    drop: float = 0.0
    repeat: float = 0.0
    overtake: float = 0.0
    garbage: float = 0.0
    cut_at_every_byte: bool = False

    def carry(self, frames: list[bytes], rng: np.random.Generator) -> bytes:
        out: list[bytes] = []
        for frame in frames:
            if rng.random() < self.drop:
                continue
            if rng.random() < self.flip:
                raw = bytearray(frame)
                for _ in range(int(rng.integers(1, 6))):
                    raw[rng.integers(len(raw))] ^= 1 << int(rng.integers(8))
                frame = bytes(raw)  # noqa: PLW2901 - what is left of it
            if rng.random() < self.garbage:
                out.append(rng.bytes(int(rng.integers(1, 900))))
            out += [frame] * (1 + (rng.random() < self.repeat))
            if len(out) > 1 and rng.random() < self.overtake:
                out[-1], out[-2] = out[-2], out[-1]
        return b"".join(out)


@dataclass
class Taken:
    """The samples of the device, by session and index."""

    values: dict[str, dict[int, IntArray]] = field(default_factory=dict)


def sample(device: Device, taken: Taken, rng: np.random.Generator, now_s: float, index: int) -> int:
    """Let the device sample for a while; return the index after it."""
    setup = device.setup
    rows = int(rng.integers(1, 60))
    limit = 32767 if setup.bits == 16 else 8388607
    step = float(rng.choice([2.0, 60.0, 3000.0, 200000.0]))
    walk = np.cumsum(rng.normal(0, step, (rows, len(setup.leads))), axis=0)
    values = np.clip(walk, -limit, limit).astype(np.int32)
    if rng.random() < 0.2:
        values[rng.random(values.shape) < 0.2] = MISSING
    if rng.random() < 0.1:
        lost = int(rng.integers(1, 400))
        device.skip(lost)
        index += lost
    device.put(round(now_s * 1e6), values)
    store = taken.values.setdefault(f"{setup.device}/{setup.session:08x}", {})
    store.update((index + k, row) for k, row in enumerate(values))
    if rng.random() < 0.2:
        device.flush()
    if rng.random() < 0.1:
        device.event(1, round(now_s * 1e6))
    return index + rows


def converse(
    device: Device, session: Session, channel: Channel, rng: np.random.Generator, turns: int
) -> tuple[Taken, list[Piece]]:
    """Let the device sample and both sides exchange; return what was sampled and delivered."""
    taken, pieces = Taken(), list[Piece]()
    now_s, index, change_at = 0.0, 0, int(rng.integers(0, 2 * turns))
    harmed = channel
    for turn in range(turns + 30):
        setup = device.setup
        if turn == change_at:  # leads and rate change in mid-stream
            leads = setup.leads[: int(rng.integers(1, 1 + len(setup.leads)))]
            setup = replace(setup, leads=leads, rate_mhz=500_000, session=setup.session + 1)
            device.change(setup, round(now_s * 1e6))
            index = 0
        if turn >= turns:
            harmed = Channel()  # the last frames arrive, so that what was kept can be sent again
        else:
            index = sample(device, taken, rng, now_s, index)
        if turn >= turns:
            device.flush()
        data = harmed.carry(device.frames(round(now_s * 1e6)), rng)
        parts = [data]
        if channel.cut_at_every_byte:
            parts = [data[k : k + 1] for k in range(len(data))]
        for part in parts:
            pieces += session.feed(part, now_s)
        pieces += session.feed(b"", now_s)
        back = session.outgoing(now_s)
        device.receive(harmed.carry([back] if back else [], rng), round(now_s * 1e6))
        now_s += TURN_S
    pieces += session.feed(b"", now_s + 10.0)
    return taken, pieces


def check(setup: Setup, taken: Taken, pieces: list[Piece]) -> int:
    """Compare the delivered samples with those taken; return how many were delivered."""
    came, position, stream = 0, 0, ""
    for piece in pieces:
        if piece.spec.stream_id != stream:
            stream, position = piece.spec.stream_id, 0
        assert piece.start_index >= position, "out of order"
        position = piece.start_index + len(piece.samples_mv)
        store = taken.values[stream]
        rows = np.array([store[piece.start_index + k] for k in range(len(piece.samples_mv))])
        expected = np.where(rows == MISSING, np.nan, rows / 1000.0)
        np.testing.assert_array_equal(piece.samples_mv, expected)
        came += len(rows)
    assert setup.leads
    return came


SETUPS = st.builds(
    lambda leads, bits, block, flags, outbox: Setup(
        tuple(Lead(f"L{k}", 1_000_000) for k in range(leads)),
        bits=bits,
        block=min(block, 590 // (leads * bits // 8)),
        flags=flags,
        outbox=outbox,
        slots=64,
    ),
    st.integers(1, 16),
    st.sampled_from([16, 24]),
    st.integers(1, 100),
    st.sampled_from([0, Flag.LISTENS, Flag.LISTENS | Flag.RESENDS]),
    st.sampled_from([1500, 8000, 60_000]),
)
SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=60, deadline=None)
@given(
    SETUPS,
    st.builds(
        Channel,
        flip=st.sampled_from([0.0, 0.05, 0.5]),
        drop=st.sampled_from([0.0, 0.05, 0.5]),
        repeat=st.sampled_from([0.0, 0.2]),
        overtake=st.sampled_from([0.0, 0.3]),
        garbage=st.sampled_from([0.0, 0.1]),
        cut_at_every_byte=st.sampled_from([False, False, False, True]),
    ),
    SEEDS,
)
def test_every_delivered_sample_is_the_one_that_was_taken(
    setup: Setup, channel: Channel, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    session = Session(ordered=not channel.overtake)
    turns = 4 if channel.cut_at_every_byte else 20
    with Device(setup) as device:
        taken, pieces = converse(device, session, channel, rng, turns)
    came = check(setup, taken, pieces)
    clean = channel == Channel(cut_at_every_byte=channel.cut_at_every_byte)
    if clean and setup.outbox == 60_000:  # a small one overflows with packets of one sample
        assert came == sum(len(store) for store in taken.values.values())


@settings(max_examples=10, deadline=None)
@example(29626)  # a regression: noise destroyed what was sent again
@example(755116299)
@given(SEEDS)
def test_with_resend_and_memory_nothing_is_lost(seed: int) -> None:
    rng = np.random.default_rng(seed)
    leads = (Lead("II", 1_000_000), Lead("V1", 1_000_000))
    setup = Setup(leads, flags=Flag.LISTENS | Flag.RESENDS, outbox=1 << 20, slots=64, alive_ms=100)
    channel = Channel(flip=0.1, drop=0.1, repeat=0.1, garbage=0.05)
    session = Session()
    with Device(setup) as device:
        # The hello arrives; later packets are lost repeatedly, but requested again in time.
        session.feed(b"".join(device.frames(0)), 0.0)
        taken, pieces = _patient(device, session, channel, rng)
    came = check(setup, taken, pieces)
    assert came == sum(len(store) for store in taken.values.values())
    assert session.statistics.missing_packets == 0


def _patient(
    device: Device, session: Session, channel: Channel, rng: np.random.Generator
) -> tuple[Taken, list[Piece]]:
    taken, pieces = Taken(), list[Piece]()
    store = taken.values.setdefault("holter-17/00000001", {})
    for turn in range(600):
        now_s = turn * 0.02
        if turn % 5 == 0 and turn < 500:
            values = rng.integers(-300, 300, (25, 2)).astype(np.int32)
            device.put(round(now_s * 1e6), values)
            for row in values:
                store[len(store)] = row
        frames = device.frames(round(now_s * 1e6))
        pieces += session.feed(channel.carry(frames, rng), now_s)
        back = session.outgoing(now_s)
        device.receive(channel.carry([back] if back else [], rng), round(now_s * 1e6))
    return taken, pieces
