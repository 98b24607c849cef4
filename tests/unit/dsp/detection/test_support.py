"""Template support: idle in a clean lead, better than level alone in electrode motion."""

from __future__ import annotations

import numpy as np
import pytest

from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.detection.qrs import LeadDetector
from tocsin_dsp.detection.support import Support
from tocsin_dsp.exact import on_sample_grid
from tocsin_dsp.signal import FloatArray

RATE = ANALYSIS_RATE_HZ
RR = 200
CLEAN = 60 * RATE


def rhythm(seconds: int, rr: int = RR, width: float = 4.0) -> tuple[FloatArray, list[int]]:
    """Return QRS complexes with a small T wave, and their R peaks."""
    x, t = 0.004 * np.random.default_rng(7).standard_normal(seconds * RATE), np.arange(-60, 121)
    shape = np.exp(-0.5 * (t / width) ** 2) + 0.2 * np.exp(-0.5 * ((t - 70) / 15) ** 2)
    r = list(range(rr, len(x) - 150, rr))
    for at in r:
        x[at - 60 : at + 121] += shape
    return x, r


def bumps(n: int) -> FloatArray:
    """Return steps and spikes of all widths and signs, as a moving electrode makes them."""
    draws, x = np.random.default_rng(3), np.zeros(n)
    for at in np.cumsum(draws.integers(20, 90, n // 50)):
        width = int(draws.integers(3, 30))
        if at + width < n:
            x[at : at + width] += draws.normal(0.0, 0.7) * np.hanning(width)
    return x


def f1(found: list[int], true: list[int]) -> float:
    hits = sum(any(abs(f - r) <= 12 for f in found) for r in true)
    return 2 * hits / (len(found) + len(true))


def test_in_a_clean_lead_it_neither_weighs_nor_decides() -> None:
    x, _ = rhythm(60)
    detector = LeadDetector()
    detector.push(on_sample_grid(x))
    assert not detector._support.weighs
    assert not detector._support.decides


def test_the_patients_beats_are_separated_from_electrode_motion(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, true = rhythm(180)
    x[CLEAN:] += bumps(len(x) - CLEAN)
    begin, end = CLEAN + 10 * RATE, len(x) - 3 * RATE
    true = [r for r in true if begin < r < end]

    def score(lead: FloatArray) -> float:
        found = [b.r_index for b in LeadDetector().push(on_sample_grid(lead))]
        return f1([r for r in found if begin < r < end], true)

    supported = score(x)
    assert score(-x) == supported > 0.8
    monkeypatch.setattr(Support, "add_levels", lambda *_: None)  # never noisy
    assert score(x) < supported - 0.1


def test_a_tachycardia_of_another_shape_is_not_noise() -> None:
    sinus, _ = rhythm(60)
    fast, true = rhythm(20, rr=80, width=12.0)
    found = [
        b.r_index - len(sinus) for b in LeadDetector().push(on_sample_grid(np.r_[sinus, fast]))
    ]
    inside = [f for f in found if 0 < f < len(fast) - 200]
    assert f1(inside, [r for r in true if r < len(fast) - 200]) > 0.95


def test_beats_are_reported_early_again_after_the_noise() -> None:
    x, _ = rhythm(180)
    x[CLEAN : 2 * CLEAN] += bumps(CLEAN)
    late = [b for b in LeadDetector().push(on_sample_grid(x)) if b.r_index > 2 * CLEAN + 8 * RATE]
    assert len(late) > 50
    assert max(b.decided - b.r_index for b in late) < 0.4 * RATE
