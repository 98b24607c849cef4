from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.sources.base import EndOfStream, Source
from tocsin_agent.sources.files.table_options import TableOptions
from tocsin_agent.sources.opening import open_source
from tocsin_dsp.signal import FloatArray

HEADER = "time,II,V1\n"


def read(source: Source) -> tuple[list[int], FloatArray]:
    indices: list[int] = []
    parts: list[FloatArray] = []
    while True:
        try:
            block = source.read(0)
        except EndOfStream:
            return indices, np.concatenate(parts)
        assert block is not None
        indices += range(block.start_index, block.stop_index)
        parts.append(block.samples_mv)


def table(tmp_path: Path, text: str | bytes) -> str:
    path = tmp_path / "ecg.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


AT_250 = TableOptions(rate_hz=250)


@pytest.mark.parametrize(
    "text",
    [
        "II,V1\n0.1,-0.2\n,0.4\n0.5,0.6\n",
        "II,V1\r\n0.1,-0.2\r\n,0.4\r\n0.5,0.6",
        "\ufeffII;V1\n0,1;-0,2\n;0,4\n0,5;0,6\n",
        "# a comment\n\n II ; V1 \n0.1;-0.2\n# another\nNaN;0.4\n\n0.5;0.6\n\n",
        "II\tV1\n0.1\t-0.2\n\t0.4\n0.5\t0.6\n",
        '"II","V1"\n"0.1","-0.2"\n"","0.4"\n1e-1,0.6\n'.replace("1e-1", "5e-1"),
        "II,V1\n0.1,-0.2\nn/a,0.4\n0.5,0.6\n",
    ],
    ids=["plain", "crlf", "bom and decimal comma", "comments", "tabs", "quotes", "n/a"],
)
def test_the_ways_people_write_a_table(text: str, tmp_path: Path) -> None:
    with open_source(table(tmp_path, text), table=AT_250) as source:
        assert source.spec.leads == ("II", "V1")
        _, samples = read(source)
    np.testing.assert_allclose(samples, [[0.1, -0.2], [np.nan, 0.4], [0.5, 0.6]])


def test_one_column_and_an_empty_line_is_a_missing_sample(tmp_path: Path) -> None:
    with open_source(table(tmp_path, "II\n0.1\n\n0.3\n\n\n"), table=AT_250) as source:
        _, samples = read(source)
    np.testing.assert_allclose(samples[:, 0], [0.1, np.nan, 0.3])


def test_columns_can_be_chosen(tmp_path: Path) -> None:
    uri = table(tmp_path, "II,note,V1\n0.1,7,0.2\n")
    with open_source(uri, table=AT_250, leads=["V1", "II"]) as source:
        np.testing.assert_allclose(read(source)[1], [[0.2, 0.1]])
    with pytest.raises(SourceError, match="no column aVF; its columns are II, note, V1"):
        open_source(uri, table=AT_250, leads=["aVF"]).open()


@pytest.mark.parametrize(
    ("options", "factor"),
    [
        (TableOptions(rate_hz=250, unit="uV"), 1e-3),
        (TableOptions(rate_hz=250, unit="V"), 1e3),
        (TableOptions(rate_hz=250, unit="counts", gain=200.0), 1 / 200),
    ],
)
def test_units(options: TableOptions, factor: float, tmp_path: Path) -> None:
    with open_source(table(tmp_path, "II\n100\n-50\n"), table=options) as source:
        np.testing.assert_allclose(read(source)[1][:, 0], np.array([100, -50]) * factor)


def test_counts_have_a_baseline(tmp_path: Path) -> None:
    options = TableOptions(rate_hz=250, unit="counts", gain=200.0, baseline=1024.0)
    with open_source(table(tmp_path, "II\n1024\n1224\n"), table=options) as source:
        np.testing.assert_allclose(read(source)[1][:, 0], [0.0, 1.0])


@pytest.mark.parametrize("options", [{"unit": "furlong"}, {"unit": "counts"}])
def test_options_that_make_no_sense(options: dict[str, str]) -> None:
    with pytest.raises(SourceError, match="unit is"):
        TableOptions(unit=options["unit"])


