"""Two leads of one heart: each corrects missed and false beats of the other, however cut."""

from __future__ import annotations

from functools import cache

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from support.examples import fixed
from support.patients import make_script, samples_of
from tocsin_agent.sources.scripted.script import Segment
from tocsin_agent.sources.scripted.synthetic import SyntheticSource
from tocsin_dsp.conditioning.condition import Conditioner
from tocsin_dsp.conditioning.quality import QualityMeter
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.leads.leads import LeadBeat, LeadSet
from tocsin_dsp.signal import FloatArray, SampleBlock, StreamSpec

RATE = ANALYSIS_RATE_HZ
SCRIPT = make_script(Segment(seconds=40.0, variability=0.02), rate_hz=float(RATE))
FIRST = 8  # beats after which both leads have learnt the patient's shapes


@cache
def patient() -> tuple[StreamSpec, FloatArray, list[int]]:
    spec, samples = samples_of(SCRIPT)
    return spec, samples, [int(r) for r in SyntheticSource(SCRIPT).truth().beats]


def beats_of(samples: FloatArray, rows: list[int]) -> list[tuple[int, int, int, bool]]:
    """Return R peak, decision, lead, and whether it was recovered, of every beat."""
    spec = patient()[0]
    stage, meter, leads = Conditioner(spec), QualityMeter(2, spec.range_mv), LeadSet(2)
    beats: list[tuple[int, int, int, bool]] = []
    edges = [*range(0, len(samples), len(samples))] if not rows else [0, *np.cumsum(rows).tolist()]
    for start, stop in zip(edges, [*edges[1:], len(samples)], strict=True):
        if start >= len(samples):
            break
        piece = stage.push(SampleBlock(spec, start, samples[start:stop]))
        for item in leads.push(piece, meter.push(piece.samples)):
            if isinstance(item, LeadBeat):
                view = item.view
                assert piece.start < view.decided <= piece.stop  # neither early nor late
                beats.append((view.r_index, view.decided, item.lead, item.recovered))
    return beats


def level(x: FloatArray, first: int, stop: int) -> None:
    """Replace samples by a line from the one before to the one after."""
    x[first:stop] = np.linspace(x[first - 1], x[stop], stop - first)


@fixed(20)
@given(
    hidden=st.sets(st.integers(3, 10).map(lambda k: 4 * k)),  # not so many that the lead is left
    seed=st.integers(0, 2**32 - 1),
    longest=st.sampled_from([90, 500, 3000]),
)
def test_beats_hidden_in_the_lead_in_use_are_recovered_from_the_other(
    hidden: set[int], seed: int, longest: int
) -> None:
    _, samples, true = patient()
    samples = samples.copy()
    for k in hidden:
        level(samples[:, 0], true[k] - 70, true[k] + 100)
    beats = beats_of(samples, [])
    inside = [r for r in true if RATE < r < 37 * RATE]
    found = [r for r, *_ in beats if RATE // 2 < r < 37 * RATE]
    assert len(found) == len(inside)
    assert np.abs(np.array(found) - inside).max() <= 15
    rows = np.random.default_rng(seed).integers(1, longest, 2 * len(samples) // longest + 50)
    assert beats_of(samples, rows.tolist()) == beats


@fixed(20)
@given(
    bumps=st.sets(st.integers(FIRST, 45), max_size=12),
    depth_mv=st.floats(0.4, 1.1),  # deeper in four beats in a row: taken for QRS, a known limit
    before_ms=st.integers(150, 236),
)
def test_bumps_before_the_beats_of_one_lead_are_not_beats(
    bumps: set[int], depth_mv: float, before_ms: int
) -> None:
    _, samples, true = patient()
    samples = samples.copy()
    for k in bumps:
        middle = true[k] - before_ms * RATE // 1000
        samples[middle - 7 : middle + 8, 0] -= depth_mv * np.hanning(15)
    found = [r for r, *_ in beats_of(samples, []) if RATE // 2 < r < 37 * RATE]
    inside = [r for r in true if RATE < r < 37 * RATE]
    assert len(found) == len(inside)
    assert np.abs(np.array(found) - inside).max() <= 15
