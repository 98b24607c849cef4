"""The console against a real broker: what arrives there, and what a page is sent."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from support.brokers import Mosquitto, publish_all, quick
from support.consoles import Page, Running, serving, settings_of
from support.factories import make_alert, make_strip
from support.wards import active_alert, active_document
from tocsin_agent.messages.active import Active, encode_active
from tocsin_agent.messages.alert import Alert, encode_alert
from tocsin_agent.messages.topics import Topics
from tocsin_agent.mqtt.connection import Connection, publish_retained

pytestmark = pytest.mark.broker


@pytest.fixture
def running(tmp_path: Path, mosquitto: Mosquitto) -> Iterator[Running]:
    with serving(settings_of(tmp_path, quick(mosquitto.port))) as running:
        yield running


@pytest.fixture
def device(mosquitto: Mosquitto) -> Iterator[Connection]:
    """Publishes as a device does."""
    connection = Connection(quick(mosquitto.port), "a-device")
    connection.open()
    yield connection
    connection.close()


def publish(device: Connection, alert: Alert) -> None:
    topics = Topics(alert.site, alert.device)
    topic = topics.level("team", alert.kind, alert.priority)
    publish_all(device, (topic, encode_alert(alert)))


def state(device: Connection, active: Active) -> None:
    now = msgspec.structs.replace(active, at=datetime.now(UTC))
    publish_retained(device, Topics(active.site, active.device).active, encode_active(now))


def test_an_alert_reaches_a_page(running: Running, device: Connection) -> None:
    page = Page(running.port)
    assert page.login("responder").status == 200
    with page.socket() as socket:
        hello = socket.of("hello")
        assert hello["session"]["user"] == "responder"
        assert socket.of("beds")["beds"] == []
        publish(device, make_alert(strip=make_strip()))
        alert = socket.of("alert")
        assert alert["event"] == "onset"
        assert alert["alert"]["condition"] == "VENTRICULAR TACHYCARDIA"
        assert alert["alert"]["what_to_do"]
        bed = socket.of("bed")["bed"]
        assert [one["alert_id"] for one in bed["alerts"]] == [alert["alert"]["alert_id"]]
        state(device, active_document("bed7"))  # its device says that nothing is open
        bed = socket.until(lambda m: m["type"] == "bed" and m["bed"]["state"] == "monitoring")
        assert bed["bed"]["alerts"] == []


def test_the_whole_state_comes_first(running: Running, device: Connection) -> None:
    state(device, active_document("bed1", active_alert(holder="dr-k", state="acknowledged")))
    page = Page(running.port)
    page.login("viewer")
    with page.socket("/ws?language=de") as socket:
        beds = socket.until(lambda m: m["type"] in {"beds", "bed"} and m.get("bed", m.get("beds")))
        bed = beds["bed"] if beds["type"] == "bed" else beds["beds"][0]
        assert bed["alerts"][0]["holder"] == "dr-k"
        assert bed["alerts"][0]["condition"] != "VENTRICULAR TACHYCARDIA"  # in German


def test_the_page_is_served(running: Running) -> None:
    answer = Page(running.port).fetch("/")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert b"<script" in answer.body