@pytest.mark.parametrize(
    ("column", "scale", "digits"), [("time", 1.0, 6), ("t", 1.0, 3), ("time_ms", 1e3, 0)]
)
@pytest.mark.parametrize("rate_hz", [128, 250, 360, 1000])
def test_the_time_column_gives_the_rate(
    column: str, scale: float, digits: int, rate_hz: int, tmp_path: Path
) -> None:
    lines = [f"{column},II"]
    lines += [f"{i / rate_hz * scale:.{digits}f},0.5" for i in range(2000)]
    if rate_hz == 1000 or digits or rate_hz == 250:
        with open_source(table(tmp_path, "\n".join(lines))) as source:
            assert source.spec.rate_hz == rate_hz
            assert read(source)[0] == list(range(2000))


def test_a_jump_in_time_is_a_gap(tmp_path: Path) -> None:
    times = [0.0, 0.004, 0.008, 1.008, 1.012, 1.5, 1.508, 1.512]
    text = HEADER + "".join(f"{t:.3f},{i},0\n" for i, t in enumerate(times))
    with open_source(table(tmp_path, text)) as source:
        indices, samples = read(source)
    assert indices == [0, 1, 2, 252, 253, 375, 377, 378]
    assert samples[:, 0].tolist() == list(range(8))


def test_gaps_at_the_border_of_what_is_held_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = np.arange(60) / 250.0
    times[20:] += 1.0
    times[40:] += 1.0
    text = HEADER + "".join(f"{t:.3f},{i},0\n" for i, t in enumerate(times))
    with open_source(table(tmp_path, text)) as source:
        expected = read(source)
    for lines in (7, 20, 21):
        monkeypatch.setattr("tocsin_agent.sources.files.table._LINES", lines)
        with open_source(table(tmp_path, text), table=AT_250) as source:
            got = read(source)
        assert got[0] == expected[0]
        np.testing.assert_array_equal(got[1], expected[1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("II,V1\n1,2\n3\n", r"ecg\.csv:3: 1 cells, 2 expected"),
        ("II,V1\n1,2\n# x\n3,4,5\n", r"ecg\.csv:4: 3 cells, 2 expected"),
        ("II,V1\n1,2\n3,abc\n", r"ecg\.csv:3: cell 2 is 'abc': not a number"),
        ("II,V1\n1,2\n3,inf\n", r"ecg\.csv:3: cell 2 is 'inf': not a number"),
        ("time,II\n0,1\n0.004,2\n,3\n", r"ecg\.csv:4: cell 1 is '': not a time"),
        (b"II,V1\n1,2\n\xff\xfe,3\n", r"ecg\.csv:3: cell 1 is '\ufffd\ufffd': not a number"),
    ],
)
def test_a_wrong_line_is_reported_after_the_lines_before_it(
    text: str | bytes, message: str, tmp_path: Path
) -> None:
    options = None if "time" in str(text) else AT_250
    with open_source(table(tmp_path, text), table=options) as source:
        block = source.read(0)
        assert block is not None
        assert len(block) >= 1
        for _ in range(2):
            with pytest.raises(SourceError, match=message) as caught:
                source.read(0)
            assert caught.value.reason is SourceFault.MALFORMED


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("# nothing\n", "is empty"),
        ("II,V1\n", "has no samples"),
        ("0.1,0.2\n0.3,0.4\n", r"ecg\.csv:1: the first line must name the columns"),
        ("II,II\n0.1,0.2\n", "lead names repeat"),
        ("time\n0.1\n", "no column that is an ECG"),
    ],
)
def test_an_invalid_table_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        open_source(table(tmp_path, text), table=AT_250).open()
    assert caught.value.reason is SourceFault.MALFORMED


def test_a_rate_is_needed_and_a_given_one_takes_precedence(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="give rate_hz"):
        open_source(table(tmp_path, "II\n0.1\n")).open()
    text = "time,II\n" + "".join(f"{i / 250:.3f},0\n" for i in range(100))
    with open_source(table(tmp_path, text), table=TableOptions(rate_hz=360)) as source:
        assert source.spec.rate_hz == 360  # the given rate takes precedence, with a warning
        assert read(source)[0] == list(range(100))
    with pytest.raises(SourceError, match="sampling rate of 50 Hz"):
        open_source(table(tmp_path, "II\n0.1\n"), table=TableOptions(rate_hz=50)).open()


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    for name in ("ecg.csv", "ecg.npy", "ecg.npz"):
        with pytest.raises(SourceError, match="there is no file") as caught:
            open_source(str(tmp_path / name))
        assert caught.value.reason is SourceFault.NOT_FOUND


