"""A console when broker, server or browser fail: right again by itself, no alert missing."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from support.brokers import Mosquitto, quick, until
from support.consoles import Page, serving, settings_of
from support.factories import make_alert, make_strip
from support.programs import claimed_s
from support.wards import active_alert, active_document
from tocsin_agent.delivery.outbox import Outbox
from tocsin_agent.delivery.publisher import Publisher
from tocsin_agent.messages.active import encode_active
from tocsin_agent.messages.alert import encode_alert
from tocsin_agent.mqtt.connection import Connection, publish_retained
from tocsin_agent.team.console.hub import MAX_QUEUED, Browser
from tocsin_agent.team.console.store import Login

pytestmark = pytest.mark.broker

BACK_S = 5.0


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "outbox") as outbox:
        yield outbox


def listed(page: Page) -> set[str]:
    return {alert["alert_id"] for alert in page.fetch("/api/history?limit=500").json["alerts"]}


def test_no_alert_is_missing_after_broker_and_server_were_gone(
    tmp_path: Path, mosquitto: Mosquitto, outbox: Outbox
) -> None:
    settings = settings_of(tmp_path, quick(mosquitto.port))
    page = Page(0)
    alerts = [make_alert(onset_index=3600 * n, strip=make_strip(1.0)) for n in range(1, 31)]
    publisher = Publisher(
        outbox, quick(mosquitto.port), site="ward3", device="bed7", answers=outbox.answers
    )
    with publisher:
        with serving(settings) as running:
            page.port = running.port
            page.login("viewer")
            with page.socket() as socket:
                until(lambda: running.console.hub.picture.connected)
                outbox.append(alerts[:10])
                publisher.wake()
                for _ in range(10):
                    socket.of("alert")
                mosquitto.stop()
                assert not socket.until(lambda m: m["type"] == "broker")["connected"]
                outbox.append(alerts[10:20])
                mosquitto.start()
                began_s = time.monotonic()
                socket.until(lambda m: m["type"] == "broker" and m["connected"])
                assert time.monotonic() - began_s < claimed_s(BACK_S)
                publisher.wake()
                for _ in range(10):
                    socket.of("alert")
        outbox.append(alerts[20:])  # no server
        publisher.wake()
        assert publisher.drained(60.0)
        with serving(settings) as running:
            page.port = running.port
            began_s = time.monotonic()
            with page.socket() as socket:  # the login of before
                socket.of("beds")
                committed = {alert.alert_id for alert in alerts}
                until(lambda: listed(page) == committed, what="every committed alert is listed")
                assert time.monotonic() - began_s < claimed_s(BACK_S)
                bed = running.console.hub.picture
                assert bed.devices() == [("ward3", "bed7")]
        assert running.console.store is not None


def test_an_answer_is_done_when_the_device_says_so(
    tmp_path: Path, mosquitto: Mosquitto, outbox: Outbox
) -> None:
    publisher = Publisher(
        outbox, quick(mosquitto.port), site="ward3", device="bed7", answers=outbox.answers
    )
    alert = make_alert(strip=make_strip(), onset_at=datetime.now(UTC))
    where = {"site": "ward3", "device": "bed7", "alert_id": alert.alert_id}
    with publisher, serving(settings_of(tmp_path, quick(mosquitto.port))) as running:
        page = Page(running.port)
        page.login("responder")
        with page.socket() as socket:
            until(lambda: running.console.hub.picture.connected)
            outbox.append([alert])
            publisher.wake()
            socket.of("alert")
            done = page.fetch("/api/answer", where | {"action": "accept"})
            assert done.status == 202
            answer = socket.of("answer")
            assert (answer["id"], answer["outcome"]) == (done.json["id"], "applied")
            bed = socket.until(lambda m: m["type"] == "bed" and m["bed"]["alerts"][0]["holder"])
            assert bed["bed"]["alerts"][0]["holder"] == "responder"
            page.fetch("/api/answer", where | {"action": "give_back"})
            assert socket.of("answer")["outcome"] == "applied"
            reason = {"action": "reject", "reason": "artefact", "note": "loose electrode"}
            assert page.fetch("/api/answer", where | reason).status == 202
            assert socket.of("answer")["outcome"] == "applied"
        path = f"/api/alert/ward3/bed7/{alert.alert_id}"

        def events() -> list[str]:
            return [event["event"] for event in page.fetch(path).json["events"]]

        until(lambda: "pressed_reject" in events())
        assert {"onset", "pressed_accept", "accepted", "given_back"} <= set(events())
        found = page.fetch(path).json
        assert found["onset_strip"]["leads"] == ["L1"]
        assert found["open"] is True
        assert page.fetch(f"{path}/strip.svg").body.startswith(b"<svg")
        assert page.fetch(f"{path}/episode.zip").body[:2] == b"PK"
    with closing(sqlite3.connect(tmp_path / "outbox")) as db:
        trail = db.execute("SELECT event, who FROM audit").fetchall()
    assert {("accepted", "responder"), ("rejected", "responder")} <= set(trail)


def test_presence_lasts_while_a_person_presses(tmp_path: Path, mosquitto: Mosquitto) -> None:
    with serving(settings_of(tmp_path, quick(mosquitto.port))) as running:
        page = Page(running.port)
        page.login("cardiologist")
        until(lambda: running.console.hub.picture.connected)
        with page.socket() as socket:
            socket.of("beds")
            assert page.fetch("/api/presence", {"site": "ward3", "action": "renew"}).status == 409
            assert page.fetch("/api/presence", {"site": "ward3", "action": "take"}).status == 200
            here = socket.until(lambda m: m["type"] == "presence" and m["presence"]["confirm_by"])
            assert here["presence"]["who"] == "cardiologist"
            assert here["presence"]["present"] is True
            page.fetch("/api/presence", {"site": "ward3", "action": "release"})
            socket.until(lambda m: m["type"] == "presence" and not m["presence"]["present"])


def test_a_slow_browser_gets_the_state_and_no_backlog() -> None:
    now = datetime.now(UTC)
    browser = Browser(Login("k", "u", "viewer", "en", "c", False, now, now), "en")
    browser.whole = False
    for number in range(MAX_QUEUED):
        browser.put(str(number))
    assert not browser.whole
    browser.put("one more")
    assert browser.whole


def test_what_is_retained_is_the_state_after_a_restart(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    device = Connection(quick(mosquitto.port), "a-device")
    device.open()
    bed = active_document("bed1", active_alert(holder="dr-k", state="acknowledged"))
    publish_retained(device, "tocsin/v1/ward3/bed1/active", encode_active(bed))
    device.close()
    settings = settings_of(tmp_path, quick(mosquitto.port))
    for _ in range(2):
        with serving(settings) as running:
            page = Page(running.port)
            page.login("viewer")
            until(running.console.hub.picture.devices)
            with page.socket() as socket:
                (shown,) = socket.of("beds")["beds"]
                assert shown["alerts"][0]["holder"] == "dr-k"
                assert shown["state"] == "silent"  # sent long ago: stale, and said so
                assert shown["stale"] is True


def test_no_alert_is_confirmed_while_no_page_is_open(tmp_path: Path, mosquitto: Mosquitto) -> None:
    device = Connection(quick(mosquitto.port), "a-device")
    device.open()
    device.subscribe(["tocsin/v1/+/+/receipt/+"])
    topic = "tocsin/v1/ward3/bed7/alert/high"
    receipts = list[bytes]()

    def publish(number: int) -> None:
        device.publish(topic, encode_alert(make_alert(onset_index=3600 * number)))

    def confirmed() -> list[bytes]:
        receipts.extend(message.payload for message in device.step(0.1).messages)
        return receipts

    with serving(settings_of(tmp_path, quick(mosquitto.port))) as running:
        page = Page(running.port)
        page.login("viewer")
        until(lambda: running.console.hub.picture.connected)
        publish(1)
        # Acknowledged with the next poll, before which a receipt would have been sent.
        until(lambda: mosquitto.logged(b"Received PUBACK from tocsin-console") == 1)
        assert len(listed(page)) == 1
        confirmed()
        assert receipts == []
        with page.socket() as socket:
            socket.of("beds")
            publish(2)
            until(confirmed, what="a receipt")
            (receipt,) = receipts
            second = make_alert(onset_index=7200)
            assert second.alert_id in receipt.decode()
            publish(1)  # as a device does that waits for a receipt
            until(lambda: len(confirmed()) == 2, what="a receipt of what was sent again")
    device.close()
