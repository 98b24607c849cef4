"""Extreme bradycardia and tachycardia."""

from __future__ import annotations

import pytest

from support.rhythms import DECIDED, GONE, RATE, beats, hops, judge, judge_beats, judge_trust, of
from tocsin_agent.monitor.rhythm.history import DECIDED_WITHIN
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_dsp.conditioning.quality import HOP


@pytest.mark.parametrize(("rr", "raised"), [(356, False), (357, False), (358, True)])
def test_bradycardia_is_below_forty_within_the_accuracy_of_a_rate(rr: int, raised: bool) -> None:
    assert bool(of(judge_beats([rr] * 4), "extreme_bradycardia")) is raised


def test_bradycardia_takes_five_beats() -> None:
    assert not of(judge_beats([450] * 3), "extreme_bradycardia")
    found = of(judge_beats([450] * 4), "extreme_bradycardia")[-1]
    assert (found.onset, found.at) == (RATE, RATE + 1800 + DECIDED)
    assert found.measured["rate_bpm"] == pytest.approx(33.3)
    assert found.limits["bradycardia_bpm"] == 40.0


def test_bradycardia_does_not_wait_for_a_beat_that_comes_too_late() -> None:
    found = of(judge(*beats([450] * 3), *hops(12), until=12 * RATE), "extreme_bradycardia")
    last, open_for = RATE + 3 * 450, 79  # 3 * 450 + 79 > 4 * 357
    assert last + open_for <= found[0].at - DECIDED_WITHIN <= last + open_for + HOP
    assert not of(judge(*beats([450] * 2), *hops(8), until=8 * RATE), "extreme_bradycardia")


@pytest.mark.parametrize(("rr", "raised"), [(108, False), (107, True)])
def test_tachycardia_is_above_140(rr: int, raised: bool) -> None:
    assert bool(of(judge_beats([rr] * 10), "extreme_tachycardia")) is raised


def test_exactly_140_is_not_above() -> None:
    exact = Limits(tachycardia_bpm=150.0)
    assert not of(judge_beats([100] * 30, limits=exact), "extreme_tachycardia")
    assert of(judge_beats([99] * 16, limits=exact), "extreme_tachycardia")


def test_tachycardia_takes_eleven_beats() -> None:
    assert not of(judge_beats([90] * 9), "extreme_tachycardia")
    assert of(judge_beats([90] * 10), "extreme_tachycardia")


def test_one_long_interval_does_not_make_bradycardia() -> None:
    assert not of(judge_beats([200, 200, 200, 1200, 200]), "extreme_bradycardia")


def test_rates_do_not_span_a_loss_of_signal() -> None:
    before, after = beats([450, 450]), beats([450, 450], at=2300)
    signal = [*hops(6), *hops(2, GONE, start=1500), *hops(12, start=2000)]
    assert not of(judge(*before, *signal, *after), "extreme_bradycardia")


@pytest.mark.parametrize(("trust", "raised"), [("." * 6 + "?" * 5, True), ("?" * 11, False)])
def test_extreme_tachycardia_takes_beats_of_which_half_are_trusted(
    trust: str, raised: bool
) -> None:
    assert bool(of(judge_trust([90] * 10, "N" * 11, trust), "extreme_tachycardia")) is raised


def test_low_trust_suppresses_neither_asystole_nor_bradycardia() -> None:
    assert of(judge_trust([450] * 4, "N" * 5, "?????"), "extreme_bradycardia")
    assert of(judge_trust([200, 200, 1200], "NNNN", "????"), "asystole")
