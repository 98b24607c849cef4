"""Signal quality: each fault has its state, a clean lead is good."""

from __future__ import annotations

import numpy as np
import pytest

from support.patients import asystole, make_script, samples_of
from tocsin_agent.sources.scripted.script import Disturbance, Event, Segment
from tocsin_dsp.conditioning.quality import HOP, Hop, LeadState, QualityMeter
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ, Resampler
from tocsin_dsp.exact import on_sample_grid
from tocsin_dsp.signal import FloatArray

RATE = ANALYSIS_RATE_HZ
RANGE = (-5.12, 5.115)


def analysed(*events: Event, segment: Segment | None = None) -> FloatArray:
    script = make_script(segment or Segment(seconds=30.0), events=events)
    _, samples = samples_of(script)
    return Resampler(script.rate_hz, 2).push(on_sample_grid(samples))


def judged(x: FloatArray, range_mv: tuple[float, float] | None = RANGE) -> list[Hop]:
    return QualityMeter(x.shape[1], range_mv).push(x)


def states(x: FloatArray, lead: int = 0, *, between: tuple[float, float]) -> list[LeadState]:
    first, last = between
    return [h.states[lead] for h in judged(x) if first * RATE < h.stop <= last * RATE]


def fault(kind: Disturbance, amplitude_mv: float = 0.2) -> FloatArray:
    event = Event(kind=kind, at_s=10.0, seconds=10.0, leads=("II",), amplitude_mv=amplitude_mv)
    return analysed(event)


def test_a_clean_lead_is_good() -> None:
    hops = judged(analysed())[1:]
    assert all(h.states == (LeadState.GOOD, LeadState.GOOD) for h in hops)
    assert np.mean([h.values[0] for h in hops]) > 0.95


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        (Disturbance.LEAD_FLAT, LeadState.FLAT),
        (Disturbance.LEAD_MISSING, LeadState.MISSING),
        (Disturbance.LEAD_RAIL, LeadState.SATURATED),
    ],
)
def test_a_lost_lead_has_its_state_and_the_other_stays_good(
    kind: Disturbance, state: LeadState
) -> None:
    x = fault(kind)
    assert set(states(x, 0, between=(10.7, 19.6))) == {state}
    assert set(states(x, 1, between=(10.7, 19.6))) == {LeadState.GOOD}
    assert set(states(x, 0, between=(21.5, 29.0))) == {LeadState.GOOD}
    assert not state.carries_ecg


def test_without_a_known_range_a_saturated_lead_is_flat() -> None:
    hops = judged(fault(Disturbance.LEAD_RAIL), None)
    assert {h.states[0] for h in hops if 11 * RATE < h.stop <= 19.6 * RATE} == {LeadState.FLAT}


@pytest.mark.parametrize("rail", RANGE)
def test_both_ends_of_the_range_are_saturated(rail: float) -> None:
    x = np.full((4 * HOP, 1), rail)
    assert {h.states[0] for h in judged(x)} == {LeadState.SATURATED}


def test_rough_noise_is_noisy_and_of_low_quality() -> None:
    noise = np.random.default_rng(1).normal(0, 1.0, (10 * HOP, 1))
    hops = judged(noise)
    assert {h.states[0] for h in hops} == {LeadState.NOISY}
    assert all(h.values[0] <= 0.3 for h in hops)
    assert LeadState.NOISY.carries_ecg


def test_an_absurd_amplitude_is_noisy() -> None:
    x = 20.0 * np.sin(2 * np.pi * np.arange(10 * HOP) / HOP)[:, None]
    assert {h.states[0] for h in judged(x, None)} == {LeadState.NOISY}


def test_a_long_one_way_drift_is_a_loose_electrode() -> None:
    x = np.linspace(0.0, 4.0, 8 * HOP)[:, None]
    assert [h.states[0] for h in judged(x)][1:] == [LeadState.LOOSE] * 7
    slow = np.linspace(0.0, 1.0, 8 * HOP)[:, None]  # 0.25 mV a second
    assert LeadState.LOOSE not in {h.states[0] for h in judged(slow)}


def test_drift_under_beats_is_not_a_loose_electrode() -> None:
    x = analysed() + np.linspace(0.0, 20.0, len(analysed()))[:, None]
    assert {h.states[0] for h in judged(x, None)[1:]} <= {LeadState.GOOD, LeadState.NOISY}


def test_a_lead_in_asystole_still_carries_ecg() -> None:
    x = analysed(segment=asystole(20.0))
    assert all(h.carries_ecg for h in judged(x)[1:])


def test_a_half_missing_hop_is_judged_by_the_rest() -> None:
    x = analysed()
    at = 20 * HOP
    x[at : at + HOP // 2 - 5] = np.nan
    assert LeadState.MISSING not in {h.states[0] for h in judged(x)[1:]}
    x[at : at + HOP // 2 + 5] = np.nan
    assert judged(x)[20].states == (LeadState.MISSING, LeadState.MISSING)


def test_the_grid_is_absolute_and_independent_of_blocks() -> None:
    x = analysed()
    meter = QualityMeter(2)
    meter.skip_to(1030)
    hops = meter.push(x)
    assert [h.stop for h in hops[:3]] == [1125, 1250, 1375]
    assert all(h.stop % HOP == 0 for h in hops)
    meter.skip_to(10**9)
    assert meter.push(x)[0].stop == 10**9 + HOP - 10**9 % HOP


def mean_quality(x: FloatArray) -> float:
    return float(np.mean([h.values for h in judged(x, None)[4:]]))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("low_pass", [1, 6])  # white noise, and peaks as wide as a QRS
def test_quality_falls_with_noise(seed: int, low_pass: int) -> None:
    draws = np.random.default_rng(seed)
    x = analysed()
    noise = draws.standard_normal((len(x) + low_pass - 1, 2))
    noise = np.stack([np.convolve(n, np.ones(low_pass), "valid") for n in noise.T], axis=1)
    noise /= noise.std()
    levels = [mean_quality(x + amount * noise) for amount in (0, 0.03, 0.1, 0.3, 1.0)]
    assert levels[0] > 0.95
    assert levels[-1] < 0.3
    assert levels == sorted(levels, reverse=True)


@pytest.mark.parametrize("rate_bpm", [30.0, 60.0, 150.0])
def test_a_clean_lead_has_a_high_quality_at_any_rate(rate_bpm: float) -> None:
    assert mean_quality(analysed(segment=Segment(seconds=60.0, rate_bpm=rate_bpm))) > 0.7


def test_neither_gain_nor_baseline_wander_changes_the_index() -> None:
    x = analysed()
    wander = np.sin(2 * np.pi * 0.2 * np.arange(len(x)) / RATE)[:, None]
    assert mean_quality(4.0 * x) == pytest.approx(mean_quality(x), abs=1e-3)
    assert mean_quality(x + wander) == pytest.approx(mean_quality(x), abs=0.05)
