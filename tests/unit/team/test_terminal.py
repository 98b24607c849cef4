"""The text of each item, which holds nothing that could control a terminal."""

from __future__ import annotations

import dataclasses
from datetime import timedelta, timezone

import click
import msgspec
import numpy as np
import pytest

from support.factories import NOON, make_alert, make_episode, make_strip
from support.wards import active_alert, active_of
from tocsin_agent.messages.alert import (
    Alert,
    Audience,
    Escalation,
    Kind,
    PresenceView,
    Priority,
    Strip,
)
from tocsin_agent.messages.lease import LeaseState, make_lease
from tocsin_agent.messages.printable import clean
from tocsin_agent.messages.status import Status
from tocsin_agent.messages.topics import Address, Branch
from tocsin_agent.team.feed import (
    AlertSeen,
    ConnectionSeen,
    Item,
    Malformed,
    PresenceSeen,
    StatusSeen,
)
from tocsin_agent.team.language import load_language
from tocsin_agent.team.terminal import Style, render
from tocsin_agent.team.trace import draw_trace

CET = timezone(timedelta(hours=1), "CET")
STYLE = Style(width=100, zone=CET)
BED7 = Address(Branch.STATUS, "ward3", "bed7", "")
HEART = Address(Branch.PRESENCE, "ward3", "", "cardiologist")


def shown(alert: Alert, **changes: object) -> AlertSeen:
    return AlertSeen(alert, Audience.TEAM, "t", **changes)  # type: ignore[arg-type]


def test_an_alert_states_what_where_when_and_why() -> None:
    view = PresenceView(False, Audience.TEAM, "expired", "cardiologist", "dr-k")
    alert = msgspec.structs.replace(make_alert(), presence=view)
    why = (
        "why: 5 or more ventricular beats in a row above 100/min",
        "beats 6, rate_bpm 162",
        "P V 0.97",
        "lead L1 quality 0.93",
        "beats@0123abcd",
    )
    tag, since = alert.alert_id[:6], "since 13:00:00 CET (2026-03-01 12:00:00 UTC)"
    assert render(shown(alert), Style(width=400, zone=CET)).splitlines() == [
        "!!! Ward 3, bed 7: VENTRICULAR TACHYCARDIA 162/min",
        f"      HIGH begins  ·  {since}  ·  detected after 2.0 s  ·  #{tag}.1  ·  SYNTHETIC",
        "      Ventricular tachycardia: 6 ventricular beats in a row at 162/min.",
        "      HR 162/min  ·  patient p-0042  ·  ward3/bed7  ·  ventricular_tachycardia",
        "      " + " | ".join(why),
        "      to the team: the lease of cardiologist dr-k expired",
    ]


def test_priorities_differ_without_colour() -> None:
    texts = [render(shown(make_alert(priority=p)), STYLE).splitlines() for p in Priority]
    assert [text[0][:5] for text in texts] == ["!!! W", "!!  W", "!   W"]
    assert [text[1].split()[0] for text in texts] == ["HIGH", "MEDIUM", "LOW"]


def test_the_phases_of_an_episode_carry_one_tag() -> None:
    texts = [render(shown(alert), STYLE) for alert in make_episode()]
    tag = make_alert().alert_id[:6]
    for number, (text, word) in enumerate(
        zip(texts, ("begins", "goes on", "has ended"), strict=True), 1
    ):
        assert word in text
        assert f"#{tag}.{number}" in text


def ended(reason: str) -> Alert:
    (*_, end) = make_episode()
    evidence = msgspec.structs.replace(end.evidence, measured={"ended": reason})
    return msgspec.structs.replace(end, evidence=evidence, strip=make_strip())


def test_who_has_an_alert_takes_one_line() -> None:
    held = active_alert(holder="dr-k")
    seen = dataclasses.replace(active_of("bed7", held), changed=(held,))
    assert render(seen, STYLE) == (
        "+++ Ward 3, bed 7: VENTRICULAR TACHYCARDIA: dr-k has it  #3fa2c1"
    )
    given_back = active_alert(ended_at=NOON)
    seen = dataclasses.replace(active_of("bed7", given_back), changed=(given_back,))
    assert "TACHYCARDIA has ended: NOBODY has it" in render(seen, STYLE)
    unseen = active_alert(ended_at=NOON, end_observed=False)
    seen = dataclasses.replace(active_of("bed7", unseen), changed=(unseen,))
    assert "TACHYCARDIA end not observed: NOBODY has it" in render(seen, STYLE)


def test_a_repeat_says_who_was_called_and_whether_the_condition_has_ended() -> None:
    far = Escalation(level=1, repeat=1, to="second-team")
    onset, end = make_episode(updates=0)
    texts = [
        render(shown(msgspec.structs.replace(alert, escalation=far), repeated=True), STYLE)
        for alert in (onset, end)
    ]
    assert texts[0] == (
        f"!!! Ward 3, bed 7: VENTRICULAR TACHYCARDIA 162/min  #{onset.alert_id[:6]}.1  "
        "call 2 to second-team: nobody has accepted it"
    )
    assert "162/min has ended  #" in texts[1]
    unseen = msgspec.structs.replace(ended("not known whether it lasts"), escalation=far)
    text = render(shown(unseen, repeated=True), STYLE)
    assert "END NOT OBSERVED: not known whether it lasts" in text
    assert "has ended" not in text


