"""Ventricular fibrillation: how many windows prove it."""

from __future__ import annotations

from tocsin_agent.monitor.rhythm.fibrillation import FibrillationRules
from tocsin_agent.monitor.rhythm.finding import Finding
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.monitor.rhythm.verdicts import Verdict, Verdicts
from tocsin_agent.monitor.timeline import Waveform
from tocsin_dsp.conditioning.quality import HOP, Hop, LeadState
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


def test_two_of_three_windows_show_four_seconds() -> None:
    assert run(dict.fromkeys(range(10, 13), 0.6)) == [(8.0, 11.0), (8.0, 12.0)]
    assert run({10: 0.6, 11: 0.1, 12: 0.6}) == [(8.0, 12.0)]
    assert not run({10: 0.6, 11: 0.1, 12: 0.1, 13: 0.6})


def test_the_newest_window_is_one_of_them() -> None:
    assert not run({10: 0.29, 11: 0.6, 12: 0.29})


def test_one_window_is_never_enough() -> None:
    assert not run({10: 1.0})


def test_it_continues_while_windows_are_not_clearly_something_else() -> None:
    found = run({10: 0.6, 11: 0.6, 12: 0.05, 13: 0.04, 14: 0.0, 15: 0.1, 16: 0.04})
    assert [at for _, at in found] == [11.0, 12.0, 15.0]
    assert {onset for onset, _ in found} == {8.0}


def test_four_clear_windows_end_it() -> None:
    begun = {10: 0.6, 11: 0.6}
    assert (8.0, 15.0) in run(begun | dict.fromkeys((12, 13, 14), 0.01) | {15: 0.06})
    assert (8.0, 16.0) not in run(begun | dict.fromkeys((12, 13, 14, 15), 0.01) | {16: 0.06})


def qualities(rules: FibrillationRules, states: str, start_s: float) -> list[Finding]:
    """Give half seconds in which the lead is connected (`.`) or at a rail (`x`)."""
    codes = {".": LeadState.GOOD, "x": LeadState.SATURATED}
    first = round(start_s * RATE) + HOP
    hops = [Hop(first + i * HOP, (codes[c],), (1.0,)) for i, c in enumerate(states)]
    return [finding for hop in hops for finding in rules.take(hop)]


def begun() -> FibrillationRules:
    rules = FibrillationRules(Limits())
    for second in (10, 11):
        rules.take(Waveform(second * RATE, "II", 0.6, 0.3))
    return rules


def test_it_is_held_through_a_rail_for_six_seconds() -> None:
    found = qualities(begun(), "x" * 30, 11)
    assert [f.at / RATE for f in found] == [12.5, 13.5, 14.5, 15.5, 16.5, 17.5]


def test_seconds_without_a_window_end_it() -> None:
    rules = begun()
    assert not qualities(rules, "." * 10, 11)
    assert not rules.take(Waveform(17 * RATE, "II", 0.2, 0.3))


def test_verification_may_contradict_the_begin_and_not_what_lasts() -> None:
    verdicts = Verdicts()
    rules = FibrillationRules(Limits(), verdicts)
    verdicts.fibrillation = Verdict(0, 0.1, accepted=False, why="", measured={})
    assert not [f for s in (10, 11, 12) for f in rules.take(Waveform(s * RATE, "II", 0.9, 0.3))]
    verdicts.fibrillation = Verdict(0, 0.6, accepted=True, why="", measured={})
    (found,) = rules.take(Waveform(13 * RATE, "II", 0.9, 0.3))
    assert found.measured["verified"] == 0.6
    verdicts.fibrillation = Verdict(0, 0.1, accepted=False, why="", measured={})
    assert rules.take(Waveform(14 * RATE, "II", 0.9, 0.3))


def test_windows_of_other_leads_do_not_count() -> None:
    rules = FibrillationRules(Limits())
    windows = [Waveform(s * RATE, "V", 0.9, 0.3, used=False) for s in (10, 11, 12)]
    assert not [f for window in windows for f in rules.take(window)]


def test_the_limit_asks_for_longer() -> None:
    assert run(dict.fromkeys(range(10, 16), 0.6), 7.0) == [(8.0, 14.0), (8.0, 15.0)]


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
