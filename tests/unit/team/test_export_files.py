"""ECG as files: what is written is read back by other libraries, sample by sample."""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.factories import NOON, make_alert, make_strip
from tocsin_agent.messages.alert import Codes, Phase, Strip, StripBeat, begins_at
from tocsin_agent.messages.printable import clean
from tocsin_agent.sources.base import EndOfStream, Source
from tocsin_agent.sources.files.dicom import DicomSource
from tocsin_agent.sources.opening import open_source
from tocsin_agent.team.export.files import FORMATS, episode_files, episode_zip
from tocsin_agent.team.export.trace import Mark, Trace, marks_of, trace_of, traces_of
from tocsin_dsp.signal import FloatArray

VF = Codes(mdc=665376, snomed_ct="71908006")
TRACES = settings(max_examples=12, deadline=None)


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    rows = draw(st.integers(2, 900))
    names = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20)
    leads = draw(
        st.lists(
            st.sampled_from(["I", "II", "V1", "MLII"]) | names, min_size=1, max_size=4, unique=True
        )
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    samples = (
        np.rint(rng.normal(0, draw(st.sampled_from([0.3, 40.0])), (rows, len(leads))) * 50) / 50
    )
    for column in range(len(leads)):
        first, count = draw(st.tuples(st.integers(0, rows), st.integers(0, 50)))
        samples[first : first + count, column] = np.nan
    # wfdb takes a lone note at row 0 for a definition of its own, and does not return it.
    conditions = st.tuples(
        st.integers(1, rows - 1), st.just("ventricular_fibrillation"), st.just(VF)
    )
    beats = st.tuples(st.integers(0, rows - 1), st.sampled_from("NSVFQ"), st.none())
    marks = sorted({Mark(*one) for one in draw(st.lists(conditions | beats, max_size=8))}, key=str)
    return Trace(
        name=draw(names),
        leads=tuple(leads),
        rate_hz=draw(st.sampled_from([100.0, 128.0, 250.0, 360.0, 500.0, 1000.0])),
        samples_mv=samples,
        start=NOON + timedelta(microseconds=draw(st.integers(0, 10**11))),
        marks=tuple(sorted(marks, key=lambda mark: mark.row)),
        notes=(draw(names),),
        patient=draw(names),
        device="ward 3/bed|7",
    )


def same(found: FloatArray, trace: Trace) -> None:
    """Check samples to half a count, and that the same ones are missing."""
    np.testing.assert_allclose(found, trace.samples_mv, atol=0.51 / trace.gain_per_mv())


def written(trace: Trace, kind: str, folder: str, suffix: str) -> Path:
    for name, content in FORMATS[kind](trace).items():
        (Path(folder) / name).write_bytes(content)
    (path,) = Path(folder).glob(f"*{suffix}")
    return path


def samples_of(source: Source) -> tuple[FloatArray, datetime | None]:
    parts = list[FloatArray]()
    with source:
        while True:
            try:
                block = source.read(1.0)
            except EndOfStream:
                return np.concatenate(parts), source.start_utc
            assert block is not None
            parts.append(block.samples_mv)


@TRACES
@given(traces())
def test_wfdb_is_read_by_the_wfdb_library(trace: Trace) -> None:
    import wfdb

    with tempfile.TemporaryDirectory() as folder:
        path = str(written(trace, "wfdb", folder, ".hea").with_suffix(""))
        record = wfdb.rdrecord(path)
        same(record.p_signal, trace)
        assert record.fs == trace.rate_hz
        assert record.sig_name is not None
        assert abs(record.base_datetime.replace(tzinfo=UTC) - trace.start) <= timedelta(
            milliseconds=1
        )
        if trace.marks:
            notes = wfdb.rdann(path, "atr")
            assert notes.sample.tolist() == [mark.row for mark in trace.marks]
            assert [note.rstrip("\0") for note in notes.aux_note] == [
                mark.text if mark.codes else "" for mark in trace.marks
            ]


@TRACES
@given(traces())
def test_edf_is_read_by_pyedflib(trace: Trace) -> None:
    import pyedflib

    with tempfile.TemporaryDirectory() as folder:
        path = written(trace, "edf", folder, ".edf")
        reader = pyedflib.EdfReader(str(path))
        try:
            counts = np.column_stack(
                [reader.readSignal(i, digital=True) for i in range(reader.signals_in_file)]
            )[: trace.rows]
            found = np.where(counts == -32768, np.nan, counts / trace.gain_per_mv())
            physical = reader.readSignal(0)[: trace.rows]
            # In units of 100 ns; its own `getStartdatetime` divides by ten too often.
            start = reader.getStartdatetime().replace(microsecond=reader.starttime_subsecond // 10)
            onsets, lengths, texts = reader.readAnnotations()
        finally:
            reader.close()
        same(found, trace)
        same(np.where(np.isnan(found[:, :1]), np.nan, physical[:, None]), _lead(trace, 0))
        assert trace.start is not None
        assert abs(start.replace(tzinfo=UTC) - trace.start) <= timedelta(milliseconds=1)
    pairs = list(zip(onsets.tolist(), texts.tolist(), strict=True))
    for mark in trace.marks:
        assert any(
            text == mark.text and abs(at - mark.row / trace.rate_hz) < 1e-3 for at, text in pairs
        )
    gone = sum(
        float(length)
        for length, text in zip(lengths.tolist(), texts.tolist(), strict=True)
        if text.startswith("missing")
    )
    expected = np.isnan(trace.samples_mv).any(axis=1).sum() / trace.rate_hz
    assert gone == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("milliseconds", [118, 344, 594, 999])
def test_the_times_of_an_edf_are_those_of_contiguous_records(milliseconds: int) -> None:
    """As floats, 1.594 is written as +1.5939999999999999, which strict readers refuse."""
    import pyedflib

    start = NOON + timedelta(milliseconds=milliseconds)
    marks = tuple(Mark(row, "N") for row in range(7, 700, 97))
    trace = Trace("ecg", ("II",), 250.0, np.zeros((700, 1)), start, marks)
    with tempfile.TemporaryDirectory() as folder:
        reader = pyedflib.EdfReader(str(written(trace, "edf", folder, ".edf")))
        onsets, _, texts = reader.readAnnotations()
        reader.close()
    beats = [at for at, text in zip(onsets, texts, strict=True) if text == "N"]
    np.testing.assert_allclose(beats, [mark.row / 250 for mark in marks], atol=1e-6)


def _lead(trace: Trace, column: int) -> Trace:
    leads, samples = trace.leads[column : column + 1], trace.samples_mv
    return Trace("x", leads, trace.rate_hz, np.column_stack([samples[:, column]]))


@TRACES
@given(traces())
def test_dicom_is_read_by_our_own_reader_and_by_pydicom(trace: Trace) -> None:
    import pydicom

    with tempfile.TemporaryDirectory() as folder:
        known = replace(trace, leads=("I", "II", "III", "V1")[: len(trace.leads)])
        found, start = samples_of(DicomSource(written(known, "dicom", folder, ".dcm")))
        same(found, trace)
        path = written(trace, "dicom", folder, ".dcm")
        assert start is not None
        assert trace.start is not None
        assert abs(start - trace.start) <= timedelta(milliseconds=1)
        data = pydicom.dcmread(path)
    microvolts = np.where(np.isnan(trace.samples_mv), np.nan, data.waveform_array(0))
    same(microvolts / 1000.0, trace)
    channels = data.WaveformSequence[0].ChannelDefinitionSequence
    leads = [lead.replace("\\", "_") for lead in trace.leads]  # it would separate values
    assert [c.ChannelSourceSequence[0].CodeMeaning for c in channels] == leads
    assert data.PatientName == ""
    assert data.PatientID == trace.patient.replace("\\", "_")
    notes = data.get("WaveformAnnotationSequence", [])
    assert [note.ReferencedSamplePositions - 1 for note in notes] == [m.row for m in trace.marks]
    codes = [note.get("ConceptNameCodeSequence") for note in notes]
    assert [code[0].CodeValue if code else None for code in codes] == [
        "10:10016" if mark.codes else None for mark in trace.marks
    ]


@TRACES
@given(traces())
def test_csv_is_read_by_the_csv_library(trace: Trace) -> None:
    files = FORMATS["csv"](trace)
    (table,) = (text for name, text in files.items() if not name.endswith(".marks.csv"))
    head, *rows = csv.reader(io.StringIO(table.decode()))
    assert head == ["time (s)", *(f"{lead} (mV)" for lead in trace.leads)]
    same(np.array([[float(cell or "nan") for cell in row[1:]] for row in rows]), trace)
    times = np.array([float(row[0]) for row in rows])
    np.testing.assert_allclose(times, np.arange(trace.rows) / trace.rate_hz, atol=1e-3)


@pytest.mark.parametrize("kind", ["csv", "edf", "dicom", "wfdb"])
def test_what_is_written_can_be_monitored_again(kind: str, tmp_path: Path) -> None:
    t = np.arange(5000) / 250.0
    samples = np.column_stack([np.sin(t), np.cos(t)])
    trace = Trace("again", ("II", "V1"), 250.0, samples, start=NOON)
    suffix = {"dicom": "dcm", "wfdb": "hea"}.get(kind, kind)
    path = written(trace, kind, str(tmp_path), f"again.{suffix}")
    source = open_source(str(path.with_suffix("") if kind == "wfdb" else path))
    found, _ = samples_of(source)
    names = ("ECG II", "ECG V1") if kind == "edf" else ("II", "V1")  # as EDF+ names an ECG
    assert source.spec.leads == names
    np.testing.assert_allclose(found[:5000], samples, atol=0.001)


def test_a_strip_keeps_its_beats_onset_and_times() -> None:
    strip = make_strip(seconds=4.0, rate_hz=250.0, leads=2)
    beats = (StripBeat(10, "N"), StripBeat(260, "V"), StripBeat(9999, "V"))
    strip = Strip(strip.leads, 250.0, 0, 1000.0, strip.data, beats, 500)
    alert = make_alert(strip=strip)
    trace = trace_of(alert)
    assert [(mark.row, mark.text) for mark in trace.marks] == [
        (10, "N"), (260, "V"), (500, "ventricular_tachycardia"),
    ]  # fmt: skip
    assert trace.start == alert.onset_at - timedelta(seconds=2)
    assert trace.patient == "p-0042"


def test_an_episode_is_a_file_a_document_with_a_strip() -> None:
    documents = [
        make_alert(sequence=1, strip=make_strip()),
        make_alert(sequence=2, phase=Phase.UPDATE),
        make_alert(sequence=3, phase=Phase.END, strip=make_strip()),
    ]
    assert len(traces_of(documents)) == 2
    assert sorted(name[-6:] for name in episode_files(documents, "dicom")) == ["_1.dcm", "_3.dcm"]
    assert episode_zip(documents, "wfdb")[:2] == b"PK"
    with pytest.raises(ValueError, match="no document"):
        episode_files(documents[1:2], "edf")


def test_alerts_of_a_recording_become_marks_inside_it() -> None:
    onset = make_alert(onset_index=3600)
    end = make_alert(onset_index=3600, sequence=2, phase=Phase.END)
    marks = marks_of([onset, end, make_alert(onset_index=99_999), onset], 1000, 3500)
    assert [(m.row, m.text) for m in marks] == [
        (2600, "ventricular_tachycardia"),
        (3320, "ventricular_tachycardia end"),
    ]


def test_an_end_that_is_later_or_that_nobody_saw_is_no_mark() -> None:
    end = make_alert(onset_index=3600, sequence=2, phase=Phase.END)
    assert marks_of([end], 0, 4320) == ()
    assert len(marks_of([end], 0, 4321)) == 1
    measured: dict[str, float | str] = {"ended": "the recording ended"}
    evidence = msgspec.structs.replace(end.evidence, measured=measured)
    assert marks_of([msgspec.structs.replace(end, evidence=evidence)], 0, 4321) == ()


def test_a_strip_without_its_onset_begins_where_its_index_says() -> None:
    """360/s at the source; the strip, at 250/s, ends 75 ms before the detection."""
    strip = make_strip()
    rows = len(strip.decode())
    start = 100_000 - 27 - round(rows * 360 / strip.rate_hz)
    strip = msgspec.structs.replace(strip, onset_row=None, start_index=start)
    onset_at = datetime(2026, 3, 1, 8, tzinfo=UTC)
    alert = msgspec.structs.replace(
        make_alert(strip=strip),
        onset_index=64_000,
        detected_index=100_000,
        onset_at=onset_at,
        detected_at=onset_at + timedelta(seconds=100),
    )
    expected = alert.detected_at - timedelta(seconds=(100_000 - start) / 360)
    assert abs(begins_at(alert, strip, rows) - expected) < timedelta(milliseconds=1)
    clock_set = msgspec.structs.replace(alert, onset_at=onset_at - timedelta(hours=1))
    assert begins_at(clock_set, strip, rows) == alert.detected_at - timedelta(
        seconds=rows / strip.rate_hz
    )


@pytest.mark.parametrize(
    ("kind", "change", "says"),
    [
        ("edf", {"rate_hz": 128.123}, "--format wfdb"),
        ("dicom", {"rate_hz": 40.0}, "50 to 1000/s"),
        ("wfdb", {"samples_mv": np.array([[1e6]])}, "no ECG in mV"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_with_advice(
    kind: str, change: dict[str, Any], says: str
) -> None:
    given: dict[str, Any] = {"rate_hz": 250.0, "samples_mv": np.zeros((250, 1))}
    trace = Trace("x", ("II",), **(given | change))
    with pytest.raises(ValueError, match=says):
        FORMATS[kind](trace)


def test_a_trace_without_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="no samples"):
        Trace("x", ("II",), 250.0, np.zeros((0, 1)))


def test_a_trace_of_a_dead_lead_has_missing_samples_only() -> None:
    trace = Trace("x", ("II", "V1"), 250.0, np.column_stack([np.zeros(250), np.full(250, np.nan)]))
    assert trace.missing() == [(0, 250, ("V1",))]
    assert (trace.counts()[:, 1] == -32768).all()


@pytest.mark.parametrize("kind", sorted(FORMATS))
def test_hostile_names_stay_inside_their_fields(kind: str, tmp_path: Path) -> None:
    import pydicom

    hostile = 'II\\V1\r\n# 1 2,\x14\x15"=A1'
    samples = np.column_stack([np.zeros(500), np.ones(500)])
    names = (hostile, "Ünïcödé €")
    trace = Trace(hostile, names, 250.0, samples, NOON, notes=(hostile,), patient=hostile)
    suffix = {"dicom": "dcm", "wfdb": "hea"}.get(kind, kind)
    path = written(trace, kind, str(tmp_path), f"V1_1_2_A1.{suffix}".replace("V1", "II_V1"))
    assert path.name.isascii()
    if kind == "wfdb":
        assert len(path.read_text(encoding="ascii").splitlines()) == 4
    elif kind == "dicom":
        data = pydicom.dcmread(path)
        assert isinstance(data.PatientID, str)
        assert "V1" in data.PatientID
    elif kind == "csv":
        head = next(csv.reader(path.read_text(encoding="utf-8").splitlines()))
        assert head[1:] == [f"{clean(name)} (mV)" for name in names]
    else:
        assert path.read_bytes()[:256].isascii()


@pytest.mark.parametrize(("rate_hz", "kind"), [(250.0, "GeneralECG"), (128.0, "AmbulatoryECG")])
def test_a_validator_of_dicom_finds_no_error(rate_hz: float, kind: str, tmp_path: Path) -> None:
    if shutil.which("dciodvfy") is None:
        if os.environ.get("TOCSIN_REQUIRE_TOOLS") == "1":
            pytest.fail("dciodvfy is not installed: apt-get install dicom3tools")
        pytest.skip("needs dciodvfy: apt-get install dicom3tools")
    samples = np.column_stack([np.zeros(500), np.full(500, np.nan)])
    marks = (Mark(1, "N"), Mark(7, "ventricular_fibrillation", VF), Mark(9, "pause", Codes()))
    trace = Trace(
        *("x", ("II", "Ünï"), rate_hz, samples, NOON, marks),
        notes=("one",),
        patient="p-0042",
        device="ward 3/bed 7",
        synthetic=True,
    )
    path = written(trace, "dicom", str(tmp_path), ".dcm")
    found = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    said = (found.stdout + found.stderr).splitlines()
    assert kind in said
    assert [line for line in said if line.startswith("Error")] == []
