from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from support.recording_files import dicom_group, ecg, write_dicom
from support.recordings import read, read_to_fault
from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.sources.opening import open_source

NAMES = ["Lead I (Einthoven)", "Lead II", "Lead V1"]
ECG = ecg(5000, 500, 3)
V1_TO_V6 = tuple(f"V{i}" for i in range(1, 7))


def test_a_sample_of_pydicom_is_read_as_pydicom_reads_it() -> None:
    path = str(get_testdata_file("waveform_ecg.dcm"))
    expected = pydicom.dcmread(path).waveform_array(0)
    with open_source(path) as source:
        assert source.spec.leads == (
            "I",
            "II",
            "III",
            "aVR",
            "aVL",
            "aVF",
            *["V1", "V2", "V3", "V4", "V5", "V6"],
        )
        assert (source.spec.rate_hz, source.seconds) == (1000.0, 10.0)
        _, samples = read(source)
    np.testing.assert_allclose(samples * 1000.0, expected, atol=1e-9)


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("unit", ["uV", "mV"])
def test_the_ways_to_store_a_waveform(
    implicit: bool, undefined: bool, unit: str, tmp_path: Path
) -> None:
    sensitivity = {"uV": 2.5, "mV": 0.0025}[unit]
    group = dicom_group(ECG, 500, NAMES, unit=unit, sensitivity=sensitivity, baseline=sensitivity)
    path = write_dicom(tmp_path / "a.dcm", [group], implicit=implicit, undefined=undefined)
    with open_source(str(path)) as source:
        assert (source.spec.leads, source.spec.rate_hz) == (("I", "II", "V1"), 500.0)
        assert source.start_utc == dt.datetime(2024, 5, 1, 8, 0, 0, 250_000, tzinfo=dt.UTC)
        indices, samples = read(source)
    assert indices == list(range(5000))
    np.testing.assert_allclose(samples, ECG, atol=0.0026)


@pytest.mark.parametrize("offset_ms", [10_000.0, 12_500.0])
def test_groups_that_follow_one_another_are_one_stream(offset_ms: float, tmp_path: Path) -> None:
    groups = [
        dicom_group(ECG, 500, NAMES, offset_ms=0),
        dicom_group(ECG, 500, NAMES, offset_ms=offset_ms),
        dicom_group(ECG[:600], 500, ["Median I", "Median II", "Median V1"]),
    ]
    with open_source(str(write_dicom(tmp_path / "a", groups))) as source:  # a name without suffix
        indices, samples = read(source)
    assert len(samples) == 10_000
    assert indices[5000] == offset_ms / 2


def test_a_padded_sample_is_missing(tmp_path: Path) -> None:
    samples_mv = ECG.copy()
    samples_mv[100:200, 1] = np.nan
    group = dicom_group(samples_mv, 500, NAMES, padding=-32768)
    with open_source(str(write_dicom(tmp_path / "a.dcm", [group]))) as source:
        _, samples = read(source)
    np.testing.assert_array_equal(np.isnan(samples), np.isnan(samples_mv))


@pytest.mark.parametrize("cut", [1000, 20_000])
def test_a_truncated_file_is_read_to_its_end(cut: int, tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", [dicom_group(ECG, 500, NAMES)])
    path.write_bytes(path.read_bytes()[:-cut])
    with open_source(str(path)) as source:
        _, samples, fault = read_to_fault(source)
    assert len(samples) == 5000 - -(-cut // 6)
    assert fault is not None
    assert fault.reason is SourceFault.TRUNCATED


def test_an_image_is_named_as_what_it_is(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", [])
    with pytest.raises(SourceError, match="without a waveform"):
        open_source(str(path)).open()


@pytest.mark.parametrize("deflated", [False, True])
def test_other_encodings_are_refused_with_the_way_to_convert_them(
    deflated: bool, tmp_path: Path
) -> None:
    group = dicom_group(ECG, 500, NAMES)
    path = write_dicom(tmp_path / "a.dcm", [group], deflated=deflated)
    if not deflated:  # big-endian order, by the name of the encoding alone
        little, big = b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.2\0"
        path.write_bytes(path.read_bytes().replace(little, big))
    with pytest.raises(SourceError, match="dcmconv"):
        open_source(str(path)).open()


def test_an_average_beat_after_the_rhythm_does_not_continue_it(tmp_path: Path) -> None:
    beat = dicom_group(ECG[:600], 500, NAMES, offset_ms=10_000.0)
    beat.WaveformOriginality = "DERIVED"
    groups = [dicom_group(ECG, 500, NAMES), beat]
    with open_source(str(write_dicom(tmp_path / "a.dcm", groups))) as source:
        assert len(read(source)[1]) == len(ECG)


def test_of_groups_of_two_rates_one_is_used_and_the_other_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    groups = [dicom_group(ECG, 500, NAMES), dicom_group(ecg(4000, 1000, 1), 1000, ["Lead V6"])]
    with open_source(str(write_dicom(tmp_path / "a.dcm", groups))) as source:
        assert source.spec.rate_hz == 500
        assert len(read(source)[1]) == len(ECG)
    assert "at 1000 Hz is not used (V6)" in caplog.text
