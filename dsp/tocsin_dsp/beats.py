"""What a classifier is told of a beat: its shape, the patient's usual shape, and the rhythm.

A beat is compared with the patient's own beats, since what is wide or early for one patient is
usual for another (de Chazal & Reilly, IEEE Trans. Biomed. Eng. 53:2535, 2006). The usual shape is
learnt without labels: beats join the group of beats that they resemble, and the group with the
most recent members is the dominant one (the idea of Hamilton's beat groups, Computers in
Cardiology 29:101, 2002).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

import numpy as np

from tocsin_dsp.qrs import Qrs
from tocsin_dsp.quality import ABSURD_MV
from tocsin_dsp.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.rr import Intervals
from tocsin_dsp.signal import FloatArray

BEFORE, AFTER, STEP = 70, 90, 2  # analysis samples around R; every second one is kept (125 Hz)
WINDOW = np.arange(-BEFORE, AFTER, STEP)
SHAPE = len(WINDOW)  # 80 points, R - 0.28 s to R + 0.36 s
CORE = slice(20, 50)  # the QRS within the window: R - 0.12 s to R + 0.12 s
FEATURES = {  # name: (centre, gain); a feature is given as (value - centre) * gain, within ±LIMIT
    "rr_s": (0.76, 4.8),
    "rr_to_8": (-0.03, 5.4),
    "rr_to_32": (-0.02, 5.4),
    "rr_to_128": (-0.02, 5.3),
    "rr_to_128_late": (-0.08, 5.0),
    "rr_to_2048": (-0.02, 4.9),
    "rr_to_2048_late": (-0.09, 4.6),
    "rr_to_2048_latest": (-0.16, 4.3),
    "rr_before": (-0.02, 5.3),
    "rr_second_before": (-0.02, 5.3),
    "rr_third_before": (-0.02, 5.3),
    "rr_to_before": (0.0, 3.9),
    "rr_before_to_second": (0.0, 3.9),
    "restless_8": (0.13, 5.5),
    "restless_32": (0.10, 6.5),
    "restless_128": (0.09, 7.2),
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
_SHARE = list(FEATURES).index("share")
_BEFORE = list(FEATURES).index("core_likeness_before")  # from here on, of the beat before
_TINY = 1e-300

_GROUPS = 5
_JOIN = 0.90  # a beat this like a group joins it
_FORGET = 0.97  # a group's weight fades so much with every beat
_LEARN = 1 / 12  # a group's shape follows its members so fast


class BeatView(NamedTuple):
    """A beat with all that its classification rests on.

    `shapes` (2, SHAPE) holds the beat and the usual beat, around each window's median and divided
    by the usual beat's amplitude `scale_mv`; `features` (len(FEATURES),) is scaled as stated there;
    both lie within ±LIMIT. `decided` is the analysis sample that completed the view. `readable` is
    False where samples in the window are missing, or where they are flat or absurd.
    """

    r_index: int
    decided: int
    strength: float
    rr_s: float | None
    scale_mv: float
    readable: bool
    shapes: FloatArray
    features: FloatArray

    @property
    def core_likeness(self) -> float:
        """How like its QRS is to the patient's usual one: 1 is the same, 0 and less another."""
        centre, gain = FEATURES["core_likeness"]
        return self.features.item(_CORE_LIKENESS) / gain + centre


@dataclass(slots=True, eq=False)
class _Group:
    shape: FloatArray
    weight: float
    power: float  # of the shape: known once, asked for every beat


class _Known(NamedTuple):
    """What the beats before tell of a beat; features in their own units."""

    rr_s: float | None
    scale_mv: float
    features: tuple[float, ...]


