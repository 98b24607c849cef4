"""No ECG at all: whatever comes, no label is a confident V and nothing is thrown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tocsin_agent.monitor import LabelledBeat, PatientMonitor
from tocsin_dsp.signal import SampleBlock, StreamSpec
from tocsin_models import Models, load_models

RATE = 250
SAMPLES = 120 * RATE
SPEC = StreamSpec("test/garbage", float(RATE), ("II",))
Samples = NDArray[np.float64]


@pytest.fixture(scope="module")
def models() -> Models:
    return load_models()


def heard(x: Samples, models: Models) -> list[LabelledBeat]:
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
    beats = heard(UNREADABLE[kind](np.random.default_rng(1)), models)
    assert {(b.label, b.probability) for b in beats} <= {("Q", 0.0)}


@pytest.mark.parametrize("scale_mv", [0.05, 0.5, 2.0, 10.0])
def test_white_noise_is_never_ventricular_and_mostly_unknown(
    scale_mv: float, models: Models
) -> None:
    labels = []
    for seed in range(4):
        noise = scale_mv * np.random.default_rng(seed).standard_normal(SAMPLES)
        labels += [b.label for b in heard(noise, models)]
    known = len(labels) - labels.count("Q")
    assert "V" not in labels
    assert known <= max(1, len(labels) // 3)  # the first of all is like itself alone
