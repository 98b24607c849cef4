"""The active message: what is open at a device now, for a screen that has just been opened."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from tocsin_agent.messages.alert import Kind, PresenceView, Priority, SignalQuality


class AlertState(StrEnum):
    """State of an alert after IEC 62682; the transitions are those of `delivery.escalation`."""

    UNACKNOWLEDGED = "unacknowledged"
    ACKNOWLEDGED = "acknowledged"
    RETURNED_UNACKNOWLEDGED = "returned_unacknowledged"
    CLOSED = "closed"


class MonitorState(StrEnum):
    """What the agent does with its source."""

    STARTING = "starting"
    MONITORING = "monitoring"
    SOURCE_LOST = "source_lost"
    STOPPED = "stopped"


class ActiveAlert(msgspec.Struct, frozen=True, kw_only=True):
    """One open alert: its condition lasts, or nobody has accepted it yet."""

    alert_id: Annotated[str, Meta(description="As in its alerts.")]
    sequence: Annotated[int, Meta(ge=1, description="Of its latest alert.")]
    code: Annotated[str, Meta(description="The condition.")]
    kind: Annotated[Kind, Meta(description="Patient or equipment.")]
    priority: Annotated[Priority, Meta(description="After IEC 60601-1-8.")]
    state: Annotated[
        AlertState,
        Meta(
            description="`unacknowledged`, `acknowledged`, or `returned_unacknowledged`: the "
            "condition has ended and nobody has accepted the alert."
        ),
    ]
    since: Annotated[datetime, Meta(tz=True, description="UTC of the onset.")]
    ended_at: Annotated[
        datetime | None, Meta(description="UTC at which the condition ended; null while it lasts.")
    ] = None
    end_observed: Annotated[
        bool,
        Meta(
            description="False where the monitor did not see the end of the condition: the "
            "recording ended, or it is not known whether the condition lasts."
        ),
    ] = True
    text: Annotated[str, Meta(description="The text of its latest alert.")]
    heart_rate_bpm: Annotated[
        float | None, Meta(description="As in its latest alert; null if unknown.")
    ] = None
    holder: Annotated[str | None, Meta(description="Who has accepted it.")] = None
    accepted_at: Annotated[datetime | None, Meta(description="UTC of the acceptance.")] = None
    level: Annotated[str, Meta(description="The last level of the chain that was addressed.")]
    addressed: Annotated[
        dict[str, datetime], Meta(description="UTC at which each level was addressed, by name.")
    ] = {}
    repeats: Annotated[int, Meta(ge=0, description="How often it was repeated.")] = 0
    silenced_until: Annotated[
        datetime | None, Meta(description="UTC until which it is not repeated.")
    ] = None


class Active(msgspec.Struct, frozen=True, kw_only=True):
    """What is open at a device, retained on its active topic; the gravest alert first."""

    schema: Annotated[Literal["tocsin/active/v1"], Meta(description="Schema and version.")] = (
        "tocsin/active/v1"
    )
    site: Annotated[str, Meta(description="As in the topic.")]
    device: Annotated[str, Meta(description="As in the topic.")]
    at: Annotated[
        datetime,
        Meta(
            tz=True,
            description="UTC of this message. It is sent at each change and at least every "
            "`escalation.active_s`; after that time without one, do not rely on it.",
        ),
    ]
    monitor: Annotated[
        MonitorState,
        Meta(
            description="`starting`, `monitoring`, `source_lost` or `stopped`. A device that has "
            "lost its connection says so on `status`."
        ),
    ]
    location: Annotated[str | None, Meta(description="As in the alerts.")] = None
    patient: Annotated[str | None, Meta(description="As in the alerts.")] = None
    heart_rate_bpm: Annotated[float | None, Meta(description="From the last beats.")] = None
    signal_quality: Annotated[
        SignalQuality | None, Meta(description="The leads and how well each can be read.")
    ] = None
    context: Annotated[
        dict[str, Any] | None, Meta(description="The context of the patient that applies.")
    ] = None
    presence: Annotated[
        PresenceView | None,
        Meta(description="Who is present, as the device knows it: who receives its alerts first."),
    ] = None
    faults: Annotated[
        tuple[str, ...],
        Meta(description="What does not work in keeping and delivering alerts, in words."),
    ] = ()
    waveforms: Annotated[
        tuple[str, ...],
        Meta(description="Leads whose ECG the device publishes live; empty where it does not."),
    ] = ()
    alerts: Annotated[tuple[ActiveAlert, ...], Meta(description="Open alerts, the gravest first.")]


def encode_active(active: Active) -> bytes:
    """Encode as UTF-8 JSON."""
    return msgspec.json.encode(active)


def decode_active(payload: bytes) -> Active:
    """Decode and validate.

    Raises
    ------
    msgspec.ValidationError
        If it does not satisfy the schema; `msgspec.DecodeError` if it is not JSON.
    """
    return msgspec.json.decode(payload, type=Active)
