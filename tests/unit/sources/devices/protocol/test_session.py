from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
import pytest

from support.devices import frames_of, hello_for
from tocsin_agent.sources.devices.live import Piece
from tocsin_agent.sources.devices.protocol import packets
from tocsin_agent.sources.devices.protocol.frames import FrameReader, frame
from tocsin_agent.sources.devices.protocol.packets import Ack, Alive, Event, Flag, Hello
from tocsin_agent.sources.devices.protocol.samples import SamplePacket, encode_samples
from tocsin_agent.sources.devices.protocol.session import Session

TALKS = Flag.LISTENS | Flag.RESENDS
ECG = np.arange(400, dtype=np.float64).reshape(200, 2) / 200.0  # ten packets of twenty


def pieces_of(session: Session, frames: list[bytes], now_s: float = 0.0) -> list[Piece]:
    return [piece for data in frames for piece in session.feed(data, now_s)]


def spans(pieces: list[Piece]) -> list[tuple[int, int]]:
    """Return start and stop of each contiguous stretch."""
    out: list[tuple[int, int]] = []
    for piece in pieces:
        begin, end = piece.start_index, piece.start_index + len(piece.samples_mv)
        if out and out[-1][1] == begin:
            out[-1] = (out[-1][0], end)
        else:
            out.append((begin, end))
    return out


def answers(session: Session, now_s: float) -> list[packets.Packet]:
    bodies = FrameReader().feed(session.outgoing(now_s))
    return [packet for body in bodies if (packet := packets.decode(body)) is not None]


def acks(session: Session, now_s: float) -> list[Ack]:
    return [packet for packet in answers(session, now_s) if isinstance(packet, Ack)]


def test_a_lost_packet_is_a_jump_of_the_index_at_once() -> None:
    session = Session()
    frames = frames_of(hello_for(), ECG)
    got = pieces_of(session, frames[:4] + frames[5:])
    assert spans(got) == [(0, 60), (80, 200)]
    np.testing.assert_array_equal(got[-1].samples_mv, ECG[-20:])
    counts = session.statistics
    assert (counts.gaps, counts.missing_samples, counts.missing_packets) == (1, 20, 1)


def test_where_packets_may_overtake_the_late_one_is_waited_for() -> None:
    session = Session(ordered=False)
    frames = frames_of(hello_for(), ECG)
    frames[4], frames[5] = frames[5], frames[4]
    assert spans(pieces_of(session, frames)) == [(0, 200)]
    assert session.statistics.recovered_packets == 1


def test_where_packets_may_overtake_a_lost_one_is_given_up_soon() -> None:
    session = Session(ordered=False)
    frames = frames_of(hello_for(), ECG)
    got = pieces_of(session, frames[:4] + frames[5:])
    assert spans(got) == [(0, 60)]
    assert session.feed(b"", 0.1) == []
    assert spans(session.feed(b"", 0.2)) == [(80, 200)]
    assert session.feed(frames[4], 0.3) == []  # too late
    assert session.statistics.repeated_packets == 1


def test_a_missing_packet_is_requested_and_recovered() -> None:
    session = Session()
    frames = frames_of(hello_for(flags=TALKS), ECG)
    assert spans(pieces_of(session, frames[:4] + frames[5:6] + frames[7:])) == [(0, 60)]
    (ack,) = acks(session, 0.01)
    assert (ack.next, ack.highest, ack.window) == (3, 10, 0b111101)
    assert acks(session, 0.05) == []
    assert len(acks(session, 0.12)) == 1
    assert spans(session.feed(frames[6] + frames[4], 0.2)) == [(60, 200)]
    (ack,) = acks(session, 0.8)
    assert (ack.next, ack.highest, ack.window) == (10, 10, 0)
    assert session.statistics.recovered_packets == 2
    assert session.statistics.gaps == 0


