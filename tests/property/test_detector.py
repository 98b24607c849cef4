"""The QRS detector on one lead: the same beats, whatever happens to the electrode.

A beat is the same within 10 ms. Where the heart itself changes (rate, size) or a part of the signal
is destroyed, the remaining beats are compared with the true ones.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import resample_poly

from support.examples import fixed
from support.patients import make_script, read_all, samples_of
from tocsin_agent.sources.opening import open_source
from tocsin_agent.sources.scripted.script import Segment
from tocsin_agent.sources.scripted.synthetic import SyntheticSource
from tocsin_dsp.conditioning.condition import Conditioner
from tocsin_dsp.conditioning.quality import FAINTEST_MV
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.detection.qrs import LeadDetector
from tocsin_dsp.exact import on_sample_grid
from tocsin_dsp.signal import FloatArray, SampleBlock, StreamSpec

RATE = ANALYSIS_RATE_HZ
SAME_S = 0.0101
SECONDS = 60


def detected(x: FloatArray, faintest_mv: float = FAINTEST_MV) -> FloatArray:
    """Return the seconds of the beats detected in a lead at the analysis rate."""
    beats = LeadDetector().push(on_sample_grid(x))
    return np.array([b.r_index for b in beats if b.level_mv >= faintest_mv]) / RATE


def detected_at(x: FloatArray, rate_hz: float) -> FloatArray:
    """Return the seconds of the beats detected in a lead at a source's rate."""
    spec = StreamSpec("property", rate_hz, ("lead",))
    stage = Conditioner(spec)
    return detected(stage.push(SampleBlock(spec, 0, x[:, None])).samples[:, 0])


def assert_same(found: FloatArray, expected: FloatArray, within_s: float = SAME_S) -> None:
    assert len(found) == len(expected)
    assert np.abs(found - expected).max() <= within_s


def between(seconds: FloatArray, first: float, last: float) -> FloatArray:
    return seconds[(seconds >= first) & (seconds < last)]


@cache
def real(rate_hz: int = RATE) -> FloatArray:
    """Return a minute of a patient with sinus rhythm and ventricular beats (mitdb 208).

    It is the second minute of the excerpt: in the first, earlier beats decide on a steep T wave, so
    that missing samples may change it.
    """
    (block,) = read_all(open_source("excerpt", block_s=3600.0))
    ratio = Fraction(rate_hz, 360)
    x = resample_poly(block.samples_mv[:, 0], ratio.numerator, ratio.denominator, padtype="line")
    minute: FloatArray = x[SECONDS * rate_hz :][: SECONDS * rate_hz]
    return minute


def synthetic(*segments: Segment, rate_hz: float = RATE) -> tuple[FloatArray, FloatArray]:
    """Return one lead of a scripted patient, and the seconds of the true R peaks."""
    script = make_script(*segments, rate_hz=rate_hz, leads=("II",))
    return samples_of(script)[1][:, 0], SyntheticSource(script).truth().beats / rate_hz


@fixed(20)
@given(decades=st.floats(-3.0, 3.0), inverted=st.booleans(), offset_mv=st.floats(-300.0, 300.0))
def test_gain_polarity_and_offset_do_not_matter(
    decades: float, inverted: bool, offset_mv: float
) -> None:
    gain = 10.0**decades * (-1 if inverted else 1)
    assert_same(detected(gain * real() + offset_mv, 0.0), detected(real(), 0.0))


@pytest.mark.parametrize("rate_hz", [100, 128, 200, 250, 257, 333, 360, 500, 1000, 2000])
def test_the_rate_of_the_source_does_not_matter(rate_hz: int) -> None:
    assert_same(detected_at(real(rate_hz), float(rate_hz)), detected_at(real(360), 360.0))


