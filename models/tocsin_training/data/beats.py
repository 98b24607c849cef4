"""Training beats: records processed by the same stages that run on the gateway."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import wfdb
from numpy.typing import NDArray

from tocsin_agent.lab.ec57.annotations import AAMI_CLASS
from tocsin_agent.lab.evaluate.databases import database_folder
from tocsin_agent.sources.files.wfdb_record import find_record
from tocsin_dsp.beats.beats import FEATURES, SHAPE, BeatObserver, BeatView, describe
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ, Resampler
from tocsin_dsp.detection.qrs import LeadDetector
from tocsin_dsp.exact import on_sample_grid
from tocsin_models.labels import LABELS

TRAINING_CLASS = {
    symbol: label for symbol, label in AAMI_CLASS.items() if symbol not in "Br"
} | dict.fromkeys("ejn", "N")
"""Beat annotation to class in training; other annotations are not beats.

It differs from `AAMI_CLASS` on purpose. Escape beats (`e`, `j`, `n`) are N, as for the authors of
the split: they come late, and a model that labels early beats S must not learn them as S. `B` and
`r` are left out, as they were when the shipped model was trained: svdb has one `B`, mitdb neither.
"""

MATCH_S = 0.150
"""Seconds between a detection and a reference beat, at most, for them to be the same beat."""
TRAINING_NOISE_S = 900.0
"""Seconds of each noise record of nstdb that are used in training: the first half."""
NOISES = (("em", 0), ("em", 1), ("ma", 0), ("em", 1), ("em", 0), ("ma", 1))
"""Noise records and columns that are mixed in, by record and lead."""
SNR_DB = (6.0, 12.0, 18.0, 9.0)
"""Their signal-to-noise ratios."""
NOISE_FOR_S = 120.0
"""Seconds with noise, after as many without."""
TYPICAL_LIKENESS = 0.85
"""Likeness of the QRS from which a beat has the typical shape."""


class Beats(NamedTuple):
    """Detected beats of one lead of one record, with their reference classes."""

    record: str
    lead: int
    shapes: NDArray[np.float32]  # (n, 2, SHAPE)
    features: NDArray[np.float32]  # (n, len(FEATURES))
    labels: NDArray[np.int64]  # (n,), index into LABELS
    seconds: NDArray[np.float64]  # (n,), time of R
    in_vf: NDArray[np.bool_]  # (n,), within a marked ventricular flutter or fibrillation
    references: NDArray[np.float64]  # (m,), time of every reference beat
    reference_labels: NDArray[np.int64]  # (m,)


def record_path(database: str, record: str) -> str:
    """Return the path of a record without an extension; raises `SourceError` if there is none."""
    path, _ = find_record(f"{database}/{record}")
    return str(path)


def load_beats(record: str, lead: int, database: str = "mitdb") -> Beats:
    """Run one lead of one record through resampler, detector and observer, and label its beats.

    A detection has the class of the nearest reference beat within 150 ms. A detection without such
    a beat is labelled V within ventricular flutter or fibrillation, whose waves are no beats by the
    standard but must not be trained as anything benign; elsewhere it is labelled Q, so that noise
    is not trained as a rhythm.
    """
    path = record_path(database, record)
    x, rate = _samples(path, lead)
    return _labelled(record, lead, path, rate, _views(x))


def load_beats_in_noise(record: str, lead: int, database: str = "mitdb") -> Beats:
    """Run one lead with real noise mixed in, and return the beats in noise with their labels.

    Electrode motion or muscle noise, of the first half of nstdb, is added in every other two
    minutes, as in the noise stress test; its kind, strength and start depend on record and lead.
    The signal-to-noise ratio is a power ratio: that of a sine as high as the QRS, taken as 1.4
    times the typical peak, to the variance of the noise.
    """
    path = record_path(database, record)
    x, rate = _samples(path, lead)
    number = 2 * int(record) + lead
    name, column = NOISES[number % len(NOISES)]
    noise, _ = _samples(record_path("nstdb", name), column)
    noise = noise[: int(TRAINING_NOISE_S * ANALYSIS_RATE_HZ)]
    noise = np.nan_to_num(noise - np.nanmean(noise))
    peak = float(np.median([v.scale_mv for v in _views(x) if v.readable]))
    power = (1.4 * peak) ** 2 / 8 / 10 ** (SNR_DB[number // 2 % len(SNR_DB)] / 10)
    noise = np.resize(np.roll(noise, 9973 * number), len(x)) * np.sqrt(power / noise.var())
    in_noise = np.arange(len(x)) // int(NOISE_FOR_S * ANALYSIS_RATE_HZ) % 2 == 1
    views = _views(on_sample_grid(x + np.where(in_noise, noise, 0.0)))
    return _labelled(record, lead, path, rate, [v for v in views if in_noise[v.r_index]])


def _labelled(record: str, lead: int, path: str, rate: float, views: list[BeatView]) -> Beats:
    annotation = wfdb.rdann(path, "atr")
    is_beat = np.array([s in TRAINING_CLASS for s in annotation.symbol])
    references = annotation.sample[is_beat] / rate
    classes = np.array(
        [LABELS.index(TRAINING_CLASS[s]) for s in annotation.symbol if s in TRAINING_CLASS]
    )
    seconds = np.array([v.r_index for v in views]) / ANALYSIS_RATE_HZ
    after = np.clip(np.searchsorted(references, seconds), 1, len(references) - 1)
    before = after - 1
    nearest = np.where(seconds - references[before] <= references[after] - seconds, before, after)
    matched = np.abs(references[nearest] - seconds) <= MATCH_S
    in_vf = flutters(annotation, rate, seconds)
    labels = np.where(
        in_vf, LABELS.index("V"), np.where(matched, classes[nearest], LABELS.index("Q"))
    )
    return Beats(record, lead, *_inputs(views), labels, seconds, in_vf, references, classes)


def flutters(
    annotation: wfdb.Annotation, rate: float, seconds: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return for each time whether it is within marked ventricular flutter or fibrillation."""
    symbols = np.array(annotation.symbol)
    begins, ends = (annotation.sample[symbols == mark] / rate for mark in "[]")
    inside = np.searchsorted(begins, seconds, "right") > np.searchsorted(ends, seconds)
    return np.asarray(inside)


