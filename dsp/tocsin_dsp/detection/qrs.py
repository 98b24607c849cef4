"""QRS detection in one lead: which candidates are beats, by adaptive thresholds and search-back.

Whether a maximum of the envelope (`tocsin_dsp.detection.candidates`) is a beat is decided against the recent
beats and the recent non-beats, as Pan & Tompkins (IEEE Trans. Biomed. Eng.
32:230, 1985) and Hamilton (Computers in Cardiology 29:101, 2002) do, with their search-back for a
beat that is overdue and their slope test for a T wave; that of a strange beat may be steep, but is
small and has none of the shapes of the last beats. What has the shape and the size of one of the
last beats is taken at once; what is new has to wait, lest a P wave be told before its QRS. In
noise, where level tells little, the patient's own shapes and rhythm decide
(`tocsin_dsp.detection.support`). Everything is relative to the lead's own levels: the detector knows no
millivolts, and grows used to a faint signal as to a strong one.

The decisions, a few a second, are made one by one in stream time, each at a stated sample, so that
they do not depend on how the samples came.

Latency, beyond the resampler's 0.07 s: a beat like the last ones is told `EARLY` samples after its
envelope peak, 0.17 s after the R peak; one that is plain `CLOSE` samples after it, 0.30 s after the
R peak; any other `CONFIRM`, 0.34 s; with support, 1 s.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.detection.candidates import DELAY, EARLY, HISTORY, KNOWN, CandidateFinder, Heard
from tocsin_dsp.detection.shapes import REACH as SHAPE_REACH
from tocsin_dsp.detection.shapes import SCOPE, Candidate
from tocsin_dsp.detection.support import FOREVER, Support, SupportDesign
from tocsin_dsp.signal import FloatArray, middle

_RATE = ANALYSIS_RATE_HZ


@dataclass(frozen=True, slots=True)
class QrsDesign:
    """The detector's constants; times in analysis samples (4 ms), levels relative.

    Chosen on the training records of the inter-patient split of mitdb (DS1) alone.
    """

    learning: int = 2 * _RATE  # the first levels come from so much signal
    refractory: int = 45  # no two beats within 180 ms
    t_wave: int = 90  # within 360 ms of a beat a lazy slope is its T wave
    t_wave_slope: float = 0.5  # "lazy": below this share of the beat's own slope
    t_wave_level: float = 0.6  # after a strange beat also what is smaller than this share of it,
    soon: int = 75  # or within 300 ms, by which few T waves are over and few hearts beat twice,
    soon_level: float = 0.75  # than this share
    threshold: float = 0.3  # between the level of the non-beats (0) and of the beats (1),
    strange: float = 1.2  # so many times it for a shape that is not one of the last beats'
    plain: float = 0.5  # from this share of the usual level on a candidate need not wait so long,
    plain_soon: float = 0.9  # within the time of a T wave from this on,
    wary: int = 60 * _RATE  # unless in the last minute a P wave would have been told so
    overdue_rr: float = 1.5  # after so many usual RR intervals a beat is overdue
    overdue_share: float = 0.5  # and a candidate above this share of the threshold is one
    longest_overdue: int = int(1.66 * _RATE)  # however slow the rhythm was
    beats: int = 8  # levels are medians over so many
    surge: float = 3.0  # one artefact lifts the beat level no further than this factor
    like: float = 0.92  # what correlates so well with one of the last beats has its shape,
    smaller: float = 0.6  # and its size within these factors
    larger: float = 1.7
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
    last_level: float = 0.0
    offered: int | None = None  # peak of the last candidate that was plain
    wary_until: int = 0  # none is taken for that before
    strange: bool = False  # its shape was none of those of the beats before it
    overdue_at: int | None = None
    relearn_at: int = 0
    beat: float = 0.0  # the usual beat's level
    other: float = 0.0  # the usual non-beat's
    threshold: float = 0.0  # between the two: what is above may be a beat
    relearning: bool = False  # no beat since the levels were last halved
    before: float = 0.0  # the usual beat's level before they were
    learnt: bool = False
    worth: bool = False  # the last beat is worth remembering,
    rr_before: int | None = None  # with the RR interval before it
    lately: deque[tuple[FloatArray, float]] = field(default_factory=lambda: deque(maxlen=4))


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
        self._finder = CandidateFinder(1)
        self.reset(0)

    def reset(self, next_index: int) -> None:
        """Forget everything; the next sample has this analysis index."""
        d = self.design
        self._support = Support(self._support_design)
        self._state = _Levels(deque(maxlen=d.beats), deque(maxlen=d.beats), deque(maxlen=d.beats))
        self.skip_to(next_index)

    def skip_to(self, next_index: int) -> None:
        """Go on after a gap: the levels are kept, no RR spans the gap."""
        self._finder.skip_to(next_index)
        if not self._state.learnt:
            self._started = next_index
        self._weighed_at = next_index
        self._state.last_peak = None
        self._state.pending.clear()
        self._state.overdue_at = None
        self._state.relearn_at = next_index + KNOWN + self.design.relearn
        self._support.skip()

    def push(self, x: FloatArray) -> list[Qrs]:
        """Take analysis samples of this lead, shape (n,), mV; return the beats decided by them."""
        return self.decide(self._finder.push(x[:, None])[0])

    def decide(self, heard: Heard) -> list[Qrs]:
        """Take what a `CandidateFinder` heard in this lead; return the beats decided by it."""
        found: list[Qrs] = []
        support, state = self._support, self._state
        self._start, self._lead = heard.start, heard.lead
        support.hear(heard.levels)
        self._quiet_until = self._calm_until = -1  # what was heard may fall due
        for candidate in heard.candidates:
            if candidate.known > self._calm_until:
                self._pass_time(candidate.known, found)
            if candidate.known < candidate.peak + KNOWN:
                if candidate.level > state.threshold:
                    plain = candidate.known > candidate.peak + EARLY + 2
                    (self._anticipate if plain else self._recognise)(candidate, found)
                continue
            if support.listens:
                self._weigh(candidate, found)
                self._quiet_until = self._calm_until = -1
            if candidate.dominant and not support.decides:
                if candidate.peak == state.last_peak:
                    self._remember(candidate)
                else:
                    self._judge(candidate, found)
            elif candidate.peak == state.offered and not support.listens:
                self._beware(candidate)
        self._pass_time(heard.start + len(heard.lead), found)
        return found

    def _around(self, index: int, reach: int) -> FloatArray:
        """Return the lead around an index that lies no further back than `HISTORY` allows."""
        at = index - self._start - reach
        return self._lead[at : at + 2 * reach + 1]

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
        state.last_peak, state.last_r = last.peak, last.r_index
        state.last_slope = state.last_level = 0.0
        state.pending.clear()
        state.overdue_at = max(last.peak + self._patience() + KNOWN, now)
        state.relearn_at = now + design.relearn

    def _tell(self, decided: int, found: list[Qrs]) -> None:
        beat = self._support.tell()
        found.append(Qrs(beat.r_index, decided, beat.strength, beat.level))

    def _pass_time(self, now: int, found: list[Qrs]) -> None:
        """Do in order what falls due by `now`."""
        support, state = self._support, self._state
        if state.learnt and min(state.relearn_at, state.overdue_at or now) >= now:
            support.skip_quiet(min(now, support.quiet_until))  # nothing can fall due between
        while (judged := support.next_hop) is not None and judged <= now:
            self._fall_due(judged, found)
            support.take_hop()
            if support.decides and not support.listens:
                self._decide_again(judged, found)
        self._fall_due(now, found)
        calm = state.learnt and not support.decides
        self._quiet_until = support.quiet_until if calm else -1
        self._stay_calm()

    def _stay_calm(self) -> None:
        """Note until when nothing can fall due."""
        overdue = self._state.overdue_at
        self._calm_until = min(
            self._quiet_until, self._state.relearn_at, FOREVER if overdue is None else overdue
        )

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
                state.beat = middle(state.beats)
                self._relevel()
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
        self._relevel()
        state.relearn_at = now + self.design.relearn
        for candidate in first:
            self._judge(candidate, found, now)

    def _recognise(self, candidate: Candidate, found: list[Qrs]) -> None:
        """Take a candidate at once that has the shape of one of the last beats, and its size.

        Not while a beat is overdue, when others may have been passed over, nor near a beat.
        """
        design, state, support = self.design, self._state, self._support
        last, overdue = state.last_peak, state.overdue_at
        if last is None or overdue is None or support.listens or support.decides:
            return
        if candidate.peak < last + design.t_wave or candidate.peak + KNOWN > overdue:
            return
        if self._is_familiar(candidate):
            self._accept(candidate, candidate.known, found)

    def _anticipate(self, candidate: Candidate, found: list[Qrs]) -> None:
        """Take a candidate that is plain: no higher crest has followed it within 180 ms.

        Not where one did follow later of late: P waves of this lead may be as high. Nor where
        another one, passed over, would be searched for first.
        """
        design, state = self.design, self._state
        last, overdue = state.last_peak, state.overdue_at
        if last is None or candidate.level <= design.plain * state.beat:
            return
        state.offered = candidate.peak
        since = candidate.peak - last
        low = since < design.t_wave and candidate.level < design.plain_soon * state.beat
        if low or since <= design.refractory or self._is_t_wave(candidate, since):
            return
        if candidate.peak < state.wary_until or self._support.decides:
            return
        in_doubt = overdue is not None and candidate.peak + KNOWN > overdue
        if in_doubt and (candidate.known > (overdue or 0) or self._passed_over(candidate.known)):
            return
        self._accept(candidate, candidate.known, found)

    def _beware(self, candidate: Candidate) -> None:
        """Learn that a plain candidate was followed by a higher one: it was a P wave."""
        state = self._state
        state.wary_until = candidate.peak + self.design.wary
        if candidate.peak == state.last_peak and state.lately:
            state.lately.popleft()  # it was told, but its shape is no beat's

    def _is_familiar(self, candidate: Candidate) -> bool:
        """Tell whether a candidate has the shape and the size of one of the last beats."""
        design = self.design
        for steps, power in self._state.lately:
            along = float(steps.dot(candidate.steps))
            alike = along * along > design.like * design.like * power * candidate.power
            if along > 0 and alike and design.smaller < along / power < design.larger:
                return True
        return False

    def _is_t_wave(self, candidate: Candidate, since: int) -> bool:
        """Tell whether a candidate is the T wave of the last beat.

        It is lazy; but that of a wide beat is steep, and is known by being small and strange. What
        follows a usual beat so soon may be an extrasystole on its T wave: size does not matter.
        """
        design, state = self.design, self._state
        if since >= design.t_wave:
            return False
        if candidate.slope < design.t_wave_slope * state.last_slope:
            return True
        level = design.soon_level if since < design.soon else design.t_wave_level
        small = candidate.level < level * state.last_level
        return state.strange and small and not self._is_familiar(candidate)

    def _passes(self, candidate: Candidate) -> bool:
        """Tell whether a candidate is high enough for a beat, and no T wave."""
        design, state = self.design, self._state
        threshold = state.threshold
        if state.last_peak is not None:
            if self._is_t_wave(candidate, candidate.peak - state.last_peak):
                return False
            if state.overdue_at is None:
                return candidate.level > design.overdue_share * threshold
        if candidate.level <= threshold:
            return False
        return candidate.level > design.strange * threshold or self._is_familiar(candidate)

    def _judge(self, candidate: Candidate, found: list[Qrs], now: int | None = None) -> None:
        state = self._state
        if not state.learnt:
            state.pending.append(candidate)
            return
        last = state.last_peak
        if last is not None and candidate.peak - last <= self.design.refractory:
            self._enlarge(candidate)
        elif self._passes(candidate):
            self._accept(candidate, candidate.known if now is None else now, found)
        else:
            state.others.append(candidate.level)
            state.other = middle(state.others)
            self._relevel()
            state.pending.append(candidate)

    def _search_back(self, now: int, found: list[Qrs]) -> None:
        """Take the best of the candidates passed over since the last beat, if it is fair."""
        best = self._passed_over(now)
        if best is not None:
            later = [c for c in self._state.pending if c.peak > best.peak]
            self._accept(best, now + 1, found)
            self._state.pending.extend(later)

    def _passed_over(self, now: int) -> Candidate | None:
        """Return the best of the candidates passed over since the last beat, if it is fair."""
        design, state = self.design, self._state
        if state.last_peak is None:
            return None
        earliest = state.last_peak + design.t_wave
        fair = [c for c in state.pending if c.peak > earliest and c.peak + KNOWN <= now]
        best = max(fair, key=lambda c: c.level, default=None)
        fair_level = design.overdue_share * state.threshold
        return best if best is not None and best.level > fair_level else None

    def _remember(self, candidate: Candidate) -> None:
        """Let the support know a beat that is the highest all around, once that is known."""
        state = self._state
        if state.worth:
            around = self._around(candidate.r_index, SHAPE_REACH)
            self._support.skip_quiet(min(candidate.known, self._quiet_until))
            if self._support.remember(candidate.level, state.rr_before, around):
                self._quiet_until = self._calm_until = -1

    def _enlarge(self, candidate: Candidate) -> None:
        """Take a higher crest of the last beat, which was told early, for what its level was."""
        state = self._state
        level = min(candidate.level, self.design.surge * state.beat)
        state.beats[-1] = max(state.beats[-1], level)
        state.last_slope = max(state.last_slope, candidate.slope)
        state.last_level = max(state.last_level, candidate.level)
        state.beat = middle(state.beats)
        self._relevel()

    def _relevel(self) -> None:
        """Set the threshold by the usual levels."""
        state = self._state
        state.threshold = state.other + self.design.threshold * (state.beat - state.other)

    def _patience(self) -> int:
        """Return how long after a beat the next one is overdue."""
        usual = middle(self._state.rr) if self._state.rr else 0.8 * _RATE
        return min(int(self.design.overdue_rr * usual), self.design.longest_overdue)

    def _accept(self, candidate: Candidate, decided: int, found: list[Qrs]) -> None:
        design, state = self.design, self._state
        state.strange = not self._is_familiar(candidate)
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
        state.beat = middle(state.beats)
        self._relevel()
        state.last_peak, state.last_r = candidate.peak, candidate.r_index
        state.last_slope, state.last_level = candidate.slope, candidate.level
        state.overdue_at = max(candidate.peak + self._patience() + KNOWN, decided)
        state.relearn_at = candidate.peak + KNOWN + design.relearn
        self._stay_calm()
        state.pending.clear()
        stands_out = candidate.level > design.relearn_floor * state.other
        at_once = candidate.r_index - SHAPE_REACH >= decided - HISTORY  # not by search-back
        state.worth, state.rr_before = stands_out and at_once, rr
        if candidate.known >= candidate.peak + KNOWN:
            self._remember(candidate)
        if candidate.power > 0:
            state.lately.appendleft((candidate.steps, candidate.power))
        strength = candidate.level / usual_level
        found.append(Qrs(candidate.r_index, decided, strength, candidate.level))