def test_a_packet_that_the_device_no_longer_has_is_given_up() -> None:
    session = Session()
    frames = frames_of(hello_for(flags=TALKS), ECG)
    pieces_of(session, frames[:4] + frames[5:])
    assert session.feed(b"", 5.0) == []  # nobody has asked for it: the gateway was held up
    for now_s in (5.0, 5.2, 5.4):
        assert len(acks(session, now_s)) == 1
        assert session.feed(b"", now_s) == []
    assert len(acks(session, 5.6)) == 1
    assert spans(session.feed(b"", 5.6)) == [(80, 200)]


def test_noise_before_an_answer_does_not_destroy_it() -> None:
    session = Session()
    frames = frames_of(hello_for(flags=TALKS), ECG)
    pieces_of(session, frames[:4] + frames[5:])
    received = FrameReader().feed(b"noise without an end" + session.outgoing(5.0))
    assert packets.Type.ACK in {body[0] for body in received}


def test_at_the_end_no_packet_is_waited_for() -> None:
    session = Session()
    frames = frames_of(hello_for(flags=TALKS), ECG)
    assert spans(pieces_of(session, frames[:4] + frames[5:])) == [(0, 60)]
    assert spans(session.finish(0.0)) == [(80, 200)]


def test_a_device_that_cannot_receive_is_not_waited_for() -> None:
    session = Session()
    frames = frames_of(hello_for(flags=Flag.RESENDS), ECG)
    assert spans(pieces_of(session, frames[:4] + frames[5:])) == [(0, 60), (80, 200)]


def test_a_change_of_gain_without_a_new_session_is_a_violation() -> None:
    session = Session()
    frames = frames_of(hello_for(), ECG)
    leads = tuple(replace(lead, step_pv=lead.step_pv * 2) for lead in hello_for().leads)
    louder = frame(replace(hello_for(), leads=leads).encode())
    got = pieces_of(session, [*frames[:6], louder, *frames[6:]])
    assert spans(got) == [(0, 200)]
    np.testing.assert_array_equal(got[-1].samples_mv, ECG[-20:] * 2)
    assert "session number did not" in session.statistics.last_violation


def test_the_loss_of_the_last_packet_shows_in_the_alive_packet() -> None:
    session = Session()
    frames = frames_of(hello_for(flags=TALKS), ECG)
    pieces_of(session, frames[:-1])
    session.feed(frame(Alive(1, 10, 0, 200, 0, 0).encode()), 1.0)
    (ack,) = acks(session, 1.0)
    assert (ack.next, ack.highest) == (9, 10)
    assert spans(session.feed(frames[-1], 1.1)) == [(180, 200)]


def test_without_a_hello_no_sample_is_delivered() -> None:
    session = Session()
    frames = frames_of(hello_for(), ECG)
    assert pieces_of(session, frames[1:]) == []
    assert session.statistics.foreign_packets == 10
    assert isinstance(answers(session, 0.0)[0], packets.AskHello)
    assert answers(session, 0.1) == []
    assert spans(pieces_of(session, frames)) == [(0, 200)]


def test_a_new_session_begins_anew_with_its_own_leads_and_rate() -> None:
    session = Session()
    other = replace(hello_for(("I",), rate_hz=500, session=2), stream="")
    got = pieces_of(session, frames_of(hello_for(), ECG) + frames_of(other, ECG[:, :1]))
    assert [piece.spec.rate_hz for piece in (got[0], got[-1])] == [250, 500]
    assert got[-1].spec.leads == ("I",)
    assert got[-1].spec.stream_id == "player/00000002"
    assert (got[10].start_index, session.statistics.restarts) == (0, 1)


def test_a_restart_without_a_new_number_shows_in_its_counter() -> None:
    session = Session()
    frames = frames_of(hello_for(), np.tile(ECG, (4, 1)))
    assert spans(pieces_of(session, frames)) == [(0, 800)]
    assert spans(pieces_of(session, frames, 5.0)) == [(0, 800)]
    assert session.statistics.restarts == 1