class BeatObserver:
    """Follow the beats of one lead and describe each as soon as its window is complete.

    Latency: `AFTER` samples (0.36 s) after R, or the beat's own detection if that is later.
    """

    def __init__(self) -> None:
        self.reset(0)

    def reset(self, next_index: int) -> None:
        """Forget the patient; the next sample has this analysis index."""
        self._groups: list[_Group] = []
        self._scales: deque[float] = deque(maxlen=32)
        self._intervals = Intervals()
        self._before = np.array(
            (1.0, 0.0, 1.0)
        )  # core likeness, difference, share of the last beat
        self.skip_to(next_index)

    def skip_to(self, next_index: int) -> None:
        """Go on after a gap: no window and no RR interval spans it."""
        self._next = next_index
        self._lead = np.empty(0)
        self._waiting: list[Qrs] = []
        self._last_r: int | None = None

    def push(self, x: FloatArray, beats: list[Qrs]) -> list[BeatView]:
        """Take analysis samples, shape (n,), and the beats that they decided, in order."""
        self._lead = np.concatenate((self._lead, x))
        self._next += len(x)
        self._waiting += beats
        complete = self._next - AFTER
        ready = [b for b in self._waiting if b.r_index < complete]
        if ready:
            self._waiting = self._waiting[len(ready) :]
        start = self._next - len(self._lead)
        views = self._describe(ready, start) if ready else []
        # A search-back may yet find a beat some seconds back: keep what its window needs.
        keep = 4 * ANALYSIS_RATE_HZ
        if len(self._lead) > 2 * keep:
            self._lead = self._lead[-keep:]
        return views

    def _describe(self, beats: list[Qrs], start: int) -> list[BeatView]:
        at = np.array([b.r_index for b in beats])[:, None] + WINDOW - start
        inside = (at >= 0) & (at < len(self._lead))
        windows = np.where(inside, self._lead[np.clip(at, 0, len(self._lead) - 1)], np.nan)
        readable = np.isfinite(windows.sum(axis=1))
        windows = np.nan_to_num(windows)
        windows -= np.median(windows, axis=1, keepdims=True)
        heights = np.abs(windows[:, CORE]).max(axis=1)
        readable &= (heights > 0) & (heights < ABSURD_MV)
        peaks = heights.tolist()
        # What depends on the beats before is found one by one, the rest of all together.
        shapes = np.empty((len(beats), 2, SHAPE))
        known = [
            self._follow(*row)
            for row in zip(beats, windows, peaks, readable.tolist(), shapes, strict=True)
        ]
        core, usual_core = shapes[:, 0, CORE].copy(), shapes[:, 1, CORE].copy()
        alike = (core * usual_core).sum(axis=1)
        power = (core * core).sum(axis=1) * (usual_core * usual_core).sum(axis=1)
        features = np.array([k.features for k in known])
        features[:, _CORE_LIKENESS] = np.where(
            power > 0, alike / np.sqrt(np.maximum(power, _TINY)), 0
        )
        features[:, _CORE_DIFFERENCE] = np.abs(core - usual_core).sum(axis=1) / core.shape[1]
        features[:, _SHARE + 2 : _BEFORE] = _widths(windows)
        shape = features[:, (_CORE_LIKENESS, _CORE_DIFFERENCE, _SHARE)]
        features[0, _BEFORE:], features[1:, _BEFORE:] = self._before, shape[:-1]
        self._before = shape[-1]
        features = np.minimum(np.maximum((features - _CENTRE) * _GAIN, -LIMIT), LIMIT)
        shapes = np.minimum(np.maximum(shapes, -LIMIT), LIMIT)
        return [
            BeatView(
                beat.r_index,
                max(beat.decided, beat.r_index + AFTER + 1),
                beat.strength,
                k.rr_s,
                k.scale_mv,
                ok,
                both,
                row,
            )
            for beat, k, ok, both, row in zip(
                beats, known, readable.tolist(), shapes, features, strict=True
            )
        ]

    def _follow(
        self, beat: Qrs, window: FloatArray, peak: float, readable: bool, shapes: FloatArray
    ) -> _Known:
        """Relate a beat to those before it; put its shape and the usual one into `shapes`."""
        rr_s = None
        if self._last_r is not None:
            rr_s = (beat.r_index - self._last_r) / ANALYSIS_RATE_HZ
        self._last_r = beat.r_index
        if readable and peak > 0:
            self._scales.append(peak)
        scale = median(self._scales) if self._scales else 1.0
        shape = np.divide(window, scale, out=shapes[0])
        power = float(shape @ shape)
        likeness = [_ratio(float(shape @ g.shape), power * g.power) for g in self._groups]
        dominant = self._dominant()
        if dominant is None:
            shapes[1], usual = shape, _ratio(power, power * power)
        else:
            shapes[1], usual = self._groups[dominant].shape, likeness[dominant]
        share = self._join(shape.copy(), power, likeness) if readable else 0.0
        intervals = self._intervals.push(rr_s)
        # What is left at zero is found for all beats together.
        features = (*intervals, usual, 0.0, 0.0, share, peak / scale, 0.0, 0.0, 0.0, 0.0, 0.0)
        return _Known(rr_s, scale, features)

    def _dominant(self) -> int | None:
        weights = [group.weight for group in self._groups]
        return weights.index(max(weights)) if weights else None

    def _join(self, shape: FloatArray, power: float, likeness: list[float]) -> float:
        """Let the beat join its group; return the share that the group then has of all."""
        groups = self._groups
        for group in groups:
            group.weight *= _FORGET
        closest = max(likeness, default=-1.0)
        if closest >= _JOIN:
            best = groups[likeness.index(closest)]
            best.shape = best.shape + _LEARN * (shape - best.shape)
            best.weight += 1.0
            best.power = float(best.shape @ best.shape)
        else:
            if len(groups) == _GROUPS:
                groups.remove(min(groups, key=lambda g: g.weight))
            best = _Group(shape, 1.0, power)
            groups.append(best)
        return best.weight / sum([g.weight for g in groups])


def _ratio(alike: float, power: float) -> float:
    """Return the normalised correlation of two shapes, 0 where one is flat."""
    return alike / power**0.5 if power > 0 else 0.0


def _widths(windows: FloatArray) -> FloatArray:
    """Return the seconds that each QRS spends above a half and a quarter of its own peak."""
    core = np.abs(windows[:, CORE])
    peak = core.max(axis=1)[:, None]
    counts = [(core > share * peak).sum(axis=1) for share in (0.5, 0.25)]
    return np.column_stack(counts) * (STEP / ANALYSIS_RATE_HZ)
