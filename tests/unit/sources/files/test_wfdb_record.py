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