def load_irregular(record: str) -> Beats:
    """Run a record of cinc2017, which has a rhythm and no beat labels.

    In sinus rhythm and in atrial fibrillation a beat of typical shape is not a supraventricular
    ectopic beat, however irregular the intervals: such beats are labelled N, the others Q. The
    first eight have no rhythm before them and are left out.
    """
    views = _views(_samples(record_path("cinc2017", record), 0)[0])[8:]
    shapes, features = _inputs(views)
    centre, gain = FEATURES["core_likeness"]
    likeness = features[:, list(FEATURES).index("core_likeness")] / gain + centre
    labels = np.where(likeness > TYPICAL_LIKENESS, LABELS.index("N"), LABELS.index("Q"))
    seconds = np.array([v.r_index for v in views]) / ANALYSIS_RATE_HZ
    none = np.empty(0)
    return Beats(
        record, 0, shapes, features, labels, seconds, np.zeros(len(views), bool), none,
        none.astype(np.int64),
    )  # fmt: skip


def load_noise(record: str, lead: int) -> Beats:
    """Run the first half of a noise record of nstdb: all detections are Q.

    The second half is left for tests.
    """
    x, _ = _samples(record_path("nstdb", record), lead)
    views = _views(x[: int(TRAINING_NOISE_S * ANALYSIS_RATE_HZ)])
    seconds = np.array([v.r_index for v in views]) / ANALYSIS_RATE_HZ
    labels = np.full(len(views), LABELS.index("Q"))
    none = np.empty(0)
    return Beats(
        record, lead, *_inputs(views), labels, seconds, np.zeros(len(views), bool), none,
        none.astype(np.int64),
    )  # fmt: skip


def rhythms() -> dict[str, str]:
    """Return the rhythm (N, A, O or ~) of every listed record of cinc2017, by name."""
    table = next(database_folder("cinc2017").rglob("REFERENCE.csv"))
    rows = (line.split(",") for line in table.read_text(encoding="utf-8").split())
    return {name: rhythm for name, rhythm, *_ in rows}


def _samples(path: str, lead: int) -> tuple[NDArray[np.float64], float]:
    signals, fields = wfdb.rdsamp(path)
    rate = float(fields["fs"])
    return Resampler(rate, 1).push(on_sample_grid(signals[:, [lead]]))[:, 0], rate


def _views(x: NDArray[np.float64]) -> list[BeatView]:
    return describe(BeatObserver().push(x, LeadDetector().push(x)))


def _inputs(views: list[BeatView]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    shapes = np.array([v.shapes for v in views], np.float32).reshape(-1, 2, SHAPE)
    features = np.array([v.features for v in views], np.float32).reshape(-1, len(FEATURES))
    return shapes, features
