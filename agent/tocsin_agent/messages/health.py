"""The health message: how delivery and the monitored stream are doing, published periodically."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from tocsin_agent.messages.alert import ClockState, PresenceView

HEALTH_SCHEMA = "tocsin/health/v1"


class BrokerState(StrEnum):
    """The state of the connection between a device and its broker."""

    STOPPED = "stopped"
    CONNECTING = "connecting"
    SETTLING = "settling"
    ONLINE = "online"
    UNREACHABLE = "unreachable"
    TLS = "tls"
    REFUSED = "refused"
    LOST = "lost"
    UNRESPONSIVE = "unresponsive"


class DeliveryHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How delivery is doing; counts are since the agent started unless stated otherwise."""

    schema: Annotated[str, Meta(description="Schema and version.")] = HEALTH_SCHEMA
    at: Annotated[datetime, Meta(description="UTC of this message.")]
    state: Annotated[BrokerState, Meta(description="State of the connection to the broker.")]
    broker: Annotated[str, Meta(description="Host and port of the broker in use.")] = ""
    pending: Annotated[int, Meta(description="Alerts that the broker has not acknowledged.")]
    delivered: Annotated[int, Meta(description="Alerts that the broker has acknowledged.")]
    dropped: Annotated[
        int, Meta(description="Alerts removed from a full outbox, since it was created.")
    ]
    damaged: Annotated[
        int, Meta(description="Rows of the outbox that were damaged or lost, ever.")
    ] = 0
    unconfirmed: Annotated[
        int, Meta(description="Alerts that the broker has, and no receiver has confirmed yet.")
    ] = 0
    faults: Annotated[
        tuple[str, ...],
        Meta(description="What does not work in keeping and delivering alerts, in words."),
    ] = ()
    reconnects: Annotated[int, Meta(description="Connections made after a failure.")]
    handed_over: Annotated[
        int, Meta(description="Alerts queued for the team after the bedside had received them.")
    ]
    presence: Annotated[PresenceView, Meta(description="Who would receive an alert now.")]
    last_error: Annotated[
        str, Meta(description="The last failure and what to do about it; empty if connected.")
    ]


class ModelHealth(msgspec.Struct, frozen=True, kw_only=True):
    """Which models are in use, and why an update was refused."""

    in_use: Annotated[dict[str, str], Meta(description="Id of each model in use, by name.")]
    refused: Annotated[str, Meta(description="Why the last refused update was refused.")]


class AgentHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How the monitored stream is doing: what a running agent adds to its health message."""

    stream: Annotated[str | None, Meta(description="Id of the stream; null before the first.")]
    position_s: Annotated[
        float | None, Meta(description="Seconds of the stream that have been analysed.")
    ]
    silent_s: Annotated[float, Meta(description="Seconds since the last samples.")]
    source_lost: Annotated[bool, Meta(description="True while `source_lost` is active.")]
    source: Annotated[Any, Meta(description="What a live source counts; null for a recording.")]
    held_in_memory: Annotated[int, Meta(description="Alerts that the outbox could not store.")]
    clock: Annotated[
        ClockState,
        Meta(description="`unsynchronised` until the clock of the gateway has been set."),
    ]
    clock_drift_ppm: Annotated[
        float | None, Meta(description="Drift of the source's clock against UTC.")
    ]
    models: Annotated[ModelHealth, Meta(description="The models in use.")]


def encode_health(delivery: DeliveryHealth, agent: AgentHealth | None = None) -> bytes:
    """Encode both parts as one JSON object, in UTF-8."""
    fields = msgspec.structs.asdict(delivery)
    if agent is not None:
        fields |= msgspec.structs.asdict(agent)
    return msgspec.json.encode(fields)
