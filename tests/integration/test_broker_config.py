"""The example broker configuration starts, and its access list keeps each role to its topics."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from support.brokers import Mosquitto, Recorder, add_users, authority, quick, until
from support.factories import make_alert
from support.programs import PATIENCE_S
from tocsin_agent.delivery.outbox import Outbox
from tocsin_agent.delivery.publisher import Publisher
from tocsin_agent.errors import DeliveryError, DeliveryFault
from tocsin_agent.messages.alert import encode_alert
from tocsin_agent.messages.home_assistant import announcement
from tocsin_agent.messages.lease import encode_lease, make_lease
from tocsin_agent.messages.topics import Branch
from tocsin_agent.mqtt.connection import Connection, publish_retained
from tocsin_agent.mqtt.settings import MqttSettings, TlsSettings

pytestmark = pytest.mark.broker

CONFIG = Path(__file__).resolve().parents[2] / "config" / "broker"
USERS = (
    "bed7",
    "bed8",
    "team-1",
    "cardiologist-ward3",
    "cardiologist-ward3-screen",
    "presence",
    "nobody",
)
LEASE_TOPIC = "tocsin/v1/ward3/presence/cardiologist"


class Ward:
    """The example broker, moved to a free port and a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.cert = authority(folder, "broker")
        add_users(folder / "tocsin.passwd", "secret", *USERS)
        (folder / "tocsin.acl").write_text((CONFIG / "mosquitto.acl").read_text())
        text = (CONFIG / "mosquitto.conf").read_text()
        lines = [
            line.replace("listener 8883", "listener {port} 127.0.0.1")
            .replace("/etc/mosquitto/certs", str(folder))
            .replace("/etc/mosquitto", str(folder))
            for line in text.splitlines()
            # The test's own broker states this, for a folder of its own.
            if not line.startswith("persistence")
        ]
        self.broker = Mosquitto(folder, "\n".join(lines) + "\n", autosave=False)

    def settings(self, user: str) -> MqttSettings:
        return quick(self.broker.port, username=user, tls=TlsSettings(ca_file=str(self.cert)))


@pytest.fixture
def ward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ward]:
    monkeypatch.setenv("TOCSIN_MQTT_PASSWORD", "secret")
    folder = tmp_path / "ward"
    folder.mkdir()
    made = Ward(folder)
    made.broker.start()
    yield made
    made.broker.stop()


def lease() -> bytes:
    return encode_lease(make_lease("cardiologist", "dr-k", 60, datetime.now(UTC)))


def publish(mqtt: MqttSettings, topic: str, payload: bytes) -> None:
    connection = Connection(mqtt, f"publisher-{mqtt.username}")
    connection.open()
    try:
        publish_retained(connection, topic, payload)
    finally:
        connection.close()


def test_each_role_receives_its_own_topics(tmp_path: Path, ward: Ward) -> None:
    with (
        Recorder(ward.settings("team-1"), name="team") as team,
        Recorder(ward.settings("cardiologist-ward3-screen"), name="doctor") as doctor,
        Outbox(tmp_path / "o.db") as outbox,
        Publisher(outbox, ward.settings("bed7"), site="ward3", device="bed7") as publisher,
    ):
        outbox.append([make_alert(1)])
        assert publisher.drained(PATIENCE_S)
        until(lambda: len(team.team()) == 1)
        publish(ward.settings("cardiologist-ward3"), LEASE_TOPIC, lease())
        until(lambda: publisher.health().presence.attended)
        outbox.append([make_alert(2)])
        assert publisher.drained(PATIENCE_S)
        until(lambda: len(doctor.bedside()) == 1)
        until(lambda: len(team.payloads(Branch.PRESENCE)) == 1)
        assert (len(team.team()), len(team.bedside())) == (1, 0)
        assert doctor.team() == []
        assert len(team.payloads(Branch.STATUS)) == 1


