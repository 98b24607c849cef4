"""Scripted patients and people: every message that leaves the device, in order, with its time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from support.factories import make_alert
from support.timelines import TOPICS, World
from tocsin_agent.delivery.audit import CLOCK_SET, read_audit
from tocsin_agent.delivery.desk import MAX_OPEN
from tocsin_agent.delivery.settings import ReceiptSettings
from tocsin_agent.messages.acknowledgement import Action
from tocsin_agent.messages.active import AlertState, MonitorState
from tocsin_agent.messages.alert import Audience, Phase, Priority, decode_alert
from tocsin_agent.messages.topics import Branch

ALERT = make_alert()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    world.until(1)
    yield world
    world.kill()


def test_the_whole_chain(world: World) -> None:
    world.lease(600)
    world.until(2)
    world.alarm(ALERT)
    world.until(182.5)
    assert [line for line in world.log if "repeat" not in line] == [
        "2 bedside onset",
        "32 alert onset",
        "92 second-team onset",
        "182 all onset",
    ]
    last = decode_alert(msgspec.json.encode(world.documents[-1]))
    assert [one.level for one in last.escalation.addressed] == [
        "bedside",
        "team",
        "second-team",
        "all",
    ]
    assert last.escalation.level == 3
    assert last.key == ALERT.key, "a receiver that keys on id and sequence does not show it twice"


def test_a_team_that_accepts(world: World) -> None:
    world.alarm(ALERT)
    world.until(40)
    world.say(ALERT, Action.ACCEPT, "nurse-4")
    world.until(200)
    assert world.active[-1].alerts[0].holder == "nurse-4"
    world.end(ALERT)
    world.until(300)
    assert world.log == [
        "1 alert onset",
        "31 alert onset repeat 1",
        "40 response applied -> acknowledged nurse-4",
        "200 alert end",
    ]
    assert len(world.active[-1].alerts) == 0


def test_a_team_that_rejects(world: World) -> None:
    world.alarm(ALERT)
    world.until(5)
    world.say(ALERT, Action.REJECT, "nurse-4")
    world.until(32)
    assert world.log == [
        "1 alert onset",
        "5 response applied -> unacknowledged None",
        "5 second-team onset",
        "31 alert onset repeat 1",
        "31 second-team onset repeat 1",
    ]


def test_a_holder_who_gives_it_back(world: World) -> None:
    world.alarm(ALERT)
    world.until(5)
    world.say(ALERT, Action.ACCEPT, "nurse-4")
    world.until(100)
    world.say(ALERT, Action.GIVE_BACK, "nurse-4")
    world.until(161)
    assert world.log == [
        "1 alert onset",
        "5 response applied -> acknowledged nurse-4",
        "100 response applied -> unacknowledged None",
        "100 alert onset repeat 1",
        "130 alert onset repeat 2",
        "160 alert onset repeat 3",
        "160 second-team onset",
    ]


def test_a_condition_that_begins_again_after_it_was_accepted(world: World) -> None:
    world.alarm(ALERT)
    world.until(5)
    world.say(ALERT, Action.ACCEPT, "nurse-4")
    world.until(50)
    evidence = msgspec.structs.replace(ALERT.evidence, measured={"occurrences": 2.0})
    world.alarm(msgspec.structs.replace(ALERT, sequence=2, phase=Phase.UPDATE, evidence=evidence))
    world.until(85)
    assert world.log == [
        "1 alert onset",
        "5 response applied -> acknowledged nurse-4",
        "50 alert update",
        "80 alert update repeat 2",
    ]


def test_a_lease_that_lies_and_a_condition_that_ends(world: World) -> None:
    """The holder has left without a word; the fibrillation ends before anybody is called."""
    world.lease(600)
    world.until(2)
    world.alarm(ALERT)
    world.until(10)
    world.end(ALERT)
    world.until(35)
    assert world.log == [
        "2 bedside onset",
        "10 bedside end",
        "32 bedside end repeat 1",
        "32 alert onset",
        "32.5 alert end",
    ]


def test_a_lease_that_lies_and_nobody_is_subscribed(world: World) -> None:
    world.broker.unsubscribed.add(Branch.BEDSIDE)
    world.lease(600)
    world.until(2)
    world.alarm(ALERT)
    low = make_alert(9, code="couplet", priority=Priority.LOW)
    world.alarm(low)
    world.until(10)
    assert world.log == [
        "2 bedside onset",
        "2 bedside onset",
        "2.5 alert onset",
        "2.5 alert onset",
    ]


def test_a_lease_whose_holder_accepts_and_leaves(world: World) -> None:
    world.lease(600)
    world.until(2)
    world.alarm(ALERT)
    world.until(5)
    world.say(ALERT, Action.ACCEPT, "dr-k", role="cardiologist")
    world.until(50)
    world.lease(0)
    world.until(81)
    assert world.log == [
        "2 bedside onset",
        "5 response applied -> acknowledged dr-k",
        "50 alert onset",
        "50.5 bedside onset repeat 1",
        "80 bedside onset repeat 2",
        "80 alert onset repeat 2",
    ]


def test_two_who_accept_at_once(world: World) -> None:
    world.alarm(ALERT)
    world.until(5)
    world.say(ALERT, Action.ACCEPT, "nurse-4")
    world.say(ALERT, Action.ACCEPT, "nurse-5")
    world.until(100)
    assert world.log == [
        "1 alert onset",
        "5 response applied -> acknowledged nurse-4",
        "5 response held_by_another -> acknowledged nurse-4",
    ]


def test_an_acceptance_after_the_end(world: World) -> None:
    world.alarm(ALERT)
    world.until(5)
    world.end(ALERT)
    world.until(10)
    assert world.active[-1].alerts[0].state is AlertState.RETURNED_UNACKNOWLEDGED
    world.say(ALERT, Action.ACCEPT, "nurse-4")
    world.until(20)
    world.say(ALERT, Action.ACCEPT, "nurse-5")
    world.until(100)
    assert world.log == [
        "1 alert onset",
        "5 alert end",
        "10 response applied -> closed nurse-4",
        "20 response already_closed -> closed nurse-4",
    ]


def test_answers_that_are_no_answer(world: World) -> None:
    world.alarm(ALERT)
    world.until(5)
    unknown = make_alert(7)
    world.say(unknown, Action.ACCEPT, "nurse-4")
    world.broker.say(TOPICS.ack(ALERT.alert_id), b"{}")
    world.say(ALERT, Action.ACCEPT, "nurse-4", role="visitor")
    world.until(20)
    assert world.log[1:] == [
        "5 response unknown_alert -> None None",
        "5 response malformed -> None None",
        "5 response role_not_permitted -> unacknowledged None",
    ]


def test_the_broker_is_away_after_the_onset(world: World) -> None:
    world.alarm(ALERT)
    world.until(5)
    world.disconnect()
    world.until(200)
    world.end(ALERT)
    world.until(310)
    world.connect()
    world.until(315)
    assert world.log == [
        "1 alert onset",
        "310 alert end",
        "310.5 second-team onset",
        "310.5 all onset",
        "311 second-team end",
        "311 all end",
    ]


def test_the_broker_is_away_at_the_onset(world: World) -> None:
    world.disconnect()
    world.alarm(ALERT)
    world.until(200)
    world.connect()
    world.until(205)
    assert world.log == ["200 alert onset", "200.5 second-team onset", "200.5 all onset"]
    addressed = world.active[-1].alerts[0].addressed
    assert [(at - ALERT.onset_at).total_seconds() for at in addressed.values()] == [1, 61, 151]


def test_the_broker_is_away_for_a_moment_while_somebody_is_present(world: World) -> None:
    world.lease(600)
    world.until(2)
    world.disconnect()
    world.alarm(ALERT)
    world.until(20)
    world.connect()
    world.until(31)
    assert world.log == ["20 bedside onset"], "the team is not called for a short outage"


def test_somebody_accepts_while_the_device_is_away(world: World) -> None:
    world.alarm(ALERT)
    world.until(5)
    world.disconnect()
    world.say(ALERT, Action.ACCEPT, "nurse-4")
    world.until(100)
    world.connect()
    world.until(150)
    assert world.log == ["1 alert onset", "100 response applied -> acknowledged nurse-4"]


def test_an_acceptance_of_before_the_condition_began_again_does_not_apply(world: World) -> None:
    """It waited at the broker while the device was away, and the tachycardia came again."""
    world.alarm(ALERT)
    world.until(5)
    world.disconnect()
    world.say(ALERT, Action.ACCEPT, "nurse-4")
    world.until(40)
    evidence = msgspec.structs.replace(ALERT.evidence, measured={"occurrences": 2.0})
    world.alarm(msgspec.structs.replace(ALERT, sequence=2, phase=Phase.UPDATE, evidence=evidence))
    world.until(50)
    world.connect()
    world.until(55)
    assert world.log == [
        "1 alert onset",
        "50 response outdated -> unacknowledged None",
        "50 alert update",
    ]
    world.say(ALERT, Action.ACCEPT, "nurse-4")
    world.until(56)
    assert world.log[3:] == ["55 response applied -> acknowledged nurse-4"]


def test_an_acceptance_that_crosses_an_update_applies(world: World) -> None:
    world.alarm(ALERT)
    world.until(5)
    evidence = msgspec.structs.replace(ALERT.evidence, measured={"occurrences": 2.0})
    world.say(ALERT, Action.ACCEPT, "nurse-4", at=world.utc() - timedelta(seconds=3))
    world.alarm(msgspec.structs.replace(ALERT, sequence=2, phase=Phase.UPDATE, evidence=evidence))
    world.until(7)
    assert "5 response applied -> acknowledged nurse-4" in world.log


# -- restart in every state -------------------------------------------------------------------


def test_a_restart_while_nobody_has_accepted(world: World) -> None:
    world.alarm(ALERT)
    world.until(20)
    world.restart()
    world.until(40)
    world.restart()
    world.until(62)
    assert world.log == [
        "1 alert onset",
        "31 alert onset repeat 1",
        "61 alert onset repeat 2",
        "61 second-team onset",
    ]


def test_a_restart_before_the_alert_was_taken_in(world: World) -> None:
    world.alarm(ALERT)
    world.kill()
    world.now_s = 11
    world.start()
    world.until(32)
    assert world.log == ["11 alert onset", "31 alert onset repeat 1"], "counted from the commit"


def test_a_restart_while_a_dispatch_is_under_way(world: World) -> None:
    world.alarm(ALERT)
    world.until(61.5)  # sent to the second team, and not acknowledged yet
    world.restart()
    world.until(63)
    assert world.log[-1] == "61.5 second-team onset", "at least once"


def test_a_restart_after_it_was_accepted(world: World) -> None:
    world.alarm(ALERT)
    world.until(5)
    world.say(ALERT, Action.ACCEPT, "nurse-4")
    world.until(10)
    world.restart()
    world.until(100)
    world.say(ALERT, Action.ACCEPT, "nurse-5")
    world.until(101)
    assert world.log[2:] == ["100 response held_by_another -> acknowledged nurse-4"]


def test_a_restart_while_it_is_silenced(world: World) -> None:
    world.alarm(ALERT)
    world.until(5)
    world.say(ALERT, Action.SILENCE, "nurse-4", silence_s=100.0)
    world.until(10)
    world.restart()
    world.until(110)
    assert world.log[1:] == [
        "5 response applied -> unacknowledged None",
        "61 second-team onset",
        "105 alert onset repeat 1",
        "105 second-team onset repeat 1",
    ]


def test_a_restart_after_the_condition_has_ended(world: World) -> None:
    world.alarm(ALERT)
    world.until(5)
    world.end(ALERT)
    world.until(10)
    world.restart()
    world.until(32)
    world.say(ALERT, Action.ACCEPT, "nurse-4")
    world.until(33)
    world.restart()
    world.say(ALERT, Action.ACCEPT, "nurse-5")
    world.until(100)
    assert world.log == [
        "1 alert onset",
        "5 alert end",
        "31 alert end repeat 1",
        "32 response applied -> closed nurse-4",
        "33 response already_closed -> closed nurse-4",
    ]


# -- what is active, and the audit trail --------------------------------------------------------


def test_what_is_active_is_right_at_each_change(world: World) -> None:
    before = world.active[-1]
    assert before.alerts == ()
    assert before.monitor is MonitorState.MONITORING
    world.alarm(make_alert(9, code="couplet", priority=Priority.LOW))
    world.alarm(ALERT)
    world.until(2)
    assert [one.code for one in world.active[-1].alerts] == [ALERT.code, "couplet"]
    count = len(world.active)
    world.until(9)
    assert len(world.active) == count, "nothing has changed"
    world.until(13)
    assert len(world.active) == count + 1, "and yet it is published every ten seconds"


def test_the_audit_trail_says_who_did_what_and_when(world: World, tmp_path: Path) -> None:
    world.alarm(ALERT)
    world.until(70)
    world.say(ALERT, Action.ACCEPT, "nurse-4")
    world.until(72)
    world.end(ALERT)
    world.until(75)
    entries = [
        (entry.event, entry.sequence, entry.level or entry.who)
        for entry in read_audit(tmp_path / "o.db", alert_id=ALERT.alert_id)
    ]
    expected = [
        ("committed", 1, None),
        ("began", 1, None),
        ("addressed", 1, "team"),
        ("sent", 1, "team"),
        ("delivered", 1, "team"),
        ("repeated", 1, None),
        ("addressed", 1, "second-team"),
        ("accepted", 1, "nurse-4"),
        ("committed", 2, None),
        ("ended", 2, None),
        ("closed", 2, "nurse-4"),
    ]
    left = iter(entries)
    assert all(one in left for one in expected), entries
    documents = [entry.document for entry in read_audit(tmp_path / "o.db") if entry.document]
    assert decode_alert(documents[0]) == ALERT


def test_a_lease_that_ends_after_the_chain_has_reached_the_team(world: World) -> None:
    """What the team has by the chain is not handed over to it again."""
    world.lease(600)
    world.until(2)
    world.alarm(ALERT)
    world.until(40)
    world.lease(0)
    world.until(45)
    assert world.log == ["2 bedside onset", "32 bedside onset repeat 1", "32 alert onset"]


def test_more_open_alerts_than_are_kept_are_one_line_of_the_log(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log folds lines that are equal; the audit trail names each alert that was closed."""
    for first in range(0, MAX_OPEN + 60, 20):
        world.outbox.append([make_alert(n) for n in range(first, first + 20)])
        world.turn()
    world.until(5)
    assert len(world.desk.active()) == MAX_OPEN
    assert len({text for text in caplog.messages if "open alerts" in text}) == 1
    entries = read_audit(tmp_path / "o.db")
    assert len([one for one in entries if one.detail == "too many open alerts"]) == 60


