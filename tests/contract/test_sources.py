"""The contract of every source, tested on each one."""

from __future__ import annotations

import atexit
import datetime as dt
import functools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest
import wfdb
from hypothesis import given, settings
from hypothesis import strategies as st

from support.brokers import Mosquitto, quick
from support.devices import (
    PlayedH10,
    PlayedMqtt,
    PlayedSerial,
    PlayedTcp,
    PlayedUdp,
    frames_of,
    hello_for,
)
from support.recording_files import dicom_group, write_aecg, write_dicom, write_edf
from tocsin_agent.errors import SourceError
from tocsin_agent.sources.base import EndOfStream, Source
from tocsin_agent.sources.devices.link_source import CaptureSource, LinkSource
from tocsin_agent.sources.devices.wires.mqtt import MqttWire
from tocsin_agent.sources.devices.wires.serial import SerialWire
from tocsin_agent.sources.devices.wires.tcp import TcpWire
from tocsin_agent.sources.devices.wires.udp import UdpWire
from tocsin_agent.sources.files.array import ArraySource
from tocsin_agent.sources.files.excerpt import ExcerptSource
from tocsin_agent.sources.files.table import CsvSource
from tocsin_agent.sources.files.table_options import TableOptions
from tocsin_agent.sources.files.wfdb_record import WfdbSource
from tocsin_agent.sources.opening import open_source
from tocsin_agent.sources.pacing import PacedSource
from tocsin_agent.sources.queued import QueuedSource
from tocsin_agent.sources.scripted.script import Disturbance, Event, Script, ScriptedRhythm, Segment
from tocsin_agent.sources.scripted.synthetic import SyntheticSource
from tocsin_dsp.signal import FloatArray, StreamSpec

Make: TypeAlias = Callable[[Path, float], Source]

RATE_HZ = 250
ROWS = 1203  # a multiple of no block size below
SCRIPT = Script(
    name="contract",
    segments=(
        Segment(seconds=8.0, pattern="NNV"),
        Segment(seconds=8.0, rhythm=ScriptedRhythm.VENTRICULAR_FIBRILLATION),
        Segment(seconds=7.3, rhythm=ScriptedRhythm.ATRIAL_FIBRILLATION),
    ),
    events=(
        Event(kind=Disturbance.LEAD_MISSING, at_s=1.0, seconds=2.0, leads=("V1",)),
        Event(kind=Disturbance.GAP, at_s=4.0, seconds=1.5),
        Event(kind=Disturbance.GAP, at_s=9.9, seconds=0.2),
        Event(kind=Disturbance.MUSCLE, at_s=6.0, seconds=6.0),
        Event(kind=Disturbance.MOTION, at_s=12.0, seconds=6.0),
    ),
)


def _stored() -> FloatArray:
    """Return two leads on a 5 µV grid, with missing samples in the second."""
    generator = np.random.default_rng(7)
    samples = np.rint(generator.normal(0, 100, (ROWS, 2))) / 200.0
    samples[300:330, 1] = np.nan
    return samples


def _wfdb(folder: Path, block_s: float) -> Source:
    if not (folder / "rec.hea").exists():
        wfdb.wrsamp(
            "rec",
            fs=RATE_HZ,
            units=["mV", "mV"],
            sig_name=["II", "V1"],
            p_signal=_stored(),
            fmt=["16", "16"],
            adc_gain=[200.0, 200.0],
            baseline=[0, 0],
            base_date=dt.date(2020, 2, 29),
            base_time=dt.time(23, 59, 30),
            write_dir=str(folder),
        )
    return WfdbSource(str(folder / "rec"), block_s=block_s)


def _csv(folder: Path, block_s: float) -> Source:
    path = folder / "table.csv"
    if not path.exists():
        lines = ["II,V1"]
        lines += [f"{a:.3f},{'' if np.isnan(b) else f'{b:.3f}'}" for a, b in _stored().tolist()]
        path.write_text("\n".join(lines) + "\n")
    return CsvSource(path, TableOptions(rate_hz=RATE_HZ), block_s=block_s)


def _csv_with_gaps(folder: Path, block_s: float) -> Source:
    path = folder / "timed.csv"
    if not path.exists():
        times = np.arange(ROWS) / RATE_HZ
        times[500:] += 3.0
        times[1000:] += 0.04
        lines = ["time;II;V1"]
        lines += [f"{t:.3f};{a};{b}" for t, (a, b) in zip(times, _stored(), strict=True)]
        path.write_text("\r\n".join(lines))
    return CsvSource(path, block_s=block_s)


def _npy(folder: Path, block_s: float) -> Source:
    path = folder / "array.npy"
    if not path.exists():
        np.save(path, _stored())
    return ArraySource(path, TableOptions(rate_hz=RATE_HZ, leads=("II", "V1")), block_s=block_s)


