"""Delivery against brokers that lose, refuse and flood, and clients that take an id over."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec
import pytest

from support.brokers import Mosquitto, Recorder, add_users, quick, until
from support.factories import make_alert, make_episode, make_strip
from support.programs import PATIENCE_S, child_environment
from tocsin_agent.delivery import brokers
from tocsin_agent.delivery.outbox import Outbox
from tocsin_agent.delivery.publisher import Publisher
from tocsin_agent.delivery.settings import ReceiptSettings
from tocsin_agent.messages.alert import Alert, Priority
from tocsin_agent.messages.health import BrokerState
from tocsin_agent.messages.status import decode_status
from tocsin_agent.messages.topics import Branch
from tocsin_agent.mqtt.connection import Connection
from tocsin_agent.mqtt.settings import MqttSettings
from tocsin_agent.team.feed import AlertSeen
from tocsin_agent.team.receiver import Receiver
from tocsin_agent.team.shown import ShownAlerts

pytestmark = pytest.mark.broker

LEASE_TOPIC = "tocsin/v1/ward3/presence/cardiologist"
_FLOOD = """
import sys, time
from tocsin_agent.mqtt.connection import Connection
from tocsin_agent.mqtt.settings import MqttSettings
port, topic, per_s, qos = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
connection = Connection(MqttSettings(host="127.0.0.1", port=port), "flood")
connection.open()
began_s, sent = time.monotonic(), 0
print("floods", flush=True)
while True:
    for _ in range(100):
        connection.publish(topic, b'{"x": "%d"}' % sent, qos=qos)
    sent += 100
    connection.step(max(0.0, began_s + sent / per_s - time.monotonic()))
