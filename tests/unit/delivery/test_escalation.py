"""The state machine against the table of the design, and what it sends at which time."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from support.factories import NOON, make_alert
from tocsin_agent.delivery.escalation import Escalation, OpenAlert, Step, StepKind
from tocsin_agent.delivery.settings import EscalationSettings
from tocsin_agent.messages.acknowledgement import Acknowledgement, Action
from tocsin_agent.messages.active import AlertState
from tocsin_agent.messages.alert import Alert, Kind, Phase, Priority
from tocsin_agent.messages.response import Outcome

MACHINE = Escalation()
UNACKNOWLEDGED, ACKNOWLEDGED, RETURNED, CLOSED = AlertState


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def begun(alert: Alert | None = None, *, attended: bool = False) -> OpenAlert:
    return MACHINE.begin(alert or make_alert(), NOON, attended=attended)[0]


def answer(
    action: Action, who: str = "nurse-4", number: int = 1, **more: object
) -> Acknowledgement:
    alert_id = make_alert().alert_id
    values = {"id": f"{who}-{number}", "alert_id": alert_id, "who": who, "action": action}
    return Acknowledgement(**(values | more), at=NOON)  # type: ignore[arg-type]


def with_priority(priority: Priority, kind: Kind = Kind.PHYSIOLOGICAL) -> Alert:
    return make_alert(priority=priority, kind=kind)


def ended(alert: Alert, reason: str = "no longer seen") -> Alert:
    measured = alert.evidence.measured | {"ended": reason}
    evidence = msgspec.structs.replace(alert.evidence, measured=measured)
    return msgspec.structs.replace(
        alert, sequence=alert.sequence + 1, phase=Phase.END, evidence=evidence
    )


def kinds(steps: list[Step]) -> list[str]:
    return [f"{step.kind}:{step.level}" if step.level else str(step.kind) for step in steps]


# -- the table --------------------------------------------------------------------------------


def test_an_alert_begins_unacknowledged_at_the_level_that_is_there() -> None:
    assert begun().state is UNACKNOWLEDGED
    assert [one.level for one in begun().reached] == ["team"]
    assert [one.level for one in begun(attended=True).reached] == ["bedside"]


def test_an_accepted_alert_is_closed_by_its_end_and_an_unaccepted_one_stays_listed() -> None:
    accepted, _, outcome = MACHINE.answer(begun(), answer(Action.ACCEPT), at(5))
    assert (outcome, accepted.state, accepted.holder) == (Outcome.APPLIED, ACKNOWLEDGED, "nurse-4")
    assert MACHINE.take(accepted, ended(make_alert()), at(9))[0].state is CLOSED
    returned, _ = MACHINE.take(begun(), ended(make_alert()), at(9))
    assert returned.state is RETURNED
    seen, _, outcome = MACHINE.answer(returned, answer(Action.ACCEPT), at(20))
    assert (outcome, seen.state, seen.holder) == (Outcome.APPLIED, CLOSED, "nurse-4")


def test_an_end_that_nobody_saw_is_kept_as_such_until_it_begins_again() -> None:
    alert = make_alert()
    over, _ = MACHINE.take(begun(alert), ended(alert), at(10))
    assert over.end_observed
    unseen, _ = MACHINE.take(begun(alert), ended(alert, "not known whether it lasts"), at(10))
    assert (unseen.end_observed, unseen.ended_at) == (False, at(10))
    again = msgspec.structs.replace(alert, sequence=3, phase=Phase.UPDATE)
    begun_again, _ = MACHINE.take(unseen, again, at(20))
    assert (begun_again.end_observed, begun_again.ended_at) == (True, None)


def test_low_priority_closes_by_itself_and_medium_concerns_the_patient() -> None:
    for alert, state in (
        (with_priority(Priority.LOW), CLOSED),
        (with_priority(Priority.MEDIUM), RETURNED),
        (with_priority(Priority.MEDIUM, Kind.TECHNICAL), CLOSED),
        (with_priority(Priority.HIGH, Kind.TECHNICAL), RETURNED),
    ):
        assert MACHINE.take(begun(alert), ended(alert), at(9))[0].state is state
    listed, _ = MACHINE.take(
        begun(with_priority(Priority.MEDIUM)), ended(with_priority(Priority.MEDIUM)), at(9)
    )
    assert MACHINE.pass_time(listed, at(9 + 3599))[0].state is RETURNED
    assert MACHINE.pass_time(listed, at(9 + 3600))[0].state is CLOSED


def test_a_condition_superseded_by_a_graver_one_is_closed() -> None:
    done = ended(make_alert(), "superseded by ventricular_fibrillation")
    assert MACHINE.take(begun(), done, at(9))[0].state is CLOSED


def test_an_accepted_alert_opens_again() -> None:
    accepted, *_ = MACHINE.answer(begun(), answer(Action.ACCEPT), at(5))
    update = msgspec.structs.replace(make_alert(), sequence=2, phase=Phase.UPDATE)
    assert MACHINE.take(accepted, update, at(9))[0].state is ACKNOWLEDGED
    evidence = msgspec.structs.replace(update.evidence, measured={"occurrences": 2.0})
    again = msgspec.structs.replace(update, evidence=evidence)
    for new, steps in (
        MACHINE.take(accepted, again, at(9)),
        MACHINE.answer(accepted, answer(Action.GIVE_BACK, number=2), at(9))[:2],
        MACHINE.answer(accepted, answer(Action.REJECT, number=2), at(9))[:2],
        MACHINE.pass_time(accepted, at(5 + 1800)),
        MACHINE.left(accepted, "nurse-4", at(9)),
    ):
        assert (new.state, new.holder) == (UNACKNOWLEDGED, None)
        assert kinds(steps)[-1] == "repeated", "it is repeated at once"
    low, *_ = MACHINE.answer(begun(with_priority(Priority.MEDIUM)), answer(Action.ACCEPT), at(5))
    graver, steps = MACHINE.take(low, update, at(9))
    assert (graver.state, kinds(steps)[0]) == (UNACKNOWLEDGED, "graver")


def test_a_renewed_acceptance_lasts() -> None:
    accepted, *_ = MACHINE.answer(begun(), answer(Action.ACCEPT), at(0))
    renewed, steps, _ = MACHINE.answer(accepted, answer(Action.ACCEPT, number=2), at(1700))
    assert kinds(steps) == ["renewed"]
    assert MACHINE.pass_time(renewed, at(1801))[0].state is ACKNOWLEDGED
    assert MACHINE.left(renewed, "somebody-else", at(1801))[0].state is ACKNOWLEDGED


# -- answers that are refused -----------------------------------------------------------------


def test_answers_are_applied_once_and_refused_with_a_reason() -> None:
    accepted, *_ = MACHINE.answer(begun(), answer(Action.ACCEPT), at(5))
    closed, _ = MACHINE.take(accepted, ended(make_alert()), at(9))
    for old, one, outcome in (
        (accepted, answer(Action.ACCEPT), Outcome.ALREADY_APPLIED),
        (closed, answer(Action.ACCEPT), Outcome.ALREADY_APPLIED),
        (accepted, answer(Action.ACCEPT, "nurse-5"), Outcome.HELD_BY_ANOTHER),
        (accepted, answer(Action.GIVE_BACK, "nurse-5"), Outcome.NOT_HELD),
        (begun(), answer(Action.GIVE_BACK), Outcome.NOT_HELD),
        (closed, answer(Action.ACCEPT, "nurse-5"), Outcome.ALREADY_CLOSED),
        (begun(), answer(Action.ACCEPT, role="visitor"), Outcome.ROLE_NOT_PERMITTED),
    ):
        new, steps, found = MACHINE.answer(old, one, at(10))
        assert (new, found) == (old, outcome)
        assert kinds(steps) == ([] if outcome is Outcome.ALREADY_APPLIED else ["refused"])


# -- repeats and levels -----------------------------------------------------------------------


def timeline(alert: OpenAlert, until_s: float, from_s: float = 0.0) -> list[tuple[float, str]]:
    """Return what happens until a time, looked at twice a second."""
    found, seconds = list[tuple[float, str]](), from_s
    while seconds <= until_s:
        alert, steps = MACHINE.pass_time(alert, at(seconds))
        found += [(seconds, name) for name in kinds(steps)]
        seconds += 0.5
    return found


def test_nobody_accepts_an_attended_alert() -> None:
    assert timeline(begun(attended=True), 185) == [
        (30, "addressed:team"),
        (30, "repeated"),
        (60, "repeated"),
        (90, "addressed:second-team"),
        (90, "repeated"),
        (120, "repeated"),
        (150, "repeated"),
        (180, "addressed:all"),
        (180, "repeated"),
    ]


def test_it_is_the_same_whether_the_condition_lasts_or_not() -> None:
    gone, _ = MACHINE.take(begun(attended=True), ended(make_alert()), at(0))
    assert timeline(gone, 185) == timeline(begun(attended=True), 185)


def test_a_rejection_addresses_the_next_level_at_once() -> None:
    new, steps, _ = MACHINE.answer(begun(), answer(Action.REJECT), at(3))
    assert kinds(steps) == ["rejected", "addressed:second-team"]
    assert timeline(new, 95, 3)[-1] == (93, "addressed:all")


def test_silence_stops_repeats_and_not_the_chain() -> None:
    silent, _, _ = MACHINE.answer(begun(), answer(Action.SILENCE, silence_s=100.0), at(0))
    assert silent.state is UNACKNOWLEDGED
    assert timeline(silent, 101) == [(60, "addressed:second-team"), (100, "repeated")]
    longest, _, _ = MACHINE.answer(begun(), answer(Action.SILENCE, silence_s=3600.0), at(0))
    assert longest.silenced_until == at(120)


def test_nobody_subscribed_at_the_bedside_addresses_the_team_at_once() -> None:
    for alert in (make_alert(), with_priority(Priority.LOW)):
        new, steps = MACHINE.no_subscriber(begun(alert, attended=True), at(1))
        assert kinds(steps) == ["no_subscriber:bedside", "addressed:team"]
        assert MACHINE.no_subscriber(new, at(2))[1] == []


def test_a_lease_that_ends_addresses_the_team_at_once() -> None:
    sent = begun(attended=True)
    reached = (msgspec.structs.replace(sent.reached[0], sequence=1),)
    sent = msgspec.structs.replace(sent, reached=reached)
    assert kinds(MACHINE.left(sent, "dr-k", at(5))[1]) == ["addressed:team"]


def test_what_was_missed_is_done_in_order_and_repeated_once() -> None:
    new, steps = MACHINE.pass_time(begun(attended=True), at(400))
    assert kinds(steps) == [
        "addressed:team",
        "addressed:second-team",
        "addressed:all",
        "repeated",
    ]
    assert new.repeat == 1


def test_a_clock_that_is_set_back_delays_nothing_for_longer_than_a_wait() -> None:
    back = MACHINE.pass_time(begun(attended=True), at(-10_000))[0]
    assert timeline(MACHINE.pass_time(back, at(-9_999))[0], 0)[0][0] == 0
    assert kinds(MACHINE.pass_time(back, at(-9_970))[1]) == ["addressed:team", "repeated"]


def test_only_high_priority_is_repeated() -> None:
    for priority in (Priority.MEDIUM, Priority.LOW):
        assert timeline(begun(with_priority(priority), attended=True), 100) == []


# -- any order of events ----------------------------------------------------------------------

ALLOWED = {
    UNACKNOWLEDGED: {UNACKNOWLEDGED, ACKNOWLEDGED, RETURNED, CLOSED},
    ACKNOWLEDGED: {ACKNOWLEDGED, UNACKNOWLEDGED, CLOSED},
    RETURNED: {RETURNED, UNACKNOWLEDGED, CLOSED},
    CLOSED: {CLOSED},
}
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(
            ["accept", "reject", "give_back", "silence", "update", "end", "left", "none"]
        ),
        st.sampled_from(["nurse-4", "nurse-5"]),
        st.floats(0.1, 100.0),
    ),
    max_size=25,
)


@given(EVENTS, st.sampled_from(Priority), st.booleans())
def test_any_order_of_events_keeps_to_the_table(
    events: list[tuple[str, str, float]], priority: Priority, attended: bool
) -> None:
    machine = Escalation(EscalationSettings())
    onset = with_priority(priority)
    alert, _ = machine.begin(onset, NOON, attended=attended)
    now, sequence, lasting = 0.0, 1, True
    for number, (event, who, passed_s) in enumerate(events):
        now += passed_s
        before = alert
        alert, steps = machine.pass_time(alert, at(now))
        assert alert.state in ALLOWED[before.state]
        before = alert
        if event in {"update", "end"} and lasting:
            sequence += 1
            lasting = event != "end"
            phase = Phase.UPDATE if lasting else Phase.END
            document = msgspec.structs.replace(onset, sequence=sequence, phase=phase)
            alert, steps = machine.take(alert, document, at(now))
        elif event == "left":
            alert, steps = machine.left(alert, who, at(now))
        elif event in set(Action):
            more = {"silence_s": 10.0} if event == "silence" else {}
            given_answer = answer(Action(event), who, number, **more)
            alert, steps, outcome = machine.answer(alert, given_answer, at(now))
            assert (alert == before) == outcome.refused
            twice = machine.answer(alert, given_answer, at(now))
            assert twice.alert == alert, "the same answer changes nothing a second time"
        assert alert.state in ALLOWED[before.state]
        assert (alert.holder is not None) == (
            alert.state is ACKNOWLEDGED or (alert.state is CLOSED and alert.accepted_at is not None)
        )
        if alert.state is RETURNED:
            assert not lasting
            assert priority is not Priority.LOW
        if alert.state is CLOSED and priority is Priority.HIGH:
            assert not lasting
            assert alert.accepted_at is not None, "somebody has seen it"
        if alert.state is ACKNOWLEDGED:
            assert StepKind.REPEATED not in [step.kind for step in steps]
        names = [one.level for one in alert.reached]
        assert len(names) == len(set(names)), "no level is addressed twice"
        assert alert.repeat >= before.repeat


@given(st.lists(st.floats(0.1, 40.0), max_size=20))
def test_when_it_is_looked_at_does_not_change_which_levels_are_addressed(
    looks: list[float],
) -> None:
    often, now = begun(attended=True), 0.0
    for passed_s in looks:
        now += passed_s
        often, _ = MACHINE.pass_time(often, at(now))
    once, _ = MACHINE.pass_time(begun(attended=True), at(now))
    assert [one.level for one in often.reached] == [one.level for one in once.reached]
    assert often.climbed_at == once.climbed_at