def test_an_old_hello_that_was_overtaken_does_not_restart() -> None:
    session = Session(ordered=False)
    frames = frames_of(hello_for(), np.tile(ECG, (4, 1)))
    got = pieces_of(session, frames[:35] + frames[:1] + frames[35:])
    assert spans(got) == [(0, 800)]
    assert session.statistics.restarts == 0
    again = replace(hello_for(), time_us=9_000_000)
    assert pieces_of(session, [frames[0], frame(again.encode()), *frames[1:]], 9.0) != []


@pytest.mark.parametrize("counter", [2**32 - 100, 2**40 - 100])
def test_the_counter_wraps_and_the_index_does_not(counter: int) -> None:
    session = Session()
    hello = replace(hello_for(), counter=counter)
    frames = [frame(hello.encode())]
    for number in range(10):
        at = counter + 20 * number
        packet = SamplePacket(
            1, 65530 + number & 0xFFFF, at & 0xFFFFFFFF, 0, np.zeros((20, 2), np.int32)
        )
        frames.append(frame(encode_samples(packet)))
    assert spans(pieces_of(session, frames)) == [(counter, counter + 200)]


def test_the_sequence_wraps_during_a_long_loss() -> None:
    session = Session()
    session.feed(frame(hello_for().encode()), 0.0)
    values = np.zeros((20, 2), np.int32)
    for number in (0, 1, 60_000, 60_001):
        packet = SamplePacket(1, number, 20 * number, 0, values)
        session.feed(frame(encode_samples(packet)), float(number))
    packet = SamplePacket(1, (60_001 + 65_000) & 0xFFFF, 20 * 125_001, 0, values)
    (piece,) = session.feed(frame(encode_samples(packet)), 1e5)
    assert piece.start_index == 20 * 125_001


def test_a_lead_that_is_off_is_missing() -> None:
    session = Session()
    packet = SamplePacket(1, 0, 0, 0, np.ones((20, 2), np.int32), off=2, saturated=1, paced=(3,))
    frames = [frame(hello_for().encode()), frame(encode_samples(packet))]
    (piece,) = pieces_of(session, frames)
    assert np.isnan(piece.samples_mv[:, 1]).all()
    assert (np.flatnonzero(np.isnan(piece.samples_mv[:, 0])) == range(3, 7)).all()
    assert np.nanmin(piece.samples_mv[:, 0]) == np.nanmax(piece.samples_mv[:, 0]) == 1 / 200
    counts = session.statistics
    assert (counts.off_samples, counts.saturated_packets, counts.paced) == ({"V1": 20}, 1, 1)


@pytest.mark.parametrize("cut", [1, 3, 4, 7, 20])
def test_a_pacing_pulse_is_missing_wherever_packets_are_cut(cut: int) -> None:
    session = Session()
    frames = frames_of(hello_for(), np.ones((40, 2)), block=cut, pulses=(5, 21, 22))
    got = np.concatenate([piece.samples_mv for piece in pieces_of(session, frames)])
    missing = {*range(5, 9), *range(21, 26)}  # 16 ms at 250 Hz
    assert set(np.flatnonzero(np.isnan(got).all(axis=1))) == missing
    assert np.isnan(got).any(axis=1).sum() == len(missing)


def test_a_pacing_mark_beyond_its_packet_is_ignored() -> None:
    session = Session()
    frames = [frame(hello_for().encode())]
    for number, marks in enumerate([(9, 2, 200), ()]):
        values = np.ones((10, 2), np.int32)
        packet = SamplePacket(1, number, 10 * number, 40_000 * number, values, paced=marks)
        frames.append(frame(encode_samples(packet)))
    got = np.concatenate([piece.samples_mv for piece in pieces_of(session, frames)])
    assert np.flatnonzero(np.isnan(got[:, 0])).tolist() == [2, 3, 4, 5, 9, 10, 11, 12]