@fixed(25)
@given(
    bursts=st.lists(st.tuples(st.floats(5.0, 55.0), st.floats(0.004, 4.0)), min_size=1, max_size=6)
)
def test_all_beats_are_detected_from_two_seconds_after_missing_samples(
    bursts: list[tuple[float, float]],
) -> None:
    x = real().copy()
    judged = np.ones(len(x), bool)
    for at_s, length_s in bursts:
        start, stop = round(at_s * RATE), round((at_s + length_s) * RATE)
        x[start:stop] = np.nan
        judged[max(start - RATE // 2, 0) : stop + 2 * RATE] = False
    found, expected = detected(x), detected(real())
    found = found[judged[np.round(found * RATE).astype(int)]]
    expected = expected[judged[np.round(expected * RATE).astype(int)]]
    assert_same(found, expected)


@fixed(20)
@given(
    height_mv=st.floats(1.0, 30.0),
    width_ms=st.floats(0.5, 2.0),
    before_ms=st.floats(0.0, 60.0),
    negative=st.booleans(),
)
def test_a_pacing_spike_on_every_beat_adds_and_loses_none(
    height_mv: float, width_ms: float, before_ms: float, negative: bool
) -> None:
    rate_hz = 2000
    x, true = synthetic(Segment(seconds=40.0, variability=0.01), rate_hz=rate_hz)
    for r_s in true:
        start = round((r_s - before_ms / 1000) * rate_hz)
        x[start : start + max(round(width_ms * rate_hz / 1000), 1)] += (
            -height_mv if negative else height_mv
        )
    found = detected_at(x, rate_hz)
    inside = between(true, 1.0, 38.0)
    assert_same(between(found, 0.9, 38.1), inside, within_s=0.1)


@fixed(20)
@given(bpm=st.lists(st.sampled_from([20, 40, 60, 90, 130, 180, 240, 300]), min_size=2, max_size=4))
def test_steps_of_the_rate_add_no_beat_and_lose_one_at_most_at_a_large_step(bpm: list[int]) -> None:
    """A step to six times the rate or more may cost its first beat: 40 to 240 per minute does."""
    segments = [Segment(seconds=20.0, rate_bpm=float(rate), variability=0.02) for rate in bpm]
    x, true = synthetic(*segments)
    end = 20.0 * len(bpm) - 5.0
    found, expected = between(detected(x), 0.9, end), between(true, 0.9, end)
    apart = np.abs(found[:, None] - expected).min(axis=1)
    large_steps = sum(after >= 6 * before for before, after in pairwise(bpm))
    assert apart.max() <= 0.03
    assert len(expected) - len(found) in range(large_steps + 1)


@fixed(15)
@given(share=st.floats(0.35, 1.0), bpm=st.sampled_from([50, 75, 120, 180]))
def test_beats_that_alternate_in_size_are_all_detected(share: float, bpm: int) -> None:
    """At 180 per minute small beats need 0.65 of the size: smaller ones pass for T waves."""
    share = max(share, 0.65) if bpm == 180 else share
    x, true = synthetic(Segment(seconds=40.0, rate_bpm=float(bpm), variability=0.02))
    middles = (true[1:] + true[:-1]) / 2
    beat = np.searchsorted(middles, np.arange(len(x)) / RATE)
    x = np.where(beat % 2 == 0, x, share * x)
    assert_same(between(detected(x), 0.9, 38.0), between(true, 0.9, 38.0), within_s=0.03)


@fixed(10)
@given(
    height_mv=st.floats(0.2, 5.0), bpm=st.sampled_from([50, 75, 120, 180]), inverted=st.booleans()
)
def test_beats_from_a_fifth_of_a_millivolt_are_detected(
    height_mv: float, bpm: int, inverted: bool
) -> None:
    x, true = synthetic(Segment(seconds=40.0, rate_bpm=float(bpm), variability=0.02))
    x *= (-height_mv if inverted else height_mv) / np.median(x[np.round(true * RATE).astype(int)])
    assert_same(between(detected(x), 0.9, 38.0), between(true, 0.9, 38.0), within_s=0.03)


@fixed(20)
@given(
    level_mv=st.floats(0.05, 20.0),
    kind=st.sampled_from(["noise", "mains", "steps", "rail", "missing"]),
    seed=st.integers(0, 1000),
)
def test_every_beat_is_detected_ten_seconds_after_noise_at_the_start(
    level_mv: float, kind: str, seed: int
) -> None:
    x, true = synthetic(Segment(seconds=40.0, pattern="NNNNNV"))
    n = 10 * RATE
    rng, t = np.random.default_rng(seed), np.arange(n) / RATE
    noise: dict[str, Callable[[], FloatArray]] = {
        "noise": lambda: rng.normal(0.0, level_mv, n),
        "mains": lambda: level_mv * np.sin(2 * np.pi * 15.0 * t),
        "steps": lambda: level_mv * np.repeat(rng.choice([-1.0, 1.0], n // 25), 25),
        "rail": lambda: np.full(n, level_mv),
        "missing": lambda: np.full(n, np.nan),
    }
    x[:n] = noise[kind]()
    assert_same(between(detected(x), 20.0, 38.0), between(true, 20.0, 38.0), within_s=0.03)


@pytest.mark.parametrize("silence", [0.0, np.nan])
def test_every_beat_is_detected_after_a_day_without_signal(silence: float) -> None:
    detector, hour = LeadDetector(), np.full(3600 * RATE, silence)
    x = on_sample_grid(real())
    before = detector.push(x)
    assert sum(len(detector.push(hour)) for _ in range(24)) <= 1  # the last one before it
    after = [b.r_index - len(x) - 24 * len(hour) for b in detector.push(x)]
    expected = [b.r_index for b in before if b.r_index > RATE // 2]
    assert_same(np.array([r for r in after if r > RATE // 2]) / RATE, np.array(expected) / RATE)
