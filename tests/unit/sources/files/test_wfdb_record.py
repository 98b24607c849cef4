from __future__ import annotations

import datetime as dt
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wfdb

from tocsin_agent.errors import MissingExtraError, SourceError, SourceFault
from tocsin_agent.sources.base import EndOfStream, Source
from tocsin_agent.sources.files.wfdb_record import WfdbSource
from tocsin_agent.sources.opening import open_source
from tocsin_dsp.signal import FloatArray

ROWS = 5000


def write(folder: Path, name: str = "rec", **changes: object) -> FloatArray:
    samples = np.rint(np.random.default_rng(3).normal(0, 100, (ROWS, 2))) / 200.0
    fields: dict[str, Any] = {
        "fs": 360,
        "units": ["mV", "mV"],
        "sig_name": ["MLII", "V1"],
        "p_signal": samples,
        "fmt": ["212", "212"],
        "adc_gain": [200.0, 200.0],
        "baseline": [0, 0],
        **changes,
    }
    folder.mkdir(parents=True, exist_ok=True)
    wfdb.wrsamp(name, write_dir=str(folder), **fields)
    written: FloatArray = fields["p_signal"]
    return written


def edit_header(path: Path, replacements: Mapping[str, str]) -> None:
    text = path.read_text()
    for old, new in replacements.items():
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)


def read(source: Source) -> FloatArray:
    parts: list[FloatArray] = []
    while True:
        try:
            block = source.read(0)
        except EndOfStream:
            return np.concatenate(parts)
        assert block is not None
        parts.append(block.samples_mv)


@pytest.fixture(autouse=True)
def nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no record of this machine be found by accident."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("TOCSIN_RECORDS", str(tmp_path / "records"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))


@pytest.mark.parametrize("folder", ["records/db", "xdg/tocsin/records/db"], ids=lambda f: f[:6])
def test_a_record_is_found_in_each_known_folder_and_keeps_its_id(
    folder: str, tmp_path: Path
) -> None:
    samples = write(tmp_path / folder, "r1")
    with open_source("db/r1") as source:
        assert source.spec.stream_id == "db/r1"
        np.testing.assert_allclose(read(source), samples, atol=1e-9)
    with open_source(str(tmp_path / folder / "r1.hea")) as source:
        assert source.spec.stream_id == "db/r1"


def test_no_folder_beside_the_working_directory_is_searched(tmp_path: Path) -> None:
    write(tmp_path / "shared" / "records" / "db", "r1")
    with pytest.raises(SourceError) as caught:
        open_source("db/r1")
    assert caught.value.fetchable


