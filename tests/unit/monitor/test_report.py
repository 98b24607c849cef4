"""What is reported of a beat, and how soon."""

from __future__ import annotations

import numpy as np
import pytest

from support.patients import (
    CALM,
    make_script,
    play,
    read_all,
    run_monitor,
    samples_of,
)
from tocsin_agent.monitor import PatientMonitor
from tocsin_agent.sources.opening import open_source
from tocsin_agent.sources.scripted.script import (
    Segment,
)
from tocsin_dsp.beats.waves import P_SCORE
from tocsin_dsp.conditioning.condition import Conditioned, Conditioner
from tocsin_dsp.signal import SampleBlock, StreamSpec
from tocsin_models import Models

RATE = 360


def test_a_label_is_known_within_a_second(models: Models) -> None:
    result = run_monitor(read_all(open_source("excerpt", block_s=60.0)), models)
    latency = np.array([(b.decided_index - b.r_index) / RATE for b in result.beats])
    assert np.median(latency) < 0.5
    assert latency[5:].max() < 2.5


def test_a_beat_states_its_intervals(models: Models) -> None:
    beats = play(make_script(CALM, CALM), models).beats[5:-1]
    for beat in beats:
        assert beat.qrs_s == pytest.approx(0.09, abs=0.04)
        assert beat.pr_s == pytest.approx(0.16, abs=0.04)
        assert beat.p_score is not None
        assert beat.p_score > P_SCORE
        assert beat.st_mv == pytest.approx(0.0, abs=0.1)
        assert beat.previous_qt_s == pytest.approx(0.38, abs=0.06)


def test_a_ventricular_beat_is_wide_and_without_a_p_wave(models: Models) -> None:
    beats = play(make_script(CALM, Segment(seconds=40.0, pattern="NNNV")), models).beats
    wide = [b.qrs_s for b in beats if b.label == "V" and b.qrs_s is not None]
    narrow = [b.qrs_s for b in beats if b.label == "N" and b.qrs_s is not None]
    assert np.median(wide) > np.median(narrow) + 0.03
    without = [b for b in beats if b.label == "V" and (b.p_score or 0.0) < P_SCORE]
    assert len(without) > 0.8 * len(wide)
    assert all(b.pr_s is None for b in without)


def test_what_is_unknown_of_a_wave_is_none(models: Models) -> None:
    first = play(make_script(), models).beats[0]
    assert first.previous_qt_s is None  # there was no beat before


@pytest.mark.parametrize(("leads", "longest_s"), [(1, 30.0), (2, 15.0), (8, 3.75)])
def test_a_long_block_is_taken_in_parts(
    leads: int, longest_s: float, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, samples = samples_of(make_script(Segment(seconds=50.0, pattern="NNNV")))
    spec = StreamSpec("parts", spec.rate_hz, tuple(map(str, range(leads))))
    samples = np.tile(samples, (1, 4))[:, :leads]
    rows: list[int] = []
    push = Conditioner.push

    def noted(self: Conditioner, block: SampleBlock) -> Conditioned:
        rows.append(len(block))
        return push(self, block)

    monkeypatch.setattr(Conditioner, "push", noted)
    whole = PatientMonitor(spec, models=models).push(SampleBlock(spec, 0, samples))
    assert (max(rows), sum(rows)) == (longest_s * spec.rate_hz, len(samples))
    half = len(samples) // 2
    monitor = PatientMonitor(spec, models=models)
    parts = [
        monitor.push(SampleBlock(spec, start, samples[start : start + half]))
        for start in range(0, len(samples), half)
    ]
    assert whole.beats == [beat for part in parts for beat in part.beats]
    assert whole.alerts == [alert for part in parts for alert in part.alerts]
    assert len(whole.beats) > 40
