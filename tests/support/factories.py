"""Makes what tests need: alerts that satisfy the schema, with only what matters spelled out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np

from tocsin_agent.messages.acknowledgement import Action
from tocsin_agent.messages.active import AlertState
from tocsin_agent.messages.alert import (
    Alert,
    Codes,
    Evidence,
    Kind,
    Phase,
    Priority,
    SignalQuality,
    Strip,
    make_alert_id,
)
from tocsin_agent.messages.response import Outcome, Response
from tocsin_agent.messages.trend import HeartRate, StLevel, Trend, Variability

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def make_strip(seconds: float = 4.0, rate_hz: float = 360.0, leads: int = 1) -> Strip:
    """Give spikes of 1 mV, one a second, on a flat line."""
    samples = np.zeros((int(seconds * rate_hz), leads))
    samples[:: int(rate_hz)] = 1.0
    return Strip.encode(tuple(f"L{n}" for n in range(1, leads + 1)), rate_hz, 0, samples)


def make_alert(
    onset_index: int = 3600,
    sequence: int = 1,
    phase: Phase = Phase.ONSET,
    *,
    code: str = "ventricular_tachycardia",
    priority: Priority = Priority.HIGH,
    kind: Kind = Kind.PHYSIOLOGICAL,
    stream: str = "test/100",
    strip: Strip | None = None,
    text: str = "Ventricular tachycardia: 6 ventricular beats in a row at 162/min.",
    synthetic: bool = True,
    onset_at: datetime = NOON,
) -> Alert:
    """Give one alert; `onset_index`, `code` and `stream` make its id."""
    return Alert(
        alert_id=make_alert_id(stream, code, onset_index),
        sequence=sequence,
        phase=phase,
        kind=kind,
        code=code,
        codes=Codes(mdc=665408, snomed_ct="25569003"),
        priority=priority,
        onset_index=onset_index,
        detected_index=onset_index + 720,
        onset_at=onset_at,
        detected_at=onset_at + timedelta(seconds=2),
        device="bed7",
        site="ward3",
        stream=stream,
        synthetic=synthetic,
        patient="p-0042",
        location="ward 3, bed 7",
        heart_rate_bpm=162.0,
        evidence=Evidence(
            rule="5 or more ventricular beats in a row above 100/min",
            limits={"beats": 5.0, "rate_bpm": 100.0},
            measured={"beats": 6.0, "rate_bpm": 162.0},
            model="beats@0123abcd",
            probabilities={"V": 0.97},
        ),
        signal_quality=SignalQuality(leads={"L1": 0.93}, used="L1"),
        text=text,
        strip=strip,
    )


def make_episode(
    onset_index: int = 3600,
    updates: int = 1,
    *,
    priority: Priority = Priority.HIGH,
    ended: bool = True,
) -> Iterator[Alert]:
    """Give an onset, some updates, and an end unless it is still open."""
    yield make_alert(onset_index, 1, priority=priority)
    for n in range(updates):
        yield make_alert(onset_index, 2 + n, Phase.UPDATE, priority=priority)
    if ended:
        yield make_alert(onset_index, 2 + updates, Phase.END, priority=priority)


def make_response(
    alert: Alert,
    identity: str = "a1",
    action: Action = Action.ACCEPT,
    *,
    who: str = "nurse-7",
    outcome: Outcome = Outcome.APPLIED,
) -> Response:
    """Give what a device answers to an acknowledgement, half a minute after the onset."""
    held = action is Action.ACCEPT
    return Response(
        id=identity,
        alert_id=alert.alert_id,
        action=action,
        who=who,
        outcome=outcome,
        text="It is yours.",
        state=AlertState.ACKNOWLEDGED if held else AlertState.UNACKNOWLEDGED,
        holder=who if held else None,
        at=alert.onset_at + timedelta(seconds=30),
    )


def make_trend(number: int = 0) -> Trend:
    """Give the trend of a calm minute, so many minutes after noon."""
    return Trend(
        site="ward3",
        device="bed7",
        stream="ward3/bed7/ecg",
        synthetic=False,
        patient="p-0042",
        location="ward 3, bed 7",
        from_index=number * 21_600,
        to_index=(number + 1) * 21_600,
        from_at=NOON + timedelta(minutes=number),
        to_at=NOON + timedelta(minutes=number + 1),
        signal_s=60.0,
        heart_rate_bpm=HeartRate(75.0, 70.0, 80.0),
        beats=75,
        low_trust_beats=0,
        ventricular_beats=0,
        supraventricular_beats=0,
        ventricular_per_hour=0.0,
        supraventricular_per_hour=0.0,
        longest_run=None,
        pauses=0,
        longest_rr_s=0.9,
        atrial_fibrillation_s=0.0,
        atrial_fibrillation_percent=0.0,
        st={"II": StLevel(0.01, 0.0, 0.01)},
        variability=Variability(40.0, 30.0, 370),
        quality={"II": 1.0},
    )
