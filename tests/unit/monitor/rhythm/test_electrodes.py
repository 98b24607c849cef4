"""Leads that are off, railed or noisy."""

from __future__ import annotations

import pytest

from support.rhythms import (
    FLAT,
    GONE,
    GOOD,
    LOOSE,
    NOISY,
    RAILED,
    RATE,
    beats,
    hops,
    judge,
    judge_trust,
    of,
)
from tocsin_dsp.conditioning.quality import LeadState


@pytest.mark.parametrize("state", [LOOSE, FLAT, GONE])
def test_a_lead_is_off_after_one_and_a_half_seconds(state: LeadState) -> None:
    assert not of(judge(*hops(1, state)), "lead_off")
    (found,) = of(judge(*hops(1.5, state)), "lead_off")
    assert (found.onset, found.at, found.subject) == (0, 375, "II")
    assert found.measured["leads_left"] == 0.0
    assert found.last_lead


def test_a_railed_lead_is_saturated_not_off() -> None:
    found = judge(*hops(3, RAILED, GOOD), leads=("II", "V1"))
    assert {f.code for f in found} == {"saturation"}
    assert found[0].measured["leads_left"] == 1.0
    assert not found[0].last_lead


def test_a_lead_that_comes_and_goes_starts_again() -> None:
    off = [*hops(1, GONE), *hops(0.5, GOOD, start=250), *hops(1, GONE, start=375)]
    assert not of(judge(*off), "lead_off")


@pytest.mark.parametrize(("seconds", "raised"), [(4.5, False), (5.0, True)])
def test_noise_on_every_lead_for_five_seconds_is_unusable(seconds: float, raised: bool) -> None:
    found = judge(*hops(seconds, NOISY, GONE), leads=("II", "V1"))
    assert bool(of(found, "signal_unusable")) is raised


def test_one_good_lead_is_usable() -> None:
    assert not of(judge(*hops(20, NOISY, GOOD), leads=("II", "V1")), "signal_unusable")


def test_all_leads_off_is_not_noise() -> None:
    assert not of(judge(*hops(20, GONE, FLAT), leads=("II", "V1")), "signal_unusable")


def test_low_trust_outlasts_a_pause_that_is_not_reported() -> None:
    found = judge_trust([200, 200, 700, 200, 200], "N" * 6, "?" * 6)
    assert not of(found, "pause")
    assert of(found, "signal_unusable")


@pytest.mark.parametrize(("count", "raised"), [(6, False), (7, True)])
def test_low_trust_for_long_is_an_unusable_signal(count: int, raised: bool) -> None:
    found = of(judge_trust([200] * (count - 1), "N" * count, "?" * count), "signal_unusable")
    assert bool(found) is raised
    assert {f.onset for f in found} <= {RATE}


def test_asystole_ends_low_trust() -> None:
    given = [b._replace(trusted=False) for b in beats([200] * 10)]
    found = judge(*given, *hops(30), until=30 * RATE)
    assert of(found, "asystole")
    assert of(found, "signal_unusable")[-1].at <= of(found, "asystole")[0].at
