"""Synthetic patients and what the monitor reports about them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tocsin_agent.messages.alert import Phase
from tocsin_agent.monitor import LabelledBeat, PatientMonitor
from tocsin_agent.monitor.alarms.event import AlertEvent
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.monitor.trends import MinuteTrend
from tocsin_agent.sources.base import EndOfStream, Source
from tocsin_agent.sources.scripted.script import Event, Script, ScriptedRhythm, Segment
from tocsin_agent.sources.scripted.synthetic import ScriptedTruth, SyntheticSource
from tocsin_dsp.signal import FloatArray, SampleBlock, StreamSpec
from tocsin_models import Models

CALM = Segment(seconds=20.0)
ATRIAL_FIBRILLATION = Segment(
    rhythm=ScriptedRhythm.ATRIAL_FIBRILLATION, seconds=120.0, rate_bpm=95.0
)
ALL = 1 << 40
"""More samples than there are: one block."""


class Monitored(NamedTuple):
    """Everything that a monitor reported about a stream."""

    beats: list[LabelledBeat]
    alerts: list[AlertEvent]
    truth: ScriptedTruth | None = None
    trends: tuple[MinuteTrend, ...] = ()

    def of(self, code: str, phase: Phase = Phase.ONSET) -> list[AlertEvent]:
        """Give the alerts of one code and phase."""
        return [a for a in self.alerts if a.code == code and a.phase is phase]

    @property
    def codes(self) -> set[str]:
        """Give every code that raised."""
        return {a.code for a in self.alerts}


def onset(result: Monitored, code: str) -> tuple[float, float]:
    """Give onset and detection of the first alert of a code, in seconds of 360 samples."""
    raised = result.of(code)
    assert raised, f"{code} was not raised, but {sorted(result.codes)}"
    return raised[0].onset_index / 360, raised[0].detected_index / 360


def make_script(
    *segments: Segment,
    events: Iterable[Event] = (),
    rate_hz: float = 360.0,
    leads: tuple[str, ...] = ("II", "V1"),
    noise_mv: float = 0.008,
    seed: int = 1,
) -> Script:
    """Give a script; 20 s of sinus rhythm where no segment is named."""
    return Script(
        name="test",
        segments=segments or (CALM,),
        events=tuple(events),
        rate_hz=rate_hz,
        leads=leads,
        noise_mv=noise_mv,
        seed=seed,
    )


def asystole(seconds: float, *, p_waves: bool = False) -> Segment:
    """Give a heart that stands still."""
    return Segment(rhythm=ScriptedRhythm.ASYSTOLE, seconds=seconds, p_waves=p_waves)


def ventricular(pattern: str, seconds: float = 20.0) -> Script:
    """Give a script with these beats, over and over, between two calm stretches."""
    return make_script(CALM, Segment(seconds=seconds, pattern=pattern), CALM)


def fibrillating(seconds: float = 20.0, hz: float = 5.0, mv: float = 0.6) -> Segment:
    """Give ventricular fibrillation."""
    vf = ScriptedRhythm.VENTRICULAR_FIBRILLATION
    return Segment(rhythm=vf, seconds=seconds, frequency_hz=hz, amplitude_mv=mv)


def read_all(source: Source) -> list[SampleBlock]:
    """Give the blocks of a finite source."""
    blocks: list[SampleBlock] = []
    with source:
        while True:
            try:
                block = source.read(0.0)
            except EndOfStream:
                return blocks
            assert block is not None
            blocks.append(block)


def samples_of(script: Script) -> tuple[StreamSpec, FloatArray]:
    """Give a script's signal as one array; samples lost in gaps are NaN."""
    blocks = read_all(SyntheticSource(script, block_s=3600.0))
    samples = np.full((script.samples, len(script.leads)), np.nan)
    for block in blocks:
        samples[block.start_index : block.stop_index] = block.samples_mv
    return blocks[0].spec, samples


def write_record(folder: Path, name: str, seconds: float = 420.0, pattern: str = "NNNNNV") -> None:
    """Write seven calm minutes with a reference that agrees, as a WFDB record."""
    import wfdb

    folder.mkdir(parents=True, exist_ok=True)
    script = make_script(Segment(seconds=seconds, pattern=pattern))
    _, samples = samples_of(script)
    truth = SyntheticSource(script).truth()
    wfdb.wrsamp(
        name, fs=360, units=["mV", "mV"], sig_name=["II", "V1"], p_signal=samples,
        fmt=["16", "16"], write_dir=str(folder),
    )  # fmt: skip
    beats = np.array([b for b in truth.beats if b < len(samples)])
    labels = list(truth.labels[: len(beats)])
    wfdb.wrann(name, "atr", beats, symbol=labels, write_dir=str(folder))


def one_block(spec: StreamSpec, samples_mv: FloatArray, start_index: int = 0) -> list[SampleBlock]:
    """Give samples as one block."""
    return [SampleBlock(spec, start_index, samples_mv)]


def recut(blocks: Sequence[SampleBlock], rows: Callable[[], int]) -> list[SampleBlock]:
    """Cut blocks again, each piece as long as `rows` gives next."""
    pieces = []
    for block in blocks:
        at = 0
        while at < len(block):
            n = rows()
            piece = block.samples_mv[at : at + n]
            pieces.append(SampleBlock(block.spec, block.start_index + at, piece))
            at += n
    return pieces


def run_monitor(
    blocks: Sequence[SampleBlock], models: Models, limits: Limits | None = None
) -> Monitored:
    """Run blocks through a new monitor to the end."""
    monitor = PatientMonitor(blocks[0].spec, limits, models)
    beats: list[LabelledBeat] = []
    alerts: list[AlertEvent] = []
    trends: list[MinuteTrend] = []
    for report in [*map(monitor.push, blocks), monitor.finish()]:
        beats += report.beats
        alerts += report.alerts
        trends += report.trends
    return Monitored(beats, alerts, trends=tuple(trends))


def play(script: Script, models: Models, limits: Limits | None = None) -> Monitored:
    """Run a script through a new monitor to the end."""
    source = SyntheticSource(script, block_s=10.0)
    result = run_monitor(read_all(source), models, limits)
    return result._replace(truth=source.truth())
