"""From the monitor's alert events to the documents that a team receives."""

from __future__ import annotations

import msgspec

from tocsin_agent.messages.alert import Alert, Codes
from tocsin_agent.messages.trend import Trend
from tocsin_agent.monitor.alarms.event import AlertEvent
from tocsin_agent.monitor.alarms.table import ALARMS
from tocsin_agent.monitor.trends import MinuteTrend
from tocsin_agent.runtime.clock import StreamClock
from tocsin_dsp.signal import StreamSpec


class Identity(msgspec.Struct, frozen=True):
    """Which device raises alerts, for which patient, and where help must go."""

    site: str
    device: str
    patient: str | None = None
    location: str | None = None


def compose(
    event: AlertEvent, *, clock: StreamClock, identity: Identity, spec: StreamSpec
) -> Alert:
    """Return the document for an event; the publisher adds when and to whom it is sent."""
    alarm = ALARMS.get(event.code)  # None: an alarm engine of somebody else
    return Alert(
        alert_id=event.alert_id,
        sequence=event.sequence,
        phase=event.phase,
        kind=event.kind,
        code=event.code,
        codes=alarm.codes if alarm else Codes(),
        priority=event.priority,
        onset_index=event.onset_index,
        detected_index=event.detected_index,
        onset_at=clock.utc(event.onset_index),
        detected_at=clock.utc(event.detected_index),
        device=identity.device,
        site=identity.site,
        stream=spec.stream_id,
        synthetic=spec.synthetic,
        patient=identity.patient,
        location=identity.location,
        heart_rate_bpm=event.heart_rate_bpm,
        evidence=event.evidence,
        signal_quality=event.signal_quality,
        text=event.text,
        strip=event.strip,
    )


def compose_trend(
    minute: MinuteTrend, *, clock: StreamClock, identity: Identity, spec: StreamSpec
) -> Trend:
    """Return the document for a minute."""
    return Trend(
        **msgspec.structs.asdict(minute.values),
        site=identity.site,
        device=identity.device,
        stream=spec.stream_id,
        synthetic=spec.synthetic,
        patient=identity.patient,
        location=identity.location,
        from_index=minute.from_index,
        to_index=minute.to_index,
        from_at=clock.utc(minute.from_index),
        to_at=clock.utc(minute.to_index),
    )
