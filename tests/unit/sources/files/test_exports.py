"""Tables as programs and devices export them: the first lines, and columns that are no leads."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from support.recording_files import ecg
from support.recordings import read
from tocsin_agent.errors import SourceError
from tocsin_agent.sources.files.table_options import TableOptions
from tocsin_agent.sources.opening import open_source

RATE_HZ = 250
ROWS = 2000
MV = ecg(ROWS, RATE_HZ)[:, 0].round(4)
S = np.arange(ROWS) / RATE_HZ


def written(tmp_path: Path, name: str, text: str, encoding: str = "utf-8") -> str:
    (tmp_path / name).write_text(text, encoding=encoding)
    return str(tmp_path / name)


def opensignals(
    columns: list[str], sensors: list[str], resolution: list[int], **more: object
) -> str:
    device = {
        "sensor": sensors,
        "device name": "98:D3:31:B2:BD:41",
        "column": columns,
        "sync interval": 2,
        "time": "10:0:0.0",
        "channels": list(range(1, len(sensors) + 1)),
        "date": "2024-5-1",
        "mode": 0,
        "digital IO": [0, 0, 1, 1],
        "device": "bitalino_rev",
        "sampling rate": RATE_HZ,
        "label": columns[-len(sensors) :],
        "resolution": resolution,
        **more,
    }
    lines = [
        "# OpenSignals Text File Format. Version 1",
        "# " + json.dumps({"98:D3:31:B2:BD:41": device}),
        "# EndOfHeader",
    ]
    return "\n".join(lines) + "\n"


OPENSIGNALS: dict[str, tuple[list[str], list[str], list[int], int, str]] = {
    "BITalino": (
        ["nSeq", "I1", "I2", "O1", "O2", "A1", "A2"],
        ["ECG", "EDA"],
        [4, 1, 1, 1, 1, 10, 10],
        10,
        "ECG",
    ),
    "biosignalsplux": (["nSeq", "DI", "CH1", "CH2"], ["RESPIRATION", "ECG"], [16, 16], 16, "ECG"),
    "ServerBIT": (["nSeq", "DI", "A1"], ["ECGBIT"], [10], 10, "ECG"),
}


@pytest.mark.parametrize("device", OPENSIGNALS)
@pytest.mark.parametrize("trailing", ["", "\t"])
def test_opensignals(device: str, trailing: str, tmp_path: Path) -> None:
    columns, sensors, resolution, bits, lead = OPENSIGNALS[device]
    counts = np.rint(MV / 3 * 2**bits + 2 ** (bits - 1)).astype(int)
    rows = []
    for i, value in enumerate(counts):
        cells = [i % 16, *([0] * (len(columns) - len(sensors) - 1))]
        cells += [value if "ECG" in sensor else 500 for sensor in sensors]
        rows.append("\t".join(map(str, cells)) + trailing)
    text = opensignals(columns, sensors, resolution) + "\n".join(rows) + "\n"
    with open_source(written(tmp_path, "opensignals.txt", text)) as source:
        assert (source.spec.leads, source.spec.rate_hz) == ((lead,), RATE_HZ)
        assert source.spec.calibrated
        assert [c.name for c in source.contents if c.used] == [lead]
        np.testing.assert_allclose(read(source)[1][:, 0], MV, atol=3 / 2**bits)


def test_opensignals_without_a_sensor_type_is_not_calibrated(tmp_path: Path) -> None:
    text = opensignals(["nSeq", "DI", "A1"], ["RAW"], [10])
    text += "".join(f"{i % 16}\t0\t{512 + round(v * 100)}\n" for i, v in enumerate(MV))
    with open_source(written(tmp_path, "a.txt", text)) as source:
        assert not source.spec.calibrated
        assert source.spec.rate_hz == RATE_HZ


@pytest.mark.parametrize("damage", ['"column"', "{", '"sampling rate"'])
def test_a_damaged_header_of_opensignals_is_refused(damage: str, tmp_path: Path) -> None:
    text = opensignals(["nSeq", "DI", "A1"], ["ECG"], [10]).replace(damage, "x", 1)
    with pytest.raises(SourceError, match=r"OpenSignals that is damaged"):
        open_source(written(tmp_path, "a.txt", text + "0\t0\t512\n" * 300)).open()


OPENBCI_NAMES = (
    "Sample Index, EXG Channel 0, EXG Channel 1, EXG Channel 2, EXG Channel 3, Accel Channel 0, "
    "Accel Channel 1, Accel Channel 2, Not Used, Digital Channel 0 (D11), Not Used, "
    "Analog Channel 0, Timestamp, Marker Channel, Timestamp (Formatted)\n"
)


def test_openbci_with_all_its_columns(tmp_path: Path) -> None:
    head = (
        "%OpenBCI Raw EXG Data\n%Number of channels = 4\n%Sample Rate = 250 Hz\n"
        "%Board = OpenBCI_GUI$BoardGanglionNative\n"
    )
    rows = [
        f"{i % 256}, {v * 1000:.2f}, {-v * 1000:.2f}, 0.5, 1.5, 0.1, 0.2, 0.3, 0.0, 1.0, 0.0, 7.0, "
        f"{1714557600 + (i // 10) * 0.04:.6f}, 0.0, 2024-05-01 10:00:{(i // 10) * 0.04:09.6f}"
        for i, v in enumerate(MV)
    ]
    text = head + OPENBCI_NAMES + "\n".join(rows) + "\n"
    with open_source(written(tmp_path, "OpenBCI-RAW.txt", text)) as source:
        assert source.spec.rate_hz == RATE_HZ
        assert source.spec.leads == tuple(f"EXG Channel {i}" for i in range(4))
        assert source.start_utc == dt.datetime(2024, 5, 1, 10, tzinfo=dt.UTC)
        indices, samples = read(source)
    assert indices == list(range(ROWS))
    np.testing.assert_allclose(samples[:, 0], MV, atol=1e-5)


@pytest.mark.parametrize(("accel", "leads"), [(3, 8), (0, 8)])
def test_openbci_before_it_named_its_columns(accel: int, leads: int, tmp_path: Path) -> None:
    head = (
        "%OpenBCI Raw EEG Data\n%\n%Sample Rate = 250.0 Hz\n%First Column = SampleIndex\n"
        "%Last Column = Timestamp\n%Other Columns = EEG data in microvolts followed by Accel Data\n"
    )
    rows = []
    for i, v in enumerate(MV):
        cells = [f"{i % 256}", *([f"{v * 1000:.2f}"] * leads), *(["0.000"] * accel)]
        rows.append(", ".join([*cells, f"10:00:{i / RATE_HZ:06.3f}"]))
    with open_source(written(tmp_path, "a.txt", head + "\n".join(rows) + "\n")) as source:
        assert (len(source.spec.leads), source.spec.rate_hz) == (leads, RATE_HZ)
        np.testing.assert_allclose(read(source)[1][:, 0], MV, atol=1e-5)


APPLE = (
    'Name,A Person\nDate of Birth,"Feb 5, 1952"\nRecorded Date,2024-05-01 10:00:00 +0200\n'
    'Classification,Sinus Rhythm\nSymptoms,\nSoftware Version,1.90\nDevice,"Watch6,7"\n'
    "Sample Rate,{rate}\n\n\nLead,Lead I\nUnit,µV\n\n"
)


@pytest.mark.parametrize("comma", [False, True])
@pytest.mark.parametrize(("rate", "rate_hz"), [("512 hertz", 512.0), ("512.844 hertz", 512.844)])
def test_apple_watch(comma: bool, rate: str, rate_hz: float, tmp_path: Path) -> None:
    rows = "\n".join(f"{v * 1000:.3f}" for v in MV)
    text = APPLE.format(rate=rate) + (rows.replace(".", ",") if comma else rows)
    with open_source(written(tmp_path, "ecg_2024-05-01.csv", text)) as source:
        assert (source.spec.leads, source.spec.rate_hz) == (("I",), rate_hz)
        np.testing.assert_allclose(read(source)[1][:, 0], MV, atol=1e-6)


SHIMMER = (
    '"sep=\t"\nShimmer_Timestamp_Unix_CAL\tShimmer_ECG_LL-RA_24BIT_CAL\tShimmer_ECG_Status1_CAL\n'
    "ms\tmV\tno_units\n"
)
ACQKNOWLEDGE = "a.acq\n4 msec/sample\n2 channels\nECG\nmV\nRSP\nVolts\nmin,CH1,CH2,\n,2000,2000,\n"
LABCHART = (
    "Interval=\t0.004 s\nExcelDateTime=\t4.5e+004\nTimeFormat=\tStartOfBlock\n"
    "DateFormat=\t\nChannelTitle=\tECG\tRespiration\nRange=\t10.000 mV\t5.000 V\n"
)
Row = Callable[[int, float, float], str]
POLAR = "Phone timestamp;sensor timestamp [ns];timestamp [ms];ecg [uV]\n"
HEADS: dict[str, tuple[str, Row]] = {
    "Polar Sensor Logger": (
        POLAR,
        lambda i, s, v: (
            f"2024-05-01T10:00:{(i // 73) * 73 / RATE_HZ:06.3f};{599628005694359040 + i * 4000000};"
            f"{s * 1000:.3f};{v * 1000:.1f}"
        ),
    ),
    "Movesense": ("Timestamp (ms),Sample (mV)\n", lambda _, s, v: f"{s * 1000:.0f},{v}"),
    "Movesense in µV": ("timestamp;ecg [µV]\n", lambda _, s, v: f"{s * 1000:.0f};{v * 1000:.1f}"),
    "rdsamp -c": (
        "'Elapsed time','II'\n'hh:mm:ss.mmm','mV'\n",
        lambda _, s, v: f"'0:{s:06.3f}',{v}",
    ),
    "rdsamp": (
        "   Elapsed time\t     II\n (hh:mm:ss.mmm)\t   (mV)\n",
        lambda _, s, v: f"       0:{s:06.3f}\t {v:7.4f}",
    ),
    "rdsamp with dates": (
        "'Time and date','II'\n'[hh:mm:ss.mmm]','mV'\n",
        lambda _, s, v: f"'[10:00:{s:06.3f} 01/05/2024]',{v}",
    ),
    "blanks": ("time  II\n", lambda _, s, v: f"  {s:.3f}   {v:8.4f}"),
    "Shimmer": (
        SHIMMER,
        lambda _, s, v: f"{1714557600000 + s * 1000:.3f}\t{v}\t128",
    ),
    "NeuroKit": (
        "ECG_Raw,ECG_Clean,ECG_Rate,ECG_Quality,ECG_R_Peaks,ECG_Phase_Atrial,time\n",
        lambda _, s, v: f"{v},{v * 0.9},75.0,0.98,0,1,{s:.3f}",
    ),
    "words among numbers": ("time,II,rhythm,note\n", lambda _, s, v: f"{s:.3f},{v},(N,fine"),
    "Kardia": (
        "Recorded,2024-05-01\nSample Rate: 250 Hz\ntime (s),Lead I (mV)\n",
        lambda _, s, v: f"{s:.3f},{v}",
    ),
    "dates with dots": ("Zeit;II\n", lambda _, s, v: f"01.05.2024 10:00:{s:06.3f};{v}"),
    "dates with strokes": ("date,II\n", lambda _, s, v: f"2024/05/01 10:00:{s:06.3f},{v}"),
    "clock with milliseconds": (
        "time,II\n",
        lambda _, s, v: f"10:00:{int(s):02d}:{round(s % 1 * 1000):03d},{v}",
    ),
    "numpy.savetxt": ("# time ECG\n", lambda _, s, v: f"{s:.18e} {v:.18e}"),
    "numpy.savetxt with commas": ("# time,ECG (mV)\n", lambda _, s, v: f"{s:.18e},{v:.18e}"),
    "LabChart": (
        LABCHART,
        lambda _, s, v: f"{s:.3f}\t{v}\t0.5",
    ),
    "AcqKnowledge": (ACQKNOWLEDGE, lambda _, s, v: f"{s / 60:.5f},{v},0.5,"),
    "a column of dates": (
        "Datum;Uhrzeit;EKG\n",
        lambda _, s, v: f"01.05.2024;10:00:{s:06.3f};{v}",
    ),
    "an ISO date and a time": ("date,time,II\n", lambda _, s, v: f"2024-05-01,10:00:{s:06.3f},{v}"),
    "midnight": (
        "time,II\n",
        lambda _, s, v: f"23:59:{56 + s:06.3f},{v}" if s < 4 else f"0:00:{s - 4:06.3f},{v}",
    ),
}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("given", [None, 250.0])
def test_an_export_is_read(head: str, given: float | None, tmp_path: Path) -> None:
    first, row = HEADS[head]
    rows = "\n".join(row(i, s, v) for i, (s, v) in enumerate(zip(S, MV, strict=True)))
    options = TableOptions(rate_hz=given)
    with open_source(written(tmp_path, "a.txt", first + rows), table=options) as source:
        assert (source.spec.rate_hz, len(source.spec.leads)) == (250.0, 1)
        indices, samples = read(source)
    assert indices == list(range(ROWS))
    np.testing.assert_allclose(samples[:, 0], MV, atol=1e-4)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_other_encodings(encoding: str, tmp_path: Path) -> None:
    text = "time;ECG [µV]\n" + "".join(f"{s:.3f};{v * 1000}\n" for s, v in zip(S, MV, strict=True))
    with open_source(written(tmp_path, "a.csv", text, encoding)) as source:
        np.testing.assert_allclose(read(source)[1][:, 0], MV)


@pytest.mark.parametrize("rows", [40, 250])
def test_digits_that_are_too_few_for_a_short_table_are_refused(rows: int, tmp_path: Path) -> None:
    text = "time,II\n" + "".join(f"{i / 360:.3f},{v}\n" for i, v in enumerate(MV[:rows]))
    with pytest.raises(SourceError, match=r"to 0\.1 %.*: give rate_hz"):
        open_source(written(tmp_path, "a.csv", text)).open()
    with open_source(written(tmp_path, "a.csv", text), table=TableOptions(rate_hz=360)) as source:
        assert len(read(source)[0]) == rows


@pytest.mark.parametrize("width", [188, 141])
def test_a_beat_a_line_is_named(width: int, tmp_path: Path) -> None:
    text = "\n".join(",".join(["0.5"] * width) for _ in range(20))
    with pytest.raises(SourceError, match="one beat or one recording a line"):
        open_source(written(tmp_path, "mitbih_train.csv", text)).open()


@pytest.mark.parametrize(
    ("column", "values"),
    [("a", np.full(ROWS, 7.25)), ("b", np.repeat([71.5, 72.25, 73.0, 72.5], ROWS // 4))],
)
def test_a_column_without_a_meaning_that_hardly_changes_is_no_lead(
    column: str, values: np.ndarray, tmp_path: Path
) -> None:
    rows = "\n".join(f"{s:.3f},{v},{x}" for s, v, x in zip(S, MV, values, strict=True))
    with open_source(written(tmp_path, "a.csv", f"time,signal,{column}\n{rows}")) as source:
        assert source.spec.leads == ("signal",)
        [left] = [c for c in source.contents if c.name == column]
        assert "changes seldom" in left.reason


def test_a_list_of_annotations_is_no_table(tmp_path: Path) -> None:
    text = "      Time   Sample #  Type  Sub Chan  Num\tAux\n"
    text += "".join(f"    0:{s:06.3f}       {i}     N    0    0    0\n" for i, s in enumerate(S))
    with pytest.raises(SourceError, match=r"no line of samples|no column that is an ECG"):
        open_source(written(tmp_path, "100annotations.txt", text)).open()


@pytest.mark.parametrize("head", [*(first for first, _ in HEADS.values()), OPENBCI_NAMES, APPLE])
def test_first_lines_without_samples_are_refused(head: str, tmp_path: Path) -> None:
    for text in (head, "%OpenBCI Raw EXG Data\n" + head):
        with pytest.raises(SourceError):
            open_source(written(tmp_path, "a.csv", text)).open()
