"""From the monitor's alert events to the documents that a team receives."""

from __future__ import annotations

import msgspec

from tocsin_agent.messages.alert import Alert, Codes
from tocsin_agent.monitor.alarms.event import AlertEvent
from tocsin_agent.runtime.clock import StreamClock
from tocsin_dsp.signal import StreamSpec

# A code stands here only where a public code list gives it for this very condition: an "extreme
# bradycardia" is not surely a sinus bradycardia, a ventricular tachycardia not surely monomorphic.
ALARM_CODES: dict[str, Codes] = {
    "asystole": Codes(mdc=199684, snomed_ct="397829000"),
    "ventricular_fibrillation": Codes(mdc=665376, snomed_ct="71908006"),
    "ventricular_tachycardia": Codes(snomed_ct="25569003"),
    "atrial_fibrillation": Codes(mdc=199736, snomed_ct="49436004"),
    "lead_off": Codes(mdc=196680),
}


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
    return Alert(
        alert_id=event.alert_id,
        sequence=event.sequence,
        phase=event.phase,
        kind=event.kind,
        code=event.code,
        codes=ALARM_CODES.get(event.code, Codes()),
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
