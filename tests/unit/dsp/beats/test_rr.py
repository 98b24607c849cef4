"""RR intervals against the patient's own."""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin_dsp.beats.rr import FEATURES, Intervals, Mean, Memory
from tocsin_dsp.limits import LONGEST_RR_S


def features(intervals: Sequence[float | None]) -> list[dict[str, float]]:
    stage = Intervals()
    return [dict(zip(FEATURES, stage.push(rr), strict=True)) for rr in intervals]


@settings(deadline=None)
@given(st.lists(st.floats(0.2, 3.0), min_size=1, max_size=60), st.floats(0.0, 1.0))
def test_a_memory_keeps_its_last_values_sorted(values: list[float], share: float) -> None:
    memory = Memory(16)
    for value in values:
        memory.add(value)
    kept = sorted(values[-16:])
    assert len(memory) == len(kept)
    assert memory.quantile(share) == kept[int(share * (len(kept) - 1) + 0.5)]


@settings(deadline=None)
@given(st.lists(st.floats(0.2, 3.0), min_size=1, max_size=60))
def test_a_mean_is_that_of_the_last_values(values: list[float]) -> None:
    mean = Mean(16)
    for value in values:
        mean.add(value)
    assert mean.value == pytest.approx(fmean(values[-16:]))


def test_an_early_beat_and_the_pause_after_it() -> None:
    rows = features([None, *[0.8] * 40, 0.5, 1.1, 0.8])
    early, late, normal = rows[-3:]
    for name in ("rr_to_8", "rr_to_32", "rr_to_128", "rr_to_2048", "rr_to_before"):
        assert early[name] == pytest.approx(log(0.5 / 0.8))
    assert late["rr_before"] == pytest.approx(log(0.5 / 0.8))
    assert late["rr_to_before"] == pytest.approx(log(1.1 / 0.5))
    assert normal["rr_to_128"] == pytest.approx(0.0)
    assert normal["rr_second_before"] == pytest.approx(log(0.5 / 0.8))


def test_a_long_run_stays_early_against_the_long_memory() -> None:
    last = features([0.9] * 200 + [0.5] * 150)[-1]
    assert last["rr_to_8"] == pytest.approx(0.0)
    assert last["rr_to_128"] == pytest.approx(0.0)
    assert last["rr_to_2048_late"] == pytest.approx(log(0.5 / 0.9))


def test_runs_that_are_most_of_all_beats_stay_early_against_the_mean() -> None:
    last = features(([2.0] + [0.6] * 19) * 20)[-1]
    assert last["rr_to_2048_latest"] == pytest.approx(0.0)
    assert last["rr_to_mean_2048"] == pytest.approx(log(0.6 / 0.67), abs=0.01)


def test_a_run_is_described_by_its_onset() -> None:
    sudden = features([0.9] * 200 + [0.5] * 150)
    gradual = features([0.9] * 200 + [0.9 * 0.985**n for n in range(40)] + [0.5] * 110)
    for name in ("run_onset", "run_onset_to_8"):
        assert sudden[200][name] == pytest.approx(log(0.5 / 0.9))
        assert sudden[-1][name] == pytest.approx(log(0.5 / 0.9))
        assert -0.15 < gradual[-1][name] < 0
    assert sudden[-1]["run_length"] == pytest.approx(log(151))
    assert sudden[-1]["rr_to_run_onset"] == pytest.approx(log(0.5 / 0.9))


def test_a_run_begins_within_three_beats_and_ends_with_a_late_one() -> None:
    rows = features([0.9] * 200 + [0.7, 0.5, 0.45, 0.4, 0.9])
    onsets = [beat["run_onset"] for beat in rows[200:]]
    assert onsets[:4] == pytest.approx([log(x / 0.9) for x in (0.7, 0.5, 0.45, 0.45)])
    assert onsets[4] == pytest.approx(log(0.9 / 0.4))
    assert rows[-1]["run_length"] == 0.0


def test_rr_change_is_large_where_the_rhythm_is_irregular() -> None:
    regular = features([0.8] * 60)[-1]
    irregular = features([0.6, 0.9, 0.7, 1.1, 0.65, 0.8] * 10)[-1]
    assert regular["rr_change_32"] == pytest.approx(0.0)
    assert irregular["rr_change_32"] > 0.2


def test_an_unknown_or_too_long_interval_changes_nothing() -> None:
    sinus = features([0.8] * 40 + [0.8])[-1]
    for left_out in (None, LONGEST_RR_S, 60.0):
        rows = features([0.8] * 40 + [left_out, 0.8])
        assert rows[-2]["rr_s"] == pytest.approx(0.8)
        assert rows[-1] == pytest.approx(sinus)


def test_ratios_do_not_depend_on_the_heart_rate() -> None:
    intervals = [0.8, 0.82, 0.5, 1.1, 0.8, 0.79]
    slow, fast = features([*intervals]), features([rr / 2 for rr in intervals])
    for a, b in zip(slow[1:], fast[1:], strict=True):
        for name in FEATURES[1:]:
            assert a[name] == pytest.approx(b[name], abs=1e-9)
