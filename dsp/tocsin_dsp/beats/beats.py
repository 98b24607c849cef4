"""The inputs of the beat classifier: a beat's shape, the patient's typical shape, and the rhythm.

A beat is compared with the patient's own beats, since what is wide or early for one patient is
typical of another (de Chazal & Reilly, IEEE Trans. Biomed. Eng. 53:2535, 2006). The typical shape
is found without labels: beats join the group of beats that they resemble, and the group with the
most recent members is the dominant one (the idea of Hamilton's beat groups, Computers in
Cardiology 29:101, 2002).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import NamedTuple

import numpy as np

from tocsin_dsp.arrays import median, windows
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
_FOOT_WIDTH = list(FEATURES).index("foot_width_s")
_WIDTH_STEP_S = STEP / ANALYSIS_RATE_HZ

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


class Core(NamedTuple):
    """The QRS of a beat beside that of the typical beat, in units of the typical amplitude.

    `likeness` is their correlation, `difference` the mean of their distance; the widths are the
    seconds for which the QRS is above a half and a quarter of its own peak.
    """

    likeness: float
    difference: float
    width_s: float
    foot_width_s: float


_TYPICAL_CORE = Core(1.0, 0.0, 0.0, 0.0)  # before the first beat


class _Placed(NamedTuple):
    """A beat among the groups of its lead; the fields are those of `RelatedBeat`."""

    shapes: FloatArray
    readable: bool
    scale_mv: float
    size: float
    likeness: float
    share: float


class RelatedBeat(NamedTuple):
    """A beat related to those before it in its lead, the input of `describe`.

    `shapes` as in `BeatView`, not yet limited; `core` is its QRS, `core_before` that of the beat
    before; `rhythm` holds the features named in `rr.FEATURES`; `likeness` is the
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
    core: Core
    core_before: Core
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
        self._core_before = _TYPICAL_CORE  # of the last beat
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

    def place(self, window: FloatArray, peak: float, readable: bool, shapes: FloatArray) -> _Placed:
        """Write the shape of the next beat and the typical one into `shapes`."""
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
        return _Placed(shapes, readable, scale, peak / scale, to_typical, share)

    def relate(self, beat: Qrs, placed: _Placed, core: Core) -> RelatedBeat:
        """Relate the beat that was placed, and whose QRS was measured, to those before it."""
        rr_s = None
        if self._last_r is not None:
            rr_s = (beat.r_index - self._last_r) / ANALYSIS_RATE_HZ
        self._last_r = beat.r_index
        before, share_before = self._core_before, self._share_before
        self._core_before, self._share_before = core, placed.share
        return RelatedBeat(
            beat.r_index,
            max(beat.decided, beat.r_index + AFTER + 1),
            beat.strength,
            rr_s,
            placed.scale_mv,
            placed.readable,
            placed.shapes,
            core,
            before,
            self._intervals.push(rr_s),
            placed.likeness,
            placed.share,
            placed.size,
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
    first = np.array([beat.r_index for _, _, beat in beats]) + (len(x) - stop - BEFORE)
    shapes_mv = windows(x, SHAPE, STEP)[first, [lead for _, lead, _ in beats]]
    ordered = shapes_mv.copy()
    ordered.sort(axis=1)  # NaN comes last
    known = [isfinite(last) for last in ordered[:, -1].tolist()]
    shapes_mv -= ((ordered[:, SHAPE // 2 - 1] + ordered[:, SHAPE // 2]) / 2)[:, None]
    if not all(known):
        shapes_mv[np.logical_not(known)] = 0.0
    heights = np.maximum.reduce(np.abs(shapes_mv[:, CORE]), axis=1).tolist()
    readable = [0 < height < ABSURD_MV for height in heights]
    # What depends on earlier beats is computed one by one, the rest in one batch.
    shapes = np.empty((len(beats), 2, SHAPE))
    placed = [
        observer.place(*row)
        for (observer, _, _), *row in zip(beats, shapes_mv, heights, readable, shapes, strict=True)
    ]
    found = zip(beats, placed, _cores(shapes), strict=True)
    return [observer.relate(beat, at, core) for (observer, _, beat), at, core in found]


def _cores(shapes: FloatArray) -> list[Core]:
    """Measure the QRS of each beat, given (n, 2, SHAPE): its shape and the typical one."""
    core, typical = shapes[:, 0, CORE], shapes[:, 1, CORE]
    terms = np.empty((4, *core.shape))  # summed up in one call, whose cost hardly depends on them
    np.multiply(core, typical, out=terms[0])
    np.multiply(core, core, out=terms[1])
    np.multiply(typical, typical, out=terms[2])
    np.abs(np.subtract(core, typical, out=terms[3]), out=terms[3])
    alike, power, typical_power, unlike = np.add.reduce(terms, axis=2).tolist()
    cores = []
    for i, heights in enumerate(np.abs(core).tolist()):
        of_both = power[i] * typical_power[i]
        likeness = alike[i] / sqrt(of_both) if of_both > 0 else 0.0
        cores.append(Core(likeness, unlike[i] / len(heights), *_widths(heights)))
    return cores


def describe(beats: list[RelatedBeat]) -> list[BeatView]:
    """Compute the classifier's inputs for beats of any leads."""
    if not beats:
        return []
    rows, shapes = [_features(b) for b in beats], np.array([b.shapes for b in beats])
    features = np.minimum(np.maximum((np.array(rows) - _CENTRE) * _GAIN, -LIMIT), LIMIT)
    shapes = np.minimum(np.maximum(shapes, -LIMIT), LIMIT)
    views = []
    for beat, both, row in zip(beats, shapes, features, strict=True):
        asked = beat.asked
        asked.features = row
        views.append(BeatView(*beat[:6], both, row, asked))
    return views


def _features(beat: RelatedBeat) -> list[float]:
    """Return the features as named in `FEATURES`, before they are scaled."""
    core, before = beat.core, beat.core_before
    return [
        *(*beat.rhythm, beat.likeness, core.likeness, core.difference, beat.share, beat.size),
        *(core.width_s, core.foot_width_s, before.likeness, before.difference, beat.share_before),
    ]


def core_likeness(features: FloatArray) -> float:
    """Return the correlation of a QRS with the patient's typical QRS, from a beat's features."""
    centre, gain = FEATURES["core_likeness"]
    return features.item(_CORE_LIKENESS) / gain + centre


def foot_width_s(features: FloatArray) -> float:
    """Return the seconds for which a QRS is above a quarter of its own peak."""
    centre, gain = FEATURES["foot_width_s"]
    return features.item(_FOOT_WIDTH) / gain + centre


def _ratio(alike: float, power: float) -> float:
    """Return the normalised correlation of two shapes, 0 where one is flat."""
    return alike / power**0.5 if power > 0 else 0.0


def _widths(heights: list[float]) -> tuple[float, float]:
    """Return the seconds for which a QRS is above a half and a quarter of its own peak."""
    ordered = sorted(heights)
    above = [len(ordered) - bisect_right(ordered, share * ordered[-1]) for share in (0.5, 0.25)]
    return above[0] * _WIDTH_STEP_S, above[1] * _WIDTH_STEP_S
