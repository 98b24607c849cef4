"""Answers, responses and open alerts are decoded as they were encoded; others are refused."""

from __future__ import annotations

import json

import jsonschema
import pytest

from support.factories import NOON
from tocsin_agent.messages.acknowledgement import (
    Acknowledgement,
    Action,
    decode_acknowledgement,
    encode_acknowledgement,
)
from tocsin_agent.messages.active import (
    Active,
    ActiveAlert,
    AlertState,
    MonitorState,
    decode_active,
    encode_active,
)
from tocsin_agent.messages.alert import Kind, Priority
from tocsin_agent.messages.response import Outcome, Response, decode_response, encode_response
from tocsin_agent.messages.schema import make_schemas
from tocsin_agent.messages.topics import Address, Branch, Topics, parse

ALERT = "ab" * 16
ACCEPT = Acknowledgement(id="1", alert_id=ALERT, who="nurse-4", action=Action.ACCEPT, at=NOON)


def test_an_acknowledgement_is_read_as_it_was_written() -> None:
    payload = encode_acknowledgement(ACCEPT)
    assert decode_acknowledgement(payload) == ACCEPT
    jsonschema.validate(json.loads(payload), json.loads(make_schemas()["ack.schema.json"]))


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"action": "ignore"}, "ignore"),
        ({"alert_id": "7"}, "alert_id"),
        ({"who": ""}, "who"),
        ({"at": "2026-03-01T12:00:00"}, "at"),
        ({"action": "silence"}, "silence_s"),
        ({"silence_s": 30.0}, "silence_s"),
        ({"surplus": 1}, "surplus"),
    ],
)
def test_a_malformed_acknowledgement_is_refused_by_name(
    change: dict[str, object], names: str
) -> None:
    document = json.loads(encode_acknowledgement(ACCEPT)) | change
    with pytest.raises(ValueError, match=names):
        decode_acknowledgement(json.dumps(document).encode())


def test_a_payload_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="4096"):
        decode_acknowledgement(b" " * 5000)


def test_a_response_and_the_open_alerts_satisfy_their_schemas() -> None:
    response = Response(
        id="1", alert_id=ALERT, outcome=Outcome.HELD_BY_ANOTHER, text="nurse-5 has it.", at=NOON
    )
    assert decode_response(encode_response(response)) == response
    assert response.outcome.refused
    jsonschema.validate(
        json.loads(encode_response(response)), json.loads(make_schemas()["response.schema.json"])
    )
    alert = ActiveAlert(
        alert_id=ALERT,
        sequence=2,
        code="asystole",
        kind=Kind.PHYSIOLOGICAL,
        priority=Priority.HIGH,
        state=AlertState.UNACKNOWLEDGED,
        since=NOON,
        text="No QRS for 4 s.",
        level="team",
        addressed={"team": NOON},
    )
    active = Active(
        site="ward3", device="bed7", at=NOON, monitor=MonitorState.MONITORING, alerts=(alert,)
    )
    assert decode_active(encode_active(active)) == active
    jsonschema.validate(
        json.loads(encode_active(active)), json.loads(make_schemas()["active.schema.json"])
    )


def test_the_topics_of_answers_are_parsed_as_they_are_built() -> None:
    topics = Topics("ward3", "bed7")
    assert parse(topics.ack(ALERT)) == Address(Branch.ACK, "ward3", "bed7", ALERT)
    assert parse(topics.response(ALERT)) == Address(Branch.RESPONSE, "ward3", "bed7", ALERT)
    assert parse(topics.active) == Address(Branch.ACTIVE, "ward3", "bed7", "")
    second = topics.level("second-team", Kind.PHYSIOLOGICAL, Priority.HIGH)
    assert second == "tocsin/v1/ward3/bed7/escalation/second-team/high"
    assert parse(second) == Address(Branch.ESCALATION, "ward3", "bed7", "high", "second-team")
    assert topics.level("team", Kind.TECHNICAL, Priority.LOW).endswith("/technical/low")
    assert topics.level("bedside", Kind.TECHNICAL, Priority.LOW).endswith("/bedside/low")
