"""Trends against what a scripted patient did."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from support.patients import (
    CALM,
    Monitored,
    asystole,
    make_script,
    one_block,
    play,
    run_monitor,
    samples_of,
)
from tocsin_agent.messages.trend import TrendValues
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.monitor.trends import MinuteTrend
from tocsin_agent.sources.scripted.script import Disturbance, Event, ScriptedRhythm, Segment
from tocsin_agent.sources.scripted.synthetic import SyntheticSource
from tocsin_models import Models, load_models

RATE = 360


@cache
def models() -> Models:
    return load_models()


def minutes(seconds: float, pattern: str = "N", **more: float) -> Segment:
    return Segment(seconds=seconds, pattern=pattern, **more)  # type: ignore[arg-type]


@cache
def eventful() -> Monitored:
    """Give eight minutes: calm, single ectopy, runs, pauses, then atrial fibrillation and calm."""
    script = make_script(
        minutes(120.0),
        minutes(60.0, "NNNNNNNNNV"),
        minutes(60.0, "NNNNNNNNNNVVVV"),
        minutes(60.0, "NNNNNNNNNNNNNNN----"),
        Segment(rhythm=ScriptedRhythm.ATRIAL_FIBRILLATION, seconds=180.0, rate_bpm=95.0),
        minutes(120.0),
    )
    return play(script, models())


def values(result: Monitored) -> list[TrendValues]:
    return [minute.values for minute in result.trends]


def in_minute(result: Monitored, minute: MinuteTrend) -> list[str]:
    """Give the true labels of the beats of a minute."""
    assert result.truth is not None
    pairs = zip(result.truth.beats, result.truth.labels, strict=True)
    return [label for at, label in pairs if minute.from_index <= at < minute.to_index]


def test_minutes_follow_each_other_without_a_gap() -> None:
    trends = eventful().trends
    assert [(m.from_index, m.to_index) for m in trends[:-1]] == [
        (60 * RATE * n, 60 * RATE * (n + 1)) for n in range(len(trends) - 1)
    ]
    assert trends[-1].from_index == trends[-2].to_index
    assert len(trends) in {10, 11}  # the flush at the end begins another minute


def test_beats_and_ventricular_beats_are_those_of_the_script() -> None:
    result = eventful()
    for minute in result.trends[:10]:
        true = in_minute(result, minute)
        assert minute.values.beats + minute.values.low_trust_beats == pytest.approx(
            len(true), abs=1.5
        )
        assert minute.values.ventricular_beats == pytest.approx(true.count("V"), abs=1.5)


def test_heart_rate_is_that_of_the_script() -> None:
    result = eventful()
    assert result.truth is not None
    calm = [*result.trends[:3], *result.trends[6:10]]  # elsewhere an interval spans two minutes
    for minute in calm:
        at = result.truth.beats[
            (result.truth.beats >= minute.from_index) & (result.truth.beats < minute.to_index)
        ]
        rate = minute.values.heart_rate_bpm
        assert rate is not None
        assert rate.mean == pytest.approx(60 * RATE / np.diff(at).mean(), abs=2.0)
        assert rate.min <= rate.max


def test_ectopy_per_hour_is_over_what_was_monitored() -> None:
    result = eventful()
    true = [label for minute in result.trends[:4] for label in in_minute(result, minute)]
    fourth = result.trends[3].values.ventricular_per_hour
    assert fourth == pytest.approx(true.count("V") * 60 / 4, rel=0.05)


def test_the_longest_run_is_stated_in_its_minute_only() -> None:
    runs = [v.longest_run for v in values(eventful())]
    assert runs[2] is None
    assert runs[3] is not None
    assert runs[3].beats == 4
    assert runs[3].rate_bpm == pytest.approx(150, abs=12)
    assert runs[6] is None


def test_pauses_are_counted() -> None:
    fifth = values(eventful())[4]
    # 15 beats and four dropped ones take 15 s
    assert fifth.pauses in {3, 4}
    assert fifth.longest_rr_s == pytest.approx(5 * 60 / 75, abs=0.4)
    assert sum(v.pauses for v in values(eventful())) == 4


def test_an_asystole_is_one_pause_with_its_length() -> None:
    result = play(make_script(CALM, asystole(8.0), CALM), models())
    assert sum(v.pauses for v in values(result)) == 1
    assert max(v.longest_rr_s or 0 for v in values(result)) == pytest.approx(8.5, abs=0.7)


def test_the_burden_of_atrial_fibrillation_is_its_share_of_the_time() -> None:
    seconds = [v.atrial_fibrillation_s for v in values(eventful())]
    assert sum(s or 0 for s in seconds) == pytest.approx(180, abs=20)
    tenth = eventful().trends[9].values.atrial_fibrillation_percent
    assert tenth == pytest.approx(100 * 180 / 600, abs=4)


def test_without_its_model_the_burden_is_unknown() -> None:
    result = play(make_script(minutes(70.0)), Models())
    assert result.trends[0].values.atrial_fibrillation_s is None
    assert result.trends[0].values.atrial_fibrillation_percent is None


def test_variability_is_that_of_the_normal_intervals() -> None:
    result = play(make_script(minutes(300.0, "NNNNNNNNNV", variability=0.03)), models())
    assert result.truth is not None
    at, labels = result.truth.beats / RATE, result.truth.labels
    rr = np.diff(at)
    normal = np.array([a == b == "N" for a, b in pairwise(labels)])
    steps = np.diff(rr)[normal[1:] & normal[:-1]]
    found = result.trends[4].values.variability
    assert found is not None
    assert found.sdnn_ms == pytest.approx(1000 * rr[normal].std(), rel=0.15)
    assert found.rmssd_ms == pytest.approx(1000 * np.sqrt((steps**2).mean()), rel=0.15)
    assert found.intervals == pytest.approx(normal.sum(), rel=0.05)


def test_variability_needs_half_of_its_time_and_no_fibrillation() -> None:
    assert values(eventful())[0].variability is None
    assert values(eventful())[7].variability is None


def test_the_level_of_st_is_against_the_patients_own_baseline() -> None:
    result = play(make_script(minutes(370.0)), models())
    first, sixth = result.trends[0].values.st, result.trends[5].values.st
    assert set(first) == set(sixth) == {"II", "V1"}
    assert all(st.baseline_mv is None and st.change_mv is None for st in first.values())
    assert all(abs(st.change_mv or 1) < 0.03 for st in sixth.values() if st.change_mv)


def shifted(step_mv: float, from_s: float = 360.0) -> Monitored:
    """Give nine minutes in which the ST segment of lead II is shifted from some time on."""
    script = make_script(minutes(540.0))
    spec, samples = samples_of(script)
    shape = step_mv * np.hanning(round(0.26 * RATE))
    for r_index in SyntheticSource(script).truth().beats:
        first = r_index + round(0.06 * RATE)  # from the end of the QRS to the end of the T wave
        if first >= from_s * RATE and first + len(shape) <= len(samples):
            samples[first : first + len(shape), 0] += shape
    return run_monitor(one_block(spec, samples), models(), Limits(trend_alarms="experimental"))


@pytest.mark.parametrize("step_mv", [0.3, -0.3, 0.05])
def test_a_step_of_st_is_measured_in_its_lead_and_raises_an_alarm_from_the_limit_on(
    step_mv: float,
) -> None:
    """Half a sine of 260 ms on the ST segment and T wave, from the end of the sixth minute on."""
    result = shifted(step_mv)
    before, after = result.trends[5].values.st, result.trends[7].values.st
    at_60_ms = step_mv * float(np.hanning(260)[60])  # ST is measured 60 ms after the QRS
    step = after["II"].level_mv - before["II"].level_mv
    assert step == pytest.approx(at_60_ms, abs=0.03 + 0.25 * abs(at_60_ms))
    assert after["II"].change_mv == pytest.approx(step, abs=0.03)
    assert after["V1"].change_mv == pytest.approx(0.0, abs=0.03), "the other lead stays"
    assert after["II"].baseline_mv == before["II"].baseline_mv, "of the first five minutes"
    raised = [alert.evidence.measured for alert in result.of("trend_st")]
    if abs(step_mv) < 0.1:
        assert raised == []
    else:
        assert [measured["lead"] for measured in raised] == ["II"]
        assert float(raised[0]["change_mv"]) * step_mv > 0


def test_a_lead_that_is_off_has_no_level_and_a_low_quality() -> None:
    off = Event(kind=Disturbance.LEAD_FLAT, at_s=60.0, seconds=60.0, leads=("V1",))
    result = play(make_script(minutes(130.0), events=(off,)), models())
    second = result.trends[1].values
    assert set(second.st) == {"II"}
    assert second.quality["V1"] < 0.1
    assert second.quality["II"] > 0.9
    assert second.signal_s == 60.0


def test_a_long_gap_leaves_no_minutes_and_nothing_spans_it() -> None:
    gap = Event(kind=Disturbance.GAP, at_s=90.0, seconds=200.0)
    result = play(make_script(minutes(400.0), events=(gap,)), models())
    spans = [(m.from_index / RATE, m.to_index / RATE) for m in result.trends]
    assert spans[1][0] == 60.0
    assert spans[1][1] == pytest.approx(90, abs=1)
    assert spans[2][0] == pytest.approx(290, abs=1)
    assert max(v.longest_rr_s or 0 for v in values(result)) < 2
    assert sum(v.signal_s for v in values(result)) == pytest.approx(200, abs=3)
