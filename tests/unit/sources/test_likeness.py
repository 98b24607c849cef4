from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support.recording_files import ecg
from tocsin_agent.sources.likeness import no_ecg, peaks, wrong_rate
from tocsin_agent.sources.opening import open_source
from tocsin_dsp.signal import FloatArray

RATE_HZ = 250.0
T = np.arange(2500) / RATE_HZ
NOISE = np.random.default_rng(1).normal(0, 1.0, 2500)
ECG = ecg(2500)[:, 0]


def pulse() -> FloatArray:
    phase = T % 0.8
    return np.exp(-0.5 * ((phase - 0.2) / 0.08) ** 2) + 0.4 * np.exp(
        -0.5 * ((phase - 0.45) / 0.1) ** 2
    )


def fibrillation() -> FloatArray:
    frequency = 4.5 + np.cumsum(NOISE) * 0.01
    phase = 2 * np.pi * np.cumsum(frequency) / RATE_HZ
    return np.sin(phase) + 0.2 * np.sin(2 * phase) + 0.02 * NOISE


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (pulse(), "no QRS"),
        (100 + 20 * pulse() + 0.01 * NOISE, "no QRS"),
        (np.sin(2 * np.pi * 0.3 * T) + 0.1 * np.sin(2 * np.pi * 1.2 * T), "no QRS"),
        (NOISE, "noise without beats"),
        (0.01 * NOISE, "noise without beats"),
    ],
)
def test_what_is_no_ecg_is_named(values: FloatArray, words: str) -> None:
    found = no_ecg(values, RATE_HZ)
    assert found is not None
    assert words in found


@pytest.mark.parametrize(
    "values",
    [
        ECG,
        1000 * ECG,
        ECG + 0.1 * NOISE,
        ECG + 3 * np.sin(2 * np.pi * 0.3 * T),
        ECG + np.sin(2 * np.pi * 50 * T),
        fibrillation(),
        np.zeros(2500),
        np.full(2500, np.nan),
    ],
)
def test_what_may_be_an_ecg_is_not(values: FloatArray) -> None:
    assert no_ecg(values, RATE_HZ) is None


@pytest.mark.parametrize(
    ("stated_hz", "words"),
    [(250.0, None), (500.0, "too high"), (125.0, "too low"), (1000.0, "too high")],
)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_wrong_rate_is_named(stated_hz: float, words: str | None, sign: float) -> None:
    long = ecg(10_000)[:, 0] * sign
    found = wrong_rate([long, 0.5 * long], stated_hz)
    if words is None:
        assert found is None
    else:
        assert found is not None
        assert words in found


def test_one_lead_that_disagrees_is_enough_for_silence() -> None:
    long = ecg(10_000)[:, 0]
    wide = np.convolve(long, np.ones(60) / 60, "same")
    assert wrong_rate([long, wide], 500.0) is None
    assert wrong_rate([], 250.0) is None


def test_the_peaks_of_an_ecg() -> None:
    found = peaks(ECG, RATE_HZ)
    assert found is not None
    assert found.per_minute == pytest.approx(75, abs=2)
    assert 0.015 < found.width_s < 0.04


@pytest.mark.parametrize("name", ["mitdb/100", "mitdb/207", "svdb/800", "vfdb/418", "cudb/cu01"])
def test_no_record_is_called_no_ecg(name: str, records: Path) -> None:  # noqa: ARG001
    with open_source(name, block_s=10.0) as source:
        rate_hz, seconds = source.spec.rate_hz, 0
        while seconds < 600:
            block = source.read(0)
            if block is None or len(block) < 10 * rate_hz:
                break
            seconds += 10
            for lead in block.samples_mv.T:
                assert no_ecg(lead, rate_hz) is None
