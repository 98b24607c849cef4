"""The messages of a device about itself: their bytes are what receivers rely on."""

from __future__ import annotations

import json

from support.factories import NOON
from tocsin_agent.messages.alert import Audience, ClockState, PresenceView
from tocsin_agent.messages.health import (
    AgentHealth,
    BrokerState,
    DeliveryHealth,
    ModelHealth,
    encode_health,
)
from tocsin_agent.messages.info import Info, encode_info
from tocsin_agent.messages.status import Status, decode_status, encode_status

DELIVERY = DeliveryHealth(
    at=NOON,
    state=BrokerState.ONLINE,
    broker="broker.local:8883",
    pending=1,
    delivered=2,
    dropped=3,
    reconnects=4,
    handed_over=5,
    damaged=6,
    unconfirmed=7,
    faults=("the disk is full",),
    presence=PresenceView(attended=False, audience=Audience.TEAM, reason="none"),
    last_error="",
)
AGENT = AgentHealth(
    stream="mitdb/208",
    position_s=1.5,
    silent_s=0.25,
    source_lost=False,
    source=None,
    held_in_memory=0,
    clock=ClockState.SYNCHRONISED,
    clock_drift_ppm=0.0,
    models=ModelHealth(in_use={"beats": "beats@01"}, refused=""),
)


def test_a_status_states_schema_state_time_and_device() -> None:
    status = Status(state="online", since=NOON, site="ward3", device="bed7")
    assert encode_status(status) == (
        b'{"schema":"tocsin/status/v1","state":"online","since":"2026-03-01T12:00:00Z",'
        b'"site":"ward3","device":"bed7","faults":[]}'
    )
    assert decode_status(encode_status(status)) == status


def test_a_status_with_fewer_or_more_fields_is_read() -> None:
    assert decode_status(b'{"state":"offline","added":1}') == Status(state="offline")


def test_health_is_one_flat_object() -> None:
    alone = encode_health(DELIVERY)
    assert alone == (
        b'{"schema":"tocsin/health/v1","at":"2026-03-01T12:00:00Z","state":"online",'
        b'"broker":"broker.local:8883","pending":1,'
        b'"delivered":2,"dropped":3,"damaged":6,"unconfirmed":7,"faults":["the disk is full"],'
        b'"reconnects":4,"handed_over":5,"presence":{"attended":false,"audience":"team","reason":"none","role":null,"id":null,"handover":false},'
        b'"last_error":""}'
    )
    both = encode_health(DELIVERY, AGENT)
    assert both == alone[:-1] + (
        b',"stream":"mitdb/208","position_s":1.5,"silent_s":0.25,"source_lost":false,'
        b'"source":null,"held_in_memory":0,"clock":"synchronised","clock_drift_ppm":0.0,'
        b'"models":{"in_use":{"beats":"beats@01"},"refused":""}}'
    )


def test_info_names_version_configuration_models_and_source() -> None:
    info = Info(
        version="1",
        alert_schema="tocsin/alert/v1",
        configuration="ab",
        models={"beats": "cd"},
        source="excerpt",
    )
    assert list(json.loads(encode_info(info))) == [
        *("version", "alert_schema", "configuration", "models", "ecg", "source")
    ]