def test_an_array_of_counts(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[1024, 824], [1224, 1024]], dtype=np.int16))
    options = TableOptions(rate_hz=500, unit="counts", gain=200, baseline=1024)
    with open_source(str(tmp_path / "a.npy"), table=options) as source:
        assert source.spec.leads == ("ECG1", "ECG2")
        np.testing.assert_allclose(read(source)[1], [[0, -1], [1, 0]])


def test_infinite_is_missing_in_an_array(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([0.0, np.inf, -np.inf, np.nan]))
    with open_source(str(tmp_path / "a.npy"), table=AT_250) as source:
        np.testing.assert_array_equal(read(source)[1][:, 0], [0, np.nan, np.nan, np.nan])


def test_an_archive_may_state_everything_and_options_take_precedence(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", signal=np.zeros((5, 1)), rate_hz=360, leads=["V5"], other=[1])
    with open_source(str(tmp_path / "a.npz")) as source:
        assert (source.spec.rate_hz, source.spec.leads) == (360.0, ("V5",))
    with open_source(str(tmp_path / "a.npz"), table=AT_250, leads=["II"]) as source:
        assert (source.spec.rate_hz, source.spec.leads) == (250.0, ("II",))


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (np.zeros((2, 500)), "transpose"),
        (np.zeros((2, 2, 2)), "shape"),
        (np.zeros(0), "shape"),
        (np.array(["a", "b"]), "numbers"),
        (np.array([1j]), "numbers"),
        (np.array([{}], dtype=object), "NumPy file"),
    ],
)
def test_arrays_that_cannot_be_an_ecg_are_refused(
    stored: NDArray[Any], message: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "a.npy", stored)
    with pytest.raises(SourceError, match=message) as caught:
        open_source(str(tmp_path / "a.npy"), table=AT_250).open()
    assert caught.value.reason is SourceFault.MALFORMED


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x01\x00v\x00{'descr'"])
def test_files_that_are_not_numpy_files_are_refused(
    name: str, content: bytes, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError) as caught:
        open_source(str(tmp_path / name), table=AT_250).open()
    assert caught.value.reason is SourceFault.MALFORMED


def test_an_archive_must_be_unambiguous_and_an_array_needs_names_and_rate(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", a=np.zeros(5), b=np.zeros(5))
    with pytest.raises(SourceError, match="name the signal `ecg`"):
        open_source(str(tmp_path / "two.npz"), table=AT_250).open()
    np.save(tmp_path / "a.npy", np.zeros((5, 2)))
    with pytest.raises(SourceError, match="give rate_hz"):
        open_source(str(tmp_path / "a.npy")).open()
    with pytest.raises(SourceError, match="2 columns, but 1 leads"):
        open_source(str(tmp_path / "a.npy"), table=AT_250, leads=["II"]).open()


def test_the_id_follows_the_content_and_not_the_place(tmp_path: Path) -> None:
    ids = []
    for folder, value in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / folder).mkdir()
        uri = table(tmp_path / folder, f"II\n{value}\n")
        with open_source(uri, table=AT_250) as source:
            ids.append(source.spec.stream_id)
    assert ids[0] == ids[1] != ids[2]


def ecg(rows: int = 5000) -> FloatArray:
    return np.round(np.random.default_rng(2).normal(0, 0.3, rows), 4)


STAMPS: dict[str, Callable[[FloatArray, np.random.Generator], FloatArray]] = {
    "even": lambda i, _: i / 250,
    "jitter": lambda i, r: i / 250 + r.uniform(-0.45, 0.45, len(i)) / 250,
    "goes back": lambda i, r: i / 250 + r.normal(0, 0.3, len(i)) / 250,
    "burst": lambda i, _: (i // 5) * 0.02 + (i % 5) * 0.0003,
    "shared": lambda i, _: (i // 73) * 73 / 250,
    "two decimals": lambda i, _: np.round(i / 250, 2),
    "drifting milliseconds": lambda i, r: (i / 250 + r.uniform(0, 0.003, len(i))) * 1000,
    "nanoseconds": lambda i, _: 1.7e18 + i * 4e6,
}


@pytest.mark.parametrize("stamps", STAMPS)
@pytest.mark.parametrize("given", [None, 250.0])
def test_uneven_stamps_give_the_true_rate(stamps: str, given: float | None, tmp_path: Path) -> None:
    values = ecg(40_000)
    times = STAMPS[stamps](np.arange(len(values), dtype=np.float64), np.random.default_rng(1))
    text = "time,ECG\n" + "".join(f"{t:.6f},{v}\n" for t, v in zip(times, values, strict=True))
    with open_source(table(tmp_path, text), table=TableOptions(rate_hz=given)) as source:
        assert source.spec.rate_hz == pytest.approx(250, rel=1e-3)
        indices, samples = read(source)
    assert indices == list(range(len(values)))
    np.testing.assert_array_equal(samples[:, 0], values)


@pytest.mark.parametrize("stamps", ["shared", "goes back"])
def test_a_gap_between_uneven_stamps_is_found(stamps: str, tmp_path: Path) -> None:
    values = ecg(40_000)
    times = STAMPS[stamps](np.arange(len(values), dtype=np.float64), np.random.default_rng(1))
    times[20_002:] += 30.0
    text = "time,ECG\n" + "".join(f"{t:.6f},{v}\n" for t, v in zip(times, values, strict=True))
    with open_source(table(tmp_path, text)) as source:
        indices, _ = read(source)
    assert indices[-1] - indices[0] == pytest.approx(len(values) - 1 + 30 * 250, abs=20)
    assert np.diff(indices).max() > 7000


def test_a_column_that_gives_no_rate_is_refused_and_the_advice_works(tmp_path: Path) -> None:
    times = np.cumsum(np.random.default_rng(0).exponential(0.004, 300))
    text = "time,ECG\n" + "".join(f"{t:.6f},0.1\n" for t in times)
    with pytest.raises(SourceError, match=r"gives no rate .*: give rate_hz"):
        open_source(table(tmp_path, text)).open()
    with open_source(table(tmp_path, text), table=AT_250) as source:
        assert len(read(source)[0]) == 300


HEADS = {
    "rdsamp": ("'Elapsed time','MLII'\n'hh:mm:ss.mmm','mV'\n", "'0:{s:06.3f}',{mv:.4f}"),
    "kaggle": ("'sample #','MLII'\n", "{i},{counts}"),
    "brackets": ("Time (s),ECG (mV)\n", "{s:.3f},{mv:.4f}"),
    "polar": (
        "Phone timestamp;sensor timestamp [ns];ecg [uV]\n",
        "2024-05-01T10:00:{s:09.6f};{ns};{uv:.1f}",
    ),
    "movesense": ("Timestamp (ms),Sample (mV)\n", "{ms},{mv:.4f}"),
    "pandas": (",ECG\n", "{i},{mv:.4f}"),
    "trailing": ("time,ECG,\n", "{s:.3f},{mv:.4f},"),
    "openbci": (
        "%OpenBCI Raw EXG Data\n%Sample Rate = 250 Hz\nSample Index, EXG Channel 0\n",
        "{i}, {uv:.1f}",
    ),
    "apple": ("Name,X\nSample Rate,250 hertz\nLead,Lead I\nUnit,µV\n\n", "{uv:.1f}"),
    "apple in German": (
        "Name;X\nMessrate;250 Hertz\nAbleitung;Ableitung I\nEinheit;µV\n\n",
        "{uv_comma}",
    ),
    "kardia": ("Sample rate: 250 Hz\nLead I (mV)\n", "{mv:.4f}"),
    "tabs, decimal comma": ("time\tECG\n", "{s_comma}\t{mv_comma}"),
    "one column, decimal comma": ("ECG\n", "{mv_comma}"),
    "advice followed": ("time,II\nTime (s),ECG (mV)\n", "{s:.3f},{mv:.4f}"),
    "ISO": ("date,II\n", "2024-05-01 10:00:{s:09.6f},{mv:.4f}"),
}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("given", [None, 250.0])
def test_exports_are_read(head: str, given: float | None, tmp_path: Path) -> None:
    first, row = HEADS[head]
    states_rate = not {"kaggle", "pandas", "one column, decimal comma"} & {head}
    values = np.round(ecg(2000) * 200) / 200
    lines = [
        row.format(
            i=i,
            s=i / 250,
            ms=4 * i,
            ns=4_000_000 * i,
            mv=v,
            uv=v * 1000,
            counts=round(v * 200 + 1024),
            s_comma=f"{i / 250:.3f}".replace(".", ","),
            mv_comma=f"{v:.4f}".replace(".", ","),
            uv_comma=f"{v * 1000:.3f}".replace(".", ","),
        )
        for i, v in enumerate(values.tolist())
    ]
    uri = table(tmp_path, first + "\n".join(lines) + "\n")
    if given is None and not states_rate:
        with pytest.raises(SourceError, match="give rate_hz"):
            open_source(uri).open()
        return
    with open_source(uri, table=TableOptions(rate_hz=given)) as source:
        assert source.spec.rate_hz == 250
        assert len(source.spec.leads) == 1
        indices, samples = read(source)
    assert indices == list(range(len(values)))
    np.testing.assert_allclose(samples[:, 0], values, atol=1e-9)


@pytest.mark.parametrize(
    ("names", "leads"),
    [
        ("timer,ECG", ("ECG",)),
        ("sample,ECG,label", ("ECG",)),
        ("timestamp,I,II,HR", ("I", "II")),
        ("chest_ecg,wrist_ppg", ("chest_ecg",)),
        ("a,b", ("b",)),
    ],
)
def test_clocks_labels_and_pulse_are_no_leads(
    names: str, leads: tuple[str, ...], tmp_path: Path
) -> None:
    values = ecg(500)
    width = names.count(",")
    rows = [f"{4 * i}," + ",".join([f"{v}"] * width) for i, v in enumerate(values)]
    if names.startswith("chest"):
        rows = [f"{v},{v}" for v in values]
    uri = table(tmp_path, names + "\n" + "\n".join(rows))
    with open_source(uri, table=AT_250) as source:
        assert source.spec.leads == leads


def test_the_advice_for_a_table_without_names_works(tmp_path: Path) -> None:
    rows = "".join(f"{i / 250},{v}\n" for i, v in enumerate(ecg(500)))
    with pytest.raises(SourceError, match=r"put a line such as `time,II`"):
        open_source(table(tmp_path, rows)).open()
    with open_source(table(tmp_path, "time,II\n" + rows)) as source:
        assert (source.spec.leads, source.spec.rate_hz) == (("II",), 250)


def test_a_column_that_counts_rows_gives_no_rate(tmp_path: Path) -> None:
    rows = "".join(f"{i},{v}\n" for i, v in enumerate(ecg(500)))
    with pytest.raises(SourceError, match="counts by one"):
        open_source(table(tmp_path, "time,ECG\n" + rows)).open()
    with open_source(table(tmp_path, "time,ECG\n" + rows), table=AT_250) as source:
        assert source.spec.rate_hz == 250
    with open_source(table(tmp_path, "time (ms),ECG\n" + rows)) as source:
        assert source.spec.rate_hz == 1000


@pytest.mark.parametrize("step_s", [1, 10])
def test_a_clock_as_text_is_in_seconds(step_s: int, tmp_path: Path) -> None:
    start = dt.datetime(2024, 5, 1, 10, tzinfo=dt.UTC)
    rows = "".join(
        f"{(start + dt.timedelta(seconds=step_s * i)).replace(tzinfo=None)},{v}\n"
        for i, v in enumerate(ecg(500))
    )
    with pytest.raises(SourceError, match="is outside 100 to 2000 Hz"):
        open_source(table(tmp_path, "timestamp,ECG\n" + rows)).open()


@pytest.mark.parametrize("heading", ["timestamp,ECG [µV]", "timestamp,ECG"])
def test_a_blank_in_the_heading_and_in_the_stamps_is_no_separator(
    heading: str, tmp_path: Path
) -> None:
    start, values = dt.datetime(2024, 5, 1, 10, tzinfo=dt.UTC), ecg(500)
    rows = [
        f"{(start + dt.timedelta(milliseconds=4 * i)).replace(tzinfo=None)},{v}"
        for i, v in enumerate(values)
    ]
    with open_source(table(tmp_path, "\n".join([heading, *rows]))) as source:
        assert source.spec.leads == ("ECG",)
        assert source.start_utc == start
        _, samples = read(source)
    size = 1e-3 if "µV" in heading else 1.0
    np.testing.assert_allclose(samples[:, 0], values * size, atol=1e-9)


@pytest.mark.parametrize("heading", ["Date,Time,ECG", "Time,Date,ECG"])
@pytest.mark.parametrize(("hour", "known"), [(10, True), (0, False)])
def test_a_date_beside_a_time_of_day_gives_the_start(
    heading: str, hour: int, known: bool, tmp_path: Path
) -> None:
    start = dt.datetime(2024, 5, 1, hour, tzinfo=dt.UTC)
    rows = []
    for i, v in enumerate(ecg(500)):
        at = start + dt.timedelta(milliseconds=4 * i)
        cells = [f"{at:%Y-%m-%d}", f"{at:%H:%M:%S.%f}"]
        rows.append(",".join([*(cells if heading.startswith("Date") else cells[::-1]), f"{v}"]))
    with open_source(table(tmp_path, "\n".join([heading, *rows]))) as source:
        assert source.spec.rate_hz == 250
        # A time that begins at 0 may be that since the start.
        assert source.start_utc == (start if known else None)


@pytest.mark.parametrize("unit", ["0.1 mV", "x1000 mV", "uV*10"])
def test_a_multiple_of_a_unit_is_not_taken_as_the_unit(
    unit: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = "".join(f"{i / 250};{v}\n" for i, v in enumerate(ecg(500)))
    uri = table(tmp_path, f"time;ECG ({unit})\n{rows}")
    with open_source(uri) as source:
        assert not source.spec.calibrated
    assert f"the unit '{unit}' of ECG is not understood" in caplog.text
    with open_source(uri, table=TableOptions(unit="counts", gain=10)) as source:
        assert source.spec.calibrated


@pytest.mark.parametrize("unit", ["bit", "digits"])
def test_counts_in_the_heading_are_not_calibrated(unit: str, tmp_path: Path) -> None:
    rows = "".join(f"{i / 250},{v}\n" for i, v in enumerate(ecg(500)))
    with open_source(table(tmp_path, f"time,ECG ({unit})\n{rows}")) as source:
        assert not source.spec.calibrated


@pytest.mark.parametrize("stated", ["# Sample Rate: 500 Hz", "# Sampling frequency = 0.5 kHz"])
def test_a_stated_rate_that_contradicts_the_clock_is_named(
    stated: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = "".join(f"{i / 250},{v}\n" for i, v in enumerate(ecg(500)))
    with open_source(table(tmp_path, f"{stated}\ntime,ECG\n{rows}")) as source:
        assert source.spec.rate_hz == 250
    assert "states 500 Hz; the time column gives 250 Hz" in caplog.text


@pytest.mark.parametrize("other", ["clock", "labels"])
def test_a_clock_or_labels_in_an_array_are_no_lead(other: str, tmp_path: Path) -> None:
    values = ecg(1000)
    beside = np.arange(1000) / 250 if other == "clock" else (np.arange(1000) > 50) * 1.0
    np.save(tmp_path / "a.npy", np.column_stack([beside, values]))
    with open_source(str(tmp_path / "a.npy"), table=AT_250) as source:
        assert len(source.spec.leads) == 1
        np.testing.assert_allclose(read(source)[1][:, 0], values)


def test_a_table_without_numbers_says_so(tmp_path: Path) -> None:
    text = "time,II\n0.000,nan\n0.004,inf\n0.008,text\n"
    with pytest.raises(SourceError, match="fewer than two rows have numbers"):
        open_source(table(tmp_path, text)).open()
