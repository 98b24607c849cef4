"""Alerts and trends as HL7 v2: two libraries read them, and one of them validates them."""

from __future__ import annotations

from datetime import datetime, timedelta

import hl7
import msgspec
import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message
from hypothesis import given, settings
from hypothesis import strategies as st

from support.factories import NOON, make_alert, make_response, make_trend
from tocsin_agent.messages.acknowledgement import Action
from tocsin_agent.messages.alert import Alert, ClockState, Codes, Kind, Phase, Priority
from tocsin_agent.messages.printable import clean
from tocsin_agent.team.export.answer import Answer
from tocsin_agent.team.export.hl7v2 import (
    Addressee,
    alert_message,
    answer_message,
    control_id,
    escaped,
    trend_message,
)

TO = Addressee("EHR|x", "H^1")
TEXTS = st.text(st.characters() | st.sampled_from("|^~\\&\r\n\x0b\x1c"), max_size=60)
NAMES = st.text(
    st.characters(exclude_characters="/+#\x7f", exclude_categories=["Cc", "Cs"])
    | st.sampled_from("|^~\\&"),
    min_size=1,
    max_size=30,
)


@st.composite
def alerts(draw: st.DrawFn) -> Alert:
    alert = make_alert(
        onset_index=draw(st.integers(0, 10**9)),
        sequence=draw(st.integers(1, 50)),
        phase=draw(st.sampled_from(Phase)),
        kind=draw(st.sampled_from(Kind)),
        priority=draw(st.sampled_from(Priority)),
        onset_at=NOON + timedelta(microseconds=draw(st.integers(0, 10**12))),
        text=draw(TEXTS),
        synthetic=draw(st.booleans()),
    )
    return msgspec.structs.replace(
        alert,
        codes=draw(st.sampled_from([Codes(), Codes(mdc=199684), Codes(mdc=665376)])),
        site=draw(NAMES),
        device=draw(NAMES),
        patient=draw(TEXTS.filter(str.strip)),
        location=draw(st.none() | TEXTS),
        clock=draw(st.sampled_from(ClockState)),
        heart_rate_bpm=draw(st.none() | st.floats(0, 400)),
    )


def moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y%m%d%H%M%S.%f%z")


@settings(max_examples=60, deadline=None)
@given(alerts())
def test_an_alert_is_read_by_python_hl7_with_the_same_codes_times_and_text(alert: Alert) -> None:
    message = hl7.parse(alert_message(alert, TO))
    noted = ["NTE"] if alert.clock is ClockState.UNSYNCHRONISED else []
    segments = [str(segment[0]) for segment in message]
    assert segments == ["MSH", "PID", "PV1", "OBR", *noted, *["OBX"] * 7]

    def value(segment: str, occurrence: int, *place: int) -> str:
        return str(message.extract_field(segment, occurrence, *place))  # unescapes

    assert (value("MSH", 1, 9, 1, 1), value("MSH", 1, 9, 1, 2)) == ("ORU", "R40")
    assert value("MSH", 1, 11) == ("T" if alert.synthetic else "P")
    assert clean(alert.site).startswith(value("MSH", 1, 4))
    assert value("MSH", 1, 5) == "EHR|x"
    assert value("PID", 1, 3, 1, 1) == clean(alert.patient or "")
    assert value("OBX", 1, 18) == clean(f"{alert.site}/{alert.device}")
    assert abs(moment(value("OBR", 1, 7)) - alert.onset_at) <= timedelta(milliseconds=1)
    assert value("OBR", 1, 3, 1, 1) == f"{alert.alert_id}.{alert.sequence}"
    code = alert.codes.mdc or 196616
    assert value("OBX", 2, 3, 1, 1) == str(code)
    assert value("OBX", 2, 3, 1, 4) == alert.code
    assert value("OBX", 2, 5) == clean(alert.text)
    flags = str(message.segments("OBX")[1][8])
    assert flags.split("~", maxsplit=1)[0] == f"P{alert.priority[0].upper()}"
    assert flags.split("~")[1] == ("SP" if alert.kind is Kind.PHYSIOLOGICAL else "ST")
    assert abs(moment(value("OBX", 2, 14)) - alert.detected_at) <= timedelta(milliseconds=1)
    phases = {Phase.ONSET: "start", Phase.UPDATE: "continue", Phase.END: "end"}
    assert value("OBX", 4, 5) == phases[alert.phase]
    if alert.heart_rate_bpm is not None:
        assert float(value("OBX", 3, 5)) == pytest.approx(alert.heart_rate_bpm, rel=1e-9)
        assert value("OBX", 3, 3, 1, 1) == "147842"
    if alert.sequence > 1:
        assert value("OBR", 1, 29, 1, 2, 1) == f"{alert.alert_id}.1"


