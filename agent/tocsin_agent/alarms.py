"""Alarms: from findings to alert events with onset, update and end."""

from __future__ import annotations

import msgspec

from tocsin_agent.alert import Evidence, Kind, Phase, Priority, SignalQuality, Strip


class AlertEvent(msgspec.Struct, frozen=True):
    """What the monitor says: an alert in stream time, before anyone adds a clock or a device.

    Fields are those of `tocsin_agent.alert.Alert`; indices are source samples.
    """

    alert_id: str
    sequence: int
    phase: Phase
    kind: Kind
    code: str
    priority: Priority
    onset_index: int
    detected_index: int
    heart_rate_bpm: float | None
    evidence: Evidence
    signal_quality: SignalQuality
    text: str
    strip: Strip | None = None
