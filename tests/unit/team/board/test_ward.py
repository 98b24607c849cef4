"""What a board knows and says of the beds."""

from __future__ import annotations

from datetime import timedelta, timezone

import msgspec
import pytest

from support.factories import NOON, make_alert, make_episode, make_strip
from support.wards import active_alert, active_of
from tocsin_agent.messages.acknowledgement import Action
from tocsin_agent.messages.active import ActiveAlert, AlertState, MonitorState
from tocsin_agent.messages.alert import Alert, Audience, Priority, SignalQuality
from tocsin_agent.messages.response import Outcome, Response
from tocsin_agent.messages.status import Status
from tocsin_agent.messages.topics import Address, Branch
from tocsin_agent.team.answers import answer, find
from tocsin_agent.team.board.table import (
    as_text,
    cells,
    outcome,
    panel,
    summary,
    titles,
    urgent,
)
from tocsin_agent.team.board.ward import MAX_BEDS, Alive, Line, Ward
from tocsin_agent.team.feed import (
    AlertSeen,
    ConnectionSeen,
    ResponseSeen,
    StatusSeen,
)
from tocsin_agent.team.language import load_language
from tocsin_agent.team.terminal import Style

STYLE = Style(width=100, zone=timezone(timedelta(hours=1), "CET"))
LATER = NOON + timedelta(seconds=75)


def ward_of(*alerts: ActiveAlert, **more: object) -> Ward:
    ward = Ward()
    ward.take(active_of("bed7", *alerts, **more), NOON)  # type: ignore[arg-type]
    return ward


def line_of(ward: Ward) -> Line:
    return ward.lines(LATER)[0]


def shown(alert: Alert) -> AlertSeen:
    return AlertSeen(alert, Audience.TEAM, "t")


def test_a_line_says_bed_rate_leads_condition_since_when_and_who() -> None:
    quality = SignalQuality({"II": 0.93, "V1": 0.4}, "V1")
    ward = ward_of(active_alert(), heart_rate_bpm=184.0, signal_quality=quality)
    said = cells(ward.lines(NOON + timedelta(seconds=30))[0], NOON + timedelta(seconds=30), STYLE)
    assert said == (
        "Ward 3, bed 7",
        "yes",
        "184",
        "!!! VENTRICULAR TACHYCARDIA",
        "NOBODY  team, call 1",
        "13:00:00 (30 s)",
        "V1* 40% II 93%",
    )


def test_who_has_it_is_named() -> None:
    held = active_alert(state=AlertState.ACKNOWLEDGED, holder="dr-k")
    line = line_of(ward_of(held))
    assert cells(line, LATER, STYLE).who == "dr-k"
    assert not urgent(line)


def test_an_alert_that_ended_unaccepted_stays_listed() -> None:
    line = line_of(ward_of(active_alert(state=AlertState.RETURNED_UNACKNOWLEDGED, ended_at=NOON)))
    assert cells(line, LATER, STYLE).active == "!!! VENTRICULAR TACHYCARDIA (has ended)"
    assert urgent(line)


def test_an_end_that_nobody_saw_is_not_shown_as_over() -> None:
    unseen = active_alert(
        state=AlertState.RETURNED_UNACKNOWLEDGED, ended_at=NOON, end_observed=False
    )
    line = line_of(ward_of(unseen))
    assert cells(line, LATER, STYLE).active == "!!! VENTRICULAR TACHYCARDIA (end not observed)"


def test_silence_is_not_acceptance() -> None:
    line = line_of(ward_of(active_alert(silenced_until=LATER)))
    assert cells(line, LATER, STYLE).who == "NOBODY  silent until 13:01:15"
    assert urgent(line)


def test_what_nobody_accepted_comes_first_then_the_graver_then_quiet_beds() -> None:
    ward = Ward()
    ward.take(active_of("quiet"), NOON)
    ward.take(active_of("held", active_alert(state=AlertState.ACKNOWLEDGED, holder="k")), NOON)
    ward.take(active_of("low", active_alert(priority=Priority.LOW)), NOON)
    ward.take(active_of("high", active_alert()), NOON)
    assert [line.device for line in ward.lines(NOON)] == ["high", "low", "held", "quiet"]
    assert summary(ward.lines(NOON), STYLE.language) == "beds: 4 · open: 3 · not accepted: 2"


def test_what_lasts_comes_before_what_has_ended() -> None:
    ward = Ward()
    ended = active_alert(
        state=AlertState.RETURNED_UNACKNOWLEDGED, ended_at=NOON, since=NOON - timedelta(seconds=60)
    )
    ward.take(active_of("ended", ended), NOON)
    ward.take(active_of("lasts", active_alert()), NOON)
    assert [line.device for line in ward.lines(NOON)] == ["lasts", "ended"]


@pytest.mark.parametrize(
    ("state", "alive"), [("online", Alive.YES), ("offline", Alive.NO), ("stopped", Alive.STOPPED)]
)
def test_a_device_that_cannot_raise_an_alert_says_so(state: str, alive: Alive) -> None:
    ward = ward_of()
    address = Address(Branch.STATUS, "ward3", "bed7", "")
    ward.take(StatusSeen(Status(state=state), address, "t", retained=True), NOON)
    assert ward.lines(NOON)[0].alive is alive
    assert urgent(ward.lines(NOON)[0]) is (alive is Alive.NO)


def test_a_device_that_falls_silent_is_not_alive() -> None:
    line = line_of(ward_of())
    assert line.alive is Alive.SILENT
    said = cells(line, LATER, STYLE)
    assert (said.alive, said.rate) == ("SILENT 1 min 15 s", "—")


def test_an_old_retained_message_does_not_look_new() -> None:
    ward = Ward()
    ward.take(active_of("bed7", retained=True), LATER)
    assert ward.lines(LATER)[0].alive is Alive.SILENT