def test_elsewhere_the_id_depends_on_the_content_and_not_on_the_folder(tmp_path: Path) -> None:
    samples = write(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    write(tmp_path / "c", p_signal=samples[::-1])
    ids = []
    for folder in "abc":
        with WfdbSource(str(tmp_path / folder / "rec")) as source:
            ids.append(source.spec.stream_id)
    assert ids[0] == ids[1] != ids[2]
    assert ids[0].startswith("rec#")


def test_the_error_for_an_unknown_record_lists_the_folders_and_the_command(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        WfdbSource("mitdb/208").open()
    message = str(caught.value)
    assert caught.value.reason is SourceFault.NOT_FOUND
    assert str(tmp_path / "records" / "mitdb" / "208.hea") in message
    assert str(tmp_path / "xdg" / "tocsin" / "records" / "mitdb" / "208.hea") in message
    assert "tocsin fetch mitdb/208" in message


def test_the_error_for_another_name_lists_the_kinds() -> None:
    with pytest.raises(SourceError, match="a source is one of") as caught:
        open_source("sythetic")
    assert "synthetic:NAME" in str(caught.value)


def test_a_missing_signal_file_is_named(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "rec.dat").unlink()
    with pytest.raises(SourceError, match=r"rec\.dat does not exist") as caught:
        WfdbSource(str(tmp_path / "rec")).open()
    assert caught.value.reason is SourceFault.NOT_FOUND


@pytest.mark.parametrize("content", ["", "# only a comment\n", "nonsense\n", "rec 1 0 100\n", "\0"])
def test_a_broken_header_is_refused(content: str, tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "rec.hea").write_text(content)
    with pytest.raises(SourceError) as caught:
        WfdbSource(str(tmp_path / "rec")).open()
    assert caught.value.reason in {SourceFault.MALFORMED, SourceFault.TRUNCATED}
    assert "rec" in str(caught.value)


@pytest.mark.parametrize("fmt", ["16", "212", "24", "32", "80"])
@pytest.mark.parametrize("block_s", [0.25, 100.0])
def test_a_truncated_file_is_read_to_its_end_and_then_reported(
    fmt: str, block_s: float, tmp_path: Path
) -> None:
    write(
        tmp_path,
        fmt=[fmt, fmt],
        p_signal=np.rint(np.random.default_rng(3).uniform(-100, 100, (ROWS, 2))) / 200.0,
    )
    whole = WfdbSource(str(tmp_path / "rec"), block_s=100.0)
    with whole:
        expected = read(whole)
    data = (tmp_path / "rec.dat").read_bytes()
    (tmp_path / "rec.dat").write_bytes(data[: len(data) * 3 // 5 + 1])
    got = []
    with WfdbSource(str(tmp_path / "rec"), block_s=block_s) as source:
        for _ in range(ROWS):
            try:
                block = source.read(0)
            except SourceError as error:
                fault = error
                break
            assert block is not None
            got.append(block.samples_mv)
        with pytest.raises(SourceError):  # not an ordinary end, however often it is asked
            source.read(0)
    assert fault.reason is SourceFault.TRUNCATED
    assert "rec.dat is truncated: 3000 of 5000 samples" in str(fault)
    np.testing.assert_array_equal(np.concatenate(got), expected[:3000])


def test_a_file_without_a_single_sample_is_refused_at_once(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "rec.dat").write_bytes(b"")
    with pytest.raises(SourceError) as caught:
        WfdbSource(str(tmp_path / "rec")).open()
    assert caught.value.reason is SourceFault.TRUNCATED


@pytest.mark.parametrize("rate_hz", [50, 99.9, 4000])
def test_a_rate_outside_the_limits_is_refused(rate_hz: float, tmp_path: Path) -> None:
    write(tmp_path, fs=rate_hz)
    with pytest.raises(SourceError, match="sampling rate") as caught:
        WfdbSource(str(tmp_path / "rec")).open()
    assert caught.value.reason is SourceFault.MALFORMED


@pytest.mark.parametrize("fmt", ["16", "212"])
def test_missing_samples_are_nan(fmt: str, tmp_path: Path) -> None:
    samples = np.zeros((ROWS, 2))
    samples[100:200, 1] = np.nan
    write(tmp_path, p_signal=samples, fmt=[fmt, fmt])
    with WfdbSource(str(tmp_path / "rec")) as source:
        np.testing.assert_array_equal(read(source), samples)


def test_an_uncalibrated_record_is_marked_and_taken_at_200_a_millivolt(tmp_path: Path) -> None:
    samples = write(tmp_path)
    edit_header(tmp_path / "rec.hea", {"200.0(0)/mV": "0"})
    with WfdbSource(str(tmp_path / "rec")) as source:
        assert not source.spec.calibrated
        assert source.spec.range_mv is None
        np.testing.assert_allclose(read(source), samples, atol=1e-9)


def test_microvolts_become_millivolts(tmp_path: Path) -> None:
    samples = write(tmp_path)
    edit_header(tmp_path / "rec.hea", {"200.0(0)/mV": "0.2(0)/uV"})
    with WfdbSource(str(tmp_path / "rec")) as source:
        np.testing.assert_allclose(read(source), samples, atol=1e-9)


def test_names_that_repeat_are_numbered_and_can_be_chosen(tmp_path: Path) -> None:
    samples = write(tmp_path)
    edit_header(tmp_path / "rec.hea", {"MLII": "ECG", "V1": "ECG"})
    with WfdbSource(str(tmp_path / "rec")) as source:
        assert source.spec.leads == ("ECG", "ECG-2")
    with WfdbSource(str(tmp_path / "rec"), leads=["ECG-2"]) as source:
        assert source.spec.leads == ("ECG-2",)
        np.testing.assert_allclose(read(source)[:, 0], samples[:, 1], atol=1e-9)


@pytest.mark.parametrize(
    ("units", "names"), [(["mV", "mmHg"], ["II", "ABP"]), (["mV", "mV"], ["II", "RESP"])]
)
def test_other_signals_are_left_out(
    units: Sequence[str], names: Sequence[str], tmp_path: Path
) -> None:
    write(tmp_path, units=list(units), sig_name=list(names))
    with WfdbSource(str(tmp_path / "rec")) as source:
        assert source.spec.leads == ("II",)


def test_the_error_for_a_record_without_ecg_lists_its_signals(tmp_path: Path) -> None:
    write(tmp_path, units=["NU", "mmHg"], sig_name=["PLETH", "ABP"])
    with pytest.raises(SourceError, match="its signals are PLETH, ABP"):
        WfdbSource(str(tmp_path / "rec")).open()
    with pytest.raises(SourceError, match="not stored in volts"):
        WfdbSource(str(tmp_path / "rec"), leads=["ABP"]).open()
    with pytest.raises(SourceError, match="no signal 'II'"):
        WfdbSource(str(tmp_path / "rec"), leads=["II"]).open()


def test_the_leads_come_in_the_requested_order(tmp_path: Path) -> None:
    samples = write(tmp_path)
    with WfdbSource(str(tmp_path / "rec"), leads=["V1", "MLII"]) as source:
        assert source.spec.leads == ("V1", "MLII")
        np.testing.assert_allclose(read(source), samples[:, ::-1], atol=1e-9)


def test_the_header_gives_the_time(tmp_path: Path) -> None:
    write(tmp_path, base_date=dt.date(2020, 2, 29), base_time=dt.time(23, 59, 30))
    with WfdbSource(str(tmp_path / "rec")) as source:
        assert source.start_utc == dt.datetime(2020, 2, 29, 23, 59, 30, tzinfo=dt.UTC)
    write(tmp_path / "none")
    with WfdbSource(str(tmp_path / "none" / "rec")) as source:
        assert source.start_utc is None


def test_chunks_join_without_a_seam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = write(tmp_path)
    monkeypatch.setattr("tocsin_agent.sources.files.wfdb_record._CHUNK_S", 1.0)
    with WfdbSource(str(tmp_path / "rec"), block_s=0.7) as source:
        np.testing.assert_allclose(read(source), samples, atol=1e-9)


def test_segments_follow_on_one_another(tmp_path: Path) -> None:
    one = write(tmp_path, "seg1")
    two = write(tmp_path, "seg2", p_signal=one[::-1])
    (tmp_path / "multi.hea").write_text("multi/2 2 360 10000\nseg1 5000\nseg2 5000\n")
    with WfdbSource(str(tmp_path / "multi")) as source:
        assert source.spec.leads == ("MLII", "V1")
        np.testing.assert_allclose(read(source), np.concatenate([one, two]), atol=1e-9)


def test_a_truncated_segment_ends_the_record_and_is_reported(tmp_path: Path) -> None:
    one = write(tmp_path, "seg1")
    two = write(tmp_path, "seg2")
    write(tmp_path, "seg3")
    (tmp_path / "multi.hea").write_text("multi/3 2 360 15000\nseg1 5000\nseg2 5000\nseg3 5000\n")
    data = (tmp_path / "seg2.dat").read_bytes()
    (tmp_path / "seg2.dat").write_bytes(data[: len(data) // 5])
    with WfdbSource(str(tmp_path / "multi"), block_s=100.0) as source:
        block = source.read(0)
        assert block is not None
        np.testing.assert_allclose(block.samples_mv, np.concatenate([one, two[:1000]]), atol=1e-9)
        with pytest.raises(SourceError, match=r"seg2\.dat is truncated: 1000 of 5000"):
            source.read(0)


def test_a_header_may_leave_the_length_to_the_file(tmp_path: Path) -> None:
    samples = write(tmp_path)
    edit_header(tmp_path / "rec.hea", {"rec 2 360 5000": "rec 2 360"})
    with WfdbSource(str(tmp_path / "rec")) as source:
        np.testing.assert_allclose(read(source), samples, atol=1e-9)


def test_leads_sampled_faster_than_the_frames_keep_their_rate(tmp_path: Path) -> None:
    fast = np.rint(np.random.default_rng(5).normal(0, 100, 8000))
    record = wfdb.Record(
        record_name="rec",
        n_sig=1,
        fs=125,
        sig_len=2000,
        fmt=["16"],
        samps_per_frame=[4],
        adc_gain=[200.0],
        baseline=[0],
        units=["mV"],
        sig_name=["II"],
        file_name=["rec.dat"],
        adc_res=[16],
        adc_zero=[0],
        init_value=[0],
        checksum=[0],
        block_size=[0],
        byte_offset=[None],
        skew=[None],
        e_d_signal=[fast.astype(np.int64)],
    )
    record.wrsamp(expanded=True, write_dir=str(tmp_path))
    with WfdbSource(str(tmp_path / "rec")) as source:
        assert source.spec.rate_hz == 500
        np.testing.assert_allclose(read(source)[:, 0], fast / 200.0, atol=1e-9)


def test_a_missing_extra_is_named_with_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path)
    monkeypatch.setitem(sys.modules, "wfdb", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tocsin\[replay\]'") as caught:
        WfdbSource(str(tmp_path / "rec")).open()
    assert caught.value.extra == "replay"


@pytest.mark.records
class TestRealRecords:
    @pytest.mark.parametrize(
        ("name", "leads", "range_mv"),
        [
            ("mitdb/208", ("MLII", "V1"), (-5.12, 5.115)),
            ("mitdb/114", ("V5", "MLII"), (-5.12, 5.115)),
            ("vfdb/418", ("ECG", "ECG-2"), (-10.235, 10.235)),
            ("nstdb/118e00", ("MLII", "V1"), None),  # its header contradicts itself
            ("cinc2015/a142s", ("II", "V"), None),  # each lead has a range of its own
        ],
    )
    def test_headers_as_they_are(
        self, name: str, leads: tuple[str, ...], range_mv: tuple[float, float] | None, records: Path
    ) -> None:
        assert (records / f"{name}.hea").is_file()
        with open_source(name) as source:
            assert source.spec.leads == leads
            assert source.spec.range_mv == pytest.approx(range_mv)
            assert source.spec.stream_id == name

    def test_samples_equal_those_of_wfdb(self, records: Path) -> None:
        expected = wfdb.rdrecord(str(records / "mitdb" / "208")).p_signal
        with open_source("mitdb/208", block_s=60) as source:
            np.testing.assert_array_equal(read(source), expected)

    def test_uncalibrated_records_are_recognized(self, records: Path) -> None:
        headers = sorted((records / "svdb").glob("*.hea"))
        stated = []
        for header in headers:
            with open_source(f"svdb/{header.stem}") as source:
                stated.append(source.spec.calibrated)
        assert stated.count(False) == 37


@pytest.mark.parametrize("rate", ["-360", "nan", "abc", "1e12", "360Hz"])
def test_a_rate_that_is_no_number_is_refused_and_not_taken_for_another(
    rate: str, tmp_path: Path
) -> None:
    write(tmp_path)
    edit_header(tmp_path / "rec.hea", {"rec 2 360 ": f"rec 2 {rate} "})
    with pytest.raises(SourceError, match="sampling rate") as caught:
        WfdbSource(str(tmp_path / "rec")).open()
    assert caught.value.reason is SourceFault.MALFORMED


@pytest.mark.parametrize("rate", ["360/10(2)", "360.0", ""])
def test_every_way_to_state_a_rate_is_read(rate: str, tmp_path: Path) -> None:
    write(tmp_path)
    edit_header(tmp_path / "rec.hea", {f"rec 2 360 {ROWS}": f"rec 2 {rate} {ROWS if rate else ''}"})
    with WfdbSource(str(tmp_path / "rec")) as source:
        assert source.spec.rate_hz == (360.0 if rate else 250.0)


def test_only_a_record_in_a_known_folder_can_be_fetched(tmp_path: Path) -> None:
    for folder, advice in ((tmp_path, "get the record again"), (tmp_path / "records/db", "db/rec")):
        write(folder)
        (folder / "rec.dat").unlink()
        with pytest.raises(SourceError, match=advice):
            WfdbSource(str(folder / "rec")).open()


def raw(folder: Path, samples: FloatArray, name: str = "x", gain: float = 200.0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (samples * gain).round().astype("<i2").tofile(folder / f"{name}.dat")


def indexed(source: Source, rows: int) -> FloatArray:
    """Return the samples at their places; a gap is NaN."""
    whole = np.full((rows, len(source.spec.leads)), np.nan)
    while True:
        try:
            block = source.read(0)
        except EndOfStream:
            return whole
        assert block is not None
        whole[block.start_index : block.stop_index] = block.samples_mv


SIGNAL = "16 200/mV 16 0 0 0 0"
ONE = np.rint(np.random.default_rng(1).normal(0, 100, 4000)) / 200.0


class TestSegments:
    @pytest.mark.parametrize("layout", [True, False], ids=["variable", "fixed"])
    @pytest.mark.parametrize("frame", [1, 4], ids=["plain", "four a frame"])
    def test_null_segments_are_gaps(self, layout: bool, frame: int, tmp_path: Path) -> None:
        raw(tmp_path, ONE)
        fmt = SIGNAL if frame == 1 else SIGNAL.replace("16 ", f"16x{frame} ", 1)
        rate, frames = 500 / frame, 4000 // frame
        (tmp_path / "s.hea").write_text(f"s 1 {rate:g} {frames}\nx.dat {fmt} II\n")
        (tmp_path / "lay.hea").write_text(f"lay 1 {rate:g} 0\n~ 0 200/mV 16 0 0 0 0 II\n")
        lines = [*(["lay 0"] if layout else []), "~ 500", f"s {frames}", "~ 1000", f"s {frames}"]
        (tmp_path / "m.hea").write_text(
            f"m/{len(lines)} 1 {rate:g} {1500 + 2 * frames}\n" + "\n".join(lines)
        )
        with WfdbSource(str(tmp_path / "m")) as source:
            assert source.spec.rate_hz == 500
            got = indexed(source, (1500 + 2 * frames) * frame)[:, 0]
        gap = np.full(500 * frame, np.nan)
        np.testing.assert_array_equal(got, np.concatenate([gap, ONE, gap, gap, ONE]))

    @pytest.mark.parametrize("order", [("II", "V"), ("V", "II")])
    def test_a_lead_that_a_segment_lacks_is_missing_there(
        self, order: tuple[str, str], tmp_path: Path
    ) -> None:
        raw(tmp_path, ONE)
        raw(tmp_path, np.column_stack([ONE, -ONE]), "y")
        (tmp_path / "a.hea").write_text(f"a 1 250 4000\nx.dat {SIGNAL} II\n")
        (tmp_path / "b.hea").write_text(
            "b 2 250 4000\n" + "".join(f"y.dat {SIGNAL} {name}\n" for name in order)
        )
        (tmp_path / "lay.hea").write_text(
            "lay 3 250 0\n~ 0 1/mmHg 8 0 0 0 0 ABP\n~ 0 200/mV 16 0 0 0 0 II\n"
            "~ 0 200/mV 16 0 0 0 0 V\n"
        )
        (tmp_path / "m.hea").write_text("m/3 3 250 8000\nlay 0\na 4000\nb 4000\n")
        with WfdbSource(str(tmp_path / "m")) as source:
            assert source.spec.leads == ("II", "V")
            got = indexed(source, 8000)
        sign = 1 if order == ("II", "V") else -1
        np.testing.assert_array_equal(got[:, 0], np.concatenate([ONE, sign * ONE]))
        assert np.isnan(got[:4000, 1]).all()
        np.testing.assert_array_equal(got[4000:, 1], -sign * ONE)

    @pytest.mark.parametrize(
        ("lines", "message"),
        [
            ("m/3 1 250 8000\ns 4000\ns 4000\n", r"states 3 segments, but lists 2.*write /2"),
            ("m/2 1 250 8000\ns 4000\nnone 4000\n", "names the segment none, but"),
        ],
    )
    def test_a_segment_that_is_missing_is_named(
        self, lines: str, message: str, tmp_path: Path
    ) -> None:
        raw(tmp_path, ONE)
        (tmp_path / "s.hea").write_text(f"s 1 250 4000\nx.dat {SIGNAL} II\n")
        (tmp_path / "m.hea").write_text(lines)
        with pytest.raises(SourceError, match=message):
            WfdbSource(str(tmp_path / "m")).open()


@pytest.mark.parametrize(
    ("unit", "encoding"),
    [
        ("uV", "ascii"),
        ("\u00b5V", "utf-8"),
        ("\u03bcV", "utf-8"),
        ("\u00b5V", "latin-1"),
        ("microV", "ascii"),
    ],
)
def test_microvolts_in_every_encoding(unit: str, encoding: str, tmp_path: Path) -> None:
    raw(tmp_path, ONE)
    text = f"r 1 250 4000\nx.dat 16 0.2(0)/{unit} 16 0 0 0 0 II\n"
    (tmp_path / "r.hea").write_bytes(text.encode(encoding))
    with WfdbSource(str(tmp_path / "r")) as source:
        assert source.spec.calibrated
        np.testing.assert_allclose(read(source)[:, 0], ONE, atol=1e-9)


@pytest.mark.parametrize(
    ("gain", "unit", "calibrated"),
    [("200", "NU", False), ("1(0)", "adu", False), ("1(0)", "counts", False), ("0", "mV", False)],
)
def test_units_without_a_size_are_nominal(
    gain: str, unit: str, calibrated: bool, tmp_path: Path
) -> None:
    raw(tmp_path, ONE)
    (tmp_path / "r.hea").write_text(f"r 1 250 4000\nx.dat 16 {gain}/{unit} 16 0 0 0 0 II\n")
    with WfdbSource(str(tmp_path / "r")) as source:
        assert source.spec.calibrated is calibrated
        np.testing.assert_allclose(read(source)[:, 0], ONE, atol=1e-9)


@pytest.mark.parametrize(
    ("other", "samples", "gain"),
    [
        ("EDF Annotations", 51, "32767.5"),
        ("Marker", 1, "1"),
        ("Fp2-F4", 128, "1/uV"),
        ("V5", 128, "200"),
    ],
)
def test_an_ecg_beside_another_rate_keeps_its_own(
    other: str, samples: int, gain: str, tmp_path: Path
) -> None:
    frames = np.concatenate([ONE[:3840].reshape(15, 256), np.zeros((15, samples))], axis=1)
    raw(tmp_path, frames)
    (tmp_path / "r.hea").write_text(
        f"r 2 1 15\nx.dat 16x256 200/mV 16 0 0 0 0 ECG\n"
        f"x.dat 16x{samples} {gain} 16 0 0 0 0 {other}\n"
    )
    with WfdbSource(str(tmp_path / "r")) as source:
        assert (source.spec.leads, source.spec.rate_hz) == (("ECG",), 256)
        np.testing.assert_array_equal(read(source)[:, 0], ONE[:3840])
    if other == "V5":
        with pytest.raises(SourceError, match="leads of one sampling rate"):
            WfdbSource(str(tmp_path / "r"), leads=["ECG", "V5"]).open()


@pytest.mark.parametrize(
    ("line", "start"),
    [
        ("other 1 250 4000", None),
        ("r 1 250 4000 2014-05-08 05:05:15", dt.datetime(2014, 5, 8, 5, 5, 15, tzinfo=dt.UTC)),
        ("r 1 250 4000 10:00:00 12/05/2001", dt.datetime(2001, 5, 12, 10, tzinfo=dt.UTC)),
        ("r 1 250 4000 10:00:00 2006", None),
        ("r 1 250 4000 0:0:0 0/0/0", None),
        ("r 1 250 0", None),
    ],
)
def test_headers_of_databases_are_read(
    line: str, start: dt.datetime | None, tmp_path: Path
) -> None:
    raw(tmp_path, ONE)
    (tmp_path / "r.hea").write_text(f"{line}\nx.dat {SIGNAL} II\n")
    with WfdbSource(str(tmp_path / "r")) as source:
        assert source.start_utc == start
        np.testing.assert_array_equal(read(source)[:, 0], ONE)


@pytest.mark.parametrize("stored", ["R.DAT", "renamed.dat"])
def test_a_signal_file_is_found_in_another_case_or_renamed_with_its_header(
    stored: str, tmp_path: Path
) -> None:
    raw(tmp_path, ONE, Path(stored).stem)
    (tmp_path / f"{Path(stored).stem}.dat").rename(tmp_path / stored)
    (tmp_path / f"{Path(stored).stem}.hea").write_text(f"r 1 250 4000\nr.dat {SIGNAL} II\n")
    with WfdbSource(str(tmp_path / Path(stored).stem)) as source:
        np.testing.assert_array_equal(read(source)[:, 0], ONE)


@pytest.mark.parametrize("chunk_s", [1.0, 300.0])
def test_differences_are_summed_across_chunks(
    chunk_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = np.random.default_rng(0).integers(-50, 50, 4000).astype("i1")
    steps.tofile(tmp_path / "x.dat")
    (tmp_path / "r.hea").write_text("r 1 250 4000\nx.dat 8 200/mV 12 0 30 0 0 II\n")
    monkeypatch.setattr("tocsin_agent.sources.files.wfdb_record._CHUNK_S", chunk_s)
    with WfdbSource(str(tmp_path / "r")) as source:
        expected = (30 + np.cumsum(steps.astype(int))) / 200.0
        np.testing.assert_array_equal(read(source)[:, 0], expected)


@pytest.mark.parametrize("skew", [0, 3])
@pytest.mark.parametrize("fmt", ["16", "212"])
def test_a_skewed_lead_is_read_as_wfdb_reads_it(
    skew: int, fmt: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, fmt=[fmt, fmt])
    edit_header(tmp_path / "rec.hea", {f"rec.dat {fmt} ": f"rec.dat {fmt}:{skew} "})
    monkeypatch.setattr("tocsin_agent.sources.files.wfdb_record._CHUNK_S", 1.0)
    expected = wfdb.rdrecord(str(tmp_path / "rec")).p_signal
    with WfdbSource(str(tmp_path / "rec")) as source:
        np.testing.assert_array_equal(read(source), expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"fs": 500}, "states 500 Hz"), ({"sig_name": ["MLII", "V5"]}, "has the signals MLII, V5")],
)
def test_segments_that_differ_are_refused(
    changes: dict[str, object], message: str, tmp_path: Path
) -> None:
    write(tmp_path, "seg1")
    write(tmp_path, "seg2", **changes)
    (tmp_path / "multi.hea").write_text("multi/2 2 360 10000\nseg1 5000\nseg2 5000\n")
    with pytest.raises(SourceError, match=message):
        WfdbSource(str(tmp_path / "multi")).open()
