"""Atrial fibrillation: how many half minutes prove it, and what the alarm states."""

from __future__ import annotations

from collections.abc import Sequence

from tocsin_agent.monitor.rhythm.atrial import (
    CONTINUES,
    HOLD_S,
    AtrialFibrillationTracker,
    AtrialRules,
)
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.monitor.timeline import Irregularity
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.rhythms.irregularity import EVERY

RATE = ANALYSIS_RATE_HZ


def half_minutes(probabilities: Sequence[float | None]) -> list[Irregularity]:
    """Give what a model answers every five seconds; None where the rhythm is regular."""
    return [
        Irregularity(i * EVERY, probability, 0.0, 0.2)
        for i, probability in enumerate(probabilities, 1)
        if probability is not None
    ]


def proved(probabilities: Sequence[float | None], lasts_s: float = 30.0) -> list[tuple[int, int]]:
    """Give onset and instant of what is proved, in seconds."""
    tracker = AtrialFibrillationTracker(lasts_s)
    proofs = [tracker.take(window) for window in half_minutes(probabilities)]
    return [(p.onset // RATE, p.window.decided // RATE) for p in proofs if p is not None]


def test_four_windows_in_a_row_are_half_a_minute() -> None:
    assert proved([0.1, 0.1, 0.9, 0.9, 0.9, 0.9, 0.1]) == [(0, 30)]
    assert not proved([0.1, 0.9, 0.9, 0.9, 0.1, 0.9])
    assert not proved([0.9, 0.9, 0.9, None, 0.9])


def test_the_mean_of_the_windows_decides_and_none_contradicts_it() -> None:
    assert proved([0.1, 0.9, 0.6, 0.7, 0.8, 0.1]) == [(0, 25)]
    assert not proved([0.1, 0.8, 0.6, 0.7, 0.6, 0.1])
    assert not proved([0.1, 1.0, 1.0, 1.0, CONTINUES - 0.1])
    each = AtrialFibrillationTracker(30.0, least=0.7)
    assert not any(map(each.take, half_minutes([0.9, 0.6, 0.9, 0.9, 0.9])))
    assert each.take(Irregularity(6 * EVERY, 0.9, 0.0, 0.2))


def test_it_continues_with_less() -> None:
    began = [0.1] * 3 + [0.9] * 4
    assert [at for _, at in proved([*began, 0.6, 0.4, 0.6])] == [35, 40, 50]
    assert [at for _, at in proved([*began, *[0.4] * 12, 0.6])] == [35]


def test_the_limit_asks_for_longer() -> None:
    assert proved([0.9] * 10, 60.0) == [(0, 50)]


def test_it_holds_for_a_minute_after_the_last_proof() -> None:
    tracker = AtrialFibrillationTracker(30.0)
    for window in half_minutes([0.9] * 4):
        assert not tracker.holds(window.decided)
        tracker.take(window)
    last = 4 * EVERY
    assert tracker.holds(last + HOLD_S * RATE)
    assert not tracker.holds(last + HOLD_S * RATE + 1)
    tracker.restart()
    assert not tracker.holds(last)


def test_the_alarm_states_what_the_model_answered() -> None:
    rules = AtrialRules(Limits(af_s=20.0))
    found = [f for window in half_minutes([0.9, 0.8]) for f in rules.take(window)]
    (first,) = found
    assert (first.code, first.model, first.probability) == ("atrial_fibrillation", "af", 0.8)
    assert first.limits == {"af_s": 20.0}
    assert first.measured == {"share_with_p": 0.0, "rr_difference": 0.2}
