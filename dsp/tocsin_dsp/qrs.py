"""QRS detection in one lead: envelope, candidates, adaptive thresholds, search-back.

The QRS is where the 8-20 Hz energy is (Thakor et al., IEEE Trans. Biomed. Eng. 31:702, 1984). Its
rectified, smoothed envelope has a local maximum a beat; whether a maximum is a beat is decided
against the recent beats and the recent non-beats, as Pan & Tompkins (IEEE Trans. Biomed. Eng.
32:230, 1985) and Hamilton (Computers in Cardiology 29:101, 2002) do, with their search-back for a
beat that is overdue and their slope test for a T wave. Everything is relative to the lead's own
levels: the detector knows no millivolts, and grows used to a faint signal as to a strong one.

The filtering is vectorised over whatever came; the decisions, a few a second, are made one by one
in stream time, each at a stated sample, so that they do not depend on how the samples came.

Latency: a candidate is known `CONFIRM` samples after its envelope peak, in all 0.34 s after the
R peak beyond the resampler's 0.07 s.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

import numpy as np

from tocsin_dsp.fir import StreamingFir, bandpass
from tocsin_dsp.fixed import on_coefficient_grid
from tocsin_dsp.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.signal import FloatArray

_RATE = ANALYSIS_RATE_HZ
BAND = bandpass(8 / _RATE, 20 / _RATE, 31)
SMOOTH = on_coefficient_grid(np.hanning(27)[1:-1] / np.hanning(27).sum(), total=1.0)
BAND_DELAY, SMOOTH_DELAY = (len(BAND) - 1) // 2, (len(SMOOTH) - 1) // 2
REACH = 18  # 72 ms: as far from the envelope's peak the R peak is sought
CONFIRM = 55  # 220 ms: a candidate is the highest envelope peak so far on both sides
KNOWN = CONFIRM + 2  # so many samples from its peak on a candidate has been judged
HISTORY = CONFIRM + BAND_DELAY + SMOOTH_DELAY + REACH + 8  # samples kept behind the newest


@dataclass(frozen=True, slots=True)
class QrsDesign:
    """The detector's constants; times in analysis samples (4 ms), levels relative.

    Chosen on the training records of the inter-patient split of mitdb (DS1) alone.
    """

    learning: int = 2 * _RATE  # the first levels come from so much signal
    refractory: int = 50  # no two beats within 200 ms
    t_wave: int = 90  # within 360 ms of a beat a lazy slope is its T wave
    t_wave_slope: float = 0.5  # "lazy": below this share of the beat's own slope
    threshold: float = 0.3  # between the level of the non-beats (0) and of the beats (1)
    overdue_rr: float = 1.5  # after so many usual RR intervals a beat is overdue
    overdue_share: float = 0.5  # and a candidate above this share of the threshold is one
    longest_overdue: int = int(1.66 * _RATE)  # however slow the rhythm was
    beats: int = 8  # levels are medians over so many
    surge: float = 3.0  # one artefact lifts the beat level no further than this factor
    relearn: int = 3 * _RATE  # after so long without a beat the beat level halves,
    relearn_every: int = _RATE  # and again every second,
    relearn_floor: float = 3.0  # down to this many times the level of the non-beats,
    relearn_least: float = 2.0**-10  # and to this share of what it was: a silence may last for days


class Qrs(NamedTuple):
    """A detected QRS complex; indices are analysis samples.

    It is known as soon as the `decided` first samples are: `decided` is an end, not a last index.
    """

    r_index: int
    decided: int
    strength: float  # envelope level, 1 for the usual beat
    level_mv: float  # the same in mV


class _Candidate(NamedTuple):
    peak: int  # envelope index
    level: float
    slope: float
    r_index: int


@dataclass(slots=True)
class _Levels:
    """What the decisions remember."""

    beats: deque[float]
    others: deque[float]
    rr: deque[int]
    pending: deque[_Candidate] = field(default_factory=lambda: deque(maxlen=64))
    last_peak: int | None = None
    last_slope: float = 0.0
    overdue_at: int | None = None
    relearn_at: int | None = None
    relearning: bool = False  # no beat since the levels were last halved
    before: float = 0.0  # the usual beat's level before they were
    learnt: bool = False


class LeadDetector:
    """Detect QRS complexes in one lead.

    Parameters
    ----------
    design : QrsDesign, optional
    """

    def __init__(self, design: QrsDesign | None = None) -> None:
        self.design = design or QrsDesign()
        self._band = StreamingFir(BAND)
        self._smooth = StreamingFir(SMOOTH)
        self.reset(0)

    def reset(self, next_index: int) -> None:
        """Forget everything; the next sample has this analysis index."""
        d = self.design
        self._state = _Levels(deque(maxlen=d.beats), deque(maxlen=d.beats), deque(maxlen=d.beats))
        self.skip_to(next_index)

    def skip_to(self, next_index: int) -> None:
        """Go on after a gap: the filters start anew, the levels are kept, no RR spans the gap."""
        self._band.reset()
        self._smooth.reset()
        if not self._state.learnt:
            self._started = next_index
        self._next = next_index
        self._lead = np.full(HISTORY, np.nan)  # the lead behind `_next`
        self._energy = np.full(HISTORY, np.nan)  # its rectified band behind `_next`
        self._envelope = np.full(2, np.nan)  # the envelope behind `_next`
        self._peaks = np.empty(0, np.int64)  # local maxima not yet out of reach
        self._heights = np.empty(0)
        self._confirmed = next_index - 1  # candidates up to here have been judged
        self._state.last_peak = None
        self._state.pending.clear()
        self._state.overdue_at = None
        self._state.relearn_at = next_index + KNOWN + self.design.relearn

    @property
    def clarity(self) -> float:
        """How far the beats stand out of the rest: the ratio of their levels, 0 if unknown."""
        state = self._state
        if not state.beats:
            return 0.0
        other = median(state.others) if state.others else 0.0
        return median(state.beats) / other if other > 0 else np.inf

    def push(self, x: FloatArray) -> list[Qrs]:
        """Take analysis samples of this lead, shape (n,), mV; return the beats decided by them."""
        if len(x) == 0:
            return []
        candidates = self._candidates(x)
        found: list[Qrs] = []
        for candidate in candidates:
            self._pass_time(candidate.peak + KNOWN, found)
            self._judge(candidate, found)
        self._pass_time(self._next, found)
        return found

    def _candidates(self, x: FloatArray) -> list[_Candidate]:
        """Filter, find the local maxima, and return those now known to dominate."""
        energy = np.abs(self._band.push(x))
        e = np.concatenate((self._envelope, self._smooth.push(energy)))
        self._envelope = e[-2:]
        rising = np.flatnonzero((e[1:-1] > e[:-2]) & (e[1:-1] >= e[2:])) + 1
        peaks = np.concatenate((self._peaks, rising + (self._next - 2)))
        heights = np.concatenate((self._heights, e[rising]))
        lead = np.concatenate((self._lead, x))
        energy = np.concatenate((self._energy, energy))
        start = self._next - HISTORY
        self._next += len(x)
        self._lead, self._energy = lead[-HISTORY:], energy[-HISTORY:]

        dominant = np.ones(len(peaks), bool)
        for k in range(1, len(peaks)):
            rivals = peaks[k:] - peaks[:-k] <= CONFIRM
            if not rivals.any():
                break
            later_higher = heights[k:] > heights[:-k]
            dominant[:-k] &= ~(rivals & later_higher)
            dominant[k:] &= ~(rivals & ~later_higher)
        # The newest known envelope sample is next - 1; a maximum needs one sample after it.
        last = self._next - 2 - CONFIRM
        ripe = dominant & (peaks > self._confirmed) & (peaks <= last)
        at, level = peaks[ripe], heights[ripe]
        keep = peaks > last - CONFIRM
        self._peaks, self._heights = peaks[keep], heights[keep]
        self._confirmed = max(self._confirmed, last)
        if len(at) == 0:
            return []
        # The R peak is where the band's energy is highest near the envelope's peak; the slope is
        # the lead's steepest there. What is missing there counts as nothing.
        near = (at - start)[:, None] + np.arange(-REACH, REACH + 1)
        r = np.fmax(energy, 0)[near - SMOOTH_DELAY].argmax(axis=1)
        r += at - REACH - BAND_DELAY - SMOOTH_DELAY
        steps = np.fmax(np.abs(np.diff(lead)), 0)[near - BAND_DELAY - SMOOTH_DELAY - 1]
        columns = (at, level, steps.max(axis=1), r)
        return [_Candidate(*c) for c in zip(*(c.tolist() for c in columns), strict=True)]

    def _threshold(self) -> float:
        state = self._state
        other = median(state.others) if state.others else 0.0
        return other + self.design.threshold * (median(state.beats) - other)

    def _pass_time(self, now: int, found: list[Qrs]) -> None:
        """Do what falls due by `now`: end of learning, search-back, re-learning."""
        design, state = self.design, self._state
        if not state.learnt:
            ready = self._started + design.learning + KNOWN
            if now < ready or not state.pending:
                return
            self._learn(max(ready, state.pending[-1].peak + KNOWN), found)
        while True:
            due = min(
                (t for t in (state.overdue_at, state.relearn_at) if t is not None), default=now
            )
            if due >= now:
                return
            if due == state.overdue_at:
                state.overdue_at = None
                self._search_back(due, found)
            else:
                state.relearn_at = due + design.relearn_every
                if not state.relearning:
                    state.relearning, state.before = True, median(state.beats)
                other = median(state.others) if state.others else 0.0
                floor = max(design.relearn_floor * other, design.relearn_least * state.before)
                halved = [max(level / 2, min(level, floor)) for level in state.beats]
                state.beats = deque(halved, maxlen=design.beats)

    def _learn(self, now: int, found: list[Qrs]) -> None:
        """Set the first levels from the first seconds and judge what was seen in them."""
        state = self._state
        state.learnt = True
        first = list(state.pending)
        state.pending.clear()
        state.beats.append(0.8 * max(c.level for c in first))
        state.relearn_at = now + self.design.relearn
        for candidate in first:
            self._judge(candidate, found, now)

    def _judge(self, candidate: _Candidate, found: list[Qrs], now: int | None = None) -> None:
        design, state = self.design, self._state
        decided = candidate.peak + KNOWN if now is None else now
        if not state.learnt:
            state.pending.append(candidate)
            return
        since = None if state.last_peak is None else candidate.peak - state.last_peak
        threshold = self._threshold()
        overdue = state.last_peak is not None and state.overdue_at is None
        if overdue:
            threshold *= design.overdue_share
        is_t_wave = (
            since is not None
            and since < design.t_wave
            and candidate.slope < design.t_wave_slope * state.last_slope
        )
        too_soon = since is not None and since <= design.refractory
        if candidate.level > threshold and not (too_soon or is_t_wave):
            self._accept(candidate, decided, found)
        else:
            state.others.append(candidate.level)
            state.pending.append(candidate)

    def _search_back(self, now: int, found: list[Qrs]) -> None:
        """Take the best of the candidates passed over since the last beat, if it is fair."""
        design, state = self.design, self._state
        if state.last_peak is None:
            return
        earliest = state.last_peak + design.t_wave
        fair = [c for c in state.pending if c.peak > earliest and c.peak + KNOWN <= now]
        best = max(fair, key=lambda c: c.level, default=None)
        if best is not None and best.level > design.overdue_share * self._threshold():
            later = [c for c in state.pending if c.peak > best.peak]
            self._accept(best, now + 1, found)
            state.pending.extend(later)

    def _accept(self, candidate: _Candidate, decided: int, found: list[Qrs]) -> None:
        design, state = self.design, self._state
        if state.last_peak is not None and candidate.peak - state.last_peak < 3 * _RATE:
            state.rr.append(candidate.peak - state.last_peak)
        usual = median(state.rr) if state.rr else 0.8 * _RATE
        usual_level = median(state.beats)
        highest = design.surge * usual_level
        if candidate.level > highest and state.relearning:
            state.beats.clear()  # what was learnt in the silence was not the patient
            highest = design.surge * state.before  # and nor is an electrode that comes back
        state.relearning = False
        state.beats.append(min(candidate.level, highest))
        state.last_peak, state.last_slope = candidate.peak, candidate.slope
        wait = min(int(design.overdue_rr * usual), design.longest_overdue)
        state.overdue_at = max(candidate.peak + wait + KNOWN, decided)
        state.relearn_at = candidate.peak + KNOWN + design.relearn
        state.pending.clear()
        strength = candidate.level / usual_level
        found.append(Qrs(candidate.r_index, decided, strength, candidate.level))
