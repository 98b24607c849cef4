"""The announcement to Home Assistant: its templates read real messages of a device."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import jinja2
import pytest

from tocsin_agent.messages.active import (
    Active,
    ActiveAlert,
    AlertState,
    MonitorState,
    encode_active,
)
from tocsin_agent.messages.alert import Kind, Priority, SignalQuality
from tocsin_agent.messages.home_assistant import announcement
from tocsin_agent.messages.status import Status, encode_status

AT = datetime(2026, 1, 1, tzinfo=UTC)


def alert(code: str, priority: Priority, kind: Kind) -> ActiveAlert:
    return ActiveAlert(
        alert_id="a" * 32,
        sequence=1,
        code=code,
        kind=kind,
        priority=priority,
        state=AlertState.UNACKNOWLEDGED,
        since=AT,
        text=f"Text of {code}.",
        level="team",
    )


def active(
    *alerts: ActiveAlert, rate_bpm: float | None = None, quality: SignalQuality | None = None
) -> bytes:
    return encode_active(
        Active(
            site="ward3",
            device="bed 7",
            at=AT,
            monitor=MonitorState.MONITORING,
            alerts=alerts,
            heart_rate_bpm=rate_bpm,
            signal_quality=quality,
        )
    )


def values(payload: bytes) -> dict[str, str]:
    message = json.loads(announcement("ward3", "bed 7", "Bed 7").payload)
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=True)
    return {
        key: environment.from_string(entity["value_template"]).render(
            value_json=json.loads(payload)
        )
        for key, entity in message["components"].items()
    }


def test_what_is_open_is_shown() -> None:
    shown = values(
        active(
            alert("asystole", Priority.HIGH, Kind.PHYSIOLOGICAL),
            alert("battery_low", Priority.LOW, Kind.TECHNICAL),
            rate_bpm=64.0,
            quality=SignalQuality({"II": 0.5, "V1": 0.91}),
        )
    )
    assert shown == {
        "heart_rate": "64.0",
        "state": "monitoring",
        "alert": "Text of asystole.",
        "high_priority": "ON",
        "leads": "91.0",
        "battery": "ON",
    }


def test_nothing_open_and_nothing_known_is_shown_as_such() -> None:
    shown = values(active())
    assert (shown["heart_rate"], shown["alert"], shown["leads"]) == ("None", "none", "None")
    assert (shown["high_priority"], shown["battery"]) == ("OFF", "OFF")


@pytest.mark.parametrize(("state", "shown"), [("online", "online"), ("stopped", "offline")])
def test_the_status_is_the_availability(state: str, shown: str) -> None:
    message = json.loads(announcement("ward3", "bed 7", None).payload)
    template = jinja2.Template(message["availability_template"], autoescape=True)
    assert template.render(value_json=json.loads(encode_status(Status(state=state)))) == shown
    assert message["availability_topic"] == "tocsin/v1/ward3/bed 7/status"
    assert "suggested_area" not in message["device"]


def test_the_names_are_those_that_home_assistant_takes() -> None:
    topic, payload = announcement("ward3", "bed 7", "Bed 7")
    assert topic == "homeassistant/device/tocsin_ward3_bed_7/config"
    unique = [entity["unique_id"] for entity in json.loads(payload)["components"].values()]
    assert len(set(unique)) == len(unique) == 6
