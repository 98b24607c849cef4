"""The inputs of the beat classifier."""

from __future__ import annotations

import numpy as np
import pytest

from support.patients import make_script, samples_of
from tocsin_agent.sources.scripted.script import Segment
from tocsin_dsp.beats.beats import AFTER, FEATURES, LIMIT, SHAPE, BeatObserver, BeatView, describe
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.detection.qrs import LeadDetector
from tocsin_dsp.exact import on_sample_grid
from tocsin_dsp.signal import FloatArray

RATE = ANALYSIS_RATE_HZ
NAMES = list(FEATURES)


def lead(pattern: str = "N", seconds: float = 60.0, bpm: float = 75.0) -> FloatArray:
    script = make_script(
        Segment(seconds=20.0, rate_bpm=bpm),
        Segment(seconds=seconds - 20.0, pattern=pattern, rate_bpm=bpm),
        rate_hz=250.0,
        leads=("II",),
    )
    return on_sample_grid(samples_of(script)[1][:, 0])


def views(x: FloatArray) -> list[BeatView]:
    return describe(BeatObserver().push(x, LeadDetector().push(x)))


def feature(view: BeatView, name: str) -> float:
    """Return a feature in its own unit."""
    centre, gain = FEATURES[name]
    return float(view.features[NAMES.index(name)]) / gain + centre


def test_every_beat_is_described_once_in_order() -> None:
    x = lead()
    beats = LeadDetector().push(x)
    described = describe(BeatObserver().push(x, beats))
    assert [v.r_index for v in described] == [
        b.r_index for b in beats if b.r_index < len(x) - AFTER
    ]


def test_shapes_and_features_have_their_form_and_limits() -> None:
    for view in views(lead("NNV")):
        assert view.shapes.shape == (2, SHAPE)
        assert view.features.shape == (len(FEATURES),)
        assert np.isfinite(view.shapes).all()
        assert np.isfinite(view.features).all()
        assert np.abs(view.shapes).max() <= LIMIT
        assert np.abs(view.features).max() <= LIMIT


def test_rr_is_that_of_the_rhythm() -> None:
    described = views(lead(bpm=60.0))
    assert described[0].rr_s is None
    assert np.median([v.rr_s for v in described[1:]]) == pytest.approx(1.0, abs=0.03)
    assert feature(described[20], "rr_s") == pytest.approx(described[20].rr_s)


def test_an_early_wide_beat_differs_from_the_patients_own() -> None:
    described = [v for v in views(lead("NNNV")) if v.r_index > 25 * RATE]
    early = [v for v in described if feature(v, "rr_to_32") < -0.25]
    typical = [v for v in described if abs(feature(v, "rr_to_32")) < 0.15]
    assert len(early) >= 9
    assert max(feature(v, "likeness") for v in early) < 0.8
    assert min(feature(v, "likeness") for v in typical) > 0.95
    assert np.mean([feature(v, "width_s") for v in early]) > np.mean(
        [feature(v, "width_s") for v in typical]
    )


@pytest.mark.parametrize("gain", [0.5, 4.0])
def test_gain_changes_only_the_scale(gain: float) -> None:
    x = lead("NNV")
    for a, b in zip(views(x), views(on_sample_grid(x * gain)), strict=True):
        assert b.scale_mv == pytest.approx(gain * a.scale_mv, rel=1e-4)
        np.testing.assert_allclose(a.shapes, b.shapes, atol=1e-3)
        np.testing.assert_allclose(a.features, b.features, atol=0.02)


def test_an_offset_changes_nothing() -> None:
    x = lead()
    for a, b in zip(views(x), views(x + 200.0), strict=True):
        np.testing.assert_allclose(a.shapes, b.shapes, atol=1e-6)


def test_a_beat_with_missing_samples_is_unreadable() -> None:
    x = lead()
    beats = LeadDetector().push(x)
    x[beats[10].r_index + 80] = np.nan
    described = describe(BeatObserver().push(x, beats))
    assert [v.readable for v in described[9:12]] == [True, False, True]
    assert np.isfinite(described[10].shapes).all()


def test_a_beat_whose_window_begins_before_the_stream_is_unreadable() -> None:
    x = lead()[60:]  # R of the first beat is 40 samples in
    described = views(x)
    assert described[0].r_index < 70
    assert not described[0].readable
    assert described[1].readable


def test_no_interval_spans_a_skip() -> None:
    x = lead(seconds=30.0)
    detector, observer = LeadDetector(), BeatObserver()
    observer.push(x, detector.push(x))
    for stage in (detector, observer):
        stage.skip_to(50_000)
    again = observer.push(x, detector.push(x))
    assert again[0].rr_s is None
    assert again[0].r_index > 50_000
    assert all(v.rr_s is not None and v.rr_s < 2.0 for v in again[1:])


def test_a_view_is_decided_after_its_window_or_the_detection() -> None:
    x = lead()
    beats = LeadDetector().push(x)
    decided = {b.r_index: b.decided for b in beats}
    for view in BeatObserver().push(x, beats):
        assert view.decided == max(decided[view.r_index], view.r_index + AFTER + 1)


@pytest.mark.parametrize("gain", [0.0, 100.0])
def test_a_flat_or_absurd_beat_is_unreadable(gain: float) -> None:
    x = lead()
    beats = LeadDetector().push(x)
    at = beats[10].r_index
    x[at - 90 : at + 110] *= gain
    described = describe(BeatObserver().push(on_sample_grid(x), beats))
    assert not described[10].readable
    assert np.isfinite(described[10].features).all()
    assert described[20].readable
