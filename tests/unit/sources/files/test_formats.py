from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pytest

from support.recording_files import dicom_group, ecg, write_aecg, write_dicom, write_edf
from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.sources.opening import open_source

ECG = ecg(5000, 500, 1)

UNREAD = {
    "a.bdf": (b"\xffBIOSEMI" + b" " * 300, "BDF"),
    "a.ecg": (b"ISHNE1.0" + b"\0" * 300, "ISHNE"),
    "a.scp": (b"\0" * 16 + b"SCPECG" + b"\0" * 300, "SCP-ECG"),
    "a.dat": (b"\0" * 16 + b"SCPECG" + b"\0" * 300, "SCP-ECG"),
    "a.mwf": (b"@ MFR Standard 12 leads ECG", "MFER"),
    "a.atc": (b"ALIVE\0\0\0" + b"\0" * 30, "Kardia"),
    "a.mat": (b"MATLAB 7.3 MAT-file, Platform" + b" " * 100, "MATLAB 7.3"),
    "a.h5": (b"\x89HDF\r\n\x1a\n" + b"\0" * 30, "HDF5"),
    "ecg_2024.pdf": (b"%PDF-1.4\n", "PDF"),
    "a.jpg": (b"\xff\xd8\xff\xe0" + b"\0" * 30, "picture"),
    "a.edf": (b"\x1f\x8b\x08" + b"\0" * 30, "gzip"),
    "a.csv.gz": (gzip.compress(b"time,II\n0,1\n"), "gzip"),
    "muse.xml": (b"<?xml version='1.0'?><!DOCTYPE RestingECG SYSTEM 'x'><RestingECG/>", "MUSE"),
    "export.xml": (b"<?xml version='1.0'?>\n<!-- x -->\n<HealthData locale='de'/>", "Apple Health"),
    "other.xml": (b"<?xml version='1.0'?><patient id='1'/>", "root element 'patient'"),
    "movesense.json": (b'{"data": [{"ecg": {"Samples": [1, 2]}}]}', "JSON"),
    "a.pkl": (b"\x80\x04\x95", "pickle"),
    "100.atr": (b"\0\x70\x12\x04", "annotation file"),
    "a.xls": (b"\xd0\xcf\x11\xe0" + b"\0" * 30, "spreadsheet"),
}


@pytest.mark.parametrize("name", UNREAD)
def test_a_format_that_is_not_read_is_named_with_the_way_to_convert_it(
    name: str, tmp_path: Path
) -> None:
    content, named = UNREAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(
        SourceError, match=f"is .*{named}.*, which tocsin does not read: "
    ) as caught:
        open_source(str(tmp_path / name)).open()
    assert caught.value.reason is SourceFault.MALFORMED


@pytest.mark.parametrize("name", ["a.zip", "a.xlsx", "a"])
def test_an_archive_is_named(name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / name, "w") as archive:
        archive.writestr("[Content_Types].xml" if name == "a.xlsx" else "ecg.csv", "time,II\n")
    with pytest.raises(SourceError, match="spreadsheet" if name == "a.xlsx" else "zip archive"):
        open_source(str(tmp_path / name)).open()


@pytest.mark.parametrize("suffix", ["", ".dat", ".ECG", ".csv"])
def test_the_content_decides_whatever_the_suffix_says(suffix: str, tmp_path: Path) -> None:
    write_edf(tmp_path / f"edf{suffix}", ECG, 500, ["II"])
    write_dicom(tmp_path / f"dcm{suffix}", [dicom_group(ECG, 500, ["Lead II"])])
    write_aecg(tmp_path / f"aecg{suffix}", ECG, 500, ["II"])
    for name in ("edf", "dcm", "aecg"):
        with open_source(str(tmp_path / f"{name}{suffix}")) as source:
            assert (source.spec.leads, source.spec.rate_hz) == (("II",), 500.0)


@pytest.mark.parametrize("name", ["a.txt", "a.TSV", "a.asc", "a"])
def test_text_is_read_as_a_table(name: str, tmp_path: Path) -> None:
    rows = "".join(f"{i / 500:.3f}\t{v:.4f}\n" for i, v in enumerate(ECG[:, 0]))
    (tmp_path / name).write_text(f"time\tII\n{rows}")
    with open_source(str(tmp_path / name)) as source:
        assert (source.spec.leads, source.spec.rate_hz) == (("II",), 500.0)


def test_what_has_no_known_format_lists_those_that_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(np.arange(1000, dtype=np.int16).tobytes())
    with pytest.raises(SourceError, match=r"no format that is known(?s:.*)FILE\.edf"):
        open_source(str(tmp_path / "a.bin")).open()


@pytest.mark.parametrize("suffix", ["edf", "dcm", "xml", "mat", "parquet", "csv", "npz"])
def test_an_empty_and_a_missing_file_are_named(suffix: str, tmp_path: Path) -> None:
    name = f"a.{suffix}"
    with pytest.raises(SourceError, match="there is no file") as caught:
        open_source(str(tmp_path / name)).open()
    assert caught.value.reason is SourceFault.NOT_FOUND
    (tmp_path / name).touch()
    with pytest.raises(SourceError, match="is empty"):
        open_source(str(tmp_path / name)).open()
