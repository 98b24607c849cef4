"""Signatures over a real broker: who published is verified, and a stranger changes nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from support.brokers import Mosquitto, Recorder, quick, until
from support.factories import make_alert
from support.keys import key_command, make_key, trust
from support.programs import PATIENCE_S, child_environment
from support.readers import STRICT
from tocsin_agent.delivery.audit import SIGNATURE_REFUSED, read_audit
from tocsin_agent.delivery.outbox import Outbox
from tocsin_agent.delivery.presence import PresenceLedger
from tocsin_agent.delivery.publisher import Publisher
from tocsin_agent.delivery.settings import PresenceSettings
from tocsin_agent.messages.acknowledgement import Acknowledgement, Action, encode_acknowledgement
from tocsin_agent.messages.alert import Audience, encode_alert
from tocsin_agent.messages.health import BrokerState
from tocsin_agent.messages.info import Info
from tocsin_agent.messages.lease import LeaseState, encode_lease, make_lease
from tocsin_agent.messages.response import Outcome, Response, decode_response
from tocsin_agent.messages.topics import Branch, Topics, parse, presence_topic
from tocsin_agent.mqtt.connection import Connection, publish_retained
from tocsin_agent.mqtt.events import Message
from tocsin_agent.mqtt.settings import MqttSettings
from tocsin_agent.signing.envelope import Signer
from tocsin_agent.signing.guard import Guard
from tocsin_agent.signing.keyring import KeyFile, owner_of
from tocsin_agent.signing.settings import SigningSettings
from tocsin_agent.team.feed import AlertSeen, Malformed, StatusSeen
from tocsin_agent.team.receiver import Receiver

pytestmark = pytest.mark.broker

TOPICS = Topics("ward3", "bed7")
ALERT = make_alert()
LEASE = presence_topic("ward3", "cardiologist")


@pytest.fixture
def mqtt(mosquitto: Mosquitto) -> MqttSettings:
    return quick(mosquitto.port)


@contextmanager
def agent(folder: Path, mqtt: MqttSettings) -> Iterator[tuple[Outbox, Publisher]]:
    """Run an agent that signs, and accepts what `people.toml` trusts."""
    if not (folder / "bed7.pem").exists():
        trust(folder / "keys.toml", "ward3/bed7", make_key(folder, "bed7"))
    settings = SigningSettings(people_file=str(folder / "people.toml"))
    with (
        Outbox(folder / "o.db") as outbox,
        Publisher(
            outbox,
            mqtt,
            site="ward3",
            device="bed7",
            presence=PresenceLedger(PresenceSettings(settle_s=0.1)),
            info=Info(version="1", alert_schema="", configuration="", models={}, source="x"),
            answers=outbox.answers,
            signer=Signer.from_file(folder / "bed7.pem"),
            guard=Guard.from_settings(settings, folder / "o.db"),
        ) as publisher,
    ):
        assert publisher.reached(BrokerState.ONLINE, PATIENCE_S)
        yield outbox, publisher


@pytest.fixture
def doctor(tmp_path: Path) -> Path:
    private = make_key(tmp_path, "dr-k")
    trust(tmp_path / "people.toml", "dr-k", private, "cardiologist", "team")
    return private


def publish(mqtt: MqttSettings, topic: str, payload: bytes, signer: Signer | None = None) -> None:
    connection = Connection(mqtt, f"person-{threading.get_ident()}", signer=signer)
    connection.open()
    publish_retained(connection, topic, payload)
    connection.close()


def answer(who: str, number: str, at: datetime | None = None) -> bytes:
    at = at or datetime.now(UTC)
    message = Acknowledgement(
        id=number, alert_id=ALERT.alert_id, who=who, role="team", action=Action.ACCEPT, at=at
    )
    return encode_acknowledgement(message)


def responses(recorder: Recorder) -> list[Response]:
    return [decode_response(payload) for payload in recorder.payloads(Branch.RESPONSE)]


def test_row_7_all_that_a_device_publishes_is_signed_and_documents_do_not_change(
    tmp_path: Path, mqtt: MqttSettings
) -> None:
    (tmp_path / "people.toml").touch()
    with Recorder(mqtt) as recorder:
        with agent(tmp_path, mqtt) as (outbox, publisher):
            outbox.append([ALERT])
            publisher.wake()
            until(recorder.team)
        until(lambda: b'"stopped"' in recorder.payloads(Branch.STATUS)[-1])
    keyring = KeyFile(tmp_path / "keys.toml").current()
    branches = set()
    for message in recorder.messages:
        address = parse(message.topic)
        assert address is not None
        branches.add(address.branch)
        owner = owner_of(address, message.payload)
        now = datetime.now(UTC)
        verdict = keyring.verify(message.topic, message.payload, message.user, owner, now)
        assert verdict[:2] == ("ward3/bed7", "")
    assert {Branch.ALERT, Branch.STATUS, Branch.INFO, Branch.ACTIVE} <= branches
    with Receiver(
        mqtt, ["tocsin/#"], client_id="later", keys=KeyFile(tmp_path / "keys.toml")
    ) as it:
        items: list[object] = []
        until(lambda: polled(it, items) and any(isinstance(i, StatusSeen) for i in items))
    assert not [item for item in items if isinstance(item, Malformed)], "retained: signed still"
    (payload,) = recorder.payloads(Branch.ALERT)
    complaints = list(STRICT.iter_errors(json.loads(payload)))
    assert complaints == [], "a reader that knows nothing of signatures accepts it"


def polled(receiver: Receiver, items: list[object]) -> list[object]:
    items.extend(receiver.poll(0.1))
    return items


def test_row_7_the_will_is_signed(tmp_path: Path, mqtt: MqttSettings) -> None:
    trust(tmp_path / "keys.toml", "ward3/bed7", make_key(tmp_path, "bed7"))
    signer = Signer.from_file(tmp_path / "bed7.pem")
    will = Message(TOPICS.status, b'{"state":"offline"}', retain=True)
    keys = KeyFile(tmp_path / "keys.toml")
    with Receiver(mqtt, [TOPICS.status], client_id="team", keys=keys) as receiver:
        device = Connection(mqtt, "bed7", will=will, signer=signer)
        device.open()
        device.publish(TOPICS.status, b'{"state":"online"}', retain=True)
        states: list[str] = []

        def received(state: str) -> bool:
            for item in receiver.poll(0.1):
                assert not isinstance(item, Malformed)
                states.extend([item.status.state] if isinstance(item, StatusSeen) else [])
            if state == "online":
                device.step(0.0)
            return state in states

        until(lambda: received("online"))
        device.abort()  # no DISCONNECT: the broker publishes the will
        until(lambda: received("offline"))


def test_row_7_a_receiver_says_who_signed_and_marks_what_nobody_did(
    tmp_path: Path, mqtt: MqttSettings
) -> None:
    (tmp_path / "people.toml").touch()
    trust(tmp_path / "keys.toml", "ward3/bed7", make_key(tmp_path, "bed7"))
    stranger = Signer.from_file(make_key(tmp_path, "stranger"))
    keys = KeyFile(tmp_path / "keys.toml")
    topic = TOPICS.alert(Audience.TEAM, ALERT.kind, ALERT.priority)
    with Receiver(mqtt, ["tocsin/#"], client_id="team", keys=keys) as receiver:
        items: list[object] = []

        def alerts() -> list[AlertSeen]:
            items.extend(receiver.poll(0.1))
            return [item for item in items if isinstance(item, AlertSeen)]

        until(lambda: receiver.poll(0.1) or receiver.connected)
        publish(mqtt, topic, encode_alert(ALERT), stranger)
        until(lambda: len(alerts()) == 1)
        with agent(tmp_path, mqtt) as (outbox, publisher):
            outbox.append([ALERT])
            publisher.wake()
            until(lambda: len(alerts()) == 2, what="a forgery takes no place of the genuine alert")
        forged, genuine = alerts()
        assert forged.origin is not None
        assert "is not known here" in forged.origin.reason
        assert genuine.origin is not None
        assert (genuine.origin.by, genuine.origin.genuine) == ("ward3/bed7", True)
        publish(mqtt, TOPICS.status, b'{"state":"online"}')
        until(lambda: alerts() and any(isinstance(i, Malformed) for i in items))
        refused = next(item for item in items if isinstance(item, Malformed))
        assert refused.reason == "it is not signed"


def test_row_7_an_answer_counts_only_with_the_key_of_who_gives_it(
    tmp_path: Path, mqtt: MqttSettings, doctor: Path
) -> None:
    signer = Signer.from_file(doctor)
    stranger = Signer.from_file(make_key(tmp_path, "stranger"))
    topic = TOPICS.ack(ALERT.alert_id)
    with Recorder(mqtt) as recorder, agent(tmp_path, mqtt) as (outbox, publisher):
        outbox.append([ALERT])
        publisher.wake()
        until(recorder.team)
        old = Signer(signer._key, lambda: datetime.now(UTC) - timedelta(hours=2))
        attempts = [
            (answer("dr-k", "1"), None, "not signed"),
            (answer("dr-k", "2"), stranger, "not known here"),
            (answer("nurse-4", "3"), signer, "another's name"),
            (answer("dr-k", "4"), old, "signed 7200 s ago"),
        ]
        for count, (payload, by, reason) in enumerate(attempts, start=1):
            publish(mqtt, topic, payload, by)
            until(lambda count=count: len(responses(recorder)) == count)  # type: ignore[misc]
            response = responses(recorder)[-1]
            assert response.outcome is Outcome.SIGNATURE_REFUSED
            assert response.id == str(count)
            assert reason in response.text
        publish(mqtt, topic, answer("dr-k", "5"), signer)
        until(lambda: responses(recorder)[-1].outcome is Outcome.APPLIED)
        assert responses(recorder)[-1].holder == "dr-k"
        trail = [e for e in read_audit(tmp_path / "o.db") if e.event == SIGNATURE_REFUSED]
        assert [e.alert_id for e in trail] == [ALERT.alert_id] * len(attempts)
        assert all(why in e.detail for e, (*_, why) in zip(trail, attempts, strict=True))
        key_command("revoke", tmp_path / "people.toml", signer.id, "--reason", "left")

        def refused_as_revoked() -> bool:
            publish(mqtt, topic, answer("dr-k", "6"), signer)
            return "is revoked left" in responses(recorder)[-1].text

        until(refused_as_revoked, what="a running agent takes the revocation")


def test_row_7_a_lease_counts_only_with_the_key_of_its_holder(
    tmp_path: Path, mqtt: MqttSettings, doctor: Path
) -> None:
    signer = Signer.from_file(doctor)

    def lease(state: LeaseState = LeaseState.PRESENT) -> bytes:
        return encode_lease(make_lease("cardiologist", "dr-k", 60.0, datetime.now(UTC), state))

    with agent(tmp_path, mqtt) as (_outbox, publisher):
        publish(mqtt, LEASE, lease())
        publish(mqtt, LEASE, lease(), Signer.from_file(make_key(tmp_path, "stranger")))
        publish(mqtt, LEASE, lease(), signer)
        until(lambda: publisher.health().presence.attended, what="the signed one counts")
        publish(mqtt, LEASE, lease(LeaseState.RELEASED))
        publish(mqtt, LEASE, b"")
        publish(mqtt, LEASE, b"{")
        publish(mqtt, LEASE, lease(LeaseState.RELEASED), signer)
        until(lambda: publisher.health().presence.reason == "released")


@pytest.mark.usefixtures("doctor")
def test_row_7_unsigned_leases_attend_nobody(tmp_path: Path, mqtt: MqttSettings) -> None:
    payload = encode_lease(make_lease("cardiologist", "dr-k", 60.0, datetime.now(UTC)))
    publish(mqtt, LEASE, payload)
    with Recorder(mqtt) as recorder, agent(tmp_path, mqtt) as (outbox, publisher):
        outbox.append([ALERT])
        publisher.wake()
        until(recorder.team, what="the alert goes to the team")
        assert recorder.bedside() == []


def test_row_7_the_programs_sign_and_verify(
    tmp_path: Path, mqtt: MqttSettings, doctor: Path
) -> None:
    broker = ("--broker", f"{mqtt.host}:{mqtt.port}")

    def tocsin(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tocsin_agent", *arguments, *broker, "--language", "en"],
            capture_output=True, text=True, timeout=PATIENCE_S, check=False,
            env=child_environment(),
        )  # fmt: skip

    with agent(tmp_path, mqtt) as (outbox, publisher):
        outbox.append([ALERT])
        publisher.wake()
        keys = ("--keys", str(tmp_path / "keys.toml"))
        shown = tocsin("watch", *keys, "--count", "1", "--timeout", "100")
        assert "signed by ward3/bed7" in shown.stdout
        as_json = tocsin("watch", *keys, "--json", "--count", "1", "--timeout", "100")
        records = [json.loads(line) for line in as_json.stdout.splitlines()]
        assert [r["signed_by"] for r in records if r["type"] == "alert"] == ["ward3/bed7"]
        ack = ("ack", ALERT.alert_id[:8], "--as", "dr-k", *keys)
        unsigned = tocsin(*ack)
        assert unsigned.returncode == 5
        assert "it is not signed" in unsigned.stderr
        done = tocsin(*ack, "--sign-with", str(doctor))
        assert done.returncode == 0, done.stderr
        assert "signed by" not in tocsin("board", "--once", *keys).stderr
        nobody = ("--keys", str(tmp_path / "people.toml"))
        assert "no open alert" in tocsin("ack", ALERT.alert_id[:8], "--as", "dr-k", *nobody).stderr
