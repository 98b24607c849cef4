"""The inputs of the beat classifier: a beat's shape, the patient's typical shape, and the rhythm.

A beat is compared with the patient's own beats, since what is wide or early for one patient is
typical of another (de Chazal & Reilly, IEEE Trans. Biomed. Eng. 53:2535, 2006). The typical shape
is found without labels: beats join the group of beats that they resemble, and the group with the
most recent members is the dominant one (the idea of Hamilton's beat groups, Computers in
Cardiology 29:101, 2002).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

import numpy as np

from tocsin_dsp.arrays import windows
from tocsin_dsp.beats.rr import Intervals
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.detection.qrs import Qrs
from tocsin_dsp.signal import ABSURD_MV, FloatArray

BEFORE = 70  # analysis samples before R in the window, 0.28 s
AFTER = 90  # analysis samples after R in the window, 0.36 s
STEP = 2  # every second sample is kept: 125 Hz
SHAPE = (BEFORE + AFTER) // STEP  # points in the window
CORE = slice(20, 50)  # points of the QRS in the window: R - 0.12 s to R + 0.12 s
FEATURES = {  # name: (centre, gain); the input is (value - centre) * gain, within ±LIMIT
    "rr_s": (0.76, 4.8),
    "rr_to_8": (-0.03, 5.4),
    "rr_to_32": (-0.02, 5.4),
    "rr_to_128": (-0.02, 5.3),
    "rr_to_128_late": (-0.08, 5.0),
    "rr_to_2048": (-0.02, 4.9),
    "rr_to_2048_late": (-0.09, 4.6),
    "rr_to_2048_latest": (-0.16, 4.3),
    "rr_to_mean_32": (-0.02, 5.0),
    "rr_to_mean_128": (-0.02, 5.0),
    "rr_to_mean_2048": (-0.02, 5.0),
    "rr_before": (-0.02, 5.3),
    "rr_second_before": (-0.02, 5.3),
    "rr_third_before": (-0.02, 5.3),
    "rr_to_before": (0.0, 3.9),
    "rr_before_to_second": (0.0, 3.9),
    "run_onset": (0.0, 4.0),
    "run_onset_to_8": (0.0, 4.0),
    "run_length": (0.0, 2.0),
    "rr_to_run_onset": (0.0, 4.0),
    "rr_change_8": (0.13, 5.5),
    "rr_change_32": (0.10, 6.5),
    "rr_change_128": (0.09, 7.2),
    "likeness": (0.88, 3.2),
    "core_likeness": (0.90, 3.0),
    "core_difference": (0.08, 7.3),
    "share": (0.60, 3.1),
    "size": (1.02, 4.1),
    "width_s": (0.037, 60.0),
    "foot_width_s": (0.059, 36.0),
    "core_likeness_before": (0.90, 3.0),
    "core_difference_before": (0.08, 7.3),
    "share_before": (0.60, 3.1),
}
LIMIT = 4.0
_CENTRE, _GAIN = np.array(list(FEATURES.values())).T
_CORE_LIKENESS = list(FEATURES).index("core_likeness")
_CORE_DIFFERENCE = list(FEATURES).index("core_difference")
_WIDTH = list(FEATURES).index("width_s")
_BEFORE = list(FEATURES).index("core_likeness_before")  # first of those of the beat before
_TINY = 1e-300

_GROUPS = 5  # groups of similar beats
_JOIN = 0.90  # correlation with a group from which a beat joins it
_KEPT = 7 * ANALYSIS_RATE_HZ  # samples: search-back finds a beat some seconds back
_FORGET = 0.97  # factor by which the weights of the groups fall with every beat
_LEARN = 1 / 12  # weight of a new member in its group's shape


@dataclass(slots=True, eq=False)
class Asked:
    """What is known of a beat in one lead beyond its shape, filled in as it becomes known.

    `features` are those of its `BeatView`, None before `describe`. `by` is the model that answered,
    None before; `ventricular` is its probability of V.
    """

    features: FloatArray | None = None
    by: object | None = None
    ventricular: float = 0.0


class BeatView(NamedTuple):
    """A beat with the inputs of its classification.

    `shapes` (2, SHAPE) holds the beat and the typical beat, each relative to the median of its
    window and divided by the typical amplitude `scale_mv`; `features` (len(FEATURES),) is scaled as
    stated there; both lie within ±LIMIT. `decided` is the end of the samples needed for it.
    `readable` is False where samples in the window are missing, flat or implausibly large.
    """

    r_index: int
    decided: int
    strength: float
    rr_s: float | None
    scale_mv: float
    readable: bool
    shapes: FloatArray
    features: FloatArray
    asked: Asked | None = None

    @property
    def core_likeness(self) -> float:
        """Correlation of its QRS with the patient's typical QRS."""
        return core_likeness(self.features)


