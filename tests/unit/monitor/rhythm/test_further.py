"""The alarms that a site switches on: runs above the ventricles, slow ventricular runs, R on T."""

from __future__ import annotations

from typing import get_args

import pytest

from support.rhythms import RATE, beats, hops, judge, judge_beats, of
from tocsin_agent.monitor.alarms.table import ALARMS
from tocsin_agent.monitor.rhythm.finding import Finding
from tocsin_agent.monitor.rhythm.limits import FurtherAlarm, Limits

ON = Limits(further_alarms=get_args(FurtherAlarm))
SINUS = [200] * 12  # 75/min
FAST = 80  # 188/min


def found(rr: list[int], labels: str | None = None, limits: Limits = ON) -> list[Finding]:
    return judge_beats(rr, labels, limits)


@pytest.mark.parametrize("code", get_args(FurtherAlarm))
def test_each_is_an_alarm_of_its_own_and_off_by_default(code: FurtherAlarm) -> None:
    assert "off by default" in ALARMS[code].definition
    assert not Limits().further_alarms
    alone = Limits(further_alarms=(code,))
    rr = [*SINUS, *[FAST] * 10, *[200, 100] * 20]
    others = {f.code for f in found(rr, limits=alone)} & set(get_args(FurtherAlarm))
    assert others <= {code}


@pytest.mark.parametrize(("beats_in_it", "code"), [
    (4, None), (5, "supraventricular_run"), (7, "supraventricular_run"),
    (8, "supraventricular_tachycardia"), (16, "supraventricular_tachycardia"),
])  # fmt: skip
def test_a_fast_regular_run_that_begins_at_once(beats_in_it: int, code: str | None) -> None:
    result = found([*SINUS, *[FAST] * beats_in_it, 250, *SINUS])
    last = {f.code: f for f in result if f.code.startswith("supraventricular")}
    if code is None:
        assert not last
        return
    assert last[code].measured["beats"] == beats_in_it
    assert last[code].onset == RATE + sum(SINUS) + FAST
    assert not of(found([*SINUS, *[FAST] * beats_in_it, 250, *SINUS], limits=Limits()), code)


def test_three_s_beats_are_a_run_however_irregular() -> None:
    rr = [*SINUS, 130, 120, 100, 220, *SINUS]
    labels = "N" * 13 + "SSS" + "N" * 13
    (run,) = of(found(rr, labels), "supraventricular_run")
    assert (run.measured["beats"], run.measured["supraventricular_beats"]) == (3.0, 3.0)


def test_a_rate_that_rises_beat_by_beat_is_no_run() -> None:
    rising = [*SINUS, *range(195, 80, -5), *[FAST] * 30]
    assert not [f for f in found(rising) if f.code.startswith("supraventricular")]


def test_an_irregular_or_a_ventricular_run_is_none_above_the_ventricles() -> None:
    irregular = [*SINUS, *[70, 100, 65, 95, 75, 105] * 3]
    assert not of(found(irregular), "supraventricular_tachycardia")
    ventricular = found([*SINUS, *[FAST] * 10], "N" * 13 + "V" * 10)
    assert not [f for f in ventricular if f.code.startswith("supraventricular")]


@pytest.mark.parametrize(("rr", "raised"), [(140, False), (152, True), (370, True), (400, False)])
def test_an_accelerated_ventricular_rhythm_is_at_40_to_100(rr: int, raised: bool) -> None:
    given = found([*SINUS, *[rr] * 5, *SINUS], "N" * 13 + "V" * 5 + "N" * 12)
    assert bool(of(given, "accelerated_ventricular_rhythm")) is raised
    four = found([*SINUS, *[rr] * 4, *SINUS], "N" * 13 + "V" * 4 + "N" * 12)
    assert not of(four, "accelerated_ventricular_rhythm")


@pytest.mark.parametrize(
    ("coupling", "raised"), [(70, True), (79, True), (80, False), (120, False)]
)
def test_r_on_t_is_a_ventricular_beat_within_the_qt_interval(coupling: int, raised: bool) -> None:
    """At 75/min Bazett's QT is 0.358 s, and the QRS begins 0.04 s before its R peak: 79 samples."""
    labels = "N" * 13 + "V" + "N" * 12
    assert bool(of(found([*SINUS, coupling, *SINUS], labels), "r_on_t")) is raised
    assert not of(found([*SINUS, coupling, *SINUS]), "r_on_t")


def test_r_on_t_asks_for_beats_that_are_trusted() -> None:
    given = beats([*SINUS, 70, *SINUS], "N" * 13 + "V" + "N" * 12)
    given[12] = given[12]._replace(trusted=False)
    assert not of(judge(*given, *hops(given[-1].decided / RATE), limits=ON), "r_on_t")


def test_irregular_is_a_minute_of_intervals_that_differ() -> None:
    (first, *_) = of(found([200, 160] * 60), "irregular")
    assert first.measured["difference_percent"] == pytest.approx(22.2, abs=0.1)
    assert first.at - first.onset >= 50 * RATE
    assert not of(found([200, 180] * 60), "irregular")
    assert not of(found([200, 160] * 15), "irregular")


def test_bigeminy_is_not_irregular() -> None:
    assert not of(found([120, 280] * 60, "N" + "VN" * 60), "irregular")