def _npz(folder: Path, block_s: float) -> Source:
    path = folder / "array.npz"
    if not path.exists():
        np.savez(path, ecg=_stored(), rate_hz=RATE_HZ, leads=["II", "V1"])
    return ArraySource(path, block_s=block_s)


def _edf(folder: Path, block_s: float) -> Source:
    path = folder / "rec.edf"
    if not path.exists():
        whole = np.nan_to_num(_stored()[: ROWS - ROWS % RATE_HZ])
        write_edf(path, whole, RATE_HZ, ["II", "V1"])
    return open_source(str(path), block_s=block_s)


def _dicom(folder: Path, block_s: float) -> Source:
    path = folder / "rec.dcm"
    if not path.exists():
        half, names = ROWS // 2, ["Lead II", "Lead V1"]
        first = dicom_group(_stored()[:half], RATE_HZ, names, padding=-32768, offset_ms=0.0)
        rest = dicom_group(_stored()[half:], RATE_HZ, names, padding=-32768, offset_ms=9000.0)
        write_dicom(path, [first, rest])
    return open_source(str(path), block_s=block_s)


def _aecg(folder: Path, block_s: float) -> Source:
    path = folder / "rec.xml"
    if not path.exists():
        write_aecg(path, np.nan_to_num(_stored()), RATE_HZ, ["II", "V1"])
    return open_source(str(path), block_s=block_s)


def _capture(folder: Path, block_s: float) -> Source:
    path = folder / "kept.link"
    if not path.exists():
        path.write_bytes(b"".join(frames_of(hello_for(), _stored())))
    return CaptureSource(path, block_s=block_s)


def _tcp(_: Path, block_s: float) -> Source:
    return PlayedTcp(LinkSource(TcpWire("127.0.0.1", 0), block_s=block_s), _stored())


def _udp(_: Path, block_s: float) -> Source:
    return PlayedUdp(LinkSource(UdpWire("127.0.0.1", 0), block_s=block_s), _stored())


def _serial(folder: Path, block_s: float) -> Source:
    port = folder / f"tty{block_s:g}"
    return PlayedSerial(LinkSource(SerialWire(str(port)), block_s=block_s), _stored(), port)


@functools.cache
def _broker() -> Mosquitto:
    folder = tempfile.TemporaryDirectory()
    broker = Mosquitto(Path(folder.name))
    broker.start()
    atexit.register(folder.cleanup)
    atexit.register(broker.stop)
    return broker


def _mqtt(folder: Path, block_s: float) -> Source:
    port, topic = _broker().port, f"raw/{folder.name}/{block_s:.3f}"
    source = LinkSource(MqttWire(quick(port), topic), block_s=block_s)
    return PlayedMqtt(source, _stored(), port, topic)


SOURCES: dict[str, Make] = {
    "wfdb": _wfdb,
    "excerpt": lambda _, block_s: ExcerptSource(block_s=block_s),
    "synthetic": lambda _, block_s: SyntheticSource(SCRIPT, block_s=block_s),
    "csv": _csv,
    "csv with gaps": _csv_with_gaps,
    "npy": _npy,
    "npz": _npz,
    "edf": _edf,
    "dicom in two groups": _dicom,
    "aecg": _aecg,
    "capture": _capture,
    "tcp": _tcp,
    "udp": _udp,
    "serial": _serial,
    "mqtt": _mqtt,
    "h10": lambda _, block_s: PlayedH10(np.nan_to_num(_stored()[:, 0]), block_s),
    "paced": lambda folder, block_s: PacedSource(_wfdb(folder, block_s), 1e9),
    "queued": lambda folder, block_s: QueuedSource(_wfdb(folder, block_s), 2.0),
    "queued synthetic": lambda _, block_s: QueuedSource(
        SyntheticSource(SCRIPT, block_s=block_s), 2.0
    ),
}
LINKS = ("capture", "tcp", "udp", "serial", "mqtt")
STORED = ("wfdb", "csv", "csv with gaps", "npy", "npz", "paced", "queued", *LINKS)


@pytest.fixture(params=SOURCES)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[float], Source]:
    build = SOURCES[request.param]
    return lambda block_s: build(tmp_path, block_s)


@dataclass
class Read:
    """Everything that a source returned: samples with their indices, and how they were cut."""

    spec: StreamSpec
    indices: list[int] = field(default_factory=list)
    rows: list[FloatArray] = field(default_factory=list)
    cuts: list[tuple[int, int]] = field(default_factory=list)

    @property
    def samples(self) -> FloatArray:
        return np.concatenate(self.rows)