class RelatedBeat(NamedTuple):
    """A beat related to those before it in its lead, the input of `describe`.

    `shapes` as in `BeatView`, not yet limited; `core_before` (2, QRS) is the QRS of both shapes of
    the beat before; `rhythm` holds the features named in `rr.FEATURES`; `likeness` is the
    correlation with the typical shape, `share` that of the beat's group among recent beats, `size`
    its amplitude over the typical one. Copies of a beat share what was `asked` about it.
    """

    r_index: int
    decided: int
    strength: float
    rr_s: float | None
    scale_mv: float
    readable: bool
    shapes: FloatArray
    core_before: FloatArray
    rhythm: tuple[float, ...]
    likeness: float
    share: float
    size: float
    share_before: float
    asked: Asked


class BeatObserver:
    """Relate each beat of one lead, once its window is complete, to the beats before it.

    Latency: `AFTER` samples (0.36 s) after R, or the beat's own detection if that is later.
    """

    def __init__(self) -> None:
        self.reset(0)

    def reset(self, next_index: int) -> None:
        """Reset; the next sample has this analysis index."""
        self._groups = np.zeros((_GROUPS, SHAPE))  # shapes of the groups
        self._weights = [0.0] * _GROUPS  # recent beats in each
        self._powers = [0.0] * _GROUPS  # of the shapes, cached
        self._scales: deque[float] = deque(maxlen=32)
        self._intervals = Intervals()
        self._core_before = np.ones((2, CORE.stop - CORE.start))  # of the last beat
        self._share_before = 1.0  # of the last beat's group
        self.skip_to(next_index)

    def skip_to(self, next_index: int) -> None:
        """Continue after a gap: no window and no RR interval spans it."""
        self._next = next_index
        self._lead = np.full(_KEPT, np.nan)  # before `_next`
        self._waiting: list[Qrs] = []
        self._last_r: int | None = None

    def push(self, x: FloatArray, beats: list[Qrs]) -> list[RelatedBeat]:
        """Accept analysis samples, shape (n,), and the beats that they decided, in order."""
        self._lead = np.concatenate((self._lead[-_KEPT:], x))
        self._next += len(x)
        ready = [(self, 0, beat) for beat in self.complete(beats, self._next)]
        return relate(self._lead[:, None], self._next, ready)

    def complete(self, beats: list[Qrs], stop: int) -> list[Qrs]:
        """Accept beats, in order; return those whose windows end before analysis index `stop`."""
        waiting = self._waiting = self._waiting + beats
        if not waiting:
            return waiting
        ready = [b for b in waiting if b.r_index < stop - AFTER]
        self._waiting = waiting[len(ready) :]
        return ready

    def relate(
        self, beat: Qrs, window: FloatArray, peak: float, readable: bool, shapes: FloatArray
    ) -> RelatedBeat:
        """Relate a beat to those before it; write its shape and the typical one into `shapes`."""
        rr_s = None
        if self._last_r is not None:
            rr_s = (beat.r_index - self._last_r) / ANALYSIS_RATE_HZ
        self._last_r = beat.r_index
        if readable:
            self._scales.append(peak)
        scale = median(self._scales) if self._scales else 1.0
        shape = np.divide(window, scale, out=shapes[0])
        power = float(shape.dot(shape))
        alike = self._groups.dot(shape).tolist()
        powers, weights = self._powers, self._weights
        likeness = [_ratio(a, power * p) for a, p in zip(alike, powers, strict=True)]
        heaviest = max(weights)
        if heaviest > 0:
            dominant = weights.index(heaviest)
            shapes[1], to_typical = self._groups[dominant], likeness[dominant]
        else:
            shapes[1], to_typical = shape, _ratio(power, power * power)
        share = self._join(shape, power, likeness) if readable else 0.0
        rhythm = self._intervals.push(rr_s)
        before, share_before = self._core_before, self._share_before
        self._core_before, self._share_before = shapes[:, CORE], share
        return RelatedBeat(
            beat.r_index,
            max(beat.decided, beat.r_index + AFTER + 1),
            beat.strength,
            rr_s,
            scale,
            readable,
            shapes,
            before,
            rhythm,
            to_typical,
            share,
            peak / scale,
            share_before,
            Asked(),
        )

    def _join(self, shape: FloatArray, power: float, likeness: list[float]) -> float:
        """Add the beat to its group; return the group's share of the recent beats."""
        weights = self._weights = [weight * _FORGET for weight in self._weights]
        closest = max(likeness)
        if closest >= _JOIN:
            joined = likeness.index(closest)
            group = self._groups[joined]
            group += _LEARN * (shape - group)
            weights[joined] += 1.0
            self._powers[joined] = float(group.dot(group))
        else:
            joined = weights.index(min(weights))
            self._groups[joined] = shape
            weights[joined], self._powers[joined] = 1.0, power
        return weights[joined] / sum(weights)


