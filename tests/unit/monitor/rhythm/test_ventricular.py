"""Ventricular tachycardia, runs, couplets, bigeminy and frequent beats."""

from __future__ import annotations

import pytest

from support.rhythms import DECIDED, GONE, RATE, beats, hops, judge, judge_beats, judge_trust, of


@pytest.mark.parametrize(
    ("labels", "codes"),
    [
        ("NNVNNVNN", set()),
        ("NNVVNN", {"couplet"}),
        ("NNVVVNN", {"ventricular_run"}),
        ("NNVVVVNN", {"ventricular_run"}),
        ("NNVVVVVNN", {"ventricular_run", "ventricular_tachycardia"}),
        ("NVNVNVN", set()),
        ("NVNVNVNV", {"bigeminy"}),
        ("NVNVNVNNV", set()),
        ("NNVQVNN", set()),
        ("VVVN", {"ventricular_run"}),
    ],
)
def test_ventricular_patterns(labels: str, codes: set[str]) -> None:
    found = judge_beats([120] * (len(labels) - 1), labels)
    assert {f.code for f in found} == codes


@pytest.mark.parametrize(("rr", "raised"), [(151, False), (150, False), (149, True)])
def test_ventricular_tachycardia_is_above_a_hundred(rr: int, raised: bool) -> None:
    found = judge_beats([200, 200, *[rr] * 4], "NNVVVVV")
    assert bool(of(found, "ventricular_tachycardia")) is raised
    assert of(found, "ventricular_run")


def test_a_tachycardia_is_reported_at_its_fifth_beat_with_the_run_as_evidence() -> None:
    found = judge_beats([200, 200, *[100] * 5], "NNVVVVVV")
    first = of(found, "ventricular_tachycardia")[0]
    assert (first.onset, first.at) == (RATE + 400, RATE + 800 + DECIDED)
    assert first.measured == {"beats": 5.0, "rate_bpm": 150.0}
    assert first.probability == pytest.approx(0.9)


@pytest.mark.parametrize(("rr_after", "lasts_s"), [(100, 30), (110, 30), (125, 2), (200, 0)])
def test_a_ventricular_tachycardia_continues_while_its_rate_does(
    rr_after: int, lasts_s: int
) -> None:
    labels = "NN" + "V" * 10 + "N" * 120
    found = of(
        judge_beats([200, 200, *[100] * 9, *[rr_after] * 120], labels), "ventricular_tachycardia"
    )
    last_ventricular = RATE + 400 + 900 + DECIDED
    assert (found[-1].at - last_ventricular) / RATE == pytest.approx(lasts_s, abs=1.0)
    assert {f.onset for f in found} == {RATE + 400}


def test_runs_do_not_span_a_loss_of_signal() -> None:
    first = beats([100, 100], "NVV")
    second = beats([100, 100], "VVV", at=2300)
    found = judge(
        *first, *hops(2.5), *hops(3.5, GONE, start=625), *hops(10, start=1500), *second
    )  # fmt: skip
    assert not of(found, "ventricular_tachycardia")
    assert not of(found, "couplet")


@pytest.mark.parametrize(("count", "raised"), [(9, False), (10, True)])
def test_ten_ventricular_beats_a_minute_are_frequent(count: int, raised: bool) -> None:
    found = judge_beats([250] * (4 * count), "NNNV" * count + "N")
    assert bool(of(found, "frequent_ventricular")) is raised


@pytest.mark.parametrize(("rr", "raised"), [(1666, True), (1667, False)])
def test_frequent_is_within_a_minute(rr: int, raised: bool) -> None:
    """Ten beats, nine intervals: 14,994 samples are less than a minute, 15,003 are more."""
    found = judge_beats([rr] * 9, "V" * 10)
    assert bool(of(found, "frequent_ventricular")) is raised


@pytest.mark.parametrize(
    ("labels", "trust", "codes"),
    [
        ("NNVVNN", "......", {"couplet"}),
        ("NNVVNN", "...?..", set()),
        ("NNVVVVVN", "..?????.", set()),
        ("NNVVVVVN", "..????..", {"ventricular_tachycardia"}),
        ("NVNVNVNV", "???????.", {"bigeminy"}),
        ("NVNVNVNV", ".......?", set()),
    ],
)
def test_nothing_ventricular_begins_on_a_beat_of_low_trust(
    labels: str, trust: str, codes: set[str]
) -> None:
    assert {f.code for f in judge_trust([120] * (len(labels) - 1), labels, trust)} == codes


def test_a_tachycardia_that_began_in_a_clear_signal_continues_in_a_bad_one() -> None:
    found = judge_trust([100] * 20, "V" * 21, "V" * 8 + "?" * 13)
    assert of(found, "ventricular_tachycardia")[-1].measured["beats"] == 21.0


def test_beats_of_low_trust_are_not_counted_as_frequent() -> None:
    assert not of(judge_trust([250] * 39, "NNNV" * 10, "...?" * 10), "frequent_ventricular")
