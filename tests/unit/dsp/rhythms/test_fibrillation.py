"""Windows that may show ventricular fibrillation."""

from __future__ import annotations

import numpy as np
import pytest

from support.patients import asystole, make_script, samples_of
from tocsin_agent.sources.scripted.script import Disturbance, Event, ScriptedRhythm, Segment
from tocsin_dsp.conditioning.condition import Conditioned
from tocsin_dsp.conditioning.quality import HOP, Hop, LeadState
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ, Resampler
from tocsin_dsp.exact import on_sample_grid
from tocsin_dsp.rhythms.fibrillation import (
    FAINTEST_MV,
    LIMIT,
    POINTS,
    SECOND,
    SHAPE_LIMIT,
    Window,
    WindowObserver,
    decimate,
    describe,
)
from tocsin_dsp.signal import FloatArray

RATE = ANALYSIS_RATE_HZ
VF = Segment(rhythm=ScriptedRhythm.VENTRICULAR_FIBRILLATION, seconds=20.0)


def windows(x: FloatArray, used: int = 0, start: int = 0) -> list[Window]:
    """Return the windows of samples, (n, leads), with one lead in use throughout."""
    stop = start + len(x)
    states, values = (LeadState.GOOD,) * x.shape[1], (1.0,) * x.shape[1]
    hops = range(start // HOP * HOP + HOP, stop + 1, HOP)
    piece = Conditioned(start, on_sample_grid(x), restarted=True)
    items = WindowObserver(x.shape[1]).push(piece, [Hop(at, states, values, used) for at in hops])
    return [item for item in items if isinstance(item, Window)]


def windows_of(*segments: Segment, events: tuple[Event, ...] = ()) -> list[Window]:
    script = make_script(*segments, events=events)
    _, samples = samples_of(script)
    return windows(Resampler(script.rate_hz, 2).push(on_sample_grid(samples)))


def wave(hz: float, peak_mv: float, seconds: float = 10.0) -> FloatArray:
    t = np.arange(round(seconds * RATE)) / RATE
    return peak_mv * np.sin(2 * np.pi * hz * t)[:, None]


def test_fibrillation_is_described_every_second() -> None:
    found = [w.decided / RATE for w in windows_of(Segment(seconds=20.0), VF, Segment(seconds=20.0))]
    assert set(range(24, 40)) <= set(found)


def test_a_beating_heart_is_skipped() -> None:
    assert not windows_of(Segment(seconds=120.0))


def test_baseline_wander_and_mains_neither_hide_nor_imitate_fibrillation() -> None:
    events = tuple(
        Event(kind=kind, at_s=0.0, seconds=60.0, amplitude_mv=0.4)
        for kind in (Disturbance.BASELINE_WANDER, Disturbance.MAINS)
    )
    found = {w.decided // RATE for w in windows_of(Segment(seconds=20.0), VF, events=events)}
    assert set(range(24, 40)) <= found
    assert not {s for s in found if s <= 20}


def test_asystole_is_skipped() -> None:
    assert not [
        w for w in windows_of(Segment(seconds=10.0), asystole(30.0)) if w.decided > 15 * RATE
    ]


@pytest.mark.parametrize(("peak_mv", "described"), [(0.04, False), (0.06, True)])
def test_a_tenth_of_a_millivolt_peak_to_peak_is_the_faintest(
    peak_mv: float, described: bool
) -> None:
    assert bool(windows(wave(5.0, peak_mv))) is described


def test_a_window_is_scaled_by_its_level_and_has_no_baseline() -> None:
    x = wave(4.0, 0.5) + 3.0 + np.linspace(0, 1, 2500)[:, None]
    found = windows(x)
    assert [w.decided for w in found] == [
        RATE * s for s in range(5, 11)
    ]  # the first has no lead-in
    middle = found[3]
    assert middle.level_mv == pytest.approx(0.5 * 2 / np.pi, rel=0.05)
    assert np.abs(middle.shape).mean() == pytest.approx(1.0, abs=1e-6)
    assert abs(middle.shape.mean()) < 0.02
    assert middle.shape.shape == (POINTS,)


def test_missing_samples_are_bridged_for_half_a_second() -> None:
    x = wave(5.0, 0.5, 20.0)
    x[8 * RATE : 8 * RATE + RATE // 2] = np.nan
    assert [w.decided // RATE for w in windows(x)] == [*range(5, 21)]
    x[8 * RATE + RATE // 2] = np.nan
    assert [w.decided // RATE for w in windows(x)] == [5, 6, 7, 8, *range(13, 21)]


def test_a_window_of_which_more_than_a_quarter_is_missing_is_skipped() -> None:
    x = wave(5.0, 0.5, 20.0)
    for at in range(8 * RATE, 12 * RATE, RATE):
        x[at : at + RATE // 3] = np.nan
    assert [w.decided // RATE for w in windows(x)] == [*range(5, 12), *range(13, 21)]


def test_missing_samples_are_bridged_across_any_cut() -> None:
    x = wave(5.0, 0.5, 20.0)
    x[10 * RATE - 40 : 10 * RATE + 40] = np.nan
    whole = windows(x)
    observer, cut = WindowObserver(1), []
    for start in range(0, len(x), 37):
        part = x[start : start + 37]
        stop = start + len(part)
        marks = [at for at in range(start + 1, stop + 1) if at % HOP == 0]
        hops = [Hop(at, (LeadState.GOOD,), (1.0,), 0) for at in marks]
        piece = Conditioned(start, on_sample_grid(part), restarted=start == 0)
        cut += [w for w in observer.push(piece, list(hops)) if isinstance(w, Window)]
    assert [w.decided for w in cut] == [w.decided for w in whole]
    assert all((a.shape == b.shape).all() for a, b in zip(cut, whole, strict=True))


def test_every_lead_is_described() -> None:
    x = np.concatenate((wave(5.0, 0.0), wave(5.0, 0.5)), axis=1)
    assert {(w.lead, w.used) for w in windows(x, used=0)} == {(1, False)}
    assert {(w.lead, w.used) for w in windows(x, used=1)} == {(1, True)}


@pytest.mark.parametrize("value", [0.0, 1.0, -4096.0, 4096.0])
def test_a_flat_line_is_skipped(value: float) -> None:
    assert not windows(np.full((10 * RATE, 1), value))


def test_absurd_voltages_are_skipped() -> None:
    assert not windows(wave(5.0, 400.0))
    assert not windows(np.where(wave(5.0, 1.0) > 0, 4096.0, -4096.0))


def test_a_stream_may_begin_anywhere() -> None:
    x = wave(5.0, 0.5, 12.0)
    assert [w.decided for w in windows(x, start=1017)] == [RATE * s for s in range(9, 17)]


def test_decimation_passes_fibrillation_and_stops_aliases() -> None:
    def gain(hz: float) -> float:
        return float(np.abs(decimate(wave(hz, 1.0, 4.04))).max())

    assert gain(5.0) == pytest.approx(1.0, abs=0.1)
    assert gain(45.0) < 0.1


def test_descriptions_are_bounded_and_do_not_depend_on_the_batch() -> None:
    draws = np.random.default_rng(3)
    scale = np.exp(draws.uniform(-5, 3, (60, 1)))
    some = on_sample_grid(scale * draws.standard_normal((60, POINTS)))
    whole = describe(some)
    assert np.abs(whole.shapes).max() <= SHAPE_LIMIT
    assert np.abs(whole.features).max() <= LIMIT
    assert (whole.levels_mv[whole.judged] >= FAINTEST_MV).all()
    for i in range(len(some)):
        one = describe(some[i : i + 1])
        assert (one.shapes[0] == whole.shapes[i]).all()
        assert (one.features[0] == whole.features[i]).all()
        assert one.judged[0] == whole.judged[i]


def test_the_constants_agree() -> None:
    assert SECOND * 4 == POINTS
