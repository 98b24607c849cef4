"""Which maxima of the envelope stand out, and how they are measured."""

from __future__ import annotations

import numpy as np
import pytest

from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.detection.candidates import (
    BAND,
    HISTORY,
    HOP,
    SMOOTH,
    CandidateFinder,
    LeadCandidates,
)
from tocsin_dsp.detection.maxima import CLOSE, CONFIRM, DWARFED, EARLY, LOCAL, PEER
from tocsin_dsp.detection.shapes import Candidate
from tocsin_dsp.exact import on_sample_grid
from tocsin_dsp.limits import SHORTEST_RR
from tocsin_dsp.signal import FloatArray

RATE = ANALYSIS_RATE_HZ


def noisy_beats(seconds: float, seed: int = 1) -> FloatArray:
    """Return beats in noise, so that maxima of every size are near each other."""
    draws = np.random.default_rng(seed)
    x = 0.1 * draws.standard_normal(round(seconds * RATE))
    for at in np.cumsum(draws.integers(60, 260, round(seconds))):
        x[at : at + 20] += np.hanning(20)[: max(len(x) - at, 0)] * draws.uniform(0.3, 1.0)
    return on_sample_grid(x)


def found(*leads: FloatArray) -> list[list[Candidate]]:
    finder = CandidateFinder(len(leads))
    return [measured(lead) for lead in finder.push(np.stack(leads, axis=1))]


def measured(lead: LeadCandidates) -> list[Candidate]:
    return [one for each in lead.maxima if (one := lead.measured(each)) is not None]


def envelope(x: FloatArray) -> FloatArray:
    """Return the envelope by its definition, NaN where the filters are not yet filled."""
    band = on_sample_grid(np.convolve(x, BAND)[: len(x)])
    smooth = on_sample_grid(np.convolve(np.abs(band), SMOOTH)[: len(x)])
    smooth[: len(BAND) + len(SMOOTH) - 2] = np.nan
    return smooth


def test_candidates_are_those_of_the_definition() -> None:
    x = noisy_beats(60.0)
    e = envelope(x)
    maxima = {i: e[i] for i in range(1, len(e) - 1) if e[i - 1] < e[i] >= e[i + 1]}

    def highest(first: int, last: int) -> float:
        return max((level for at, level in maxima.items() if first <= at <= last), default=0.0)

    wanted = []
    for at, own in maxima.items():
        dominates = (
            highest(at - CLOSE, at - 1) < own and highest(at - CONFIRM, at - 1) <= PEER * own
        )
        if dominates and highest(at + 1, at + EARLY) <= own:
            wanted.append((at + EARLY + 2, 2, at, own, True))
        if dominates and highest(at + 1, at + CLOSE) <= own:
            wanted.append((at + CLOSE + 2, 1, at, own, True))
        after = highest(at + 1, at + CLOSE) <= own and highest(at + 1, at + CONFIRM) <= PEER * own
        rival = max(highest(at - CONFIRM, at - 1), highest(at + 1, at + CONFIRM))
        local = highest(at - LOCAL, at - 1) < own and highest(at + 1, at + LOCAL) <= own
        if local and own >= DWARFED * rival:
            wanted.append((at + CONFIRM + 2, 0, at, own, dominates and after))
    wanted = sorted(each for each in wanted if each[0] <= len(x))
    (given,) = found(x)
    assert [(c.known, c.peak, c.level, c.dominant) for c in given] == [
        (known, at, level, dominant) for known, _, at, level, dominant in wanted
    ]
    assert len(given) > 100


def test_a_candidate_is_the_highest_within_the_shortest_rr() -> None:
    assert CLOSE == SHORTEST_RR


def test_the_r_peak_and_the_steepest_slope_are_near() -> None:
    x = np.zeros(3 * RATE)
    x[400:411] = np.bartlett(11)
    (given,) = found(x)
    beat = max(given, key=lambda candidate: candidate.level)
    assert abs(beat.r_index - 405) <= 2
    assert beat.slope == pytest.approx(0.2)
    assert beat.power == pytest.approx(10 * 0.04)


@pytest.mark.parametrize("cut", [1, 7, HISTORY, 10_000])
def test_leads_do_not_affect_each_other(cut: int) -> None:
    leads = [noisy_beats(8.0, seed) for seed in (1, 2, 3)]
    leads[1][300:900] = np.nan
    finder, together = CandidateFinder(3), np.stack(leads, axis=1)
    parts = [finder.push(together[at : at + cut]) for at in range(0, len(together), cut)]
    for lead, alone in enumerate(leads):
        (wanted,) = CandidateFinder(1).push(alone[:, None])
        given = [candidate for part in parts for candidate in measured(part[lead])]
        assert [c[:-1] for c in given] == [c[:-1] for c in measured(wanted)]
        assert [level for part in parts for level in part[lead].levels] == wanted.levels


def test_the_level_between_beats_is_that_of_the_noise() -> None:
    x = noisy_beats(20.0)
    (lead,) = CandidateFinder(1).push(x[:, None])
    e = envelope(x)
    assert [known for known, _ in lead.levels] == list(range(HOP, len(x) + 1, HOP))
    for known, level in lead.levels[1:]:
        assert level == np.median(e[known - HOP : known][2::5])
    assert lead.levels[0][1] == 0.0  # the filters are not filled yet
