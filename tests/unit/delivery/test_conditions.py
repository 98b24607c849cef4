"""Every condition of the table, all at once at one device, with all kinds of people.

Each script says what each condition's messages are, in order and with their time: of high
priority, of medium priority that concerns the patient, and of all others, which their end closes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.factories import make_alert
from support.timelines import World
from tocsin_agent.messages.acknowledgement import Action
from tocsin_agent.messages.active import AlertState
from tocsin_agent.messages.alert import Alert, Kind, Priority
from tocsin_agent.messages.topics import Branch
from tocsin_agent.monitor.alarms.table import ALARMS, Alarm

HIGH = {code for code, alarm in ALARMS.items() if alarm.priority is Priority.HIGH}
LISTED = {
    code
    for code, alarm in ALARMS.items()
    if alarm.priority is Priority.MEDIUM and alarm.kind is Kind.PHYSIOLOGICAL
}
"""Listed after their end until somebody has accepted them, or for an hour."""
CLOSED_BY_END = ALARMS.keys() - HIGH - LISTED
ALERTS = {
    code: make_alert(code=code, priority=alarm.priority, kind=alarm.kind)
    for code, alarm in ALARMS.items()
}


def team(alarm: Alarm) -> str:
    return "technical" if alarm.kind is Kind.TECHNICAL else "alert"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    world.until(1)
    yield world
    world.kill()


def begin(world: World) -> None:
    world.outbox.append(list(ALERTS.values()))


def end(world: World) -> None:
    for alert in ALERTS.values():
        world.end(alert)


def say(world: World, action: Action, who: str = "nurse-4", **more: object) -> None:
    for alert in ALERTS.values():
        world.say(alert, action, who, **more)


def assert_messages(world: World, expected: Callable[[str, str], list[str]]) -> None:
    """Compare each condition's messages with those that are expected of its code and topic."""
    for code, alarm in ALARMS.items():
        assert world.of[ALERTS[code].alert_id] == expected(code, team(alarm)), code


def listed(world: World) -> set[str]:
    return {alert.code for alert in world.active[-1].alerts}


def test_nobody(world: World) -> None:
    begin(world)
    world.until(50)
    assert listed(world) == ALARMS.keys()
    end(world)
    world.until(95)
    assert_messages(
        world,
        lambda code, branch: (
            [
                f"1 {branch} onset",
                f"31 {branch} onset repeat 1",
                f"50 {branch} end",
                f"61 {branch} end repeat 2",
                "61 second-team onset",
                "61.5 second-team end",
                f"91 {branch} end repeat 3",
                "91 second-team end repeat 3",
            ]
            if code in HIGH
            else [f"1 {branch} onset", f"50 {branch} end"]
        ),
    )
    assert listed(world) == HIGH | LISTED


def test_a_team_that_accepts(world: World) -> None:
    begin(world)
    world.until(5)
    say(world, Action.ACCEPT)
    world.until(200)
    assert {a.state for a in world.active[-1].alerts} == {AlertState.ACKNOWLEDGED}
    end(world)
    world.until(300)
    assert_messages(
        world,
        lambda _, branch: [
            f"1 {branch} onset",
            "5 response applied -> acknowledged nurse-4",
            f"200 {branch} end",
        ],
    )
    assert listed(world) == set()


def test_a_team_that_rejects(world: World) -> None:
    begin(world)
    world.until(5)
    say(world, Action.REJECT)
    world.until(20)
    say(world, Action.REJECT, "nurse-5")
    world.until(40)
    rejected = [f"{at} response applied -> unacknowledged None" for at in (5, 20)]
    assert_messages(
        world,
        lambda code, branch: (
            [
                f"1 {branch} onset",
                rejected[0],
                "5 second-team onset",
                rejected[1],
                "20 all onset",
                f"31 {branch} onset repeat 1",
                "31 second-team onset repeat 1",
                "31 all onset repeat 1",
            ]
            if code in HIGH
            else [f"1 {branch} onset", *rejected]
        ),
    )


def test_a_team_that_silences(world: World) -> None:
    begin(world)
    world.until(5)
    say(world, Action.SILENCE, silence_s=60.0)
    world.until(66)
    silenced = "5 response applied -> unacknowledged None"
    assert_messages(
        world,
        lambda code, branch: (
            [
                f"1 {branch} onset",
                silenced,
                "61 second-team onset",
                f"65 {branch} onset repeat 1",
                "65 second-team onset repeat 1",
            ]
            if code in HIGH
            else [f"1 {branch} onset", silenced]
        ),
    )


