"""A stream whose gain is unknown: beats of any nominal amplitude, and asystole all the same."""

from __future__ import annotations

import numpy as np
import pytest

from support.recording_files import ecg
from tocsin_agent.monitor import PatientMonitor, Report
from tocsin_dsp.signal import FloatArray, SampleBlock, StreamSpec
from tocsin_models import load_models

RATE_HZ = 250
NOISE = 0.002  # of the height of a beat


def beating(seconds: float, height_mv: float) -> FloatArray:
    noise = np.random.default_rng(0).normal(0.0, NOISE, (round(seconds * RATE_HZ), 1))
    return (ecg(len(noise))[:, :1] + noise) * height_mv


def monitored(samples: FloatArray, rows: int = 125, *, calibrated: bool = False) -> list[Report]:
    spec = StreamSpec("x", float(RATE_HZ), ("II",), calibrated=calibrated)
    monitor = PatientMonitor(spec, models=load_models())
    return [
        monitor.push(SampleBlock(spec, at, samples[at : at + rows]))
        for at in range(0, len(samples), rows)
    ]


def found(reports: list[Report]) -> tuple[list[int], list[str]]:
    beats = [beat.r_index for report in reports for beat in report.beats]
    return beats, [f"{a.code} {a.phase}" for report in reports for a in report.alerts]


@pytest.mark.parametrize("height_mv", [0.1, 0.05])
def test_a_clean_ecg_has_its_beats_whatever_its_nominal_height(height_mv: float) -> None:
    usual, none = found(monitored(beating(30.0, 1.0)))
    beats, alerts = found(monitored(beating(30.0, height_mv)))
    assert none == alerts == []
    assert len(beats) >= len(usual) - 2 >= 20
    assert set(beats[3:]) <= {r + d for r in usual for d in (-2, -1, 0, 1, 2)}


@pytest.mark.parametrize("rows", [7, 1000])
def test_any_cutting_gives_the_same_beats(rows: int) -> None:
    samples = beating(20.0, 0.07)
    assert found(monitored(samples, rows)) == found(monitored(samples))


@pytest.mark.parametrize("height_mv", [0.1, 1.0])
def test_noise_of_the_amplifier_is_no_beat(height_mv: float) -> None:
    noise = np.random.default_rng(1).normal(0.0, 0.01 * height_mv, (20 * RATE_HZ, 1))
    reports = monitored(np.concatenate([beating(20.0, height_mv), noise]))
    beats, alerts = found(reports)
    assert "asystole onset" in alerts
    assert max(beats) <= 20.5 * RATE_HZ


def test_where_the_gain_is_known_a_tenth_of_a_millivolt_is_no_qrs() -> None:
    """IEC 60601-2-27: 0.15 mV must not be counted."""
    beats, _ = found(monitored(beating(20.0, 0.1), calibrated=True))
    assert beats == []