def test_samples_that_do_not_fit_the_hello_are_a_violation() -> None:
    session = Session()
    frames = frames_of(hello_for(("I", "II", "III")), np.zeros((20, 3)))
    assert pieces_of(session, [frame(hello_for().encode()), *frames[1:]]) == []
    assert "3 leads, the hello has 2" in session.statistics.last_violation


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"bits": 12}, "12 bits"),
        ({"device": ""}, "need a name"),
        ({"rate_mhz": 250}, "sampling rate"),
        ({"leads": (packets.Lead("II", 0),)}, "gain is missing"),
        ({"leads": (packets.Lead("II", 1), packets.Lead("II", 1))}, "repeat"),
    ],
)
def test_an_invalid_hello_is_a_violation(wrong: dict[str, object], message: str) -> None:
    session = Session()
    hello = replace(hello_for(), **wrong)  # type: ignore[arg-type]
    assert session.feed(frame(hello.encode()), 0.0) == []
    assert session.hello is None
    assert message in session.statistics.last_violation


def test_events_are_kept_and_described() -> None:
    session = Session()
    session.feed(frame(hello_for().encode()), 0.0)
    for number, (kind, value) in enumerate(
        [
            (1, b""),
            (2, bytes.fromhex("0c8e0c02")),
            (3, bytes.fromhex("010010270000")),
            (4, b"\x01\x07\x00\x04lead"),
            (9, b"?"),
        ]
    ):
        session.feed(frame(Event(1, number, 0, 0, kind, value).encode()), 0.0)
    assert [event.describe() for event in session.events] == [
        "the patient pressed the button",
        "battery 12 %, 3.21 V, low",
        "impedance lead 0: 10000 ohm",
        "fault 7 lead",
        "event of kind 9, 1 bytes",
    ]


def test_the_range_is_stated_if_all_leads_share_it() -> None:
    same = Hello(1, "d", (packets.Lead("A", 5_000_000, 1024),) * 1, 360_000, lowest=0, highest=2047)
    assert same.spec().range_mv == (-5.12, 5.115)
    other = replace(same, leads=(*same.leads, packets.Lead("B", 1_000_000)))
    assert other.spec().range_mv is None


def test_a_device_that_begins_again_with_a_number_it_had_is_another_stream() -> None:
    session = Session()
    names = []
    for number in (1, 2, 1, 2, 1):
        hello = replace(hello_for(session=number), stream="")
        session.opened()
        pieces = pieces_of(session, frames_of(hello, ECG))
        names.append(pieces[0].spec.stream_id)
    assert names[2:] == [f"{names[0]}/2", f"{names[1]}/2", f"{names[0]}/3"]
    assert names[1] != names[0]


def test_events_of_the_device_are_conditions_and_counts() -> None:
    session = Session()
    pieces_of(session, frames_of(hello_for(), ECG))
    events = [
        (packets.EventKind.BUTTON, b""),
        (packets.EventKind.BATTERY, struct.pack("<BHB", 4, 3300, 2)),
        (packets.EventKind.BATTERY, struct.pack("<BHB", 80, 4100, 1)),
        (packets.EventKind.IMPEDANCE, struct.pack("<BBIBI", 2, 0, 2_000_000, 1, 5_000)),
        (packets.EventKind.IMPEDANCE, struct.pack("<BBI", 1, 9, 5_000)),
        (packets.EventKind.BATTERY, b"\x04"),
        (packets.EventKind.FAULT, b"\x01\x07\x00\x0bfront\x1bend 1"),
        (packets.EventKind.FAULT, b"\x01\x08\x00\x00"),
        (packets.EventKind.FAULT, b"\x00\x08\x00\x00"),
        (packets.EventKind.FAULT, b"\x01\x08\x00\x05no"),
    ]
    for number, (kind, value) in enumerate(events):
        session.feed(frame(Event(1, 10 + number, 200, 0, kind, value).encode()), 0.0)
    found = [(event.code, event.subject, event.over) for event in session.conditions]
    assert found == [
        ("patient_call", "", False),
        ("battery_low", "", False),
        ("battery_low", "", True),
        ("electrode_impedance", "II", False),
        ("electrode_impedance", "V1", True),
        ("device_fault", "7", False),
        ("device_fault", "8", False),
        ("device_fault", "8", True),
    ]
    assert [event.measured.get("fault") for event in session.conditions][-3:-1] == [
        *("front\ufffdend 1 (7)", "number 8"),
    ]
    counts = session.statistics
    assert (counts.button_pressed, counts.battery_percent, counts.battery_low) == (1, 80, False)
    assert counts.electrode_ohm == {"II": 2_000_000, "V1": 5_000}
    assert counts.faults == {"7": "front\ufffdend 1 (7)"}
    assert counts.malformed == 3