def test_a_team_that_gives_it_back(world: World) -> None:
    begin(world)
    world.until(5)
    say(world, Action.ACCEPT)
    world.until(10)
    say(world, Action.GIVE_BACK)
    world.until(41)
    answers = [
        "5 response applied -> acknowledged nurse-4",
        "10 response applied -> unacknowledged None",
    ]
    assert_messages(
        world,
        lambda code, branch: (
            [f"1 {branch} onset", *answers]
            + ([f"{at} {branch} onset repeat {n}" for n, at in ((1, 10), (2, 40))] * (code in HIGH))
        ),
    )


def test_a_lease_that_lies(world: World) -> None:
    world.lease(600)
    world.until(2)
    begin(world)
    world.until(10)
    end(world)
    world.until(35)
    assert_messages(
        world,
        lambda code, branch: (
            [
                "2 bedside onset",
                "10 bedside end",
                "32 bedside end repeat 1",
                f"32 {branch} onset",
                f"32.5 {branch} end",
            ]
            if code in HIGH
            else ["2 bedside onset", "10 bedside end"]
        ),
    )


def test_a_lease_that_lies_and_a_bedside_where_nobody_listens(world: World) -> None:
    world.broker.unsubscribed.add(Branch.BEDSIDE)
    world.lease(600)
    world.until(2)
    begin(world)
    world.until(10)
    assert_messages(world, lambda _, branch: ["2 bedside onset", f"2.5 {branch} onset"])


def test_two_who_accept_at_once(world: World) -> None:
    begin(world)
    world.until(5)
    say(world, Action.ACCEPT, "nurse-4")
    say(world, Action.ACCEPT, "nurse-5")
    world.until(100)
    assert_messages(
        world,
        lambda _, branch: [
            f"1 {branch} onset",
            "5 response applied -> acknowledged nurse-4",
            "5 response held_by_another -> acknowledged nurse-4",
        ],
    )


def test_an_acceptance_after_the_end(world: World) -> None:
    begin(world)
    world.until(5)
    end(world)
    world.until(10)
    assert listed(world) == HIGH | LISTED
    say(world, Action.ACCEPT)
    world.until(100)
    assert_messages(
        world,
        lambda code, branch: [
            f"1 {branch} onset",
            f"5 {branch} end",
            "10 response already_closed -> closed None"
            if code in CLOSED_BY_END
            else "10 response applied -> closed nurse-4",
        ],
    )
    assert listed(world) == set()


def test_the_broker_is_away_in_the_middle(world: World) -> None:
    begin(world)
    world.until(5)
    world.disconnect()
    world.until(70)
    end(world)
    world.until(80)
    world.connect()
    world.until(85)
    assert_messages(
        world,
        lambda code, branch: (
            [
                f"1 {branch} onset",
                f"80 {branch} end",
                "80.5 second-team onset",
                "81 second-team end",
            ]
            if code in HIGH
            else [f"1 {branch} onset", f"80 {branch} end"]
        ),
    )


def accepted(world: World) -> list[str]:
    say(world, Action.ACCEPT)
    return ["5 response applied -> acknowledged nurse-4"]


def silenced(world: World) -> list[str]:
    say(world, Action.SILENCE, silence_s=100.0)
    return ["5 response applied -> unacknowledged None"]


@pytest.mark.parametrize("answer", [None, accepted, silenced])
@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("offline", [False, True])
def test_a_restart_in_every_state(
    world: World, answer: Callable[[World], list[str]] | None, ended: bool, offline: bool
) -> None:
    """What follows is what would have followed without it, and nothing is said twice."""
    begin(world)
    world.until(5)
    answers = answer(world) if answer is not None else []
    world.until(7)
    if ended:
        end(world)
        world.until(8)
    if offline:
        world.disconnect()
    world.until(10)
    world.restart()
    world.until(62)
    last = "end" if ended else "onset"

    def expected(code: str, branch: str) -> list[str]:
        messages = [f"1 {branch} onset", *answers, *([f"7 {branch} end"] if ended else [])]
        if code not in HIGH or answer is accepted:
            return messages
        if answer is None:
            messages += [f"{at} {branch} {last} repeat {n}" for n, at in ((1, 31), (2, 61))]
        return [*messages, "61 second-team onset", *(["61.5 second-team end"] if ended else [])]

    assert_messages(world, expected)
    say(world, Action.ACCEPT, "nurse-5")
    world.until(63)

    def then(code: str) -> str:
        if ended and (code in CLOSED_BY_END or answer is accepted):
            held = "nurse-4" if answer is accepted else "None"
            return f"62 response already_closed -> closed {held}"
        if answer is accepted:
            return "62 response held_by_another -> acknowledged nurse-4"
        return f"62 response applied -> {'closed' if ended else 'acknowledged'} nurse-5"

    assert_messages(world, lambda code, branch: [*expected(code, branch), then(code)])


def test_no_condition_is_left_out() -> None:
    assert len(HIGH) >= 5
    assert len(LISTED) >= 4
    assert len(CLOSED_BY_END) >= 10
    assert all(isinstance(alert, Alert) for alert in ALERTS.values())
