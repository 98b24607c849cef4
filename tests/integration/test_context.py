"""A context message changes the alarms of a running agent, and is answered."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from support.agents import DEVICE, SITE, Running
from support.brokers import Mosquitto, Recorder, quick, until
from support.programs import PATIENCE_S
from tocsin_agent.delivery.audit import read_audit
from tocsin_agent.messages.context import ContextMessage, PatientContext, encode_context
from tocsin_agent.messages.response import Outcome, decode_response
from tocsin_agent.messages.topics import CONTEXT, Branch, Topics
from tocsin_agent.mqtt.connection import Connection, publish_retained

pytestmark = pytest.mark.broker


def test_a_context_is_answered_and_applied_and_a_wrong_one_is_refused(
    tmp_path: Path, mosquitto: Mosquitto, version: str
) -> None:
    mqtt = quick(mosquitto.port, version)
    stated = ContextMessage(
        id="c1",
        who="dr-k",
        role="cardiologist",
        at=datetime.now(UTC),
        context=PatientContext(paced=True),
    )
    topics = Topics(SITE, DEVICE)
    connection = Connection(mqtt, "sender")
    connection.open()
    with Recorder(mqtt) as recorder:
        publish_retained(connection, topics.context, encode_context(stated))
        with Running(tmp_path, mosquitto.port, version=version) as agent:
            until(lambda: len(recorder.payloads(Branch.RESPONSE)) == 1)
            publish_retained(connection, topics.context, b"{}")
            until(lambda: len(recorder.payloads(Branch.RESPONSE)) == 2)
            until(lambda: "monitoring" in agent.log_text())
            publish_retained(connection, topics.context, b"")
            until(lambda: "another context applies from sample" in agent.log_text())
        answers = [decode_response(payload) for payload in recorder.payloads(Branch.RESPONSE)]
    connection.close()
    assert [a.outcome for a in answers[:2]] == [Outcome.APPLIED, Outcome.MALFORMED]
    assert (answers[0].id, answers[0].alert_id) == ("c1", CONTEXT)


def tocsin(mosquitto: Mosquitto, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "tocsin_agent", "context", *arguments),
            *("--broker", f"127.0.0.1:{mosquitto.port}", "--language", "en"),
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


WHOSE = ("--site", SITE, "--device", DEVICE, "--as", "dr-k", "--timeout", str(PATIENCE_S))


def test_a_person_states_changes_and_takes_back_a_context(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    with Running(tmp_path, mosquitto.port, uri="synthetic:all_alarms") as agent:
        until(lambda: "online at broker" in agent.log_text(), what="the broker knows the device")
        stated = tocsin(mosquitto, "set", *WHOSE, "--age", "child", "--off", "couplet=8h")
        assert (stated.returncode, "applies from the next block" in stated.stdout) == (0, True)
        changed = tocsin(mosquitto, "set", *WHOSE, "--paced", "--usual-rate", "90")
        assert changed.returncode == 0, changed.stderr
        shown = tocsin(mosquitto, "show")
        for word in ("child", "paced", "usual rate 90/min", "OFF: VENTRICULAR COUPLET until"):
            assert word in shown.stdout
        refused = tocsin(mosquitto, "set", *WHOSE, "--off", "asystole=1h")
        assert (refused.returncode, "cannot be switched off" in refused.stderr) == (5, True)
        agent.signal(signal.SIGKILL)
        agent.ended()
    other = Mosquitto(tmp_path)  # a broker that has nothing retained
    other.start()
    try:
        with Running(tmp_path, other.port, uri="synthetic:all_alarms"):
            until(lambda: "child" in tocsin(other, "show").stdout, what="it survived the restart")
            assert tocsin(other, "clear", *WHOSE).returncode == 0
            cleared = json.loads(tocsin(other, "show", "--json").stdout)["context"]
            assert (cleared["age"], cleared["paced"]) == ("adult", False)
            later = tocsin(other, "set", *WHOSE, "--known-af")
            assert later.returncode == 0
    finally:
        other.stop()
    entries = list(read_audit(tmp_path / "outbox.db"))
    people = [entry.who for entry in entries if entry.event == CONTEXT]
    assert people == [None, "dr-k", "dr-k", "dr-k", "dr-k"]


def test_a_context_of_an_unknown_device_or_without_content_is_a_mistake(
    mosquitto: Mosquitto,
) -> None:
    assert "nothing is known of" in tocsin(mosquitto, "set", *WHOSE, "--paced").stderr
    assert "say what is known" in tocsin(mosquitto, "set", *WHOSE).stderr
    assert "such as couplet=8h" in tocsin(mosquitto, "set", *WHOSE, "--off", "couplet").stderr
    late = tocsin(mosquitto, "set", *WHOSE[:-1], "0.5", "--paced", "--replace")
    assert (late.returncode, "did not confirm" in late.stderr) == (5, True)