def read_all(source: Source) -> Read:
    read = Read(source.spec)
    while True:
        try:
            block = source.read(60.0)
        except EndOfStream:
            return read
        assert block is not None, "a recording that is not paced is never late"
        assert block.spec == read.spec
        assert len(block) > 0
        read.cuts.append((block.start_index, block.stop_index))
        read.indices += range(block.start_index, block.stop_index)
        read.rows.append(block.samples_mv)


def test_blocks_are_what_they_claim(make: Callable[[float], Source]) -> None:
    with make(0.25) as source:
        rows = round(0.25 * source.spec.rate_hz)
        while True:
            try:
                block = source.read(60.0)
            except EndOfStream:
                break
            assert block is not None
            assert block.samples_mv.dtype == np.float64
            assert block.samples_mv.shape == (len(block), len(source.spec.leads))
            assert len(block) <= rows
            assert not np.isinf(block.samples_mv).any()


def test_indices_only_go_forward_and_gaps_are_the_only_jumps(
    make: Callable[[float], Source],
) -> None:
    with make(0.25) as source:
        read = read_all(source)
    assert read.cuts[0][0] == 0
    assert all(end <= begin for (_, end), (begin, _) in zip(read.cuts, read.cuts[1:], strict=False))
    full = round(0.25 * read.spec.rate_hz)
    for (begin, end), (following, _) in zip(read.cuts, read.cuts[1:], strict=False):
        assert end - begin == full or following > end, "a short block where nothing is missing"


@pytest.mark.parametrize("block_s", [0.004, 0.1, 1.7, 1e9])
def test_the_samples_do_not_depend_on_the_blocks(
    make: Callable[[float], Source], block_s: float
) -> None:
    with make(0.25) as one, make(block_s) as other:
        expected, got = read_all(one), read_all(other)
    assert got.indices == expected.indices
    np.testing.assert_array_equal(got.samples, expected.samples)
    assert got.spec == expected.spec


def test_the_end_is_raised_at_every_further_read(make: Callable[[float], Source]) -> None:
    with make(10.0) as source:
        read_all(source)
        for _ in range(3):
            with pytest.raises(EndOfStream):
                source.read(0.0)


def test_close_may_come_early_late_and_twice(make: Callable[[float], Source]) -> None:
    source = make(0.25)
    source.close()
    source.open()
    source.read(1.0)
    source.close()
    source.close()


def test_reading_a_closed_source_is_refused(make: Callable[[float], Source]) -> None:
    source = make(0.25)
    with pytest.raises(SourceError, match=r"open\(\)"):
        source.read(0.0)
    source.open()
    source.close()
    with pytest.raises(SourceError, match=r"open\(\)"):
        source.read(0.0)


def test_opening_again_starts_again(make: Callable[[float], Source]) -> None:
    source = make(0.25)
    with source:
        source.read(1.0)
        source.read(1.0)
        source.open()
        first = read_all(source)
    with source:
        second = read_all(source)
    assert first.spec == second.spec
    assert first.indices == second.indices
    np.testing.assert_array_equal(first.samples, second.samples)


def test_it_says_whether_it_is_synthetic(make: Callable[[float], Source]) -> None:
    with make(0.25) as source:
        assert source.finite
        assert source.spec.synthetic == source.spec.stream_id.startswith("synthetic/")


@pytest.mark.parametrize("name", STORED)
def test_stored_samples_are_returned_unchanged(name: str, tmp_path: Path) -> None:
    with SOURCES[name](tmp_path, 0.25) as source:
        read = read_all(source)
    assert read.spec.leads == ("II", "V1")
    assert read.spec.rate_hz == RATE_HZ
    np.testing.assert_allclose(read.samples, _stored(), atol=1e-9)


@pytest.mark.parametrize("name", ["synthetic", "queued synthetic", "csv with gaps"])
def test_gaps_are_stated_to_the_sample(name: str, tmp_path: Path) -> None:
    with SOURCES[name](tmp_path, 0.25) as source:
        read = read_all(source)
    jumps = [
        (end, begin)
        for (_, end), (begin, _) in zip(read.cuts, read.cuts[1:], strict=False)
        if begin != end
    ]
    if name == "csv with gaps":
        assert jumps == [(500, 500 + 750), (1000 + 750, 1000 + 760)]
    else:
        assert jumps == [(1440, 1980), (3564, 3636)]


@settings(max_examples=25, deadline=None)
@given(st.floats(min_value=0.0028, max_value=9.0))
def test_a_synthetic_patient_is_the_same_under_any_cut(block_s: float) -> None:
    with SyntheticSource(SCRIPT, block_s=block_s) as one, SyntheticSource(SCRIPT) as other:
        got, expected = read_all(one), read_all(other)
    assert got.indices == expected.indices
    np.testing.assert_array_equal(got.samples, expected.samples)