@pytest.mark.parametrize("attended", [True, False])
def test_row_11_what_the_chain_sends_does_not_count_without_a_receipt(
    tmp_path: Path, *, attended: bool
) -> None:
    """The broker acknowledges onset and repeats of the chain, and nobody has any of them."""
    world = World(tmp_path, receipts=ReceiptSettings(expected=True))
    if attended:
        world.lease(600)
    world.until(2)
    world.alarm(ALERT)
    world.until(100)
    assert "32 alert onset" + ("" if attended else " repeat 1") in world.log
    assert world.outbox.pending() == 1
    world.show(ALERT, Audience.TEAM)
    world.until(102)
    assert world.outbox.pending() == 0, "the team has it, by the chain too"
    world.taken()
    world.lease(0)
    world.until(110)
    assert world.log == [], "it is not handed over to who has it"
    world.kill()


def test_what_is_active_says_who_is_present_as_soon_as_it_changes(world: World) -> None:
    view = world.active[-1].presence
    assert view is not None
    assert (view.attended, view.reason) == (False, "none")
    world.lease(600)
    world.until(2)
    view = world.active[-1].presence
    assert view is not None
    assert (view.attended, view.id, view.role) == (True, "dr-k", "cardiologist")
    world.lease(0)
    world.until(3)
    view = world.active[-1].presence
    assert view is not None
    assert (view.attended, view.reason) == (False, "released")


