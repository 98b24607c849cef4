"""The same patient however the samples are cut, scaled, offset, inverted or resampled."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import resample_poly

from support.examples import fixed
from support.patients import (
    ALL,
    CALM,
    Monitored,
    asystole,
    make_script,
    one_block,
    read_all,
    recut,
    run_monitor,
    samples_of,
)
from tocsin_agent.monitor.rhythm.limits import FurtherAlarm, Limits
from tocsin_agent.sources.opening import open_source
from tocsin_agent.sources.scripted.script import (
    SCENARIOS,
    Disturbance,
    Event,
    ScriptedRhythm,
    Segment,
)
from tocsin_agent.sources.scripted.synthetic import SyntheticSource
from tocsin_dsp.signal import FloatArray, SampleBlock
from tocsin_models import Models, load_models

RATE = 360


TWO_LEADS = make_script(
    CALM,
    Segment(seconds=15.0, pattern="NNNVNNVVNV"),
    Segment(seconds=12.0, pattern="V", rate_bpm=160.0),
    CALM,
    asystole(8.0),
    CALM,
    Segment(rhythm=ScriptedRhythm.VENTRICULAR_FIBRILLATION, seconds=9.0),
    Segment(seconds=6.0),
    events=(
        Event(kind=Disturbance.LEAD_FLAT, at_s=5.0, seconds=4.0, leads=("II",)),
        Event(kind=Disturbance.GAP, at_s=16.0, seconds=2.5),
        Event(kind=Disturbance.MUSCLE, at_s=60.0, seconds=6.0, amplitude_mv=1.0),
        Event(kind=Disturbance.LEAD_RAIL, at_s=88.0, seconds=4.0, leads=("V1",)),
    ),
)


@cache
def shipped() -> Models:
    return load_models()


@cache
def excerpt() -> list[SampleBlock]:
    (block,) = read_all(open_source("excerpt", block_s=3600.0))
    return [block]


@cache
def whole_excerpt() -> Monitored:
    return run_monitor(excerpt(), shipped())


@cache
def synthetic() -> list[SampleBlock]:
    return read_all(SyntheticSource(TWO_LEADS, block_s=3600.0))


@cache
def whole_synthetic() -> Monitored:
    return run_monitor(synthetic(), shipped())


def random_rows(seed: int, longest: int) -> list[int]:
    """Return lengths from 1 to `longest`, uniform in their logarithm."""
    draws = np.random.default_rng(seed)
    lengths = np.exp(draws.uniform(0.0, np.log(longest), 100_000))
    return [int(n) for n in lengths]


def assert_same(result: Monitored, whole: Monitored) -> None:
    assert result.beats == whole.beats
    for alert, expected in zip(result.alerts, whole.alerts, strict=True):
        assert alert == expected
    assert result.trends == whole.trends


longest_rows = st.sampled_from([RATE // 4, 2 * RATE, 10 * RATE])


@fixed(8)
@given(seed=st.integers(0, 2**32 - 1), longest=longest_rows)
def test_the_excerpt_gives_the_same_result_however_it_is_cut(seed: int, longest: int) -> None:
    rows = iter(random_rows(seed, longest))
    result = run_monitor(recut(excerpt(), lambda: next(rows)), shipped())
    assert len(result.beats) > 400
    assert_same(result, whole_excerpt())


FURTHER = Limits(further_alarms=get_args(FurtherAlarm))
RUNS = make_script(
    CALM,
    Segment(seconds=25.0, pattern="NNNNNNSSSSNNNNNV"),
    Segment(seconds=6.0, rate_bpm=190.0, variability=0.01),
    Segment(seconds=12.0, pattern="V", rate_bpm=70.0, ectopic_bpm=70.0),
    Segment(rhythm=ScriptedRhythm.ATRIAL_FIBRILLATION, seconds=80.0, rate_bpm=90.0),
)


@cache
def whole_runs() -> Monitored:
    return run_monitor(read_all(SyntheticSource(RUNS, block_s=3600.0)), shipped(), FURTHER)


@fixed(5)
@given(seed=st.integers(0, 2**32 - 1), longest=longest_rows)
def test_the_alarms_of_a_site_are_the_same_however_the_samples_are_cut(
    seed: int, longest: int
) -> None:
    rows = iter(random_rows(seed, longest))
    pieces = recut(read_all(SyntheticSource(RUNS, block_s=3600.0)), lambda: next(rows))
    result = run_monitor(pieces, shipped(), FURTHER)
    assert {a.code for a in result.alerts} & set(FURTHER.further_alarms)
    assert_same(result, whole_runs())


@fixed(25)
@given(
    seed=st.integers(0, 2**32 - 1),
    bursts=st.lists(st.tuples(st.integers(0, 21_000), st.integers(1, 2000)), max_size=5),
    gaps=st.lists(st.tuples(st.integers(1000, 20_000), st.integers(-1500, 7200)), max_size=3),
)
def test_gaps_repeats_and_jumps_give_the_same_result_however_cut(
    seed: int, bursts: list[tuple[int, int]], gaps: list[tuple[int, int]]
) -> None:
    samples = excerpt()[0].samples_mv[30_000:51_600].copy()
    for at, length in bursts:
        samples[at : at + length] = np.nan
    edges = [0, *sorted({at for at, _ in gaps}), len(samples)]
    jumps = dict(gaps)
    blocks, offset = [], 0
    for begin, end in pairwise(edges):
        offset += jumps.get(begin, 0)
        blocks.append(SampleBlock(excerpt()[0].spec, begin + offset, samples[begin:end]))
    rows = iter(random_rows(seed, 10 * RATE))
    result = run_monitor(recut(blocks, lambda: next(rows)), shipped())
    assert_same(result, run_monitor(blocks, shipped()))


@fixed(10)
@given(seed=st.integers(0, 2**32 - 1), longest=longest_rows)
def test_two_leads_with_faults_give_the_same_result_however_cut(seed: int, longest: int) -> None:
    rows = iter(random_rows(seed, longest))
    result = run_monitor(recut(synthetic(), lambda: next(rows)), shipped())
    assert {"ventricular_tachycardia", "asystole", "lead_off"} <= result.codes
    assert_same(result, whole_synthetic())


def test_all_alarms_are_the_same_in_blocks_of_a_quarter_second() -> None:
    blocks = read_all(SyntheticSource(SCENARIOS["all_alarms"], block_s=3600.0))
    whole = run_monitor(blocks, shipped())
    assert len(whole.codes) >= 8
    assert_same(run_monitor(recut(blocks, lambda: RATE // 4), shipped()), whole)


def test_one_sample_at_a_time_gives_the_same_result() -> None:
    (block,) = excerpt()
    piece = SampleBlock(block.spec, 0, block.samples_mv[: 25 * RATE])
    result = run_monitor(recut([piece], lambda: 1), shipped())
    assert result.beats
    assert_same(result, run_monitor([piece], shipped()))


def test_alerts_hold_their_strip_and_rate_at_every_cut() -> None:
    """Guards the comparison itself: what is compared must not be empty."""
    onsets = [a for a in whole_excerpt().alerts if a.strip is not None]
    assert onsets
    assert any(a.heart_rate_bpm for a in onsets)
    assert any(minute.values.st for minute in whole_excerpt().trends)
    assert any(minute.values.ventricular_beats for minute in whole_excerpt().trends)


# -- what must not matter ---------------------------------------------------------------------


def r_and_label(result: Monitored) -> list[tuple[int, str]]:
    return [(b.r_index, b.label) for b in result.beats]


def changed(samples: FloatArray) -> Monitored:
    return run_monitor(one_block(excerpt()[0].spec, samples), shipped())


@pytest.mark.parametrize("gain", [0.6, 1.2])
def test_gain_does_not_matter(gain: float) -> None:
    result = changed(excerpt()[0].samples_mv * gain)
    assert [b.r_index for b in result.beats] == [b.r_index for b in whole_excerpt().beats]
    same = [a == b for a, b in zip(r_and_label(result), r_and_label(whole_excerpt()), strict=True)]
    assert np.mean(same) > 0.99  # the last bits differ, so a borderline label may change


@pytest.mark.parametrize(("gain", "share"), [(2.0, 1.0), (4.0, 0.98)])
def test_a_qrs_steeper_than_any_ecg_stays_a_beat(gain: float, share: float) -> None:
    """Above 0.32 V/s (decision 48) up to 12 ms of a slope are missing: R moves by as much.

    Four times the gain makes 0.9 V/s and QRS of 8 mV.
    """
    found = np.array([b.r_index for b in changed(excerpt()[0].samples_mv * gain).beats])
    expected = np.array([b.r_index for b in whole_excerpt().beats])
    assert len(found) == len(expected)
    moved = np.abs(found[:, None] - expected).min(axis=0)
    assert np.mean(moved <= 0.012 * RATE) >= share


@pytest.mark.parametrize("offset_mv", [-300.0, 3.0, 300.0])
def test_an_electrode_offset_does_not_matter(offset_mv: float) -> None:
    result = changed(excerpt()[0].samples_mv + offset_mv)
    # Samples before the stream are missing and not 0, so even the first beats are the same.
    assert [b.r_index for b in result.beats] == [b.r_index for b in whole_excerpt().beats]


def test_an_inverted_lead_has_the_same_beats() -> None:
    result = changed(-excerpt()[0].samples_mv)
    assert [b.r_index for b in result.beats] == [b.r_index for b in whole_excerpt().beats]


@cache
def result_at(rate_hz: float) -> tuple[FloatArray, str]:
    """Return the seconds and labels of the beats of one patient, sampled at a rate."""
    fast_hz = 2000.0
    script = make_script(CALM, Segment(seconds=40.0, pattern="NNNVNN"), rate_hz=fast_hz)
    spec, samples = samples_of(script)
    ratio = Fraction(rate_hz / fast_hz).limit_denominator(20_000)
    samples = resample_poly(samples, ratio.numerator, ratio.denominator, padtype="line")
    result = run_monitor(one_block(replace(spec, rate_hz=rate_hz), samples), shipped())
    # The first beat falls into the filters' lead-in, the last needs samples past the end.
    seconds = np.array([b.r_index for b in result.beats]) / rate_hz
    inside = (seconds > 1.0) & (seconds < 59.0)
    return seconds[inside], "".join(np.array([b.label for b in result.beats])[inside])


@pytest.mark.parametrize("rate_hz", [100.0, 128.0, 250.0, 257.0, 359.9, 500.0, 1000.0, 2000.0])
def test_the_rate_of_the_source_does_not_matter(rate_hz: float) -> None:
    (seconds, labels), (at_360, expected) = result_at(rate_hz), result_at(360.0)
    assert len(seconds) > 70
    assert labels == expected
    assert np.abs(seconds - at_360).max() <= 0.01


def test_one_large_block_is_not_cut() -> None:
    assert len(recut(excerpt(), lambda: ALL)) == 1
