"""No ECG at all: whatever comes, no label is a confident V and nothing is thrown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tocsin_agent.monitor import LabelledBeat, PatientMonitor
from tocsin_dsp.signal import SampleBlock, StreamSpec
from tocsin_models import Models

RATE = 250
SAMPLES = 120 * RATE
SPEC = StreamSpec("test/garbage", float(RATE), ("II",))
Samples = NDArray[np.float64]


def labelled(x: Samples, models: Models) -> list[LabelledBeat]:
    monitor = PatientMonitor(SPEC, models=models)
    report = monitor.push(SampleBlock(SPEC, 0, x[:, None]))
    return report.beats + monitor.finish().beats


UNREADABLE: dict[str, Callable[[Any], Samples]] = {
    "missing": lambda _: np.full(SAMPLES, np.nan),
    "flat": lambda _: np.zeros(SAMPLES),
    "at a rail": lambda _: np.full(SAMPLES, 9.0),
    "a million millivolts": lambda draws: 1e6 * draws.standard_normal(SAMPLES),
    "steps": lambda _: np.where(np.arange(SAMPLES) // 37 % 2, 1e5, -1e5),
    "spikes": lambda draws: np.where(draws.random(SAMPLES) < 0.004, 1e9, 0.0),
    "mains": lambda _: 3.0 * np.sin(np.arange(SAMPLES) * 2 * np.pi * 50 / RATE),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_cannot_be_read_is_called_unknown_with_no_confidence(
    kind: str, models: Models
) -> None:
    beats = labelled(UNREADABLE[kind](np.random.default_rng(1)), models)
    assert {(b.label, b.probability) for b in beats} <= {("Q", 0.0)}


VENTRICULAR = {
    "ventricular_tachycardia",
    "ventricular_run",
    "bigeminy",
    "frequent_ventricular",
    "extreme_tachycardia",
}


def coloured(exponent: float, seed: int) -> Samples:
    """Return noise of 1 mV whose power falls with this power of the frequency."""
    draws = np.random.default_rng(seed).standard_normal(SAMPLES)
    frequencies = np.maximum(np.fft.rfftfreq(SAMPLES, 1 / RATE), 0.5)
    noise = np.fft.irfft(np.fft.rfft(draws) / frequencies ** (exponent / 2), SAMPLES)
    return np.asarray(noise / noise.std())


@pytest.mark.parametrize("scale_mv", [0.5, 2.0, 10.0])
@pytest.mark.parametrize("exponent", [0, 1, 2], ids=["white", "pink", "brown"])
def test_noise_is_unknown_without_confidence_and_raises_nothing_ventricular(
    exponent: float, scale_mv: float, models: Models
) -> None:
    """From the first sample on; brown noise looks like fibrillation now and then.

    What does is believed on purpose: a beat in a hundred may be V then, and not surely so.
    """
    result: list[LabelledBeat] = []
    codes: set[str] = set()
    for seed in range(4):
        monitor = PatientMonitor(SPEC, models=models)
        noise = scale_mv * coloured(exponent, seed)[:, None]
        report = monitor.push(SampleBlock(SPEC, 0, noise))
        result += report.beats
        codes |= {a.code for a in report.alerts}
    named = [b for b in result if (b.label, b.probability) != ("Q", 0.0)]
    ventricular = [b.probability for b in named if b.label == "V"]
    assert len(result) > 400
    assert len(named) <= len(result) / 50
    assert len(ventricular) <= len(result) / 100
    assert max(ventricular, default=0.0) < 0.6
    assert not codes & VENTRICULAR


def test_streams_that_begin_with_noise_raise_no_run_and_label_next_to_nothing(
    models: Models,
) -> None:
    """Before anything is known of a lead nothing is taken for granted."""
    result: list[LabelledBeat] = []
    for seed in range(30):
        x = 2.0 * coloured(2, seed)[: 10 * RATE]
        report = PatientMonitor(SPEC, models=models).push(SampleBlock(SPEC, 0, x[:, None]))
        assert not {a.code for a in report.alerts} & VENTRICULAR
        result += report.beats
    named = [b for b in result if b.label != "Q"]
    assert len(result) > 300
    assert len(named) <= len(result) / 50
    assert max((b.probability for b in named), default=0.0) < 0.6


@pytest.mark.parametrize("exponent", [0, 1, 2], ids=["white", "pink", "brown"])
def test_faint_noise_is_never_ventricular(exponent: float, models: Models) -> None:
    for seed in range(4):
        assert "V" not in {b.label for b in labelled(0.05 * coloured(exponent, seed), models)}
