"""A context message changes the alarms of a running agent, and is answered."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from support.agents import DEVICE, SITE, Running
from support.brokers import Mosquitto, Recorder, quick, until
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
