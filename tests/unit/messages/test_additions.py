"""A strict reader of tocsin 0.1.0 accepts every alert; a newer one loses nothing."""

from __future__ import annotations

import json

import jsonschema
import msgspec
import pytest

from support.agents import replayed
from support.factories import NOON, make_alert, make_strip
from support.readers import STRICT
from tocsin_agent.messages.additions import MAX_CHARS, decode_with_additions, split
from tocsin_agent.messages.alert import (
    Addressed,
    Alert,
    ClockState,
    Escalation,
    StripBeat,
    decode_alert,
    encode_alert,
)

ADDED = make_alert(
    strip=msgspec.structs.replace(
        make_strip(), beats=(StripBeat(0, "N"), StripBeat(360, "V")), onset_row=360
    ),
)
ADDED = msgspec.structs.replace(
    ADDED,
    clock=ClockState.UNSYNCHRONISED,
    escalation=Escalation(
        level=1,
        repeat=2,
        to="team",
        addressed=(Addressed("bedside", NOON), Addressed("team", NOON)),
    ),
)


def parted(alert: Alert) -> tuple[bytes, str]:
    plain, added = split(msgspec.json.decode(encode_alert(alert), type=dict[str, object]))
    return msgspec.json.encode(plain), added


def test_what_was_added_is_sent_apart_and_joined_again() -> None:
    payload, added = parted(ADDED)
    with pytest.raises(jsonschema.ValidationError):
        STRICT.validate(json.loads(encode_alert(ADDED)))
    STRICT.validate(json.loads(payload))
    assert decode_with_additions(payload, added) == ADDED
    assert decode_alert(payload).key == ADDED.key
    assert decode_alert(payload).escalation == Escalation(level=1)


def test_every_alert_of_a_patient_with_all_alarms_satisfies_the_schema_of_0_1_0() -> None:
    alerts = replayed("synthetic:all_alarms")
    assert len({alert.code for alert in alerts}) > 10
    for alert in alerts:
        payload, added = parted(alert)
        STRICT.validate(json.loads(payload))
        assert decode_with_additions(payload, added) == alert
    assert any(parted(alert)[1] for alert in alerts)


@pytest.mark.parametrize(
    "added",
    ["", "?", "[]", "null", '{"strip": 1}', '{"strip": {"beats": 1}}', "[" * 60_000,
     '{"strip": {"data": ""}, "alert_id": {"x": 1}, "escalation": {"level": 9}}',
     '{"clock": "slow"}'],
)  # fmt: skip
def test_additions_that_make_no_alert_leave_the_document_as_it_is(added: str) -> None:
    payload, _ = parted(ADDED)
    assert decode_with_additions(payload, added) == decode_alert(payload)


def test_additions_that_are_longer_than_a_string_of_mqtt_are_left_out() -> None:
    assert ADDED.strip is not None
    beats = tuple(StripBeat(row, "N") for row in range(MAX_CHARS // 20))
    strip = msgspec.structs.replace(ADDED.strip, beats=beats)
    payload, added = parted(msgspec.structs.replace(ADDED, strip=strip))
    assert added == ""
    STRICT.validate(json.loads(payload))


def test_a_document_without_a_strip_gains_none() -> None:
    payload, added = parted(msgspec.structs.replace(ADDED, strip=None))
    assert "strip" not in json.loads(added)
    assert decode_with_additions(payload, '{"strip": {"beats": []}}').strip is None
