"""Training beats: the records through the very chain that runs on the gateway."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import wfdb
from numpy.typing import NDArray
from splits import AAMI

from tocsin_dsp.beats import FEATURES, SHAPE, BeatObserver
from tocsin_dsp.fixed import on_sample_grid
from tocsin_dsp.qrs import LeadDetector
from tocsin_dsp.resample import ANALYSIS_RATE_HZ, Resampler
from tocsin_models.labels import LABELS

MATCH_S = 0.150


class Beats(NamedTuple):
    """Detected beats of one lead of one record, with the class that the reference gives them."""

    record: str
    lead: int
    shapes: NDArray[np.float32]  # (n, 2, SHAPE)
    features: NDArray[np.float32]  # (n, len(FEATURES))
    labels: NDArray[np.int64]  # (n,), index into LABELS
    seconds: NDArray[np.float64]  # (n,), time of R
    in_vf: NDArray[np.bool_]  # (n,), within a marked ventricular flutter or fibrillation
    references: NDArray[np.float64]  # (m,), time of every reference beat
    reference_labels: NDArray[np.int64]  # (m,)


def records_dir() -> Path:
    """Return where the records are: `TOCSIN_RECORDS`, else `../shared/records`."""
    return Path(os.environ.get("TOCSIN_RECORDS", "../shared/records"))


def load_beats(record: str, lead: int, database: str = "mitdb") -> Beats:
    """Run one lead of one record through resampler, detector and observer, and label its beats.

    A detected beat takes the class of the nearest reference beat within 150 ms. A detection with
    no such beat is labelled V within ventricular flutter or fibrillation, whose waves are no beats
    by the standard but must never be taught as anything harmless; elsewhere it is labelled Q, so
    that noise is not taught as any rhythm.
    """
    path = str(records_dir() / database / record)
    signals, fields = wfdb.rdsamp(path)
    annotation = wfdb.rdann(path, "atr")
    rate = float(fields["fs"])
    x = Resampler(rate, 1).push(on_sample_grid(signals[:, [lead]]))[:, 0]
    detected = LeadDetector().push(x)
    views = BeatObserver().push(x, detected)
    is_beat = np.array([s in AAMI for s in annotation.symbol])
    references = annotation.sample[is_beat] / rate
    classes = np.array([LABELS.index(AAMI[s]) for s in annotation.symbol if s in AAMI])
    seconds = np.array([v.r_index for v in views]) / ANALYSIS_RATE_HZ
    after = np.clip(np.searchsorted(references, seconds), 1, len(references) - 1)
    before = after - 1
    nearest = np.where(seconds - references[before] <= references[after] - seconds, before, after)
    matched = np.abs(references[nearest] - seconds) <= MATCH_S
    symbols = np.array(annotation.symbol)
    begins, ends = (annotation.sample[symbols == mark] / rate for mark in "[]")
    in_vf = np.searchsorted(begins, seconds, "right") > np.searchsorted(ends, seconds)
    labels = np.where(
        in_vf, LABELS.index("V"), np.where(matched, classes[nearest], LABELS.index("Q"))
    )
    shapes = np.array([v.shapes for v in views], np.float32).reshape(-1, 2, SHAPE)
    features = np.array([v.features for v in views], np.float32).reshape(-1, len(FEATURES))
    return Beats(record, lead, shapes, features, labels, seconds, in_vf, references, classes)