# -- a clock that is set ----------------------------------------------------------------------


@pytest.mark.parametrize("ahead_s", [3600.0, 86_400.0 * 365, -3600.0, 5.0])
@pytest.mark.parametrize("away", [False, True])
def test_a_clock_that_is_set_neither_hurries_nor_delays(
    world: World, ahead_s: float, away: bool
) -> None:
    world.alarm(ALERT)
    world.until(20)
    if away:
        world.disconnect()
    world.clock_ahead_s = ahead_s
    world.until(25)
    if away:
        world.connect()
    world.until(61.5)
    assert world.log == [
        "1 alert onset",
        "31 alert onset repeat 1",
        "61 alert onset repeat 2",
        "61 second-team onset",
    ]
    assert [e.detail for e in read_audit(world.outbox.path) if e.event == CLOCK_SET] == [
        f"{ahead_s:+.1f} s"
    ]


@pytest.mark.parametrize(("ahead_s", "began_s"), [(3600.0, 0.5), (-3600.0, 1)])
def test_a_clock_that_is_set_between_the_commit_and_the_next_look(
    world: World, ahead_s: float, began_s: float
) -> None:
    """Its age is then known by when the desk last looked."""
    world.alarm(ALERT)
    world.clock_ahead_s = ahead_s
    world.until(62)
    assert world.log == [
        "1 alert onset",
        f"{began_s + 30:g} alert onset repeat 1",
        f"{began_s + 60:g} alert onset repeat 2",
        f"{began_s + 60:g} second-team onset",
    ]


@pytest.mark.parametrize("step", [timedelta(days=20_000), timedelta(hours=-3)])
def test_an_alert_whose_times_are_put_right_is_listed_with_them(
    world: World, step: timedelta
) -> None:
    right = msgspec.structs.replace(
        ALERT, sequence=2, phase=Phase.UPDATE, onset_at=ALERT.onset_at + step
    )
    world.alarm(ALERT)
    world.until(5)
    world.alarm(right)
    world.until(10)
    assert [one.since for one in world.active[-1].alerts] == [ALERT.onset_at + step]


def test_a_clock_that_is_set_keeps_silence_and_acceptance(world: World) -> None:
    world.alarm(ALERT)
    world.until(5)
    world.say(ALERT, Action.SILENCE, "nurse-4", silence_s=60.0)
    world.until(10)
    world.clock_ahead_s = 7200.0
    world.until(66)
    assert world.log[2:] == [
        "61 second-team onset",
        "65 alert onset repeat 1",
        "65 second-team onset repeat 1",
    ]
    world.say(ALERT, Action.ACCEPT, "nurse-4")
    world.until(70)
    world.clock_ahead_s = 14_400.0
    world.until(100)
    assert world.active[-1].alerts[0].holder == "nurse-4", "30 minutes have not passed"
