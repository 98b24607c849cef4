"""Episodes: onset, update, end, hysteresis, and what suppresses what."""

from __future__ import annotations

import pytest

from tocsin_agent.messages.alert import Kind, Phase, Priority
from tocsin_agent.monitor.alarms.episodes import Alarms, Transition
from tocsin_agent.monitor.alarms.table import ALARMS, UPDATE_S
from tocsin_agent.monitor.rhythm.finding import Finding
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ

RATE = ANALYSIS_RATE_HZ


def finding(
    code: str, at: int, onset: int = 0, subject: str = "", *, last_lead: bool = False
) -> Finding:
    return Finding(code, onset, at, "rule", {}, {}, subject, last_lead=last_lead)


def phases(transitions: list[Transition]) -> list[tuple[str, Phase, int, int]]:
    return [(t.episode.code, t.phase, t.at, t.sequence) for t in transitions]


def test_an_episode_has_an_onset_and_ends_after_its_hold() -> None:
    alarms = Alarms()
    transitions = alarms.step(100, [finding("couplet", 100)])
    assert phases(transitions) == [("couplet", Phase.ONSET, 100, 1)]
    ends = 100 + 60 * RATE
    assert alarms.step(ends - 1, []) == []
    transitions = alarms.step(ends + 500, [])
    assert phases(transitions) == [("couplet", Phase.END, ends, 2)]
    assert transitions[0].episode.ended_by == "no longer found"


def test_what_is_found_again_within_the_hold_is_the_same_episode() -> None:
    alarms = Alarms()
    alarms.step(0, [finding("couplet", 0)])
    assert alarms.step(59 * RATE, [finding("couplet", 59 * RATE, onset=58 * RATE)]) == []
    transitions = alarms.step(200 * RATE, [])
    assert phases(transitions) == [("couplet", Phase.END, 119 * RATE, 2)]
    assert transitions[0].episode.occurrences == 2


def test_what_is_found_after_the_hold_is_another_episode() -> None:
    alarms = Alarms()
    alarms.step(0, [finding("couplet", 0)])
    late = 60 * RATE
    transitions = alarms.step(late, [finding("couplet", late, onset=late - 200)])
    assert phases(transitions) == [
        ("couplet", Phase.END, late, 2),
        ("couplet", Phase.ONSET, late, 1),
    ]


@pytest.mark.parametrize("code", sorted(ALARMS))
def test_updates_come_no_more_often_than_the_priority_allows(code: str) -> None:
    alarms = Alarms()
    transitions: list[Transition] = []
    for now in range(0, 300 * RATE, RATE // 2):
        transitions += alarms.step(now, [finding(code, now)])
    updates = [t.at for t in transitions if t.phase is Phase.UPDATE]
    every = UPDATE_S[ALARMS[code].priority] * RATE
    assert updates == list(range(every, 300 * RATE, every))
    assert [t.sequence for t in transitions] == list(range(1, len(transitions) + 1))


def test_a_graver_condition_ends_what_it_implies_and_suppresses_it() -> None:
    alarms = Alarms()
    alarms.step(100, [finding("ventricular_run", 100, onset=50)])
    transitions = alarms.step(200, [finding("ventricular_tachycardia", 200, onset=50)])
    assert phases(transitions) == [
        ("ventricular_tachycardia", Phase.ONSET, 200, 1),
        ("ventricular_run", Phase.END, 200, 2),
    ]
    assert transitions[1].episode.ended_by == "superseded by ventricular_tachycardia"
    assert alarms.step(300, [finding("ventricular_run", 300, onset=250)]) == []


def test_nothing_suppresses_what_it_does_not_imply() -> None:
    for code, alarm in ALARMS.items():
        for other in ALARMS.keys() - alarm.implies - {code}:
            alarms = Alarms()
            alarms.step(0, [finding(code, 0)])
            assert phases(alarms.step(1, [finding(other, 1)]))[0][:2] == (other, Phase.ONSET)


def test_no_technical_alarm_suppresses_one_of_the_patient() -> None:
    for alarm in ALARMS.values():
        if alarm.kind is Kind.TECHNICAL:
            assert alarm.implies == frozenset()
        assert all(
            ALARMS[i].priority.rank >= alarm.priority.rank and ALARMS[i].kind is alarm.kind
            for i in alarm.implies
        )


def test_a_condition_that_outlives_its_episode_gets_another_onset() -> None:
    """A slow run after VT began where the run before VT did; it must not bear the same id."""
    alarms = Alarms()
    transitions: list[Transition] = []
    for now, code in enumerate(
        ["ventricular_run", *["ventricular_tachycardia"] * 3, *["ventricular_run"] * 30], start=1
    ):
        transitions += alarms.step(now * RATE, [finding(code, now * RATE, onset=50)])
    transitions += alarms.close_all(100 * RATE, "over")
    begun = [(t.episode.code, t.episode.first.onset) for t in transitions if t.phase is Phase.ONSET]
    assert len(begun) == 3
    assert len(set(begun)) == 3
    assert all(t.episode.first.onset <= t.at for t in transitions)


def test_each_lead_has_an_episode_of_its_own() -> None:
    alarms = Alarms()
    transitions = alarms.step(
        10, [finding("lead_off", 10, 0, "II"), finding("lead_off", 10, 0, "V1")]
    )
    assert [t.phase for t in transitions] == [Phase.ONSET, Phase.ONSET]
    assert phases(alarms.close("lead_off", 20, "back", "V1")) == [("lead_off", Phase.END, 20, 2)]
    assert alarms.close("lead_off", 20, "back", "V1") == []
    assert len(alarms.close_all(30, "over")) == 1


def test_losing_the_last_lead_is_graver() -> None:
    one, last = (
        Alarms()
        .step(10, [finding("lead_off", 10, 0, "II", last_lead=last_lead)])[0]
        .episode.priority
        for last_lead in (False, True)
    )
    assert (one, last) == (Priority.LOW, Priority.MEDIUM)


def test_a_lost_source_ends_only_when_it_is_closed() -> None:
    alarms = Alarms()
    alarms.step(0, [finding("source_lost", 0)])
    assert alarms.step(10**9, []) == []
    assert phases(alarms.close("source_lost", 10**9, "back"))[0][1] is Phase.END


def test_ends_come_in_the_order_of_time() -> None:
    alarms = Alarms()
    alarms.step(0, [finding("couplet", 0), finding("pause", 0), finding("bigeminy", 0)])
    transitions = alarms.step(100 * RATE, [])
    assert [t.episode.code for t in transitions] == ["pause", "bigeminy", "couplet"]
    assert [t.at for t in transitions] == sorted(t.at for t in transitions)


def test_an_expiry_between_two_findings_stands_between_them() -> None:
    alarms = Alarms()
    alarms.step(0, [finding("pause", 0)])
    late = [finding("couplet", 5 * RATE), finding("lead_off", 20 * RATE, subject="II")]
    transitions = alarms.step(20 * RATE, late)
    assert [(t.episode.code, t.at) for t in transitions] == [
        ("couplet", 5 * RATE),
        ("pause", 10 * RATE),
        ("lead_off", 20 * RATE),
    ]