def test_an_end_takes_one_line() -> None:
    end = ended("no longer found")
    assert render(shown(end), STYLE) == (
        "!!! Ward 3, bed 7: VENTRICULAR TACHYCARDIA has ended after 2.0 s  13:00:02 CET  "
        f"#{end.alert_id[:6]}.3  SYNTHETIC"
    )


def test_an_end_that_comes_to_a_second_audience_is_no_open_alert() -> None:
    end = msgspec.structs.replace(ended("no longer found"), presence=None)
    text = render(dataclasses.replace(shown(end), again=True), STYLE)
    assert "has ended after 2.0 s" in text
    assert "presence not stated" not in text
    attended = msgspec.structs.replace(end, presence=PresenceView(True, Audience.BEDSIDE, "lease"))
    assert " has ended  #" in render(dataclasses.replace(shown(attended), again=True), STYLE)


def test_an_end_that_nobody_observed_is_no_all_clear() -> None:
    text = render(shown(ended("the recording ended")), STYLE)
    assert "END NOT OBSERVED: the recording ended" in text
    graver = render(shown(ended("superseded by ventricular_fibrillation")), STYLE)
    assert "gives way to VENTRICULAR FIBRILLATION OR FLUTTER" in graver
    assert "\n" not in text + graver


def test_what_the_equipment_reports_as_over_is_over() -> None:
    over = ended("the device reports its battery")
    technical = msgspec.structs.replace(over, kind=Kind.TECHNICAL, code="battery_low")
    assert "NOT OBSERVED" not in render(shown(technical), STYLE)
    lost = ended("not known whether it lasts")
    technical = msgspec.structs.replace(lost, kind=Kind.TECHNICAL, code="battery_low")
    assert "NOT OBSERVED" in render(shown(technical), STYLE)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("de", ["VENTRIKULÄRE TACHYKARDIE 162/min", "HOCH beginnt", "6 ventrikuläre Schläge"]),
        ("fr", ["TACHYCARDIE VENTRICULAIRE 162/min", "HAUTE débute", "6 battements"]),
    ],
)
def test_the_receiver_chooses_the_language(code: str, words: list[str]) -> None:
    style = Style(width=200, zone=CET, language=load_language(code))
    text = render(shown(make_alert()), style)
    for word in [*words, "ventricular_tachycardia"]:  # the code is the same in every language
        assert word in text


def test_a_real_patient_is_not_called_synthetic() -> None:
    assert "SYNTHETIC" not in render(shown(make_alert(synthetic=False)), STYLE)


def test_a_handover_and_a_missed_onset_are_stated() -> None:
    view = PresenceView(False, Audience.TEAM, "released", "cardiologist", "dr-k", handover=True)
    alert = msgspec.structs.replace(make_alert(), presence=view)
    again = render(shown(alert, again=True), STYLE)
    assert "\n" not in again
    assert again.endswith("handed over to the team: cardiologist dr-k has left")
    assert "handed over from the bedside" in render(shown(alert), STYLE)
    assert "onset was not received here" in render(shown(alert, missed_onset=True), STYLE)


def test_unknown_rate_and_place_are_stated() -> None:
    alert = msgspec.structs.replace(make_alert(), heart_rate_bpm=None, location=None, patient=None)
    text = render(shown(alert), STYLE)
    assert text.startswith("!!! Ward3/bed7: VENTRICULAR TACHYCARDIA 162/min")
    assert "HR —  ·  ward3/bed7" in text


ITEMS: list[Item] = [
    StatusSeen(Status(state="online", since=NOON), BED7, "t", retained=False),
    StatusSeen(Status(state="stopped"), BED7, "t", retained=True),
    StatusSeen(Status(state="offline", since=NOON), BED7, "t", retained=True),
    StatusSeen(Status(state="dancing"), BED7, "t", retained=True),
    PresenceSeen(None, HEART, "t"),
    *(PresenceSeen(make_lease("cardiologist", "k", 60, NOON, s), HEART, "t") for s in LeaseState),
    ConnectionSeen(True, "connected"),
    ConnectionSeen(False, "lost"),
    Malformed("t", b"x" * 100, "no JSON"),
]


@pytest.mark.parametrize(
    ("item", "words"),
    list(
        zip(
            ITEMS,
            [
                "=== device ward3/bed7 is online (since 13:00:00 CET)",
                "=== device ward3/bed7 was stopped",
                "IS OFFLINE: no alerts can come from it (it was connected at 13:00:00 CET)",
                "reports state 'dancing'",
                "nobody is present",
                "k is present until 13:01:00 CET unless renewed: alerts go to the bedside",
                "k has left: alerts go to the team",
                "k lost the connection: alerts go to the team",
                "--- connected",
                "xxx lost",
                "??? malformed on t: no JSON: " + "x" * 60 + " … (100 bytes)",
            ],
            strict=True,
        )
    ),
)
def test_everything_else_is_one_line(item: Item, words: str) -> None:
    text = render(item, STYLE)
    assert words in text
    assert "\n" not in text


