"""QRS detection in one lead: envelope, candidates, adaptive thresholds, search-back.

The QRS is where the 8-20 Hz energy is (Thakor et al., IEEE Trans. Biomed. Eng. 31:702, 1984). Its
rectified, smoothed envelope has a local maximum a beat; whether a maximum is a beat is decided
against the recent beats and the recent non-beats, as Pan & Tompkins (IEEE Trans. Biomed. Eng.
32:230, 1985) and Hamilton (Computers in Cardiology 29:101, 2002) do, with their search-back for a
beat that is overdue and their slope test for a T wave. In noise, where level tells little, the
patient's own shapes and rhythm decide (`tocsin_dsp.support`). Everything is relative to the lead's
own levels: the detector knows no millivolts, and grows used to a faint signal as to a strong one.

The filtering is vectorised over whatever came; the decisions, a few a second, are made one by one
in stream time, each at a stated sample, so that they do not depend on how the samples came.

Latency: a candidate is known `CONFIRM` samples after its envelope peak, in all 0.34 s after the
R peak beyond the resampler's 0.07 s; with support, 1 s after it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from tocsin_dsp.fir import StreamingFir, bandpass
from tocsin_dsp.fixed import on_coefficient_grid
from tocsin_dsp.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.shapes import REACH as SHAPE_REACH
from tocsin_dsp.shapes import SCOPE, Candidate
from tocsin_dsp.signal import FloatArray
from tocsin_dsp.support import Support, SupportDesign

_RATE = ANALYSIS_RATE_HZ
BAND = bandpass(8 / _RATE, 20 / _RATE, 31)
SMOOTH = on_coefficient_grid(np.hanning(27)[1:-1] / np.hanning(27).sum(), total=1.0)
BAND_DELAY, SMOOTH_DELAY = (len(BAND) - 1) // 2, (len(SMOOTH) - 1) // 2
REACH = 18  # 72 ms: as far from the envelope's peak the R peak is sought
CONFIRM = 55  # 220 ms: a candidate is the highest envelope peak so far on both sides
KNOWN = CONFIRM + 2  # so many samples from its peak on a candidate has been judged
CLOSE, PEER = 45, 1.15  # beyond 180 ms only a rival higher by this counts: 300 bpm is possible
LOCAL = 20  # 80 ms: in noise a candidate is the highest envelope peak so far on both sides
DWARFED = 0.2  # and no smaller a share of any within the time in which a beat is confirmed
DELAY = BAND_DELAY + SMOOTH_DELAY
_NEARBY = np.arange(2 * CONFIRM + 1)  # a candidate and all that may be its rivals, in stretches:
_BOUNDS = [0, CONFIRM - CLOSE, CONFIRM - LOCAL, CONFIRM, CONFIRM + 1, CONFIRM + LOCAL + 1]
_BOUNDS += [CONFIRM + CLOSE + 1]
HISTORY = KNOWN + DELAY + SCOPE + 8  # samples kept behind the newest


@dataclass(frozen=True, slots=True)
class QrsDesign:
    """The detector's constants; times in analysis samples (4 ms), levels relative.

    Chosen on the training records of the inter-patient split of mitdb (DS1) alone.
    """

    learning: int = 2 * _RATE  # the first levels come from so much signal
    refractory: int = 45  # no two beats within 180 ms
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


@dataclass(slots=True)
class _Levels:
    """What the decisions remember."""

    beats: deque[float]
    others: deque[float]
    rr: deque[int]
    pending: deque[Candidate] = field(default_factory=lambda: deque(maxlen=64))
    last_peak: int | None = None
    last_r: int = 0
    last_slope: float = 0.0
    overdue_at: int | None = None
    relearn_at: int = 0
    beat: float = 0.0  # the usual beat's level
    other: float = 0.0  # the usual non-beat's
    relearning: bool = False  # no beat since the levels were last halved
    before: float = 0.0  # the usual beat's level before they were
    learnt: bool = False


class LeadDetector:
    """Detect QRS complexes in one lead.

    Parameters
    ----------
    design : QrsDesign, optional
    support : SupportDesign, optional
    """

    def __init__(
        self, design: QrsDesign | None = None, support: SupportDesign | None = None
    ) -> None:
        self.design = design or QrsDesign()
        self._support_design = support
        self._band = StreamingFir(BAND)
        self._smooth = StreamingFir(SMOOTH)
        self.reset(0)

    def reset(self, next_index: int) -> None:
        """Forget everything; the next sample has this analysis index."""
        d = self.design
        self._support = Support(self._support_design)
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
        self._envelope = np.full(2 * CONFIRM + 2, np.nan)  # the envelope behind `_next`
        self._weighed_at = next_index
        self._state.last_peak = None
        self._state.pending.clear()
        self._state.overdue_at = None
        self._state.relearn_at = next_index + KNOWN + self.design.relearn
        self._support.skip_to(next_index)

    def push(self, x: FloatArray) -> list[Qrs]:
        """Take analysis samples of this lead, shape (n,), mV; return the beats decided by them."""
        if len(x) == 0:
            return []
        candidates = self._candidates(x)
        found: list[Qrs] = []
        for candidate in candidates:
            self._pass_time(candidate.peak + KNOWN, found)
            if self._support.listens:
                self._weigh(candidate, found)
            if candidate.dominant and not self._support.decides:
                self._judge(candidate, found)
        self._pass_time(self._next, found)
        return found

    def _around(self, index: int, reach: int) -> FloatArray:
        """Return the lead around an index that lies no further back than `HISTORY` allows."""
        at = index - self._start - reach
        return self._known[at : at + 2 * reach + 1]

    def _weigh(self, candidate: Candidate, found: list[Qrs]) -> None:
        """Weigh a candidate in a restless lead; who decides may change with it."""
        support, state = self._support, self._state
        centre = candidate.peak - DELAY
        support.weigh(candidate, centre, self._around(centre, SCOPE))
        self._weighed_at = candidate.peak + KNOWN  # what it changes is not known before
        if support.wants_to_decide and not support.decides and state.last_peak is not None:
            support.take_over(state.last_r, state.last_peak)
        elif support.decides and not support.wants_to_decide:
            self._decide_again(candidate.peak + KNOWN, found)

    def _decide_again(self, now: int, found: list[Qrs]) -> None:
        """Tell what the support still holds, and decide by level again."""
        design, state = self.design, self._state
        while self._support.due is not None:
            self._tell(now, found)
        last = self._support.hand_back()
        state.last_peak, state.last_r, state.last_slope = last.peak, last.r_index, 0.0
        state.pending.clear()
        state.overdue_at = max(last.peak + self._patience() + KNOWN, now)
        state.relearn_at = now + design.relearn

    def _tell(self, decided: int, found: list[Qrs]) -> None:
        beat = self._support.tell()
        found.append(Qrs(beat.r_index, decided, beat.strength, beat.level))

    def _candidates(self, x: FloatArray) -> list[Candidate]:
        """Filter, find the local maxima, and return those now known to dominate."""
        energy = np.abs(self._band.push(x))
        envelope = self._smooth.push(energy)
        self._support.hear(envelope)
        lead = np.concatenate((self._lead, x))
        energy = np.concatenate((self._energy, energy))
        e = np.concatenate((self._envelope, envelope))
        start = self._next - HISTORY
        self._lead, self._energy, self._envelope = lead[len(x) :], energy[len(x) :], e[len(x) :]
        self._start, self._known = start, lead
        self._next += len(x)

        # All are judged that now have CONFIRM samples and one more on their right: those on their
        # left are kept for that. What is missing is no maximum and no rival.
        first = self._next - len(x) - 1 - CONFIRM
        inner = e[1:-1]
        is_peak = (inner > e[:-2]) & (inner >= e[2:])
        ripe = np.flatnonzero(is_peak[CONFIRM : len(e) - 2 - CONFIRM])
        if len(ripe) == 0:
            return []
        peaks = np.where(is_peak, inner, 0.0)
        near = np.maximum.reduceat(peaks[ripe[:, None] + _NEARBY], _BOUNDS, axis=1)
        earliest, earlier, before, level, after, later, latest = near.T
        before_close, after_close = np.maximum(earlier, before), np.maximum(after, later)
        rival = np.maximum(np.maximum(earliest, latest), np.maximum(before_close, after_close))
        dominant = (before_close < level) & (after_close <= level) & (rival <= PEER * level)
        local = (before < level) & (after <= level) & (level >= DWARFED * rival)
        at, level, dominant = ripe[local] + first, level[local], dominant[local]
        # The R peak is where the band's energy is highest near the envelope's peak; the slope is
        # the lead's steepest there. What is missing there counts as nothing.
        around = (at[dominant] - start)[:, None] + np.arange(-REACH, REACH + 1)
        r, slope = at.copy(), np.zeros(len(at))
        r[dominant] += np.fmax(energy, 0)[around - SMOOTH_DELAY].argmax(axis=1) - REACH
        slope[dominant] = np.fmax(np.abs(np.diff(lead)), 0)[around - DELAY - 1].max(axis=1)
        columns = (at, level, dominant, slope, r - DELAY)
        return [Candidate(*c) for c in zip(*(c.tolist() for c in columns), strict=True)]

    def _threshold(self) -> float:
        state = self._state
        return state.other + self.design.threshold * (state.beat - state.other)

    def _pass_time(self, now: int, found: list[Qrs]) -> None:
        """Do in order what falls due by `now`."""
        support, state = self._support, self._state
        if state.learnt and min(state.relearn_at, state.overdue_at or now) >= now:
            support.skip_quiet(now)  # nothing can fall due between
        while (judged := support.next_hop) is not None and judged <= now:
            self._fall_due(judged, found)
            support.take_hop()
            if support.decides and not support.listens:
                self._decide_again(judged, found)
        self._fall_due(now, found)

    def _fall_due(self, now: int, found: list[Qrs]) -> None:
        """Tell supported beats, end the learning, search back, re-learn."""
        design, state, support = self.design, self._state, self._support
        while support.decides:
            due = support.due
            if due is None and support.silent_at < now:
                self._decide_again(max(support.silent_at + 1, self._weighed_at), found)
            elif due is not None and due < now:
                self._tell(max(due + 1, self._weighed_at), found)
            else:
                return
        if not state.learnt:
            ready = self._started + design.learning + KNOWN
            if now < ready or not state.pending:
                return
            self._learn(max(ready, state.pending[-1].peak + KNOWN), found)
        while True:
            overdue, relearn = state.overdue_at, state.relearn_at
            if overdue is not None and overdue < min(now, relearn + 1):
                state.overdue_at = None
                self._search_back(overdue, found)
            elif relearn < now:
                state.relearn_at = relearn + design.relearn_every
                if not state.relearning:
                    state.relearning, state.before = True, state.beat
                floor = max(design.relearn_floor * state.other, design.relearn_least * state.before)
                halved = [max(level / 2, min(level, floor)) for level in state.beats]
                state.beats = deque(halved, maxlen=design.beats)
                state.beat = _middle(state.beats)
            else:
                return

    def _learn(self, now: int, found: list[Qrs]) -> None:
        """Set the first levels from the first seconds and judge what was seen in them."""
        state = self._state
        state.learnt = True
        first = list(state.pending)
        state.pending.clear()
        state.beat = 0.8 * max(c.level for c in first)
        state.beats.append(state.beat)
        state.relearn_at = now + self.design.relearn
        for candidate in first:
            self._judge(candidate, found, now)

    def _judge(self, candidate: Candidate, found: list[Qrs], now: int | None = None) -> None:
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
            state.other = _middle(state.others)
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

    def _patience(self) -> int:
        """Return how long after a beat the next one is overdue."""
        usual = _middle(self._state.rr) if self._state.rr else 0.8 * _RATE
        return min(int(self.design.overdue_rr * usual), self.design.longest_overdue)

    def _accept(self, candidate: Candidate, decided: int, found: list[Qrs]) -> None:
        design, state = self.design, self._state
        rr = None if state.last_peak is None else candidate.peak - state.last_peak
        if rr is not None and rr < 3 * _RATE:
            state.rr.append(rr)
        usual_level = state.beat
        highest = design.surge * usual_level
        if candidate.level > highest and state.relearning:
            state.beats.clear()  # what was learnt in the silence was not the patient
            highest = design.surge * state.before  # and nor is an electrode that comes back
        state.relearning = False
        state.beats.append(min(candidate.level, highest))
        state.beat = _middle(state.beats)
        state.last_peak, state.last_slope = candidate.peak, candidate.slope
        state.overdue_at = max(candidate.peak + self._patience() + KNOWN, decided)
        state.relearn_at = candidate.peak + KNOWN + design.relearn
        state.pending.clear()
        stands_out = candidate.level > design.relearn_floor * state.other
        at_once = candidate.r_index - SHAPE_REACH >= decided - HISTORY  # not by search-back
        if stands_out and at_once:
            around = self._around(candidate.r_index, SHAPE_REACH)
            self._support.remember(candidate.level, rr, around)
        state.last_r = candidate.r_index
        strength = candidate.level / usual_level
        found.append(Qrs(candidate.r_index, decided, strength, candidate.level))


def _middle(values: deque[float] | deque[int]) -> float:
    """Return the median; `statistics.median` costs as much again."""
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) / 2
