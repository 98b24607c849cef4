"""Onset and end of P, QRS and T on beats whose waves are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from tocsin_dsp.beats.waves import AFTER, P_SCORE, UNKNOWN, Delineator, Waves
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.exact import on_sample_grid
from tocsin_dsp.signal import FloatArray

IntArray = NDArray[np.int64]
RATE = ANALYSIS_RATE_HZ
RR = 220
FIRST = 300
BEATS = 12
P_AT, P_SIGMA = -42, 5.0  # the foot of a Gaussian: 2.5 sigma from its middle
T_AT, T_SIGMA = 70, 10.0


def wave(n: int, at: float, sigma: float, height: float) -> FloatArray:
    return np.asarray(height * np.exp(-0.5 * ((np.arange(n) - at) / sigma) ** 2))


def ecg(
    *,
    p: float = 0.15,
    t: float = 0.3,
    qrs: float = 1.0,
    qrs_sigma: float = 2.5,
    st: float = 0.0,
    p_at: int = P_AT,
    rr: int = RR,
    noise: float = 0.0,
) -> tuple[FloatArray, IntArray]:
    """Return samples of one lead and the R peaks; with an S wave, J lies 14 samples after R."""
    r = FIRST + rr * np.arange(BEATS, dtype=np.int64)
    n = int(r[-1]) + 200
    x = noise * np.random.default_rng(4).standard_normal(n)
    for at in r.tolist():
        x += wave(n, at + p_at, P_SIGMA, p) + wave(n, at + T_AT, T_SIGMA, t)
        x += wave(n, at, qrs_sigma, qrs) + wave(n, at + 3 * qrs_sigma, qrs_sigma, -0.3 * qrs)
        x[at + 20 : at + 45] += st * np.hanning(27)[1:-1]
    return on_sample_grid(x), r


def delineate(x: FloatArray, r: IntArray, start: int = 0) -> list[Waves]:
    return Delineator().push(x[:, None], start, r, np.zeros(len(r), np.int64))


def delineated(**given: float) -> tuple[list[Waves], IntArray]:
    """Return the waves of all beats but the first, and their R peaks."""
    x, r = ecg(**given)  # type: ignore[arg-type]
    return delineate(x, r)[1:], r[1:]


@pytest.mark.parametrize("upright", [1, -1])
def test_waves_are_where_they_were_put(upright: int) -> None:
    waves, r = delineated(p=0.15 * upright, t=0.3 * upright, qrs=1.0 * upright)
    for w, at in zip(waves, r, strict=True):
        assert w.p_peak - at == pytest.approx(P_AT, abs=1)
        assert w.p_onset - at == pytest.approx(P_AT - 2.5 * P_SIGMA, abs=3)
        assert w.p_end - at == pytest.approx(P_AT + 2.5 * P_SIGMA, abs=3)
        assert w.qrs_onset - at == pytest.approx(-9, abs=2)
        assert w.qrs_end - at == pytest.approx(14, abs=3)
        assert w.previous_t_peak - (at - RR) == pytest.approx(T_AT, abs=2)
        assert w.previous_t_end - (at - RR) == pytest.approx(T_AT + 2.2 * T_SIGMA, abs=5)
        assert w.p_score > P_SCORE
        assert w.p_likeness > 0.99
        assert w.p_amplitude_mv == pytest.approx(0.13, abs=0.03)


def test_intervals_are_those_of_the_points() -> None:
    waves, _ = delineated()
    w, before = waves[4], waves[3]
    assert w.qrs_s == (w.qrs_end - w.qrs_onset) / RATE
    assert w.pr_s == (w.qrs_onset - w.p_onset) / RATE
    assert w.previous_qt_s == (w.previous_t_end - before.qrs_onset) / RATE
    assert 0.06 < w.qrs_s < 0.12
    assert 0.12 < w.pr_s < 0.22
    assert 0.35 < w.previous_qt_s < 0.48


def test_a_wide_qrs_is_wide() -> None:
    narrow, _ = delineated(qrs_sigma=2.5, t=0.0)
    wide, _ = delineated(qrs_sigma=5.0, t=0.0)
    assert wide[5].qrs_s == pytest.approx(2 * narrow[5].qrs_s, rel=0.2)


@pytest.mark.parametrize("gain", [1e-2, 1e2])
def test_gain_moves_no_wave(gain: float) -> None:
    x, r = ecg(noise=0.01)
    for a, b in zip(delineate(x, r), delineate(on_sample_grid(x * gain), r), strict=True):
        np.testing.assert_allclose(a[:5] + a[9:], b[:5] + b[9:], atol=0.3)
        assert b.p_score == pytest.approx(a.p_score, abs=0.02, nan_ok=True)


def test_an_offset_changes_nothing() -> None:
    x, r = ecg(noise=0.01)
    for a, b in zip(delineate(x, r), delineate(x + 64.0, r), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)


def test_without_a_p_wave_there_is_none() -> None:
    waves, _ = delineated(p=0.0, noise=0.02)
    assert np.mean([w.p_score >= P_SCORE for w in waves]) < 0.3
    absent = next(w for w in waves if w.p_score < P_SCORE)
    assert all(math.isnan(v) for v in (absent.p_onset, absent.p_peak, absent.p_end, absent.pr_s))
    assert math.isfinite(absent.p_amplitude_mv)


def test_a_p_wave_is_found_in_noise() -> None:
    waves, r = delineated(noise=0.02)
    found = [w.p_peak - at for w, at in zip(waves, r, strict=True) if w.p_score >= P_SCORE]
    assert len(found) >= 10
    assert np.median(found) == pytest.approx(P_AT, abs=2)


def test_bumps_that_differ_from_beat_to_beat_are_not_p_waves() -> None:
    x, r = ecg(p=0.0)
    draws = np.random.default_rng(8)
    for at in range(150, len(x) - 50, 40):  # fibrillation: about six bumps a second
        jitter = at + draws.uniform(-12, 12)
        x += wave(len(x), jitter, draws.uniform(4, 8), 0.1 * draws.choice([-1, 1]))
    waves = delineate(on_sample_grid(x), r)[4:]
    assert np.mean([w.p_score >= P_SCORE for w in waves]) < 0.4
    assert np.mean([w.p_likeness for w in waves]) < 0.6


@pytest.mark.parametrize("rr", [100, 150, 300, 500])
def test_p_is_separated_from_the_t_wave_before_at_any_rate(rr: int) -> None:
    p_at = -30 if rr < 150 else P_AT
    x, r = ecg(rr=rr, p_at=p_at, t=0.2 if rr > 100 else 0.0)
    for w, at in zip(delineate(x, r)[1:], r[1:], strict=True):
        assert w.p_peak - at == pytest.approx(p_at, abs=2)


@pytest.mark.parametrize("level", [-0.3, 0.0, 0.2])
def test_st_is_the_level_60_ms_after_the_qrs(level: float) -> None:
    waves, _ = delineated(st=level, t=0.0)
    for w in waves:
        assert w.st_mv == pytest.approx(level, abs=0.04 + 0.15 * abs(level))


def test_no_t_wave_is_reported_with_the_first_beat_or_across_a_long_pause() -> None:
    x, r = ecg()
    assert math.isnan(delineate(x, r)[0].previous_t_end)
    late = delineate(x, r[[0, 1, 7]])
    assert [math.isfinite(w.previous_t_end) for w in late] == [False, True, False]


def test_missing_samples_affect_only_the_waves_that_need_them() -> None:
    x, r = ecg()
    x[r[4] + 5] = np.nan
    waves = delineate(x, r)
    assert math.isnan(waves[4].qrs_onset)
    assert math.isnan(waves[4].p_score)
    assert math.isnan(waves[5].previous_t_end)
    assert waves[5].p_score > P_SCORE
    assert math.isfinite(waves[4].previous_t_end)


def test_a_beat_at_the_edge_of_the_samples_is_unknown() -> None:
    x, r = ecg()
    waves = delineate(x[r[0] - 50 :], r, start=int(r[0]) - 50)
    assert all(math.isnan(v) for v in waves[0])
    assert waves[2] == delineate(x, r)[2]


@pytest.mark.parametrize("value", [0.0, 3.7, 4096.0])
def test_a_flat_window_has_no_waves(value: float) -> None:
    waves = delineate(np.full(2000, value), np.array([300, 600, 900]))
    assert all(math.isnan(v) for w in waves for v in w)
    assert repr(waves[0]) == repr(UNKNOWN)


def test_absurd_samples_raise_nothing() -> None:
    draws = np.random.default_rng(1)
    x = on_sample_grid(1e9 * draws.standard_normal(6000))
    for w in delineate(x, np.arange(200, 5800, 60)):
        assert w.p_score is not None
        assert not np.isinf(w).any()
        assert math.isnan(w.p_score) or 0.0 <= w.p_score <= 1.0


def test_beats_one_by_one_give_the_same_bits_as_in_one_batch() -> None:
    draws = np.random.default_rng(2)
    x, r = ecg(noise=0.05)
    x[2000:2010] = np.nan
    r = np.sort(np.concatenate((r, draws.integers(200, len(x) - 200, 150))))
    r = r[np.concatenate(([True], np.diff(r) > 5))]
    both = np.stack((x, on_sample_grid(-0.3 * x)), axis=1)
    lead = draws.integers(0, 2, len(r))
    whole = Delineator().push(both, 0, r, lead)
    stage, parts = Delineator(), []
    for at, of in zip(r, lead, strict=True):
        first = max(at - 900, 0)
        piece = both[first : at + AFTER]
        parts += stage.push(piece, first, np.array([at]), np.array([of]))
    assert repr(parts) == repr(whole)
    assert len(whole) == len(r)


def test_after_a_skip_the_beat_before_is_unknown() -> None:
    x, r = ecg()
    stage, zeros = Delineator(), np.zeros(BEATS, np.int64)
    first = stage.push(x[:, None], 0, r, zeros)
    stage.skip()
    assert repr(stage.push(x[:, None], 0, r, zeros)) == repr(first)
