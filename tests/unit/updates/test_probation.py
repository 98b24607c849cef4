"""What is done about a version by how it works."""

from __future__ import annotations

import msgspec
import pytest

from tocsin_agent.updates.probation import LEFT_AFTER_S, Condition, Probation, Verdict
from tocsin_agent.updates.slot_state import PACKAGE, State, Trial

WELL = Condition("", frozenset({"bed7"}), frozenset({"bed7"}))
AWAY = Condition("", frozenset(), frozenset({"bed7"}))
SILENT = Condition("", frozenset({"bed7"}), frozenset())
STALLED = Condition("monitoring stands still", frozenset({"bed7"}), frozenset({"bed7"}))
TRIAL = Trial("b", 2, 1, "boot", online=("bed7",), sampling=("bed7",))
TRIED = State(confirmed="a", trial=TRIAL, running="b")


def test_a_version_is_kept_after_a_minute_without_a_fault() -> None:
    probation = Probation("b", 60.0, TRIED, 0.0)
    assert probation.judge(TRIED, WELL, 59.0) is Verdict.WAIT
    assert probation.judge(TRIED, STALLED, 59.5) is Verdict.WAIT
    assert probation.judge(TRIED, WELL, 61.0) is Verdict.WAIT, "the minute begins again"
    assert probation.judge(TRIED, WELL, 120.0) is Verdict.KEEP
    assert probation.judge(TRIED.healthy("b"), WELL, 121.0) is Verdict.WAIT


@pytest.mark.parametrize(
    ("condition", "why"),
    [(STALLED, "stands still"), (AWAY, "broker of bed7"), (SILENT, "no samples of bed7")],
)
def test_a_version_that_does_less_than_the_one_before_is_left(
    condition: Condition, why: str
) -> None:
    probation = Probation("b", 60.0, TRIED, 0.0)
    assert probation.judge(TRIED, condition, 60.0 + LEFT_AFTER_S) is Verdict.WAIT
    assert probation.judge(TRIED, condition, 61.0 + LEFT_AFTER_S) is Verdict.LEAVE
    assert why in probation.why


def test_what_was_away_before_is_not_expected() -> None:
    state = msgspec.structs.replace(TRIED, trial=Trial("b", 2, 1, "boot"))
    probation = Probation("b", 60.0, state, 0.0)
    neither = Condition("", frozenset(), frozenset())
    assert probation.judge(state, neither, 60.0) is Verdict.KEEP


def test_a_version_in_use_follows_a_trial_but_not_one_that_was_there_at_its_start() -> None:
    used = State(confirmed="a", running="a")
    probation = Probation("a", 60.0, used, 0.0)
    asked = msgspec.structs.replace(used, trial=Trial("b", 2))
    assert probation.judge(asked, WELL, 1.0) is Verdict.FOLLOW
    assert Probation("a", 60.0, asked, 0.0).judge(asked, WELL, 1.0) is Verdict.WAIT


def test_a_version_in_use_is_not_left_by_itself_and_a_fallback_is_kept() -> None:
    used = State(confirmed="a", previous="b", running="a")
    assert Probation("a", 60.0, used, 0.0).judge(used, STALLED, 1e6) is Verdict.WAIT
    fallback = State(confirmed="a", running=PACKAGE)
    assert Probation(PACKAGE, 60.0, fallback, 0.0).judge(fallback, WELL, 61.0) is Verdict.KEEP
    by_hand = State(confirmed="a", running="a")
    assert Probation(PACKAGE, 60.0, by_hand, 0.0).judge(by_hand, WELL, 61.0) is Verdict.WAIT


@pytest.mark.parametrize(
    ("health", "online", "sampling"),
    [
        ({"state": "online", "stream": "s", "source_lost": False}, {"bed7"}, {"bed7"}),
        ({"state": "lost", "stream": "unreached", "source_lost": True}, set(), set()),
        ({"state": "online"}, {"bed7"}, set()),
        (None, set(), set()),
        (
            {"x": {"state": "online", "stream": "s"}, "y": {"state": "lost"}, "z": None},
            {"x"},
            {"x"},
        ),
    ],
)
def test_health_of_one_patient_or_of_several_is_read(
    health: object, online: set[str], sampling: set[str]
) -> None:
    found = Condition.of("", msgspec.json.encode(health), "bed7")
    assert (set(found.online), set(found.sampling)) == (online, sampling)
