"""MATLAB files and Parquet tables."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.io

from support.recording_files import ecg
from support.recordings import read
from tocsin_agent.errors import SourceError
from tocsin_agent.sources.files.table_options import TableOptions
from tocsin_agent.sources.opening import open_source

ECG = ecg(5000, 250, 2)
COUNTS = np.rint(ECG * 200).astype(np.int16)


@pytest.mark.parametrize("version", ["4", "5"])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", ["val", "ecg", "whatever"])
def test_a_matlab_file_of_counts(version: str, compressed: bool, name: str, tmp_path: Path) -> None:
    if version == "4" and compressed:
        compressed = False
    stored = {name: COUNTS.T, "fs": 250.0}
    scipy.io.savemat(tmp_path / "a.mat", stored, format=version, do_compression=compressed)
    options = TableOptions(unit="counts", gain=200.0)
    with open_source(str(tmp_path / "a.mat"), table=options) as source:
        assert (source.spec.rate_hz, source.spec.leads) == (250.0, ("ECG1", "ECG2"))
        np.testing.assert_allclose(read(source)[1], COUNTS / 200)


def test_a_signal_file_of_a_record_is_opened_as_the_record(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "r.mat", {"val": COUNTS.T}, format="4")
    (tmp_path / "r.hea").write_text(
        "r 2 250 5000\nr.mat 16+24 200/mV 16 0 0 0 0 I\nr.mat 16+24 200/mV 16 0 0 0 0 II\n"
    )
    for name in ("r.mat", "r.hea", "r"):
        with open_source(str(tmp_path / name)) as source:
            assert source.spec.leads == ("I", "II")
            np.testing.assert_allclose(read(source)[1], COUNTS / 200)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ({"a": np.zeros((2, 50)), "b": np.zeros((2, 60))}, "name the signal `ecg`"),
        ({"ecg": np.zeros((50, 50))}, "name the signal `ecg`"),
        ({"ecg": np.zeros((2, 50))}, "rate"),
        ({"ecg": np.array([["x"]], dtype=object)}, "name the signal `ecg`"),
    ],
)
def test_a_matlab_file_that_is_ambiguous_is_refused(
    stored: dict[str, object], message: str, tmp_path: Path
) -> None:
    scipy.io.savemat(tmp_path / "a.mat", stored)
    with pytest.raises(SourceError, match=message):
        open_source(str(tmp_path / "a.mat")).open()


@pytest.mark.parametrize(
    ("unit", "resolution"), [("ms", 4), ("us", 4000), ("ns", 4_000_000), ("s", None)]
)
def test_a_parquet_table(unit: str, resolution: int | None, tmp_path: Path) -> None:
    rows = len(ECG)
    if resolution is None:
        times = pa.array(np.arange(rows) / 250)
    else:
        per_s = {"ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
        stamps = 1_714_557_600 * per_s + np.arange(rows) * resolution
        times = pa.array(stamps, pa.int64()).cast(pa.timestamp(unit))
    table = pa.table(
        {
            "time": times,
            "II [uV]": pa.array(ECG[:, 0] * 1000),
            "note": pa.array(["x"] * rows),
            "HR": pa.array(np.full(rows, 70)),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=999)
    with open_source(str(tmp_path / "a.parquet")) as source:
        assert (source.spec.leads, source.spec.rate_hz) == (("II",), 250.0)
        if resolution is not None:
            assert source.start_utc == dt.datetime(2024, 5, 1, 10, tzinfo=dt.UTC)
        indices, samples = read(source)
    assert indices == list(range(rows))
    np.testing.assert_allclose(samples[:, 0], ECG[:, 0])


def test_nulls_and_gaps_of_a_parquet_table(tmp_path: Path) -> None:
    times = np.arange(1000) / 250
    times[500:] += 2.0
    values = pa.array([None if i == 7 else float(i) for i in range(1000)])
    pq.write_table(pa.table({"t": times, "ECG": values}), tmp_path / "a.parquet")
    with open_source(str(tmp_path / "a.parquet")) as source:
        indices, samples = read(source)
    assert np.isnan(samples[7, 0])
    assert indices[500] == 1000


def test_a_parquet_table_without_a_clock_needs_a_rate_and_its_metadata_may_state_it(
    tmp_path: Path,
) -> None:
    table = pa.table({"ECG": ECG[:, 0]})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(SourceError, match="give rate_hz"):
        open_source(str(tmp_path / "a.parquet")).open()
    pq.write_table(table.replace_schema_metadata({"fs": "250"}), tmp_path / "a.parquet")
    with open_source(str(tmp_path / "a.parquet")) as source:
        assert source.spec.rate_hz == 250


def test_nested_columns_are_no_leads(tmp_path: Path) -> None:
    values = ecg(500)[:, 0]
    nested = pa.array([{"II": float(v)} for v in values])
    whole = pa.table({"time": np.arange(500) / 250, "V1": nested, "II": values})
    pq.write_table(whole, tmp_path / "a.parquet")
    with open_source(str(tmp_path / "a.parquet")) as source:
        assert source.spec.leads == ("II",)
    pq.write_table(pa.table({"ecg": nested}), tmp_path / "b.parquet")
    with pytest.raises(SourceError, match="no column that is an ECG"):
        open_source(str(tmp_path / "b.parquet"), table=TableOptions(rate_hz=250)).open()


@pytest.mark.parametrize("unit", ["ms", "us"])
def test_a_time_of_day_in_parquet_is_a_clock(unit: str, tmp_path: Path) -> None:
    per_second = {"ms": 1000, "us": 1_000_000}[unit]
    kind = pa.time32("ms") if unit == "ms" else pa.time64("us")
    stamps = pa.array(np.arange(500) * per_second // 250, pa.int64())
    stamps = (stamps.cast(pa.int32()) if unit == "ms" else stamps).cast(kind)
    pq.write_table(pa.table({"at": stamps, "II": ecg(500)[:, 0]}), tmp_path / "a.parquet")
    with open_source(str(tmp_path / "a.parquet")) as source:
        assert source.spec.rate_hz == 250


def test_a_given_rate_other_than_the_stated_one_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"ecg": ecg(500), "fs": 500.0})
    with open_source(str(tmp_path / "a.mat"), table=TableOptions(rate_hz=250)) as source:
        assert source.spec.rate_hz == 250
    assert "states 500 Hz; the given rate of 250 Hz is used" in caplog.text
