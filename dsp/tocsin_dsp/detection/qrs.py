"""QRS detection in one lead: adaptive thresholds and search-back decide which candidates are beats.

A maximum of the envelope (`tocsin_dsp.detection.candidates`) is compared with the levels of the
recent beats and of the recent non-beats, as Pan & Tompkins (IEEE Trans. Biomed. Eng. 32:230, 1985)
and Hamilton (Computers in Cardiology 29:101, 2002) do, with their search-back for an overdue beat
and their slope test for a T wave. The T wave of an atypical beat may be steep; it is recognised by
its small size and by a shape unlike those of the last beats. A candidate with the shape and the
size of one of the last beats is accepted at once; any other has to wait, so that a P wave is not
detected before its QRS. In noise, where the level says little, the patient's own shapes and rhythm
decide (`tocsin_dsp.detection.support`). All thresholds are relative to the lead's own levels: the
detector knows no millivolts and adapts to a faint signal as to a strong one.

The decisions, a few per second, are made one by one in stream time, each at a stated sample, so
that they do not depend on how the samples are cut into blocks.

Latency, beyond the resampler's 0.07 s: a beat that resembles the last ones is reported `EARLY`
samples after its envelope peak, 0.17 s after the R peak; a prominent one `CLOSE` samples after it,
0.30 s after the R peak; any other `CONFIRM`, 0.34 s; with support, 1 s.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from tocsin_dsp.arrays import median
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.detection.candidates import (
    DELAY,
    HISTORY,
    KNOWN,
    CandidateFinder,
    LeadCandidates,
)
from tocsin_dsp.detection.maxima import AFTER_CLOSE, AFTER_CONFIRM, StandingOut
from tocsin_dsp.detection.shapes import REACH as SHAPE_REACH
from tocsin_dsp.detection.shapes import SCOPE, Candidate
from tocsin_dsp.detection.support import FOREVER, Support, SupportDesign
from tocsin_dsp.limits import LONGEST_RR, SHORTEST_RR, TYPICAL_RR_S
from tocsin_dsp.signal import FloatArray

_RATE = ANALYSIS_RATE_HZ


@dataclass(frozen=True, slots=True)
class QrsDesign:
    """The detector's constants; times in analysis samples (4 ms), levels relative.

    Chosen on the training records of the inter-patient split of mitdb (DS1) alone.
    """

    learning: int = 2 * _RATE  # signal from which the first levels come
    refractory: int = SHORTEST_RR  # 180 ms after a beat in which there is no other
    beats: int = 8  # beats, or non-beats, over which levels are medians
    threshold: float = 0.3  # between the level of the non-beats (0) and of the beats (1)
    atypical_threshold: float = 1.2  # times the threshold, for a shape unlike the last beats'
    surge: float = 3.0  # factor beyond which one candidate does not raise the beat level

    t_wave: int = 90  # 360 ms after a beat in which there may be its T wave
    t_wave_slope: float = 0.5  # share of the beat's slope below which it is one
    t_wave_level: float = 0.6  # share of an atypical beat's level below which it is one
    soon: int = 75  # 300 ms, in which few T waves are over and few hearts beat twice
    soon_level: float = 0.75  # share of an atypical beat's level below which it is one, if so soon

    prominent: float = 0.5  # share of the typical level above which `CLOSE` is late enough
    prominent_in_t: float = 0.9  # the same in the time of a T wave
    p_wave_watch: int = 60 * _RATE  # time without such decisions after one was a P wave

    overdue_rr: float = 1.5  # typical RR intervals after which a beat is overdue
    longest_overdue: int = int(1.66 * _RATE)  # greatest time after which a beat is overdue
    overdue_share: float = 0.5  # share of the threshold from which an overdue beat is accepted

    like: float = 0.92  # correlation of steps from which a candidate has the shape of a beat
    smaller: float = 0.6  # smallest size over that beat's
    larger: float = 1.7  # greatest size over that beat's

    relearn: int = 3 * _RATE  # time without a beat after which the beat level is halved
    relearn_every: int = _RATE  # time after which it is halved again
    relearn_floor: float = 3.0  # times the level of the non-beats, its lower limit
    relearn_least: float = 2.0**-10  # of its first value, its lower limit after days of silence


class Qrs(NamedTuple):
    """A detected QRS complex; indices are analysis samples.

    It is known as soon as the first `decided` samples of the stream are: `decided` is an end, not
    the index of a sample.
    """

    r_index: int
    decided: int
    strength: float  # envelope level over the typical level
    level_mv: float  # envelope level


@dataclass(slots=True)
class _State:
    """The state of the decisions; levels in mV, times and indices in analysis samples.

    Reason for its size: it is a table of what the decisions remember, without a method.
    """

    beats: deque[float]  # levels of the last beats
    others: deque[float]  # levels of the last non-beats
    rr: deque[int]
    pending: deque[Candidate] = field(default_factory=lambda: deque(maxlen=64))  # since a beat
    learnt: bool = False  # the first levels are known
    beat: float = 0.0  # typical level of a beat
    other: float = 0.0  # typical level of a non-beat
    threshold: float = 0.0  # between the two
    last_peak: int | None = None  # envelope peak of the last beat
    last_r: int = 0
    last_slope: float = 0.0
    last_level: float = 0.0
    last_atypical: bool = False  # its shape was unlike those of the beats before it
    last_memorable: bool = False  # the support may remember it
    last_rr: int | None = None  # RR interval before it
    last_prominent: int | None = None  # envelope peak of the last prominent candidate
    p_waves_until: int = 0  # prominent candidates before this may be P waves
    overdue_at: int | None = None
    relearn_at: int = 0
    relearning: bool = False  # no beat since the levels were halved
    beat_before: float = 0.0  # typical level of a beat before they were
    shapes: deque[tuple[FloatArray, float]] = field(default_factory=lambda: deque(maxlen=4))
    # steps of the last beats, and their power


class LeadDetector:
    """Detect the QRS complexes of one lead.

    Reason for its size: it is one state machine, in which each decision reads and changes the
    levels, times and shapes of `_State`.

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
        self._finder = CandidateFinder(1)
        self.reset(0)

    def reset(self, next_index: int) -> None:
        """Reset; the next sample has this analysis index."""
        d = self.design
        self._support = Support(self._support_design)
        self._state = _State(deque(maxlen=d.beats), deque(maxlen=d.beats), deque(maxlen=d.beats))
        self.skip_to(next_index)

    def skip_to(self, next_index: int) -> None:
        """Continue after a gap: levels are kept, no RR interval spans the gap."""
        self._finder.skip_to(next_index)
        if not self._state.learnt:
            self._started = next_index
        self._weighed_at = next_index
        self._quiet_until = self._nothing_due_until = -1
        self._state.last_peak = None
        self._state.pending.clear()
        self._state.overdue_at = None
        self._state.relearn_at = next_index + KNOWN + self.design.relearn
        self._support.skip()

    def push(self, x: FloatArray) -> list[Qrs]:
        """Accept analysis samples of this lead, shape (n,), mV; return the beats decided."""
        return self.decide(self._finder.push(x[:, None])[0])

    def decide(self, new: LeadCandidates) -> list[Qrs]:
        """Accept what a `CandidateFinder` found in this lead; return the beats decided."""
        found: list[Qrs] = []
        support, state = self._support, self._state
        self._start, self._lead = new.start, new.lead
        if new.levels:  # they may be due
            support.add_levels(new.levels)
            self._quiet_until = self._nothing_due_until = -1
        for one in new.maxima:
            self._pass_time(one.known, found)
            if one.look == AFTER_CONFIRM:
                self._confirm(new, one, found)
            elif one.level > state.threshold and (candidate := new.measured(one)):
                if one.look == AFTER_CLOSE:
                    self._try_prominent(candidate, found)
                else:
                    self._try_familiar(candidate, found)
        self._pass_time(new.start + len(new.lead), found)
        return found

    def _confirm(self, new: LeadCandidates, one: StandingOut, found: list[Qrs]) -> None:
        """Judge a maximum of which is known whether it is the highest around."""
        support, state = self._support, self._state
        was_prominent = one.peak == state.last_prominent
        if not (support.weighs or one.dominant or was_prominent):
            return
        candidate = new.measured(one)
        if candidate is None:
            return
        if support.weighs:
            self._weigh(candidate, found)
            self._quiet_until = self._nothing_due_until = -1
        if one.dominant and not support.decides:
            if one.peak == state.last_peak:
                self._remember(candidate)
            else:
                self._judge(candidate, found)
        elif was_prominent and not support.weighs:
            self._watch_for_p_waves(candidate)

    def _around(self, index: int, reach: int) -> FloatArray:
        """Return the lead around an index that must lie within `HISTORY`."""
        at = index - self._start - reach
        return self._lead[at : at + 2 * reach + 1]

    def _weigh(self, candidate: Candidate, found: list[Qrs]) -> None:
        """Weigh a candidate in a noisy lead; the support may take over or hand back."""
        support, state = self._support, self._state
        centre = candidate.peak - DELAY
        support.weigh(candidate, centre, self._around(centre, SCOPE))
        self._weighed_at = candidate.peak + KNOWN  # earliest time of a change that it causes
        if support.wants_to_decide and not support.decides and state.last_peak is not None:
            support.take_over(state.last_r, state.last_peak)
        elif support.decides and not support.wants_to_decide:
            self._resume(candidate.peak + KNOWN, found)

    def _resume(self, now: int, found: list[Qrs]) -> None:
        """Report the beats that the support still holds, and decide by level again."""
        design, state = self.design, self._state
        while self._support.due is not None:
            self._report_supported(now, found)
        last = self._support.hand_back()
        state.last_peak, state.last_r = last.peak, last.r_index
        state.last_slope = state.last_level = 0.0
        state.pending.clear()
        state.overdue_at = max(last.peak + self._overdue_after() + KNOWN, now)
        state.relearn_at = now + design.relearn

    def _report_supported(self, decided: int, found: list[Qrs]) -> None:
        beat = self._support.confirm_next()
        found.append(Qrs(beat.r_index, decided, beat.strength, beat.level))

    def _pass_time(self, now: int, found: list[Qrs]) -> None:
        """Make all decisions due by `now`, in order."""
        if now <= self._nothing_due_until:
            return
        support, state = self._support, self._state
        if state.learnt and min(state.relearn_at, state.overdue_at or now) >= now:
            support.skip_quiet(min(now, support.quiet_until))  # nothing is due in between
        while (judged := support.next_hop) is not None and judged <= now:
            self._decide_due(judged, found)
            support.judge_hop()
            if support.decides and not support.weighs:
                self._resume(judged, found)
        self._decide_due(now, found)
        by_level = state.learnt and not support.decides
        self._quiet_until = support.quiet_until if by_level else -1
        self._note_next_due()

    def _note_next_due(self) -> None:
        """Note until when nothing can be due."""
        overdue = self._state.overdue_at
        self._nothing_due_until = min(
            self._quiet_until, self._state.relearn_at, FOREVER if overdue is None else overdue
        )

    def _decide_due(self, now: int, found: list[Qrs]) -> None:
        """Report supported beats, end the learning period, search back, relearn."""
        design, state, support = self.design, self._state, self._support
        while support.decides:
            due = support.due
            if due is None and support.silent_at < now:
                self._resume(max(support.silent_at + 1, self._weighed_at), found)
            elif due is not None and due < now:
                self._report_supported(max(due + 1, self._weighed_at), found)
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
                    state.relearning, state.beat_before = True, state.beat
                floor = max(
                    design.relearn_floor * state.other, design.relearn_least * state.beat_before
                )
                halved = [max(level / 2, min(level, floor)) for level in state.beats]
                state.beats = deque(halved, maxlen=design.beats)
                state.beat = median(state.beats)
                self._update_threshold()
            else:
                return

    def _learn(self, now: int, found: list[Qrs]) -> None:
        """Set the first levels from the first seconds and judge the candidates in them."""
        state = self._state
        state.learnt = True
        first = list(state.pending)
        state.pending.clear()
        state.beat = 0.8 * max(c.level for c in first)
        state.beats.append(state.beat)
        self._update_threshold()
        state.relearn_at = now + self.design.relearn
        for candidate in first:
            self._judge(candidate, found, now)

    def _try_familiar(self, candidate: Candidate, found: list[Qrs]) -> None:
        """Accept a candidate at once if it has the shape and the size of one of the last beats.

        Not while a beat is overdue, when other candidates may have been passed over, nor near a
        beat.
        """
        design, state, support = self.design, self._state, self._support
        last, overdue = state.last_peak, state.overdue_at
        if last is None or overdue is None or support.weighs or support.decides:
            return
        if candidate.peak < last + design.t_wave or candidate.peak + KNOWN > overdue:
            return
        if self._is_familiar(candidate):
            self._accept(candidate, candidate.known, found, familiar=True)

    def _try_prominent(self, candidate: Candidate, found: list[Qrs]) -> None:
        """Accept a prominent candidate that no higher peak has followed within 180 ms.

        Not if within the last minute a higher peak followed later: P waves of this lead may be as
        high. Nor if the search for an overdue beat would find another candidate first.
        """
        design, state = self.design, self._state
        last, overdue = state.last_peak, state.overdue_at
        if last is None or candidate.level <= design.prominent * state.beat:
            return
        state.last_prominent = candidate.peak
        since = candidate.peak - last
        low = since < design.t_wave and candidate.level < design.prominent_in_t * state.beat
        if low or since <= design.refractory or self._is_t_wave(candidate, since):
            return
        if candidate.peak < state.p_waves_until or self._support.decides:
            return
        late = overdue is not None and candidate.peak + KNOWN > overdue
        if late and (candidate.known > (overdue or 0) or self._passed_over(candidate.known)):
            return
        self._accept(candidate, candidate.known, found)

    def _watch_for_p_waves(self, candidate: Candidate) -> None:
        """Note that a prominent candidate was followed by a higher one: it was a P wave."""
        state = self._state
        state.p_waves_until = candidate.peak + self.design.p_wave_watch
        if candidate.peak == state.last_peak and state.shapes:
            state.shapes.popleft()  # it was reported as a beat, but is not to be compared with

    def _is_familiar(self, candidate: Candidate) -> bool:
        """Return whether a candidate has the shape and the size of one of the last beats."""
        design = self.design
        for steps, power in self._state.shapes:
            along = float(steps.dot(candidate.steps))
            alike = along * along > design.like * design.like * power * candidate.power
            if along > 0 and alike and design.smaller < along / power < design.larger:
                return True
        return False

    def _is_t_wave(self, candidate: Candidate, since: int) -> bool:
        """Return whether a candidate is the T wave of the last beat.

        A T wave has a small slope. That of a wide beat is steep, and is recognised by its small
        size and unfamiliar shape. After a typical beat size does not matter, since a small
        candidate may be an extrasystole on the T wave.
        """
        design, state = self.design, self._state
        if since >= design.t_wave:
            return False
        if candidate.slope < design.t_wave_slope * state.last_slope:
            return True
        level = design.soon_level if since < design.soon else design.t_wave_level
        small = candidate.level < level * state.last_level
        return state.last_atypical and small and not self._is_familiar(candidate)

    def _passes(self, candidate: Candidate) -> bool:
        """Return whether a candidate is high enough for a beat, and not a T wave."""
        design, state = self.design, self._state
        threshold = state.threshold
        if state.last_peak is not None:
            if self._is_t_wave(candidate, candidate.peak - state.last_peak):
                return False
            if state.overdue_at is None:
                return candidate.level > design.overdue_share * threshold
        if candidate.level <= threshold:
            return False
        return candidate.level > design.atypical_threshold * threshold or self._is_familiar(
            candidate
        )

    def _judge(self, candidate: Candidate, found: list[Qrs], now: int | None = None) -> None:
        state = self._state
        if not state.learnt:
            state.pending.append(candidate)
            return
        last = state.last_peak
        if last is not None and candidate.peak - last <= self.design.refractory:
            self._raise_last(candidate)
        elif self._passes(candidate):
            self._accept(candidate, candidate.known if now is None else now, found)
        else:
            state.others.append(candidate.level)
            state.other = median(state.others)
            self._update_threshold()
            state.pending.append(candidate)

    def _search_back(self, now: int, found: list[Qrs]) -> None:
        """Accept the highest candidate passed over since the last beat, if it is high enough."""
        best = self._passed_over(now)
        if best is not None:
            later = [c for c in self._state.pending if c.peak > best.peak]
            self._accept(best, now + 1, found)
            self._state.pending.extend(later)

    def _passed_over(self, now: int) -> Candidate | None:
        """Return the highest candidate passed over since the last beat, if it is high enough."""
        design, state = self.design, self._state
        if state.last_peak is None:
            return None
        earliest = state.last_peak + design.t_wave
        passed = [c for c in state.pending if c.peak > earliest and c.peak + KNOWN <= now]
        best = max(passed, key=lambda c: c.level, default=None)
        lowest = design.overdue_share * state.threshold
        return best if best is not None and best.level > lowest else None

    def _remember(self, candidate: Candidate) -> None:
        """Let the support remember the last beat, once it is known to be the highest around."""
        state = self._state
        if state.last_memorable:
            around = self._around(candidate.r_index, SHAPE_REACH)
            self._support.skip_quiet(min(candidate.known, self._quiet_until))
            if self._support.remember(candidate.level, state.last_rr, around):
                self._quiet_until = self._nothing_due_until = -1

    def _raise_last(self, candidate: Candidate) -> None:
        """Raise the last beat's level to this later, higher peak of the same beat."""
        state = self._state
        level = min(candidate.level, self.design.surge * state.beat)
        state.beats[-1] = max(state.beats[-1], level)
        state.last_slope = max(state.last_slope, candidate.slope)
        state.last_level = max(state.last_level, candidate.level)
        state.beat = median(state.beats)
        self._update_threshold()

    def _update_threshold(self) -> None:
        """Set the threshold between the typical levels of beats and non-beats."""
        state = self._state
        state.threshold = state.other + self.design.threshold * (state.beat - state.other)

    def _overdue_after(self) -> int:
        """Return the time after a beat at which the next one is overdue."""
        typical = median(self._state.rr) if self._state.rr else TYPICAL_RR_S * _RATE
        return min(int(self.design.overdue_rr * typical), self.design.longest_overdue)

    def _accept(
        self, candidate: Candidate, decided: int, found: list[Qrs], *, familiar: bool = False
    ) -> None:
        design, state = self.design, self._state
        state.last_atypical = not (familiar or self._is_familiar(candidate))
        rr = None if state.last_peak is None else candidate.peak - state.last_peak
        if rr is not None and rr < LONGEST_RR:
            state.rr.append(rr)
        typical_level = state.beat
        highest = design.surge * typical_level
        if candidate.level > highest and state.relearning:
            state.beats.clear()  # levels learnt without a signal are not the patient's,
            highest = design.surge * state.beat_before  # nor is that of an electrode reattached
        state.relearning = False
        state.beats.append(min(candidate.level, highest))
        state.beat = median(state.beats)
        self._update_threshold()
        state.last_peak, state.last_r = candidate.peak, candidate.r_index
        state.last_slope, state.last_level = candidate.slope, candidate.level
        state.overdue_at = max(candidate.peak + self._overdue_after() + KNOWN, decided)
        state.relearn_at = candidate.peak + KNOWN + design.relearn
        self._note_next_due()
        state.pending.clear()
        stands_out = candidate.level > design.relearn_floor * state.other
        in_history = candidate.r_index - SHAPE_REACH >= decided - HISTORY  # not by search-back
        state.last_memorable, state.last_rr = stands_out and in_history, rr
        if candidate.known >= candidate.peak + KNOWN:
            self._remember(candidate)
        if candidate.power > 0:
            state.shapes.appendleft((candidate.steps, candidate.power))
        strength = candidate.level / typical_level
        found.append(Qrs(candidate.r_index, decided, strength, candidate.level))
