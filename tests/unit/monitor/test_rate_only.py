"""A stream of marks raises alarms of the rate and of the contact, and no others."""

from __future__ import annotations

import numpy as np
import pytest

from tocsin_agent.messages.alert import Phase, Priority
from tocsin_agent.messages.context import AgeClass, PatientContext
from tocsin_agent.monitor.alarms.event import AlertEvent
from tocsin_agent.monitor.rate_only import RateMonitor
from tocsin_dsp.errors import SignalError
from tocsin_dsp.signal import FloatArray, SampleBlock, StreamSpec

SPEC = StreamSpec("hr/1", 250.0, ("RR",), calibrated=False, marks_only=True)


def marks(*stretches: tuple[float, float]) -> FloatArray:
    """Return beats at a rate (0 for none known) for so many seconds, one after another."""
    parts = []
    for bpm, seconds in stretches:
        part = np.zeros(round(seconds * 250)) if bpm else np.full(round(seconds * 250), np.nan)
        if bpm:
            part[np.arange(0, len(part), round(15_000 / bpm))] = 1.0
        parts.append(part)
    return np.concatenate(parts)[:, np.newaxis]


def events(
    samples: FloatArray, rows: int = 250, monitor: RateMonitor | None = None
) -> list[AlertEvent]:
    monitor = monitor or RateMonitor(SPEC)
    out: list[AlertEvent] = []
    for at in range(0, len(samples), rows):
        out += monitor.push(SampleBlock(SPEC, at, samples[at : at + rows])).alerts
    return out


def codes(found: list[AlertEvent]) -> list[tuple[str, str]]:
    return [(event.code, str(event.phase)) for event in found]


@pytest.mark.parametrize(
    ("bpm", "code"), [(180, "extreme_tachycardia"), (32, "extreme_bradycardia")]
)
def test_a_rate_beyond_its_limit_raises_its_alarm_and_ends_it(bpm: int, code: str) -> None:
    found = events(marks((75, 20), (bpm, 14), (75, 30)))
    assert codes(found) == [(code, "onset"), (code, "end")]
    assert found[0].priority is Priority.HIGH
    limit = 140 if bpm > 140 else 42  # 5 % above 40: the accuracy of a rate
    assert (float(found[0].evidence.measured["rate_bpm"]) > limit) is (bpm > 140)
    assert found[0].strip is None


@pytest.mark.parametrize("rows", [1, 37, 10_000])
def test_any_cutting_gives_the_same_alarms(rows: int) -> None:
    samples = marks((75, 10), (180, 12), (0, 5), (32, 15), (75, 20))
    whole = events(samples, 250)
    assert events(samples, rows) == whole
    assert len(whole) == 6


def test_neither_a_lost_contact_nor_what_follows_it_is_asystole_pause_or_bradycardia() -> None:
    found = events(marks((75, 20), (0, 12), (75, 20)))
    assert codes(found) == [("lead_off", "onset"), ("lead_off", "end")]


def test_without_marks_for_long_no_interval_spans_a_gap() -> None:
    monitor = RateMonitor(SPEC)
    first = marks((60, 10))
    found = events(first, monitor=monitor)
    for number in range(5):
        at = 2500 + 2000 * (number + 1)
        found += monitor.push(SampleBlock(SPEC, at, marks((60, 1)))).alerts
    assert found == []


def test_a_context_changes_the_limits_between_two_blocks() -> None:
    known = [PatientContext()]
    monitor = RateMonitor(SPEC, context=lambda: known[0])
    events(marks((60, 10)), monitor=monitor)
    known[0] = PatientContext(age=AgeClass.NEONATE)
    found = monitor.push(SampleBlock(SPEC, 2500, marks((60, 8)))).alerts
    assert codes(found) == [("extreme_bradycardia", "onset")]


def test_technical_alarms_and_vitals_are_those_of_any_monitor() -> None:
    monitor = RateMonitor(SPEC)
    events(marks((75, 10)), monitor=monitor)
    assert monitor.vitals().heart_rate_bpm == pytest.approx(75, rel=0.02)
    (lost,) = monitor.source_lost("it is out of reach").alerts
    assert lost.phase is Phase.ONSET
    again = monitor.push(SampleBlock(SPEC, 2500, marks((75, 1)))).alerts
    assert codes(again) == [("source_lost", "end")]
    assert codes(
        monitor.device_event("battery_low", "low", "", {"percent": 4.0}, over=False).alerts
    )
    assert codes(monitor.outbox_pressure(9, 0, 10).alerts) == [("outbox_pressure", "onset")]
    assert {event.code for event in monitor.finish().alerts} == {"battery_low", "outbox_pressure"}


@pytest.mark.parametrize(
    "spec", [StreamSpec("x", 360.0, ("RR",)), StreamSpec("x", 250.0, ("RR", "II"))]
)
def test_a_stream_of_another_form_is_refused(spec: StreamSpec) -> None:
    with pytest.raises(SignalError, match="marks of one lead"):
        RateMonitor(spec)
