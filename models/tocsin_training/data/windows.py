"""Windows for training and test of the fibrillation model, from the stages of the gateway."""

from __future__ import annotations

import csv
from typing import NamedTuple

import numpy as np
import wfdb
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from tocsin_agent.lab.evaluate.databases import database_folder
from tocsin_agent.sources.scripted.script import Script, ScriptedRhythm, Segment
from tocsin_agent.sources.scripted.synthetic import SyntheticSource
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ, Resampler
from tocsin_dsp.exact import on_sample_grid
from tocsin_dsp.rhythms.fibrillation import (
    LEAD_IN,
    POINTS,
    SECOND,
    SECONDS,
    STEP,
    decimate,
    describe,
    is_suspect,
    steepness,
)
from tocsin_training.data.beats import record_path
from tocsin_training.data.noise import SYNTHETIC_NOISE, synthetic_noise

MARGIN = 12
"""Points kept on either side of a window, so that it can be stretched and shifted."""
SYNTHETIC = "synthetic"  # name of the scripted patients among the databases
FIBRILLATES = ("(VF", "(VFL", "(VFIB")
UNKNOWN = ""  # before a record's first rhythm mark


class Windows(NamedTuple):
    """The windows of one lead of one record, one every second, each of `SECONDS`.

    `share` (n,) is the part of a window that the reference marks as fibrillation or flutter,
    `rhythm` (n,) the mark that fills most of it, `row` (n,) its row in `wide`, or -1 where it is
    skipped: not suspect, too faint, or with missing samples. `wide` (m, POINTS + 2 * MARGIN), mV.
    """

    record: str
    lead: int
    share: NDArray[np.float32]
    rhythm: NDArray[np.str_]
    row: NDArray[np.int64]
    wide: NDArray[np.float32]

    @property
    def true(self) -> NDArray[np.bool_]:
        """Whether most of a window is fibrillation or flutter."""
        return np.asarray(self.share > 0.5)


def load_windows(database: str, record: str, lead: int) -> Windows:
    """Run one lead of one record through the resampler and the window stage."""
    if database == SYNTHETIC:
        script = _script(int(record))
        source = SyntheticSource(script, block_s=script.samples / script.rate_hz)
        signal, rate = _whole(source)[:, [lead]], script.rate_hz
    elif database == SYNTHETIC_NOISE:
        path, signal, rate = "", synthetic_noise(record, lead)[:, None], float(ANALYSIS_RATE_HZ)
    else:
        path = record_path(database, record)
        signals, fields = wfdb.rdsamp(path)
        signal, rate = signals[:, [lead]], float(fields["fs"])
    x = Resampler(rate, 1).push(on_sample_grid(signal))
    seconds = len(x) // ANALYSIS_RATE_HZ
    before = np.full((LEAD_IN, 1), np.nan)
    points = decimate(np.concatenate((before, x[: seconds * ANALYSIS_RATE_HZ])))
    if database == SYNTHETIC:
        marks = _script_marks(script, seconds)
    else:
        marks = _marks(database, path, seconds, rate)
    return _windows(record, lead, points, marks)


def _script(seed: int) -> Script:
    """Return a scripted patient with ventricular tachycardia and fibrillation of many kinds."""
    draws = np.random.default_rng(seed)
    segments = []
    for rate_bpm in np.arange(120, 231, 10) + draws.uniform(-5, 5):
        vt, vf = ScriptedRhythm.VENTRICULAR_TACHYCARDIA, ScriptedRhythm.VENTRICULAR_FIBRILLATION
        hz, mv = draws.uniform(3.5, 8.0), float(np.exp(draws.uniform(np.log(0.15), np.log(1.5))))
        segments += [
            Segment(seconds=12.0),
            Segment(rhythm=vt, seconds=16.0, rate_bpm=float(rate_bpm)),
            Segment(seconds=12.0),
            Segment(rhythm=vf, seconds=16.0, frequency_hz=hz, amplitude_mv=mv),
        ]
    return Script(
        name="vf", segments=tuple(segments), seed=seed, leads=("I", "II", "V1", "V5"),
        noise_mv=float(draws.uniform(0.005, 0.03)),
    )  # fmt: skip


def _whole(source: SyntheticSource) -> NDArray[np.float64]:
    with source:
        block = source.read(0.0)
        assert block is not None
        return block.samples_mv


def _script_marks(script: Script, seconds: int) -> NDArray[np.str_]:
    names = {
        ScriptedRhythm.VENTRICULAR_TACHYCARDIA: "(VT",
        ScriptedRhythm.VENTRICULAR_FIBRILLATION: "(VF",
    }
    marks = [
        np.full(round(segment.seconds * SECOND), names.get(segment.rhythm, "(N"), dtype="U8")
        for segment in script.segments
    ]
    return np.concatenate(marks)[: seconds * SECOND]


def _windows(
    record: str, lead: int, points: NDArray[np.float64], marks: NDArray[np.str_]
) -> Windows:
    """Cut (50 n, 1) points into windows; `marks` names the rhythm of each point."""
    named = sliding_window_view(marks, POINTS)[::SECOND]
    known = (named != UNKNOWN).all(axis=1)
    every, named = sliding_window_view(points[:, 0], POINTS)[::SECOND][known], named[known]
    suspect = is_suspect(*steepness(points))[known, 0].astype(bool)
    described = np.flatnonzero(suspect & np.isfinite(every).all(axis=1))
    described = described[np.asarray(describe(every[described]).judged, bool)]
    padded = np.pad(np.nan_to_num(points[:, 0]), MARGIN, mode="reflect")
    wide = sliding_window_view(padded, POINTS + 2 * MARGIN)[::SECOND][known][described]
    row = np.full(len(every), -1)
    row[described] = np.arange(len(described))
    share = np.isin(named, FIBRILLATES).mean(axis=1).astype(np.float32)
    rhythm = np.array([_most(names) for names in named], dtype="U8")
    return Windows(record, lead, share, rhythm, row, wide.astype(np.float32))


def _most(row: NDArray[np.str_]) -> str:
    if (row == row[0]).all():
        return str(row[0])
    names, counts = np.unique(row, return_counts=True)
    return str(names[counts.argmax()])


def _marks(database: str, path: str, seconds: int, rate: float) -> NDArray[np.str_]:
    """Return the rhythm at every point; databases without rhythm marks are `(N` throughout."""
    # A point averages samples that begin LEAD_IN before its second.
    marks = np.full(seconds * SECOND, "(N", dtype="U8")
    if database in ("vfdb", "mitdb"):
        annotation = wfdb.rdann(path, "atr")
        at = np.round(annotation.sample / rate * SECOND).astype(int)
        at += (LEAD_IN + STEP) // 2 // STEP
        if database == "vfdb":
            marks[:] = UNKNOWN
            for start, name in zip(at, annotation.aux_note, strict=True):
                marks[start:] = name.rstrip("\0")
        else:
            for start, symbol in zip(at, annotation.symbol, strict=True):
                if symbol in "[]":
                    marks[start:] = "(VFL" if symbol == "[" else "(N"
    return marks


def cinc2017_records() -> tuple[list[str], list[str]]:
    """Return the records of cinc2017 for training, as no fibrillation, and for test."""
    with (database_folder("cinc2017") / "REFERENCE.csv").open(encoding="utf-8") as file:
        names = sorted(row[0] for row in csv.reader(file))
    return names[::2], names[1::2]


__all__ = ["FIBRILLATES", "MARGIN", "SECONDS", "Windows", "cinc2017_records", "load_windows"]