def test_colour_changes_nothing_but_colour() -> None:
    for item in [*ITEMS, shown(make_alert(strip=make_strip()))]:
        coloured = render(item, Style(colour=True, width=100, zone=CET))
        assert click.unstyle(coloured) == render(item, STYLE)
    assert "\x1b[91m" in render(shown(make_alert()), Style(colour=True))


def test_no_payload_can_control_the_terminal() -> None:
    evil = "\x1b[2J\x07\r\n\x9b31m\u202e"
    alert = msgspec.structs.replace(
        make_alert(text=evil, strip=make_strip()),
        location=evil,
        patient=evil,
        site=evil,
        device=evil,
        presence=PresenceView(False, Audience.TEAM, evil, evil, evil),
        evidence=msgspec.structs.replace(make_alert().evidence, rule=evil, model=evil),
    )
    items: list[Item] = [
        shown(alert),
        shown(alert, again=True),
        Malformed(evil, evil.encode(), evil),
        StatusSeen(
            Status(state=evil), Address(Branch.STATUS, evil, evil, ""), evil, retained=False
        ),
        PresenceSeen(
            make_lease(evil, evil, 60, NOON), Address(Branch.PRESENCE, evil, "", evil), evil
        ),
        ConnectionSeen(False, evil),
    ]
    for item in items:
        for line in render(item, STYLE).split("\n"):
            assert line.isprintable(), line
    assert clean(evil).isprintable()


def test_the_strip_shows_each_beat_and_marks_the_onset() -> None:
    alert = make_alert(720, strip=make_strip(4.0))
    lines = render(shown(alert), Style(width=86, zone=CET)).splitlines()[-5:]
    top = lines[0][6:].ljust(80, "\u2800")
    beats = [n for n, character in enumerate(top) if character not in "\u2800 "]
    assert beats == [0, 20, 40, 60]
    legend = lines[-1]
    assert legend.startswith("      L1  4.0 s  +0.0 … +1.0 mV")
    assert legend.index("↑") == 6 + 40
    assert all(len(line) <= 86 for line in lines)


@pytest.mark.parametrize("onset", [0, 10, 1400, 1439])
def test_the_mark_stays_within_the_width(onset: int) -> None:
    alert = make_alert(onset, strip=make_strip(4.0))
    lines = render(shown(alert), Style(width=60, zone=CET)).splitlines()
    marked = [line for line in lines if "↑" in line]
    assert len(marked) == 1
    assert len(marked[0]) <= 60
    assert abs(marked[0].index("↑") - 6 - onset * 54 // 1440) <= 1


def test_an_onset_before_the_strip_is_not_marked() -> None:
    assert "↑" not in render(shown(make_alert(5000, strip=make_strip(4.0))), STYLE)


def test_missing_samples_are_blank_and_flat_is_flat() -> None:
    samples = np.zeros(100)
    samples[50:] = np.nan
    (line,) = draw_trace(samples, 10, 1, -0.5, 0.5)
    assert line[5:] == "\u2800" * 5
    assert "\u2800" not in line[:5]
    assert len(set(line[:5])) == 1


@pytest.mark.parametrize("samples", [np.full((20, 1), np.nan), np.zeros((0, 1)), np.ones((1, 1))])
def test_odd_strips_are_drawn(samples: np.ndarray) -> None:
    strip = Strip.encode(("L1",), 360.0, 0, samples)
    assert render(shown(make_alert(0, strip=strip)), STYLE)


@pytest.mark.parametrize(
    "strip",
    [
        Strip(("L1",), 360.0, 0, 1000.0, "A"),
        Strip(("L1",), 360.0, 0, 1000.0, "AAAA"),
        Strip(("L1", "L2"), 360.0, 0, 1000.0, "AAA="),
        Strip((), 360.0, 0, 1000.0, "AAA="),
    ],
)
def test_an_alert_is_shown_even_if_its_strip_cannot_be_read(strip: Strip) -> None:
    text = render(shown(make_alert(strip=strip)), STYLE)
    assert "6 ventricular beats in a row" in text
    assert "strip cannot be read" in text


@pytest.mark.parametrize("year", [1, 9999])
def test_the_first_and_last_year_are_shown(year: int) -> None:
    edge = NOON.replace(year=year, month=1 if year == 1 else 12, day=1 if year == 1 else 31)
    edge = edge.replace(hour=0 if year == 1 else 23)
    alert = msgspec.structs.replace(make_alert(), onset_at=edge, detected_at=edge)
    for hours in (-12, 12):
        style = Style(width=100, zone=timezone(timedelta(hours=hours)))
        assert "ventricular_tachycardia" in render(shown(alert), style)


def test_no_strip_is_drawn_where_none_is_wanted() -> None:
    text = render(shown(make_alert(strip=make_strip())), Style(width=100, strip_rows=0))
    assert "mV" not in text
