"""Answers, escalation and what is active, over a real broker."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from support.brokers import Mosquitto, Recorder, quick, until
from support.factories import make_alert, make_strip
from support.programs import PATIENCE_S
from support.readers import STRICT
from tocsin_agent.delivery.audit import read_audit
from tocsin_agent.delivery.outbox import Outbox
from tocsin_agent.delivery.presence import PresenceLedger
from tocsin_agent.delivery.publisher import Publisher
from tocsin_agent.delivery.settings import EscalationSettings, PresenceSettings
from tocsin_agent.messages.acknowledgement import (
    Acknowledgement,
    Action,
    encode_acknowledgement,
)
from tocsin_agent.messages.active import decode_active
from tocsin_agent.messages.alert import Alert, Phase, StripBeat
from tocsin_agent.messages.lease import encode_lease, make_lease
from tocsin_agent.messages.response import Outcome, decode_response
from tocsin_agent.messages.topics import Branch, Topics, presence_topic
from tocsin_agent.mqtt.connection import Connection, publish_retained
from tocsin_agent.mqtt.settings import MqttSettings

pytestmark = pytest.mark.broker

TOPICS = Topics("ward3", "bed7")
ALERT = make_alert()
FAST = EscalationSettings(
    levels=(("bedside", 1.0), ("team", 1.5), ("second-team", 0.0)), repeat_s=1.0, active_s=60.0
)


@contextmanager
def agent(
    folder: Path, mqtt: MqttSettings, escalation: EscalationSettings = FAST
) -> Iterator[tuple[Outbox, Publisher]]:
    with (
        Outbox(folder / "o.db") as outbox,
        Publisher(
            outbox,
            mqtt,
            site="ward3",
            device="bed7",
            presence=PresenceLedger(PresenceSettings(settle_s=0.1)),
            answers=outbox.answers,
            escalation=escalation,
        ) as publisher,
    ):
        yield outbox, publisher


def publish(mqtt: MqttSettings, topic: str, payload: bytes) -> None:
    connection = Connection(mqtt, f"person-{threading.get_ident()}")
    connection.open()
    publish_retained(connection, topic, payload)
    connection.close()


def accept(who: str = "nurse-4", alert: Alert = ALERT) -> bytes:
    return encode_acknowledgement(
        Acknowledgement(
            id=who, alert_id=alert.alert_id, who=who, action=Action.ACCEPT, at=datetime.now(UTC)
        )
    )


def present(mqtt: MqttSettings, seconds: float = 60.0) -> None:
    lease = make_lease("cardiologist", "dr-k", seconds, datetime.now(UTC))
    publish(mqtt, presence_topic("ward3", "cardiologist"), encode_lease(lease))


def test_an_alert_is_repeated_and_climbs_until_it_is_accepted(
    tmp_path: Path, mqtt: MqttSettings
) -> None:
    with Recorder(mqtt) as recorder, agent(tmp_path, mqtt) as (outbox, publisher):
        outbox.append([ALERT])
        publisher.wake()
        until(lambda: recorder.alerts(Branch.ESCALATION), what="the second level is addressed")
        until(lambda: len(recorder.team()) >= 2, what="it is repeated")
        repeats = [alert.escalation.repeat for alert in recorder.team()]
        assert repeats[:2] == ([0, 1] if mqtt.version == "5" else [0, 0])
        further = recorder.alerts(Branch.ESCALATION)[0].escalation
        assert further.level == 1
        names = [one.level for one in further.addressed]
        assert names == (["team", "second-team"] if mqtt.version == "5" else [])
        assert {alert.key for alert in recorder.team()} == {ALERT.key}
        publish(mqtt, TOPICS.ack(ALERT.alert_id), accept())
        until(lambda: recorder.payloads(Branch.RESPONSE), what="the agent responds")
        response = decode_response(recorder.payloads(Branch.RESPONSE)[0])
        assert (response.outcome, response.holder) == (Outcome.APPLIED, "nurse-4")
        until(lambda: held(recorder) == ["nurse-4"], what="a screen shows who has it")
        count = len(recorder.team())
        publish(mqtt, TOPICS.ack(ALERT.alert_id), accept("nurse-5"))
        until(lambda: len(recorder.payloads(Branch.RESPONSE)) == 2)
        second = decode_response(recorder.payloads(Branch.RESPONSE)[1])
        assert second.outcome is Outcome.HELD_BY_ANOTHER
        assert len(recorder.team()) <= count + 1, "one repeat may have been under way"


def held(recorder: Recorder) -> list[str | None]:
    last = decode_active(recorder.payloads(Branch.ACTIVE)[-1])
    return [alert.holder for alert in last.alerts]


def test_a_strict_client_of_0_1_0_shows_each_alert_once(tmp_path: Path, mqtt: MqttSettings) -> None:
    """It subscribes to `alert/#`, and refuses any field that its schema does not have."""
    strip = msgspec.structs.replace(make_strip(), beats=(StripBeat(0, "N"),), onset_row=0)
    alert = msgspec.structs.replace(ALERT, strip=strip)
    pattern = f"{TOPICS.base}/{Branch.ALERT}/#"
    with Recorder(mqtt, pattern) as recorder, agent(tmp_path, mqtt) as (outbox, publisher):
        outbox.append([alert])
        publisher.wake()
        until(lambda: len(recorder.team()) >= 3, what="it is repeated")
        end = msgspec.structs.replace(ALERT, sequence=2, phase=Phase.END)
        outbox.append([end])
        publisher.wake()
        until(lambda: any(alert.phase is Phase.END for alert in recorder.team()))
    documents = [json.loads(message.payload) for message in recorder.messages]
    for document in documents:
        STRICT.validate(document)
    keys = [(document["alert_id"], document["sequence"]) for document in documents]
    assert list(dict.fromkeys(keys)) == [ALERT.key, end.key]  # as all clients have to
    first = recorder.team()[0].strip
    assert first is not None
    assert first.beats == (strip.beats if mqtt.version == "5" else ())


def test_the_additions_may_be_in_the_document(tmp_path: Path, mosquitto: Mosquitto) -> None:
    mqtt = quick(mosquitto.port, "3.1.1", additions="document")
    with Recorder(mqtt) as recorder, agent(tmp_path, mqtt) as (outbox, publisher):
        outbox.append([ALERT])
        publisher.wake()
        until(lambda: recorder.alerts(Branch.ESCALATION), what="the second level is addressed")
        assert [alert.escalation.repeat for alert in recorder.team()[:2]] == [0, 1]
        assert recorder.alerts(Branch.ESCALATION)[0].escalation.to == "second-team"


def test_the_team_is_called_at_once_if_nobody_is_subscribed_at_the_bedside(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    mqtt = quick(mosquitto.port)
    present(mqtt)
    slow = EscalationSettings(levels=(("bedside", 3600.0), ("team", 3600.0)), repeat_s=3600.0)
    with (
        Recorder(mqtt, "tocsin/v1/+/+/alert/#", "team") as recorder,
        agent(tmp_path, mqtt, slow) as (outbox, publisher),
    ):
        outbox.append([ALERT])
        publisher.wake()
        until(recorder.team, what="the team has it, though the bedside has an hour")
        assert recorder.team()[0].escalation.to == "team"


def test_a_lease_that_lies_delays_the_team_by_the_wait_of_the_bedside(
    tmp_path: Path, mqtt: MqttSettings
) -> None:
    present(mqtt)
    with Recorder(mqtt) as recorder, agent(tmp_path, mqtt) as (outbox, publisher):
        outbox.append([ALERT, msgspec.structs.replace(ALERT, sequence=2, phase=Phase.END)])
        publisher.wake()
        until(lambda: len(recorder.team()) >= 2, what="the team has onset and end")
        assert [alert.phase for alert in recorder.team()[:2]] == [Phase.ONSET, Phase.END]
        # By the audit trail: a busy machine publishes to the bedside later than the wait begins.
        trail = list(read_audit(tmp_path / "o.db", alert_id=ALERT.alert_id))
        began_at = next(one.at for one in trail if one.event == "began")
        called_at = [one.at for one in trail if (one.event, one.level) == ("addressed", "team")][-1]
        assert called_at - began_at >= timedelta(seconds=0.999)  # it has milliseconds


def test_an_answer_given_while_the_agent_is_away_is_found_and_removed(
    tmp_path: Path, mqtt: MqttSettings
) -> None:
    slow = EscalationSettings()
    with Recorder(mqtt) as recorder:
        with agent(tmp_path, mqtt, slow) as (outbox, publisher):
            outbox.append([ALERT])
            publisher.wake()
            assert publisher.drained(PATIENCE_S)
        publish(mqtt, TOPICS.ack(ALERT.alert_id), accept())
        with agent(tmp_path, mqtt, slow):
            until(lambda: recorder.payloads(Branch.RESPONSE), what="the agent responds")
        with Recorder(mqtt, TOPICS.ack("+"), "late") as late:
            until(lambda: b"" in recorder.payloads(Branch.ACK), what="the answer is removed")
            assert late.messages == []


def test_a_screen_that_is_opened_late_shows_what_is_active(
    tmp_path: Path, mqtt: MqttSettings
) -> None:
    with agent(tmp_path, mqtt) as (outbox, publisher):
        outbox.append([ALERT])
        publisher.wake()
        assert publisher.drained(PATIENCE_S)
        with Recorder(mqtt, TOPICS.active, "late") as late:
            until(lambda: late.messages and decode_active(late.messages[-1].payload).alerts)
            (alert,) = decode_active(late.messages[-1].payload).alerts
            assert (alert.alert_id, alert.code) == (ALERT.alert_id, ALERT.code)
    with Recorder(mqtt, TOPICS.active, "later") as later:
        until(lambda: later.messages)
        assert decode_active(later.messages[-1].payload).monitor == "stopped"
