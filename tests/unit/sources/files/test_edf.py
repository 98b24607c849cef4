from __future__ import annotations

import datetime as dt
from pathlib import Path

import edfio
import numpy as np
import pytest

from tocsin_agent.errors import SourceError
from tocsin_agent.sources.base import EndOfStream, Source
from tocsin_agent.sources.opening import open_source
from tocsin_dsp.signal import FloatArray

RATE_HZ = 250
ECG = np.clip(np.random.default_rng(0).normal(0, 0.4, 200 * RATE_HZ), -3, 3)


def write(path: Path, *, unit: str = "mV", label: str = "ECG II") -> str:
    size = {"mV": 1.0, "uV": 1000.0}[unit]
    bounds = (-5 * size, 5 * size)
    signals = [
        edfio.EdfSignal(
            ECG * size, RATE_HZ, label=label, physical_dimension=unit, physical_range=bounds
        ),
        edfio.EdfSignal(np.zeros(200 * 32), 32, label="Resp chest", physical_dimension="mV"),
    ]
    edf = edfio.Edf(
        signals, starttime=dt.time(10), recording=edfio.Recording(startdate=dt.date(2024, 5, 1))
    )
    edf.write(path)
    return str(path)


def read(source: Source) -> FloatArray:
    parts: list[FloatArray] = []
    while True:
        try:
            block = source.read(0)
        except EndOfStream:
            return np.concatenate(parts)
        assert block is not None
        parts.append(block.samples_mv)


@pytest.mark.parametrize("unit", ["mV", "uV"])
def test_the_ecg_is_read_at_its_own_rate_and_in_millivolts(unit: str, tmp_path: Path) -> None:
    with open_source(write(tmp_path / "a.edf", unit=unit)) as source:
        assert (source.spec.leads, source.spec.rate_hz) == (("ECG II",), RATE_HZ)
        assert source.start_utc == dt.datetime(2024, 5, 1, 10, tzinfo=dt.UTC)
        np.testing.assert_allclose(read(source)[:, 0], ECG, atol=2e-4)


@pytest.mark.parametrize("name", ["a.edf", "a.dcm", "a.scp", "a.xml"])
def test_what_cannot_be_read_is_refused_with_a_way_out(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"nothing")
    with pytest.raises(SourceError, match=r"is not an EDF file|convert it"):
        open_source(str(tmp_path / name)).open()


@pytest.mark.parametrize("label", ["EEG Fpz-Cz", "Resp belt"])
def test_a_file_without_ecg_lists_its_signals(label: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=f"its signals are {label}"):
        open_source(write(tmp_path / "a.edf", label=label)).open()