@settings(max_examples=25, deadline=None)
@given(alerts())
def test_an_alert_is_valid_for_hl7apy(alert: Alert) -> None:
    # It knows no ORU^R40 of 2.6, which has the segments of ORU^R01 (IHE PCD TF-2, 3.4.4).
    text = alert_message(alert, TO).replace("ORU^R40^ORU_R40", "ORU^R01^ORU_R01")
    message = parse_message(text, validation_level=VALIDATION_LEVEL.STRICT)
    assert message.validate()
    group = message.oru_r01_patient_result.oru_r01_order_observation
    assert group.obr.obr_3.ei_1.value == f"{alert.alert_id}.{alert.sequence}"
    observations = [one.obx for one in group.oru_r01_observation]
    assert len(observations) == 7
    assert observations[1].obx_3.cwe_1.value == str(alert.codes.mdc or 196616)


@settings(max_examples=15, deadline=None)
@given(alerts(), st.sampled_from(Action), TEXTS.filter(str.strip))
def test_an_answer_states_who_and_the_state_after_it(
    alert: Alert, action: Action, who: str
) -> None:
    response = make_response(alert, action=action, who=who)
    text = answer_message(Answer(alert, response), TO)
    valid = text.replace("ORU^R40^ORU_R40", "ORU^R01^ORU_R01")
    assert parse_message(valid, validation_level=VALIDATION_LEVEL.STRICT).validate()
    message = hl7.parse(text)
    facets = {str(one[4])[8:]: one for one in message.segments("OBX")[1:]}
    assert sorted(facets) == ["1", "2", "3", "4", "5", "6", "7"]
    states = {Action.ACCEPT: "alert-acknowledged", Action.SILENCE: "audio-paused"}
    assert str(facets["5"][5]) == states.get(action, "enabled")
    assert message.extract_field("OBX", 6, 16, 1, 1) == clean(who)
    assert abs(moment(str(facets["5"][14])) - response.at) <= timedelta(milliseconds=1)
    assert abs(moment(str(facets["2"][14])) - alert.detected_at) <= timedelta(milliseconds=1)
    assert str(facets["3"][5]) == ("end" if alert.phase is Phase.END else "continue")
    assert message.extract_field("OBR", 1, 29, 1, 2, 1) == f"{alert.alert_id}.1"
    other = make_response(alert, "a2", action, who=who)
    ids = {control_id(one) for one in (text, answer_message(Answer(alert, other), TO))}
    assert len(ids | {control_id(alert_message(alert, TO))}) == 3


def test_a_trend_is_valid_and_has_the_rate() -> None:
    text = trend_message(make_trend(), TO)
    assert text is not None
    assert parse_message(text, validation_level=VALIDATION_LEVEL.STRICT).validate()
    message = hl7.parse(text)
    assert [str(o[5]) for o in message.segments("OBX")[2:]] == ["75", "0"]
    assert moment(str(message.segment("OBR")[7])) == NOON
    assert moment(str(message.segment("OBR")[8])) == NOON + timedelta(minutes=1)
    silent = msgspec.structs.replace(make_trend(), heart_rate_bpm=None)
    assert trend_message(silent, TO) is None


def test_a_message_is_the_same_each_time_and_its_control_id_its_own() -> None:
    first = alert_message(make_alert(), TO)
    assert first == alert_message(make_alert(), TO)
    ids = {control_id(alert_message(make_alert(n, s), TO)) for n in (1, 2) for s in (1, 2)}
    assert len(ids) == 4
    assert all(len(one) == 20 for one in ids)


@pytest.mark.parametrize("text", ["a|b^c~d\\e&f", "\r\nMSH|^~\\&|forged", "\x0b\x1c\r", "Ä€🫀"])
def test_hostile_text_stays_in_its_field(text: str) -> None:
    alert = msgspec.structs.replace(make_alert(text=text), patient=text, location=text)
    message = alert_message(alert, TO)
    assert message.count("\r") == 11
    assert message.isprintable() or set("".join(message.split("\r"))).isdisjoint("\x0b\x1c\n")
    assert not set(escaped(text)) & set("|^&~\r\n")