def test_a_lost_source_is_shown_in_place_of_the_leads() -> None:
    line = line_of(ward_of(monitor=MonitorState.SOURCE_LOST))
    assert cells(line, LATER, STYLE).leads == "NO ECG"
    lost = line_of(ward_of(monitor=MonitorState.SOURCE_LOST, heart_rate_bpm=66.0))
    assert cells(lost._replace(alive=Alive.YES), LATER, STYLE).rate == "—"


def test_a_device_that_sends_alerts_only_is_shown_too() -> None:
    ward = Ward()
    onset, end = make_episode(updates=0)
    ward.take(shown(onset), NOON)
    (line,) = ward.lines(NOON)
    assert cells(line, NOON, STYLE).active == "!!! VENTRICULAR TACHYCARDIA"
    assert cells(line, NOON, STYLE).bed == "Ward 3, bed 7"
    ward.take(shown(end), NOON)
    assert ward.lines(NOON)[0].alert is None


def test_the_panel_shows_the_strip_of_the_alert() -> None:
    document = make_alert(strip=make_strip())
    ward = ward_of(active_alert(alert_id=document.alert_id))
    assert "no strip received" in panel(ward, line_of(ward), STYLE)
    ward.take(shown(document), NOON)
    ward.take(shown(msgspec.structs.replace(document, sequence=2, strip=None)), NOON)
    text = panel(ward, line_of(ward), STYLE)
    assert text.startswith("Ward 3, bed 7: VENTRICULAR TACHYCARDIA 162/min")
    assert "L1  4.0 s" in text
    assert "select a bed" in panel(ward, None, STYLE)


def test_an_answer_is_not_done_until_the_device_confirms() -> None:
    ward = ward_of(active_alert())
    line = line_of(ward)
    assert line.alert is not None
    made = answer(
        line.site, line.device, line.alert.alert_id,
        who="dr-k", role="team", action=Action.ACCEPT, at=NOON,
    )  # fmt: skip
    assert outcome(ward.last_answer, NOON, STYLE.language) == ""
    ward.sent(made, line.place, NOON)
    assert "waiting for the device" in outcome(ward.last_answer, NOON, STYLE.language)
    assert "NOT CONFIRMED" in outcome(ward.last_answer, LATER, STYLE.language)
    response = Response(
        id=made.message.id, alert_id=line.alert.alert_id, outcome=Outcome.HELD_BY_ANOTHER,
        text="dr-m has it.", at=NOON,
    )  # fmt: skip
    ward.take(ResponseSeen(response, Address(Branch.RESPONSE, "ward3", "bed7", ""), "t"), NOON)
    soon = NOON + timedelta(seconds=5)
    said = "Ward 3, bed 7: Accept: dr-m has it."
    assert outcome(ward.last_answer, soon, STYLE.language) == said
    assert outcome(ward.last_answer, LATER, STYLE.language) == ""  # of an alert long past


def test_a_lost_connection_is_known() -> None:
    ward = Ward()
    ward.take(ConnectionSeen(True, "connected"), NOON)
    ward.take(ConnectionSeen(False, "gone"), NOON)
    assert (ward.connected, ward.trouble) == (False, "gone")


def test_the_board_as_text_has_its_columns_under_each_other() -> None:
    ward = ward_of(active_alert(), active_alert(code="pause", priority=Priority.MEDIUM))
    text = as_text(ward, NOON, Style(zone=STYLE.zone, language=load_language("de")))
    title, first, second, foot = text.splitlines()
    assert title.index("Aktiv") == first.index("!!!") == second.index("!!")
    assert foot == "Betten: 1 · offen: 2 · nicht angenommen: 2"
    assert titles(load_language("fr")).bed == "Lit"


def test_what_the_context_of_a_patient_switches_off_is_shown() -> None:
    context = {
        "age": "child", "paced": True, "atrial_fibrillation": True, "usual_rate_bpm": 55.0,
        "do_not_alarm": [{"code": "couplet", "until": LATER}],
    }  # fmt: skip
    quiet = ward_of(context=msgspec.to_builtins(context))
    said = "child  ·  paced  ·  known AF  ·  usual rate 55/min  ·  "
    said += "OFF: VENTRICULAR COUPLET until 13:01:15 CET"
    assert cells(line_of(quiet), LATER, STYLE).active == f"nothing active  ({said})"
    ward = ward_of(active_alert(), context=msgspec.to_builtins(context))
    assert panel(ward, line_of(ward), STYLE).endswith(f"context: {said}")
    later = ward_of(context={"age": "adult", "of_a_later_version": "\x1b"})
    assert "of_a_later_version" in cells(line_of(later), LATER, STYLE).active


def test_the_number_of_beds_is_bounded_and_what_is_left_out_is_stated() -> None:
    ward = Ward()
    for n in range(MAX_BEDS + 3):
        ward.take(active_of(f"bed{n}"), NOON)
    assert len(ward.lines(NOON)) == MAX_BEDS
    assert ward.left_out == 3


def test_no_payload_reaches_the_board_unprintable() -> None:
    evil = "\x1b[2J\u202e"
    ward = ward_of(active_alert(holder=evil, code="x"), location=evil)
    assert all(cell.isprintable() for cell in cells(line_of(ward), LATER, STYLE))


def test_alerts_are_found_by_the_beginning_of_their_id() -> None:
    low = active_alert(alert_id="ab" + "0" * 30, priority=Priority.LOW)
    high = active_alert(alert_id="ac" + "0" * 30)
    active = active_of("bed7", low, high).active
    assert active is not None
    assert [one.alert for one in find([active], "a")] == [high, low]
    assert [one.alert for one in find([active], "AB0")] == [low]
    assert find([active], "b") == []
