from __future__ import annotations

import datetime as dt
from pathlib import Path

import edfio
import numpy as np
import pytest

from support.recordings import read, read_to_fault
from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.sources.opening import open_source

RATE_HZ = 250
ECG = np.clip(np.random.default_rng(0).normal(0, 0.4, 200 * RATE_HZ), -3, 3)


def write(path: Path, *, unit: str = "mV", label: str = "ECG II", annotated: bool = False) -> str:
    size = {"mV": 1.0, "uV": 1000.0}[unit]
    bounds = (-5 * size, 5 * size)
    signals = [
        edfio.EdfSignal(
            ECG * size, RATE_HZ, label=label, physical_dimension=unit, physical_range=bounds
        ),
        edfio.EdfSignal(np.zeros(200 * 32), 32, label="Resp chest", physical_dimension="mV"),
    ]
    edf = edfio.Edf(
        signals,
        starttime=dt.time(10),
        recording=edfio.Recording(startdate=dt.date(2024, 5, 1)),
        annotations=[edfio.EdfAnnotation(3.0, None, 30 * "x")] if annotated else None,
    )
    edf.write(path)
    return str(path)


def discontinue(uri: str, onsets_s: list[float], *, plus: str = "EDF+D") -> str:
    """Write other times into the data records of an annotated file."""
    path = Path(uri)
    stored = bytearray(path.read_bytes())
    stored[192:197] = plus.encode()
    count = int(stored[252:256])
    at = 256 + 216 * count
    samples = [int(stored[at + 8 * i : at + 8 * i + 8]) for i in range(count)]
    place = [stored[256 + 16 * i :][:15] for i in range(count)].index(bytearray(b"EDF Annotations"))
    for record, onset_s in enumerate(onsets_s):
        first = 256 * (count + 1) + 2 * (record * sum(samples) + sum(samples[:place]))
        stamp = f"+{onset_s:.6f}\x14\x14\0".encode()
        stored[first : first + 2 * samples[place]] = stamp.ljust(2 * samples[place], b"\0")
    path.write_bytes(stored)
    return uri


@pytest.mark.parametrize("unit", ["mV", "uV"])
@pytest.mark.parametrize("annotated", [False, True])
def test_the_ecg_is_read_at_its_own_rate_and_in_millivolts(
    unit: str, annotated: bool, tmp_path: Path
) -> None:
    with open_source(write(tmp_path / "a.edf", unit=unit, annotated=annotated)) as source:
        assert (source.spec.leads, source.spec.rate_hz) == (("ECG II",), RATE_HZ)
        assert source.start_utc == dt.datetime(2024, 5, 1, 10, tzinfo=dt.UTC)
        assert source.seconds == 200
        assert [(c.name, c.used) for c in source.contents] == [
            ("ECG II", True),
            ("Resp chest", False),
        ]
        indices, samples = read(source)
    assert indices == list(range(len(ECG)))
    np.testing.assert_allclose(samples[:, 0], ECG, atol=2e-4)


@pytest.mark.parametrize(
    ("gaps", "fraction"), [({100: 30.0}, 0.0), ({1: 0.5, 70: 3600.0, 199: 1.004}, 0.25)]
)
def test_gaps_between_data_records_are_kept(
    gaps: dict[int, float], fraction: float, tmp_path: Path
) -> None:
    onsets = fraction + np.arange(200.0)
    for record, gap_s in gaps.items():
        onsets[record:] += gap_s
    uri = discontinue(write(tmp_path / "a.edf", annotated=True), onsets.tolist())
    with open_source(uri) as source:
        assert source.seconds == pytest.approx(onsets[-1] - fraction + 1)
        assert source.start_utc is not None
        assert source.start_utc.microsecond == fraction * 1e6
        indices, samples = read(source)
    expected = np.rint((onsets - fraction) * RATE_HZ).astype(int)
    assert indices[::RATE_HZ] == expected.tolist()
    assert np.diff(indices).max() == 1 + max(gaps.values()) * RATE_HZ
    np.testing.assert_allclose(samples[:, 0], ECG, atol=2e-4)


def test_a_file_that_begins_late_has_a_later_start(tmp_path: Path) -> None:
    uri = discontinue(write(tmp_path / "a.edf", annotated=True), list(5.5 + np.arange(200.0)))
    with open_source(uri) as source:
        assert source.start_utc == dt.datetime(2024, 5, 1, 10, 0, 5, 500_000, tzinfo=dt.UTC)
        assert read(source)[0] == list(range(len(ECG)))


def test_a_discontinuous_file_without_gaps_is_as_the_continuous_one(tmp_path: Path) -> None:
    uri = discontinue(write(tmp_path / "a.edf", annotated=True), list(np.arange(200.0)))
    with open_source(uri) as source:
        indices, samples = read(source)
    assert indices == list(range(len(ECG)))
    np.testing.assert_allclose(samples[:, 0], ECG, atol=2e-4)