"""


@contextmanager
def flood(port: int, topic: str, qos: int) -> Iterator[None]:
    arguments = [sys.executable, "-c", _FLOOD, str(port), topic, "10000", str(qos)]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, env=child_environment())
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"floods\n"
        yield
    finally:
        process.kill()
        process.wait(PATIENCE_S)
        assert process.stdout is not None
        process.stdout.close()


@contextmanager
def agent(
    folder: Path, mqtt: MqttSettings, receipts: ReceiptSettings | None = None
) -> Iterator[tuple[Outbox, Publisher]]:
    with Outbox(folder / "o.db") as outbox:
        publisher = Publisher(
            outbox,
            mqtt,
            site="ward3",
            device="bed7",
            answers=outbox.answers,
            receipts=receipts,
        )
        publisher.start()
        try:
            yield outbox, publisher
        finally:
            publisher.stop(0.5)


def subjects(publisher: Publisher) -> list[str]:
    return [fault.subject for fault in publisher.faults()]


@pytest.mark.parametrize(("topic", "qos"), [(LEASE_TOPIC, 0), (LEASE_TOPIC, 1)])
def test_row_8_alerts_do_not_wait_behind_a_flood(
    tmp_path: Path, mosquitto: Mosquitto, topic: str, qos: int
) -> None:
    mqtt = quick(mosquitto.port)
    with (
        Recorder(mqtt, "tocsin/v1/+/+/alert/+") as recorder,
        agent(tmp_path, mqtt) as (outbox, publisher),
    ):
        assert publisher.reached(BrokerState.ONLINE, PATIENCE_S)
        with flood(mosquitto.port, topic, qos):
            until(lambda: "flood_presence" in subjects(publisher), what="the flood is raised")
            for n in range(20):
                outbox.append([make_alert(n)])
                publisher.wake()
                until(lambda n=n: len(recorder.team()) > n, what="it arrives")  # type: ignore[misc]
            assert publisher.health().faults
            until(lambda: mosquitto.logged(b"Received UNSUBSCRIBE") == 1, what="it is closed")


@pytest.mark.parametrize("reason", ["access list", "size"])
def test_row_10_refused_publishes_are_stated_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    folder = tmp_path / "broker"
    folder.mkdir()
    monkeypatch.setenv("TOCSIN_MQTT_PASSWORD", "secret")
    add_users(folder / "pw", "secret", "bed7", "team-1")
    rules = "user team-1\ntopic read #\nuser bed7\ntopic readwrite tocsin/v1/ward3/bed7/status\n"
    rules += "topic write tocsin/v1/ward3/bed7/active\n"
    if reason == "size":
        rules += "topic write tocsin/v1/ward3/bed7/#\n"
    (folder / "acl").write_text(rules)
    broker = Mosquitto(
        folder,
        f"listener {{port}} 127.0.0.1\npassword_file {folder}/pw\nacl_file {folder}/acl\n"
        + ("message_size_limit 600\n" if reason == "size" else ""),
    )
    broker.start()
    bed, team = (quick(broker.port, username=user) for user in ("bed7", "team-1"))
    with Outbox(tmp_path / "o.db") as outbox:
        outbox.append([make_alert(n) for n in range(300)])
    log = tmp_path / "agent.log"
    try:
        with Recorder(team) as recorder, agent(tmp_path, bed) as (outbox, publisher):
            until(lambda: "refused" in subjects(publisher), what="it is a fault")
            if reason == "access list":
                until(
                    lambda: b"refuses" in (recorder.payloads(Branch.STATUS) or [b""])[-1],
                    what="the status states it",
                )
                until(
                    lambda: b"refuses" in (recorder.payloads(Branch.ACTIVE) or [b""])[-1],
                    what="active states it",
                )
            assert "refuses" in " ".join(publisher.health().faults)
            time.sleep(3)
            assert outbox.pending() == 300
        refused = (folder / "mosquitto.log").read_text()
        assert refused.count("Denied PUBLISH") + refused.count("too large") < 60, log
    finally:
        broker.stop()


def test_row_10_an_id_that_is_taken_over_is_stated_and_tried_more_slowly(
    tmp_path: Path, mosquitto: Mosquitto, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    mqtt = quick(mosquitto.port, version, reconnect_min_s=0.1, reconnect_max_s=5.0)
    with agent(tmp_path, mqtt) as (outbox, publisher):
        for _ in range(5):
            until(lambda: publisher.state is BrokerState.ONLINE, what="it is online")
            before = publisher.health().reconnects
            thief = Connection(mqtt, "tocsin-ward3-bed7")
            thief.open()
            until(lambda b=before: publisher.health().reconnects > b, what="it was disconnected")  # type: ignore[misc]
            thief.close()
        until(lambda: "client_id" in subjects(publisher), what="it is a fault")
        assert "an id of its own" in " ".join(publisher.health().faults)
        outbox.append([make_alert()])
        assert publisher.drained(PATIENCE_S)
    pauses = [float(s) for s in re.findall(r"next attempt in ([\d.]+) s", caplog.text)]
    assert pauses[4] > 4 * pauses[0], "a broker that accepts and ends each is not hammered"


KILLS = int(os.environ.get("BROKER_KILLS", "12"))


@pytest.mark.parametrize("delay_s", [0.0, 0.02])
def test_row_11_what_a_broker_loses_after_its_acknowledgement_is_sent_again(
    tmp_path: Path, delay_s: float
) -> None:
    """The broker keeps nothing on disk, and is killed 0 to 20 ms after it acknowledged."""
    folder = tmp_path / "broker"
    folder.mkdir()
    broker = Mosquitto(folder, "listener {port} 127.0.0.1\nallow_anonymous true\n", autosave=False)
    broker.start()
    mqtt = quick(broker.port)
    seen: list[Alert] = []
    receiver = Receiver(
        mqtt,
        ["tocsin/v1/+/+/alert/+"],
        client_id="team-1",
        keep_session=True,
        receipts=True,
        shown=ShownAlerts(),
    )
    wanted = [make_alert(n) for n in range(KILLS)]
    with agent(tmp_path, mqtt, ReceiptSettings(expected=True, wait_s=1.0)) as (outbox, publisher):
        for number, alert in enumerate(wanted):
            assert publisher.reached(BrokerState.ONLINE, PATIENCE_S)
            before = publisher.health().unconfirmed
            outbox.append([alert])
            publisher.wake()
            until(lambda b=before: publisher.health().unconfirmed > b, what="it acknowledges")  # type: ignore[misc]
            time.sleep(delay_s * number / KILLS)
            broker.kill()
            broker.start()
        with receiver:  # it comes when the broker has lost everything
            deadline_s = time.monotonic() + PATIENCE_S
            while outbox.pending():
                assert time.monotonic() < deadline_s, "everything is confirmed"
                items = receiver.poll(0.1)
                seen += [item.alert for item in items if isinstance(item, AlertSeen)]
    broker.stop()
    assert sorted(alert.alert_id for alert in seen) == sorted(alert.alert_id for alert in wanted)


def test_row_12_a_limit_that_the_broker_does_not_state_breaks_no_order(tmp_path: Path) -> None:
    folder = tmp_path / "broker"
    folder.mkdir()
    listener = "listener {port} 127.0.0.1\nallow_anonymous true\nmessage_size_limit 3000\n"
    broker = Mosquitto(folder, listener)
    broker.start()
    mqtt = quick(broker.port)
    onset, update, end = make_episode()
    onset = msgspec.structs.replace(onset, strip=make_strip(10))
    others = [make_alert(n, strip=make_strip(10), priority=Priority.LOW) for n in range(5, 9)]
    try:
        with Recorder(mqtt) as recorder, agent(tmp_path, mqtt) as (outbox, publisher):
            outbox.append([onset, update, end, *others])
            publisher.wake()
            assert publisher.drained(PATIENCE_S)
            until(lambda: len(recorder.team()) == 7)
            first = [a.sequence for a in recorder.team() if a.alert_id == onset.alert_id]
            assert first == [1, 2, 3]
            assert all(alert.strip is None for alert in recorder.team() if alert.sequence == 1)
        log = (folder / "mosquitto.log").read_text()
        refused = [line for line in log.splitlines() if "too large" in line and "/alert/" in line]
        assert 1 <= len(refused) <= 5, "the limit is learnt"
    finally:
        broker.stop()


def test_row_13_a_watch_that_is_restarted_shows_nothing_twice(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    mqtt = quick(mosquitto.port)
    command = [
        *(sys.executable, "-m", "tocsin_agent", "watch", "--json", "--session", "night"),
        *("--broker", f"127.0.0.1:{mosquitto.port}"),
    ]
    shown: list[str] = []
    with (
        Outbox(tmp_path / "o.db") as outbox,
        Publisher(outbox, mqtt, site="ward3", device="bed7", answers=outbox.answers) as publisher,
    ):
        for start in range(0, 60, 20):
            watch = subprocess.Popen(
                command, stdout=subprocess.PIPE, text=True, env=child_environment()
            )
            assert watch.stdout is not None
            _read_until(watch.stdout, shown, '"status"')
            outbox.append([make_alert(n) for n in range(start, start + 20)])
            publisher.wake()
            while len(shown) < start + 10:
                _read_until(watch.stdout, shown, '"alert"')
            watch.send_signal(signal.SIGINT)  # while others are on their way
            for line in watch.stdout:
                _note(line, shown)
            watch.wait(PATIENCE_S)
            watch.stdout.close()
        watch = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=child_environment()
        )
        assert watch.stdout is not None
        while len(set(shown)) < 60:
            _read_until(watch.stdout, shown, '"alert"')
        watch.kill()
        watch.wait(PATIENCE_S)
        watch.stdout.close()
    assert len(shown) == len(set(shown)) == 60


def _read_until(lines: IO[str], shown: list[str], wanted: str) -> None:
    for line in lines:
        _note(line, shown)
        if wanted in line:
            return
    pytest.fail("the watch ended")


def _note(line: str, shown: list[str]) -> None:
    item = msgspec.json.decode(line)
    if item["type"] == "alert" and not item["again"] and not item["repeated"]:
        shown.append(item["alert"]["alert_id"])


def test_the_second_broker_is_used_while_the_first_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(brokers, "PROBE_S", 0.2)
    made = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        made.append(Mosquitto(tmp_path / name))
        made[-1].start()
    first, second = (quick(broker.port) for broker in made)
    try:
        with (
            Recorder(first) as at_first,
            Recorder(second) as at_second,
            Outbox(tmp_path / "o.db") as outbox,
            Publisher(
                outbox,
                first,
                site="ward3",
                device="bed7",
                answers=outbox.answers,
                fallback=second,
            ) as publisher,
        ):
            outbox.append([make_alert(1)])
            assert publisher.drained(PATIENCE_S)
            made[0].stop()
            outbox.append([make_alert(2)])
            publisher.wake()
            until(lambda: keys(at_second.team()) == [make_alert(2).key], what="the second has it")
            assert str(second.port) in publisher.health().broker
            made[0].start()
            until(lambda: str(first.port) in publisher.health().broker, what="it fails back")
            assert publisher.reached(BrokerState.ONLINE, PATIENCE_S)
            outbox.append([make_alert(3)])
            publisher.wake()
            wanted = [make_alert(1).key, make_alert(3).key]
            until(lambda: keys(at_first.team()) == wanted, what="the first has the rest")
            until(lambda: states(at_second) == ["online", "offline"], what="the second knows")
    finally:
        for broker in made:
            broker.stop()


def keys(alerts: list[Alert]) -> list[tuple[str, int]]:
    return [alert.key for alert in alerts]


def states(recorder: Recorder) -> list[str]:
    return [decode_status(one).state for one in recorder.payloads(Branch.STATUS)]


@pytest.mark.parametrize("reason", ["size", "access list"])
def test_row_9_over_3_1_1_only_what_comes_back_is_delivered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    """The broker acknowledges what it drops, and has no way to say so."""
    folder = tmp_path / "broker"
    folder.mkdir()
    monkeypatch.setenv("TOCSIN_MQTT_PASSWORD", "secret")
    add_users(folder / "pw", "secret", "bed7", "team-1")
    rules = "user team-1\ntopic read #\nuser bed7\ntopic read tocsin/v1/ward3/bed7/#\n"
    allowed = "technical/+", "status", "active", *(() if reason == "access list" else ("alert/+",))
    rules += "".join(f"topic write tocsin/v1/ward3/bed7/{name}\n" for name in allowed)
    (folder / "acl").write_text(rules)
    broker = Mosquitto(
        folder,
        f"listener {{port}} 127.0.0.1\npassword_file {folder}/pw\nacl_file {folder}/acl\n"
        + ("message_size_limit 3000\n" if reason == "size" else ""),
    )
    broker.start()
    bed, team = (
        quick(broker.port, "3.1.1", username=user, ack_timeout_s=5.0) for user in ("bed7", "team-1")
    )
    onset, end = make_episode(updates=0)
    onset = msgspec.structs.replace(onset, strip=make_strip(10))
    try:
        with Recorder(team) as recorder, agent(tmp_path, bed) as (outbox, publisher):
            assert publisher.reached(BrokerState.ONLINE, PATIENCE_S)
            outbox.append([onset, end])
            publisher.wake()
            if reason == "size":
                assert publisher.drained(PATIENCE_S)
                until(lambda: len(recorder.team()) == 2)
                assert [alert.sequence for alert in recorder.team()] == [1, 2]
                assert recorder.team()[0].strip is None
            else:
                until(lambda: "refused" in subjects(publisher), what="it is stated")
                assert "not passed on" in " ".join(publisher.health().faults)
                assert outbox.pending() == 2
    finally:
        broker.stop()


def test_row_9_a_device_that_cannot_read_its_topics_is_warned_of_3_1_1(tmp_path: Path) -> None:
    folder = tmp_path / "broker"
    folder.mkdir()
    (folder / "acl").write_text("topic write tocsin/#\n")
    listener = f"listener {{port}} 127.0.0.1\nallow_anonymous true\nacl_file {folder}/acl\n"
    broker = Mosquitto(folder, listener)
    broker.start()
    try:
        with agent(tmp_path, quick(broker.port, "3.1.1")) as (outbox, publisher):
            outbox.append([make_alert()])
            assert publisher.drained(PATIENCE_S), "acknowledgements count as before"
            until(lambda: "mqtt_3" in subjects(publisher), what="it is stated")
    finally:
        broker.stop()


@pytest.mark.parametrize(
    ("line", "subject"), [("retain_available false", "broker_retain"), ("max_qos 0", "broker_qos")]
)
def test_a_broker_without_retain_or_qos_1_is_used_and_named(
    tmp_path: Path, line: str, subject: str
) -> None:
    folder = tmp_path / "broker"
    folder.mkdir()
    broker = Mosquitto(folder, f"listener {{port}} 127.0.0.1\nallow_anonymous true\n{line}\n")
    broker.start()
    mqtt = quick(broker.port)
    try:
        with Recorder(mqtt) as recorder, agent(tmp_path, mqtt) as (outbox, publisher):
            outbox.append([make_alert(n) for n in range(5)])
            assert publisher.drained(PATIENCE_S)
            until(lambda: len(recorder.team()) == 5)
            until(lambda: subject in subjects(publisher), what="the advice names it")
            assert line.split(maxsplit=1)[0] in " ".join(publisher.health().faults)
    finally:
        broker.stop()