def relate(
    x: FloatArray, stop: int, beats: list[tuple[BeatObserver, int, Qrs]]
) -> list[RelatedBeat]:
    """Relate beats of any leads, each by the observer of its lead, in order.

    Parameters
    ----------
    x : ndarray of float64, shape (n, leads)
        Analysis samples, mV, NaN where missing, as far back as the windows of the beats.
    stop : int
        Analysis index after the last of them.
    beats : list
        The observer, the column and the beat.
    """
    if not beats:
        return []
    at = np.array([beat.r_index for _, _, beat in beats]) + (len(x) - stop - BEFORE)
    shapes_mv = windows(x, SHAPE, STEP)[at, [lead for _, lead, _ in beats]]
    ordered = shapes_mv.copy()
    ordered.sort(axis=1)  # NaN comes last
    readable = np.isfinite(ordered[:, -1])
    shapes_mv -= ((ordered[:, SHAPE // 2 - 1] + ordered[:, SHAPE // 2]) / 2)[:, None]
    if not np.logical_and.reduce(readable):
        shapes_mv[~readable] = 0.0
    heights = np.maximum.reduce(np.abs(shapes_mv[:, CORE]), axis=1)
    readable &= (heights > 0) & (heights < ABSURD_MV)
    # What depends on earlier beats is computed one by one, the rest in one batch.
    shapes = np.empty((len(beats), 2, SHAPE))
    rows = zip(beats, shapes_mv, heights.tolist(), readable.tolist(), shapes, strict=True)
    return [observer.relate(beat, *row) for (observer, _, beat), *row in rows]


def describe(beats: list[RelatedBeat]) -> list[BeatView]:
    """Compute the classifier's inputs for beats of any leads."""
    if not beats:
        return []
    n = len(beats)
    shapes = np.array([beat.shapes for beat in beats])
    cores = np.concatenate((shapes[:, :, CORE], [beat.core_before for beat in beats]))
    core, typical_core = cores[:, 0], cores[:, 1]
    alike = np.add.reduce(core * typical_core, axis=1)
    power = np.add.reduce(core * core, axis=1)
    power *= np.add.reduce(typical_core * typical_core, axis=1)
    alike = np.where(power > 0, alike / np.sqrt(np.maximum(power, _TINY)), 0.0)
    unlike = np.add.reduce(np.abs(core - typical_core), axis=1) / core.shape[1]
    rows = [
        (*b.rhythm, b.likeness, 0, 0, b.share, b.size, 0, 0, 0, 0, b.share_before) for b in beats
    ]
    features = np.array(rows)
    features[:, _CORE_LIKENESS], features[:, _BEFORE] = alike[:n], alike[n:]
    features[:, _CORE_DIFFERENCE], features[:, _BEFORE + 1] = unlike[:n], unlike[n:]
    features[:, _WIDTH : _WIDTH + 2] = _widths(core[:n])
    features = np.minimum(np.maximum((features - _CENTRE) * _GAIN, -LIMIT), LIMIT)
    shapes = np.minimum(np.maximum(shapes, -LIMIT), LIMIT)
    views = []
    for beat, both, row in zip(beats, shapes, features, strict=True):
        asked = beat.asked
        asked.features = row
        views.append(BeatView(*beat[:6], both, row, asked))
    return views


def core_likeness(features: FloatArray) -> float:
    """Return the correlation of a QRS with the patient's typical QRS, from a beat's features."""
    centre, gain = FEATURES["core_likeness"]
    return features.item(_CORE_LIKENESS) / gain + centre


def foot_width_s(features: FloatArray) -> float:
    """Return the seconds for which a QRS is above a quarter of its own peak."""
    centre, gain = FEATURES["foot_width_s"]
    return features.item(_WIDTH + 1) / gain + centre


def _ratio(alike: float, power: float) -> float:
    """Return the normalised correlation of two shapes, 0 where one is flat."""
    return alike / power**0.5 if power > 0 else 0.0


def _widths(core: FloatArray) -> FloatArray:
    """Return the seconds for which each QRS is above a half and a quarter of its own peak."""
    core = np.abs(core)
    peak = np.maximum.reduce(core, axis=1)[:, None]
    widths = np.empty((len(core), 2))
    for i, share in enumerate((0.5, 0.25)):
        widths[:, i] = np.add.reduce(core > share * peak, axis=1)
    return widths * (STEP / ANALYSIS_RATE_HZ)
