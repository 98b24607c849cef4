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
from tocsin_dsp.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.signal import FloatArray

BEFORE, AFTER, STEP = 70, 90, 2  # analysis samples around R; every second one is kept (125 Hz)
WINDOW = np.arange(-BEFORE, AFTER, STEP)
SHAPE = len(WINDOW)  # 80 points, R - 0.28 s to R + 0.36 s
CORE = slice(20, 50)  # the QRS within the window: R - 0.12 s to R + 0.12 s
FEATURES = {  # name: (centre, gain); a feature is given as (value - centre) * gain, within ±LIMIT
    "rr_to_usual": (1.0, 3.0),
    "rr_to_recent": (1.0, 3.0),
    "previous_rr_to_usual": (1.0, 3.0),
    "rr_s": (0.8, 3.0),
    "usual_rr_s": (0.8, 4.0),
    "likeness": (0.9, 4.0),
    "core_likeness": (0.9, 4.0),
    "core_difference": (0.1, 8.0),
    "share": (0.7, 3.0),
    "size": (1.0, 2.0),
    "width_s": (0.08, 30.0),
    "usual_width_s": (0.08, 30.0),
}
LIMIT = 4.0
_CENTRE, _GAIN = np.array(list(FEATURES.values())).T

_GROUPS = 5
_JOIN = 0.90  # a beat this like a group joins it
_FORGET = 0.97  # a group's weight fades so much with every beat
_LEARN = 1 / 12  # a group's shape follows its members so fast


class BeatView(NamedTuple):
    """A beat with all that its classification rests on.

    `shapes` (2, SHAPE) holds the beat and the usual beat, around each window's median and divided
    by the usual beat's amplitude `scale_mv`; `features` (len(FEATURES),) is scaled as stated there;
    both lie within ±LIMIT. `decided` is the analysis sample that completed the view. `readable` is
    False where samples in the window are missing.
    """

    r_index: int
    decided: int
    strength: float
    rr_s: float | None
    scale_mv: float
    readable: bool
    shapes: FloatArray
    features: FloatArray


@dataclass(slots=True, eq=False)
class _Group:
    shape: FloatArray
    weight: float


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
        self._long_rr: deque[float] = deque(maxlen=64)
        self._recent_rr: deque[float] = deque(maxlen=8)
        self._previous_rr = 0.0
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
        peaks = np.abs(windows[:, CORE]).max(axis=1)
        return [
            self._view(beat, window, float(peak), ok)
            for beat, window, peak, ok in zip(beats, windows, peaks, readable.tolist(), strict=True)
        ]

    def _view(self, beat: Qrs, window: FloatArray, peak: float, readable: bool) -> BeatView:
        rr_s = None
        if self._last_r is not None:
            rr_s = (beat.r_index - self._last_r) / ANALYSIS_RATE_HZ
        self._last_r = beat.r_index
        if readable and peak > 0:
            self._scales.append(peak)
        scale = median(self._scales) if self._scales else 1.0
        shape = window / scale
        dominant = self._dominant()
        usual = dominant.shape if dominant else shape
        rhythm = self._rhythm(rr_s)
        width, usual_width = _width(shape), _width(usual)
        features = (
            *rhythm,
            _likeness(shape, usual),
            _likeness(shape[CORE], usual[CORE]),
            float(np.abs(shape[CORE] - usual[CORE]).mean()),
            self._join(shape) if readable else 0.0,
            peak / scale,
            width,
            usual_width,
        )
        decided = max(beat.decided, beat.r_index + AFTER + 1)
        shapes = np.clip((shape, usual), -LIMIT, LIMIT)
        scaled = np.clip((np.array(features) - _CENTRE) * _GAIN, -LIMIT, LIMIT)
        return BeatView(beat.r_index, decided, beat.strength, rr_s, scale, readable, shapes, scaled)

    def _rhythm(self, rr_s: float | None) -> tuple[float, ...]:
        """Relate this RR interval to those before it, then remember it."""
        rr = rr_s if rr_s is not None and rr_s < 3.0 else None
        usual = median(self._long_rr) if self._long_rr else (rr or 0.8)
        recent = sum(self._recent_rr) / len(self._recent_rr) if self._recent_rr else usual
        current = rr if rr is not None else usual
        previous = self._previous_rr or usual
        if rr is not None:
            self._long_rr.append(rr)
            self._recent_rr.append(rr)
            self._previous_rr = rr
        return (current / usual, current / recent, previous / usual, current, usual)

    def _dominant(self) -> _Group | None:
        return max(self._groups, key=lambda g: g.weight, default=None)

    def _join(self, shape: FloatArray) -> float:
        """Let the beat join its group; return the share that the group then has of all."""
        for group in self._groups:
            group.weight *= _FORGET
        best = max(self._groups, key=lambda g: _likeness(shape, g.shape), default=None)
        if best is not None and _likeness(shape, best.shape) >= _JOIN:
            best.shape = best.shape + _LEARN * (shape - best.shape)
            best.weight += 1.0
        else:
            if len(self._groups) == _GROUPS:
                self._groups.remove(min(self._groups, key=lambda g: g.weight))
            best = _Group(shape, 1.0)
            self._groups.append(best)
        return best.weight / sum(g.weight for g in self._groups)


def _likeness(a: FloatArray, b: FloatArray) -> float:
    """Return the normalised correlation of two shapes, 0 where one is flat."""
    power = float(a @ a) * float(b @ b)
    return float(a @ b) / power**0.5 if power > 0 else 0.0


def _width(shape: FloatArray) -> float:
    """Return the seconds that the QRS spends above half of its own peak."""
    core = np.abs(shape[CORE])
    return float(np.count_nonzero(core > 0.5 * core.max())) * STEP / ANALYSIS_RATE_HZ