@pytest.mark.parametrize("times", [[5.0, 4.0], [0.0, float("nan")], [0.0, 1e12]])
def test_times_of_data_records_that_make_no_sense_are_refused(
    times: list[float], tmp_path: Path
) -> None:
    onsets = [*times, *(times[-1] + np.arange(1, 199.0)).tolist()]
    uri = discontinue(write(tmp_path / "a.edf", annotated=True), onsets)
    with pytest.raises(SourceError, match="data records") as caught:
        open_source(uri).open()
    assert caught.value.reason is SourceFault.MALFORMED


def test_a_truncated_file_is_read_to_its_end(tmp_path: Path) -> None:
    path = Path(write(tmp_path / "a.edf"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1000])
    with open_source(str(path)) as source:
        _, samples, fault = read_to_fault(source)
    assert fault is not None
    assert "198 of 200 data records" in str(fault)
    assert fault.reason is SourceFault.TRUNCATED
    assert len(samples) == 198 * RATE_HZ
    np.testing.assert_allclose(samples[:, 0], ECG[: len(samples)], atol=2e-4)
    path.write_bytes(whole[:236] + b"-1      " + whole[244:])  # a recorder that was switched off
    with open_source(str(path)) as source:
        assert len(read(source)[0]) == len(ECG)


def test_counts_without_a_range_are_not_calibrated(tmp_path: Path) -> None:
    path = Path(write(tmp_path / "a.edf"))
    stored = bytearray(path.read_bytes())
    at = 256 + 2 * (16 + 80 + 8)
    stored[at : at + 8] = stored[at + 16 : at + 24] = b"0       "  # physical minimum and maximum
    path.write_bytes(stored)
    with open_source(str(path)) as source:
        assert not source.spec.calibrated
        samples = read(source)[1][:, 0]
    assert np.corrcoef(samples, ECG)[0, 1] > 0.999


@pytest.mark.parametrize("name", ["a.edf", "b.EDF"])
def test_what_is_no_edf_file_is_refused(name: str, tmp_path: Path) -> None:
    for content in (b"nothing", b"0" * 300, b""):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SourceError, match=r"cannot be read as an EDF file|is empty"):
            open_source(str(tmp_path / name)).open()


@pytest.mark.parametrize("label", ["EEG Fpz-Cz", "Resp belt"])
def test_a_file_without_ecg_lists_its_signals(label: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=f"its signals are {label}"):
        open_source(write(tmp_path / "a.edf", label=label)).open()


@pytest.mark.parametrize("unit", ["", "bpm"])
@pytest.mark.parametrize("leads", [None, ["ECG II"]])
def test_an_ecg_without_a_unit_is_refused_with_advice_that_works(
    unit: str, leads: list[str] | None, tmp_path: Path
) -> None:
    path = Path(write(tmp_path / "a.edf"))
    stored = bytearray(path.read_bytes())
    at = 256 + 2 * (16 + 80)
    stored[at : at + 8] = unit.encode().ljust(8)
    path.write_bytes(stored)
    with pytest.raises(SourceError, match="write its unit"):
        open_source(str(path), leads=leads).open()
    stored[at : at + 8] = b"adu     "
    path.write_bytes(stored)
    with open_source(str(path), leads=leads) as source:
        assert source.spec.leads == ("ECG II",)
        assert not source.spec.calibrated


def test_a_reversed_digital_range_is_a_scale_and_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = Path(write(tmp_path / "a.edf"))
    stored = bytearray(path.read_bytes())
    at = 256 + 2 * (16 + 80 + 8 + 8 + 8)  # digital minima, then maxima, of two signals
    stored[at : at + 8], stored[at + 16 : at + 24] = stored[at + 16 : at + 24], stored[at : at + 8]
    path.write_bytes(stored)
    with open_source(str(path)) as source:
        assert source.spec.calibrated
        samples = read(source)[1][:, 0]
    np.testing.assert_allclose(samples, -ECG, atol=4e-4)  # least count to least value, as stated
    assert "polarity may be wrong" in caplog.text


def test_leads_of_several_units_are_all_in_millivolts(tmp_path: Path) -> None:
    sizes = {"mV": 1.0, "uV": 1e3, "V": 1e-3}
    signals = [
        edfio.EdfSignal(
            ECG * size,
            RATE_HZ,
            label=f"V{i + 1}",
            physical_dimension=unit,
            physical_range=(-5 * size, 5 * size),
        )
        for i, (unit, size) in enumerate(sizes.items())
    ]
    edfio.Edf(signals).write(tmp_path / "a.edf")
    with open_source(str(tmp_path / "a.edf")) as source:
        samples = read(source)[1]
    np.testing.assert_allclose(samples, np.column_stack([ECG] * 3), atol=2e-4)
