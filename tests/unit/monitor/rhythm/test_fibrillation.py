"""Ventricular fibrillation: how many windows prove it."""

from __future__ import annotations

import pytest

from tocsin_agent.monitor.rhythm.fibrillation import FibrillationRules
from tocsin_agent.monitor.rhythm.finding import Finding
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.monitor.timeline import Waveform
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ

RATE = ANALYSIS_RATE_HZ


def findings(probabilities: dict[int, float], lasts_s: float = 4.0) -> list[Finding]:
    """Give what windows that end at the seconds given prove."""
    rules = FibrillationRules(Limits(vf_s=lasts_s))
    windows = [Waveform(s * RATE, "II", p, 0.3) for s, p in probabilities.items()]
    return [finding for window in windows for finding in rules.take(window)]


def run(probabilities: dict[int, float], lasts_s: float = 4.0) -> list[tuple[float, float]]:
    """Give onset and instant of what is proved, in seconds."""
    return [(f.onset / RATE, f.at / RATE) for f in findings(probabilities, lasts_s)]


def test_three_windows_in_a_row_show_four_seconds() -> None:
    assert run(dict.fromkeys(range(10, 14), 0.6)) == [(8.0, 12.0), (8.0, 13.0)]


@pytest.mark.parametrize("sure_at", [10, 11])
def test_two_are_enough_where_one_is_sure(sure_at: int) -> None:
    assert run({10: 0.5, 11: 0.5, sure_at: 0.8}) == [(8.0, 11.0)]


def test_one_window_is_never_enough() -> None:
    assert not run({10: 1.0})


def test_a_window_that_was_passed_over_breaks_the_sequence() -> None:
    assert not run(dict.fromkeys((10, 11, 13, 14, 16, 17), 0.6))


def test_an_unlikely_window_breaks_the_sequence() -> None:
    assert run({10: 0.6, 11: 0.6, 12: 0.1, 13: 0.6, 14: 0.6, 15: 0.6}) == [(11.0, 15.0)]


def test_the_limit_asks_for_longer() -> None:
    assert run(dict.fromkeys(range(10, 17), 0.6), 7.0) == [(8.0, 15.0), (8.0, 16.0)]


def test_a_finding_states_the_model_and_its_mean_probability() -> None:
    (found,) = findings({10: 0.5, 11: 0.8})
    assert (found.code, found.model, found.probability) == ("ventricular_fibrillation", "vf", 0.65)
    assert found.measured == {"lead": "II", "level_mv": 0.3, "lasting_s": 3.0}
    assert found.limits == {"vf_s": 4.0}


def test_suspicion_lasts_less_than_two_seconds() -> None:
    rules = FibrillationRules(Limits())
    assert not rules.suspects(0)
    rules.take(Waveform(10 * RATE, "II", 0.9, 0.3))
    assert rules.suspects(12 * RATE - 1)
    assert not rules.suspects(12 * RATE)
    rules.take(Waveform(11 * RATE, "II", 0.1, 0.3))
    assert not rules.suspects(11 * RATE)