@pytest.mark.parametrize(
    ("user", "topic"),
    [
        ("bed8", "tocsin/v1/ward3/bed7/alert/high"),
        ("bed8", "tocsin/v1/ward3/bed7/status"),
        ("bed7", LEASE_TOPIC),
        ("team-1", LEASE_TOPIC),
        ("team-1", "tocsin/v1/ward3/bed7/alert/high"),
        ("team-1", "tocsin/v1/ward3/team-1/alert/high"),
        ("cardiologist-ward3", "tocsin/v1/ward3/cardiologist-ward3/alert/high"),
        ("presence", LEASE_TOPIC),
        ("bed7", "tocsin/v1/ward4/bed7/alert/high"),
        ("nobody", "tocsin/v1/ward3/nobody/alert/high"),
        ("cardiologist-ward3", "tocsin/v1/ward4/presence/cardiologist"),
        ("cardiologist-ward3", "tocsin/v1/ward3/bed7/alert/high"),
        ("team-1", "tocsin/v1/ward3/bed7/receipt/team-2"),
        ("bed8", "tocsin/v1/ward3/bed7/receipt/bed8"),
        ("cardiologist-ward3-screen", LEASE_TOPIC),
    ],
)
def test_row_5_no_role_can_write_the_topics_of_another(ward: Ward, user: str, topic: str) -> None:
    with pytest.raises(DeliveryError, match="access list") as caught:
        publish(ward.settings(user), topic, b"{}")
    assert caught.value.reason is DeliveryFault.BROKER_REFUSED


def test_row_4_a_device_cannot_take_the_session_of_the_team(tmp_path: Path, ward: Ward) -> None:
    with Recorder(ward.settings("team-1"), "tocsin/v1/+/+/alert/+", "team-1"):
        pass  # its session stays, and alerts wait for it
    with (
        Outbox(tmp_path / "o.db") as outbox,
        Publisher(outbox, ward.settings("bed7"), site="ward3", device="bed7") as publisher,
    ):
        outbox.append([make_alert(1)])
        assert publisher.drained(PATIENCE_S)
    thief = Connection(ward.settings("bed8"), "team-1")
    thief.open()
    thief.close()
    with Recorder(ward.settings("team-1"), "tocsin/v1/+/+/alert/+", "team-1") as team:
        until(team.team, what="the alert that waited")


def test_row_14_what_the_broker_writes_for_an_absent_session_is_bounded(ward: Ward) -> None:
    with Recorder(ward.settings("team-1"), "tocsin/v1/+/+/alert/+", "team-1"):
        pass
    connection = Connection(ward.settings("bed7"), "bed7")
    connection.open()
    before = ward.broker.written_bytes()
    document = encode_alert(make_alert(1)) + b" " * 5000
    for _ in range(200):
        publish_retained(connection, "tocsin/v1/ward3/bed7/alert/high", document)
    connection.close()
    saved = ward.broker.logged(b"Saving in-memory database")
    until(lambda: ward.broker.logged(b"Saving in-memory database") > saved, what="it is saved")
    written = ward.broker.written_bytes() - before
    assert 200 * 5000 < written < 10 * 200 * len(document)


def test_no_client_connects_without_a_user(ward: Ward) -> None:
    settings = quick(ward.broker.port, tls=TlsSettings(ca_file=str(ward.cert)))
    with pytest.raises(DeliveryError) as caught:
        Connection(settings, "nobody").open()
    assert caught.value.reason is DeliveryFault.BROKER_REFUSED


def test_a_device_announces_itself_to_home_assistant_and_no_other_device(ward: Ward) -> None:
    for device, allowed in (("bed7", True), ("bed8", False)):
        topic, payload = announcement("ward3", device, None)
        if allowed:
            publish(ward.settings("bed7"), topic, payload)
            continue
        with pytest.raises(DeliveryError, match="access list"):
            publish(ward.settings("bed7"), topic, payload)