class Rebooting:
    """A device that has one session number for all its runs, and its own clock.

    Each run samples 250 Hz in packets of 20; `hello` is as of a sample.
    """

    def __init__(self, clock_us: int = 0) -> None:
        self.clock_us = clock_us

    def hello(self, sample: int) -> bytes:
        made = sample // 20
        time_us = self.clock_us + sample * 4000
        state = replace(hello_for(), counter=sample, time_us=time_us, next=made, oldest=made)
        return frame(state.encode())

    def samples(self, begin: int, stop: int, level: int) -> list[bytes]:
        out = []
        for start in range(begin, stop, 20):
            values = np.full((20, 2), level, np.int32)
            time_us = self.clock_us + start * 4000
            out.append(frame(encode_samples(SamplePacket(1, start // 20, start, time_us, values))))
        return out


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("first_s", [0.16, 1.6])
@pytest.mark.parametrize("clock_us", [0, 77_000_000])
def test_a_restart_within_two_seconds_is_another_stream(
    first_s: float, clock_us: int, *, ordered: bool
) -> None:
    session = Session(ordered=ordered)
    device, ran = Rebooting(clock_us), round(first_s * 250)
    session.opened()
    before = pieces_of(session, [device.hello(0), *device.samples(0, ran, 1)], 1.0)
    session.opened()  # unplugged and plugged in again
    again = [device.hello(0), device.hello(0), *device.samples(0, 500, 2)]
    after = pieces_of(session, again, 9.0) + session.finish(9.0)
    assert {piece.spec.stream_id for piece in before} == {"played"}
    assert {piece.spec.stream_id for piece in after} == {"played/2"}
    assert spans(after) == [(0, 500)]


def test_a_restart_on_an_open_link_is_another_stream_at_once() -> None:
    session = Session()
    device = Rebooting()
    pieces_of(session, [device.hello(0), *device.samples(0, 200, 1)], 1.0)
    after = pieces_of(session, [device.hello(0), *device.samples(0, 400, 2)], 1.9)
    assert {piece.spec.stream_id for piece in after} == {"played/2"}
    assert spans(after) == [(0, 400)]


def test_a_restarted_device_that_has_counted_further_is_another_stream() -> None:
    session = Session()
    device = Rebooting()
    session.opened()
    pieces_of(session, [device.hello(0), *device.samples(0, 200, 1)], 1.0)
    session.opened()
    after = pieces_of(session, [device.hello(1000), *device.samples(1000, 1400, 2)], 60.0)
    assert {piece.spec.stream_id for piece in after} == {"played/2"}


@pytest.mark.parametrize("away_s", [0.5, 600.0])
def test_a_device_that_went_on_while_the_link_was_down_is_the_same_stream(away_s: float) -> None:
    session = Session()
    device = Rebooting()
    session.opened()
    pieces_of(session, [device.hello(0), *device.samples(0, 200, 1)], 1.0)
    session.opened()
    at = 200 + round(away_s * 250 / 20) * 20
    after = pieces_of(session, [device.hello(at), *device.samples(at, at + 400, 2)], 1.0 + away_s)
    assert {piece.spec.stream_id for piece in after} == {"played"}
    assert spans(after) == [(at, at + 400)]


def test_a_hello_that_lags_its_samples_is_no_restart() -> None:
    session = Session()
    device = Rebooting()
    pieces_of(session, [device.hello(0), *device.samples(0, 400, 1)], 1.6)
    lagging = replace(hello_for(), counter=380, time_us=400 * 4000, next=20, oldest=20)
    after = pieces_of(session, [frame(lagging.encode()), *device.samples(400, 600, 1)], 2.4)
    assert spans(after) == [(400, 600)]
    assert session.statistics.restarts == 0
