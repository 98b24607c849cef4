"""`tocsin ack` and `tocsin board --once` as programs on mosquitto, with a device that answers."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from chaos.proxy import Proxy
from support.brokers import Mosquitto, quick, until
from support.programs import PATIENCE_S
from support.wards import ALERT_ID, active_alert, active_document
from tocsin_agent.messages.acknowledgement import Acknowledgement, Action, decode_acknowledgement
from tocsin_agent.messages.active import encode_active
from tocsin_agent.messages.response import Outcome, Response, encode_response
from tocsin_agent.messages.topics import Topics
from tocsin_agent.mqtt.connection import Connection, publish_retained
from tocsin_agent.mqtt.settings import MqttSettings

pytestmark = pytest.mark.broker
BED = Topics("ward3", "bed7")


def tocsin(mqtt: MqttSettings, *arguments: str) -> subprocess.CompletedProcess[str]:
    broker = ("--broker", f"{mqtt.host}:{mqtt.port}", "--mqtt-version", mqtt.version)
    return subprocess.run(
        [sys.executable, "-m", "tocsin_agent", *arguments, *broker, "--language", "en"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@contextmanager
def device(
    mqtt: MqttSettings, decide: Callable[[Acknowledgement], Outcome] | None
) -> Iterator[list[Acknowledgement]]:
    """Play a device with one open alert: what is active is retained, answers are responded to."""
    received: list[Acknowledgement] = []
    stopping, ready = threading.Event(), threading.Event()

    def run() -> None:
        connection = Connection(mqtt, "device")
        connection.open()
        active = active_document("bed7", active_alert(), at=datetime.now(UTC))
        publish_retained(connection, BED.active, encode_active(active))
        connection.subscribe([BED.ack("+")])
        ready.set()
        while not stopping.is_set():
            for message in connection.step(0.05).messages:
                connection.acknowledge(message)
                if not message.payload:
                    continue
                answer = decode_acknowledgement(message.payload)
                received.append(answer)
                if decide is None:
                    continue
                response = Response(
                    id=answer.id,
                    alert_id=answer.alert_id,
                    outcome=decide(answer),
                    text=f"{answer.action} by {answer.who}.",
                    at=datetime.now(UTC),
                )
                connection.publish(BED.response(answer.alert_id), encode_response(response))
                connection.publish(message.topic, b"", retain=True)
        connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(PATIENCE_S)
        yield received
    finally:
        stopping.set()
        thread.join(PATIENCE_S)


def test_an_alert_is_listed_accepted_and_silenced_by_the_beginning_of_its_id(
    mqtt: MqttSettings,
) -> None:
    with device(mqtt, lambda _: Outcome.APPLIED) as received:
        listed = tocsin(mqtt, "ack")
        assert listed.returncode == 0
        assert listed.stdout == (
            "3fa2c1  Ward 3, bed 7: VENTRICULAR TACHYCARDIA  Who has it: NOBODY\n"
        )
        accepted = tocsin(mqtt, "ack", "#3fa2c1", "--as", "dr-k", "--role", "bedside")
        assert accepted.returncode == 0, accepted.stderr
        assert "Ward 3, bed 7: VENTRICULAR TACHYCARDIA: accept by dr-k." in accepted.stdout
        silenced = tocsin(
            mqtt, "ack", ALERT_ID[:12], "silence", "--as", "dr-k", "--for", "60", "--json"
        )
        assert json.loads(silenced.stdout)["outcome"] == "applied"
    assert [(a.action, a.role, a.silence_s) for a in received] == [
        (Action.ACCEPT, "bedside", None),
        (Action.SILENCE, "team", 60.0),
    ]


def test_a_refusal_and_a_device_that_does_not_confirm_are_exit_code_5(mqtt: MqttSettings) -> None:
    with device(mqtt, lambda _: Outcome.HELD_BY_ANOTHER):
        refused = tocsin(mqtt, "ack", "3fa2", "give-back", "--as", "dr-k")
        assert refused.returncode == 5
        assert "give_back by dr-k" in refused.stderr
    with device(mqtt, None) as received:
        unanswered = tocsin(mqtt, "ack", "3fa2", "--as", "dr-k", "--timeout", "0.5")
        assert unanswered.returncode == 5
        assert "did not confirm within 0.5 s: the answer waits at the broker" in unanswered.stderr
    assert len(received) == 1
    with device(mqtt, lambda _: Outcome.APPLIED) as later:  # retained: it finds it when it is back
        until(lambda: later, what="the answer reaches the device")
    assert later[0].id == received[0].id


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("3fa2",), "say who answers: --as WHO"),
        (("3fa2", "accept", "--as", "k", "--for", "5"), "--for belongs to the action silence"),
        (("dead", "--as", "k"), "no open alert begins with 'dead'"),
        (("3fa2", "--as", "k", "--site", "a/b"), "topic level"),
        (("3fa2", "--as", "k" * 200), "use 1 to 128 characters"),
    ],
)
def test_what_cannot_be_sent_is_refused_before_it_is(
    mqtt: MqttSettings, arguments: tuple[str, ...], reason: str
) -> None:
    with device(mqtt, lambda _: Outcome.APPLIED) as received:
        result = tocsin(mqtt, "ack", *arguments)
    assert result.returncode == 2
    assert reason in result.stderr
    assert received == []


def test_the_board_is_printed_once_from_what_is_retained(mqtt: MqttSettings) -> None:
    with device(mqtt, None):
        board = tocsin(mqtt, "board", "--once")
    assert board.returncode == 0
    assert "!!! VENTRICULAR TACHYCARDIA" in board.stdout
    assert "beds: 1 · open: 1 · not accepted: 1" in board.stdout
    live = tocsin(mqtt, "board")
    assert live.returncode == 2
    assert "needs a terminal: use --once" in live.stderr


def test_a_slow_link_delays_the_board_and_hides_nothing(mosquitto: Mosquitto) -> None:
    with device(quick(mosquitto.port), None), Proxy(mosquitto.port, 1) as slow:
        slow.delay_s = 0.6  # each way
        board = tocsin(quick(slow.port), "board", "--once")
    assert board.returncode == 0, board.stderr
    assert "beds: 1 · open: 1 · not accepted: 1" in board.stdout
