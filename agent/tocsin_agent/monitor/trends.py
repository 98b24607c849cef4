"""Trends: every minute of stream time in numbers, with the burdens of the last hour.

Minutes lie on a fixed grid of analysis indices and close when time has passed to their end, before
what is decided at that index is taken: the same samples give the same trends, however they are cut
into blocks. A minute is kept as sums of integers, so that an hour and five minutes are sums of
minutes. Memory: two hours of them, and the last seconds of samples for the ST level.

Heart rate variability is that of the Task Force of the ESC and NASPE (Circulation 93:1043, 1996):
intervals between two normal, trusted beats only, their successive differences only where two such
intervals follow each other, and none that differs from the one before by more than 20 % (Kleiger et
al., Am. J. Cardiol. 59:256, 1987). R peaks lie on a grid of 4 ms.

The ST level of each lead is measured at the J point of the lead in use, plus 60 ms; the analysis
signal has no high-pass, so that it is as true as the source's own lower limit.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from statistics import median

import msgspec

from tocsin_agent.messages.trend import HeartRate, LongestRun, StLevel, TrendValues, Variability
from tocsin_agent.monitor.rhythm.finding import Finding
from tocsin_agent.monitor.rhythm.history import BPM
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.monitor.rhythm.rhythm import Rhythm
from tocsin_agent.monitor.timeline import Beat, Item
from tocsin_agent.monitor.trend_rules import (
    BEFORE_MINUTES,
    RECENT_MINUTES,
    Span,
    Spans,
    find_trends,
)
from tocsin_dsp.beats.delineation import LONGEST_WAIT
from tocsin_dsp.conditioning.condition import Conditioned, Conditioner
from tocsin_dsp.conditioning.quality import HOP, Hop, LeadState
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.signal import FloatArray

MINUTE = 60 * ANALYSIS_RATE_HZ
"""Analysis samples in a minute, the step of the grid."""
HOUR_MINUTES, VARIABILITY_MINUTES, KEPT_MINUTES = 60, 5, 120
BASELINE_MINUTES = 5
"""The first minutes with an ST level, of which the patient's baseline is the median."""
ST_EVERY = LONGEST_WAIT
"""Analysis samples after which the ST levels of the beats since are measured, all at once."""
ST_BEATS = 10
"""Normal beats that an ST level needs."""
VARIABILITY_S = 150.0
"""Normal intervals that heart rate variability needs."""
NORMAL_RR_CHANGE = 0.2
"""An interval that differs more than this share from the one before is not normal."""
FIBRILLATING = 2 * ANALYSIS_RATE_HZ
"""After a finding of ventricular fibrillation, so long no beat counts."""
_ST, _LEVEL = 15, -4
"""Samples from the end of the QRS to the ST level, and from its onset to the level before it."""
_LATEST = 3 * ANALYSIS_RATE_HZ
"""The ST level of a beat that was decided later than this after its R peak is not measured."""
_KEPT = ST_EVERY + _LATEST + ANALYSIS_RATE_HZ
"""Samples kept: as far back as the QRS of a beat that waits."""


class MinuteTrend(msgspec.Struct, frozen=True):
    """What a minute of a stream was, in source samples; `to_index` is exclusive."""

    from_index: int
    to_index: int
    values: TrendValues


@dataclass(slots=True)
class _Minute:
    """The sums of one minute; intervals in analysis samples.

    Reason for its size: a sum for each measure of a trend.
    """

    number: int
    start: int
    stop: int = 0
    hops: int = 0
    hops_with_ecg: int = 0
    quality: list[float] = field(default_factory=list)  # sums by lead
    beats: int = 0
    low_trust: int = 0
    ventricular: int = 0
    supraventricular: int = 0
    intervals: int = 0  # between trusted beats
    intervals_sum: int = 0
    longest_rr: float = 0.0
    slowest: float = math.inf  # rates, of the median of eight intervals
    fastest: float = 0.0
    normal: int = 0  # intervals between normal beats
    normal_sum: int = 0
    normal_squares: int = 0
    differences: int = 0
    differences_squares: int = 0
    run: LongestRun | None = None
    pauses: int = 0
    af: int = 0
    af_unknown: bool = False
    st: list[list[float]] = field(default_factory=list)  # by lead, dropped when it is closed


class Trends:
    """Follow the timeline, and give a `MinuteTrend` for each minute.

    Reason for its size: it follows each measure from one item to the next, a state each.

    Parameters
    ----------
    leads : tuple of str
    source : Conditioner
        Converts analysis indices to source samples.
    limits : Limits
        Of the alarms on trends.
    """

    def __init__(self, leads: tuple[str, ...], source: Conditioner, limits: Limits) -> None:
        self._leads, self._source, self._limits = leads, source, limits
        self._closed: deque[_Minute] = deque()
        self._done: list[MinuteTrend] = []
        self._trends: list[Finding] = []  # found since the last step
        self._recent: deque[Conditioned] = deque()
        self._st_waits: list[tuple[Beat, tuple[bool, ...]]] = []  # with the leads that were good
        self._baseline: dict[str, list[float]] = {lead: [] for lead in leads}
        self._paused_at = -1  # the onset of the last pause that was counted
        self._af_until = self._fibrillating_until = -1
        self._before = ""  # label of the last beat, empty where it was not trusted
        self._normal_rr = 0  # the interval before it, 0 unless normal
        self._good = (False,) * len(leads)  # the leads, at the last half second
        self._begin(0)

    def restart(self, start: int) -> None:
        """Go on at analysis index `start`, after a gap or at the begin of the stream."""
        self._measure_st()
        if start >= self._ends or not self._minute.hops:
            self._close(self._last)
            self._begin(start)
        self._forget_beats()
        self._recent.clear()

    def remember(self, piece: Conditioned) -> None:
        """Keep samples: those of this piece, and as many before it as a beat may need."""
        self._recent.append(piece)
        while piece.start - self._recent[0].stop > _KEPT:
            self._recent.popleft()

    def take(self, item: Item, rhythm: Rhythm) -> None:
        """Take what was decided at the instant to which time has passed.

        Parameters
        ----------
        item : Item
        rhythm : Rhythm
            Has taken the item; read: the last RR interval and the heart rate.
        """
        self._last = item.decided
        if isinstance(item, Hop):
            self._hop(item)
        elif isinstance(item, Beat):
            self._beat(item, rhythm)

    def step(self, now: int, findings: list[Finding]) -> list[Finding]:
        """Take what was found, in order, and let time pass to analysis index `now`.

        Returns
        -------
        list of Finding
            The same, with the trends that were found at the end of a minute, in order.
        """
        for finding in findings:
            self._pass_time(finding.at)
            self._found(finding)
        self._pass_time(now)
        if not self._trends:
            return findings
        merged, self._trends = sorted([*findings, *self._trends], key=_at), []
        return merged

    def finish(self, now: int) -> None:
        """Close the minute that has begun."""
        self._close(now)
        self._begin(now)

    def taken(self) -> tuple[MinuteTrend, ...]:
        """Return the minutes that closed since the last call."""
        if not self._done:
            return ()
        done, self._done = tuple(self._done), []
        return done

    # -- items --------------------------------------------------------------------------------

    def _hop(self, hop: Hop) -> None:
        minute = self._minute
        minute.hops += 1
        minute.hops_with_ecg += hop.carries_ecg
        minute.quality = [a + b for a, b in zip(minute.quality, hop.values, strict=True)]
        self._good = tuple(state is LeadState.GOOD for state in hop.states)
        if hop.stop % ST_EVERY == 0:
            self._measure_st()

    def _beat(self, beat: Beat, rhythm: Rhythm) -> None:
        minute, before = self._minute, self._before
        if not beat.trusted or beat.decided <= self._fibrillating_until:
            minute.low_trust += 1
            self._before, self._normal_rr = "", 0
            return
        minute.beats += 1
        minute.ventricular += beat.label == "V"
        minute.supraventricular += beat.label == "S"
        normal_rr, self._normal_rr, self._before = self._normal_rr, 0, beat.label
        if beat.label == "N":
            self._st_waits.append((beat, self._good))
        rr = rhythm.last_rr
        if not (rr and before):
            return
        minute.intervals += 1
        minute.intervals_sum += rr
        minute.longest_rr = max(minute.longest_rr, rr)
        rate_bpm = rhythm.heart_rate_bpm(beat.decided)
        if rate_bpm is not None:
            minute.slowest = min(minute.slowest, rate_bpm)
            minute.fastest = max(minute.fastest, rate_bpm)
        if before == beat.label == "N":
            self._normal(rr, normal_rr)

    def _normal(self, rr: int, before: int) -> None:
        """Count an interval between two normal beats; `before` is the one before it, or 0."""
        minute = self._minute
        self._normal_rr = rr
        if before and abs(rr - before) > NORMAL_RR_CHANGE * before:
            return
        minute.normal += 1
        minute.normal_sum += rr
        minute.normal_squares += rr * rr
        if before:
            minute.differences += 1
            minute.differences_squares += (rr - before) ** 2

    def _measure_st(self) -> None:
        """Measure the ST level of every good lead after the normal beats that wait for it."""
        waits, self._st_waits = self._st_waits, []
        for beat, good_leads in waits:
            onset, end = beat.waves.qrs_onset, beat.waves.qrs_end
            if end != end or beat.decided - beat.r_index > _LATEST:  # noqa: PLR0124 - NaN
                continue
            st = min(round(end) + _ST, beat.decided - 1)
            after, level = self._row(st), self._row(round(onset) + _LEVEL)
            if after is None or level is None:
                continue
            for column, good in enumerate(good_leads):
                if good:
                    change = float(after[column]) - float(level[column])
                    if change == change:  # noqa: PLR0124 - not NaN
                        self._minute.st[column].append(change)

    def _row(self, index: int) -> FloatArray | None:
        """Return the samples at an analysis index, None if they are not kept."""
        for piece in reversed(self._recent):
            if index >= piece.start:
                return piece.samples[index - piece.start] if index < piece.stop else None
        return None

    def _found(self, finding: Finding) -> None:
        minute = self._minute
        match finding.code:
            case "pause" | "asystole":
                if finding.onset != self._paused_at:
                    self._paused_at = finding.onset
                    minute.pauses += 1
                if finding.code == "asystole":
                    lasted = float(finding.measured["without_qrs_s"]) * ANALYSIS_RATE_HZ
                    minute.longest_rr = max(minute.longest_rr, lasted)
            case "atrial_fibrillation":
                minute.af += finding.at - max(finding.onset, self._af_until)
                self._af_until = finding.at
            case "ventricular_fibrillation":
                self._fibrillating_until = finding.at + FIBRILLATING
            case "couplet" | "ventricular_run" | "ventricular_tachycardia":
                beats = int(finding.measured["beats"])
                if minute.run is None or beats > minute.run.beats:
                    minute.run = LongestRun(beats, float(finding.measured["rate_bpm"]))
            case "model_failed":
                minute.af_unknown |= finding.subject == "af"

    # -- minutes ------------------------------------------------------------------------------

    def _begin(self, start: int) -> None:
        """Begin the minute of the grid in which `start` lies."""
        number, leads = start // MINUTE, len(self._leads)
        self._minute = _Minute(number, start, quality=[0.0] * leads, st=[[] for _ in range(leads)])
        self._ends = (number + 1) * MINUTE
        self._last = start

    def _forget_beats(self) -> None:
        self._before, self._normal_rr = "", 0
        self._good = (False,) * len(self._leads)

    def _pass_time(self, now: int) -> None:
        while now >= self._ends:
            stop = self._ends
            self._close(stop)
            self._begin(stop)

    def _close(self, stop: int) -> None:
        """End a minute at `stop`; one in which nothing was judged leaves no trace."""
        self._measure_st()
        minute = self._minute
        if not minute.hops:
            return
        minute.stop = stop
        self._closed.append(minute)
        while self._closed[0].number <= minute.number - KEPT_MINUTES:
            self._closed.popleft()
        span = self._source.to_source(minute.start), self._source.to_source(stop)
        values = self._values(minute)
        self._done.append(MinuteTrend(*span, values))
        if self._limits.trend_alarms != "off":
            spans = Spans(
                self._span(RECENT_MINUTES),
                self._span(BEFORE_MINUTES, RECENT_MINUTES),
                self._span(HOUR_MINUTES),
                self._span(2 * HOUR_MINUTES, HOUR_MINUTES),
            )
            self._trends += find_trends(minute.start, stop, spans, values.st, self._limits)

    def _span(self, since: int, until: int = 0) -> Span:
        """Sum up the minutes from `since` to `until` minutes before the end of the last one."""
        last = self._closed[-1].number
        minutes = [m for m in self._closed if until <= last - m.number < since]
        return Span(
            sum(m.hops_with_ecg for m in minutes) * HOP / ANALYSIS_RATE_HZ / 3600,
            sum(m.ventricular for m in minutes),
            sum(m.af for m in minutes) / ANALYSIS_RATE_HZ,
        )

    def _last_minutes(self, count: int) -> list[_Minute]:
        least = self._closed[-1].number - count
        return [minute for minute in self._closed if minute.number > least]

    def _values(self, minute: _Minute) -> TrendValues:
        hour = self._last_minutes(HOUR_MINUTES)
        hours = sum(m.hops_with_ecg for m in hour) * HOP / ANALYSIS_RATE_HZ / 3600
        af_known = hours > 0 and not all(m.af_unknown for m in hour)
        af_s = sum(m.af for m in hour) / ANALYSIS_RATE_HZ
        return TrendValues(
            signal_s=minute.hops_with_ecg * HOP / ANALYSIS_RATE_HZ,
            heart_rate_bpm=_heart_rate(minute),
            beats=minute.beats,
            low_trust_beats=minute.low_trust,
            ventricular_beats=minute.ventricular,
            supraventricular_beats=minute.supraventricular,
            ventricular_per_hour=_per(sum(m.ventricular for m in hour), hours),
            supraventricular_per_hour=_per(sum(m.supraventricular for m in hour), hours),
            longest_run=minute.run,
            pauses=minute.pauses,
            longest_rr_s=round(minute.longest_rr / ANALYSIS_RATE_HZ, 3) or None,
            atrial_fibrillation_s=minute.af / ANALYSIS_RATE_HZ if not minute.af_unknown else None,
            atrial_fibrillation_percent=(
                min(round(af_s / 36 / hours, 1), 100.0) if af_known else None
            ),
            st=self._st_levels(minute),
            variability=_variability(self._last_minutes(VARIABILITY_MINUTES)),
            quality={
                lead: round(total / minute.hops, 3)
                for lead, total in zip(self._leads, minute.quality, strict=True)
            },
        )

    def _st_levels(self, minute: _Minute) -> dict[str, StLevel]:
        levels = {}
        for lead, measured in zip(self._leads, minute.st, strict=True):
            if len(measured) < ST_BEATS:
                continue
            level, first = round(median(measured), 3), self._baseline[lead]
            if len(first) < BASELINE_MINUTES:
                first.append(level)
            if len(first) < BASELINE_MINUTES:
                levels[lead] = StLevel(level)
            else:
                baseline = median(first)
                levels[lead] = StLevel(level, baseline, round(level - baseline, 3))
        minute.st = []
        return levels


def _at(finding: Finding) -> int:
    return finding.at


def _heart_rate(minute: _Minute) -> HeartRate | None:
    if not minute.intervals:
        return None
    mean = round(BPM * minute.intervals / minute.intervals_sum, 1)
    known = minute.fastest > 0
    return HeartRate(mean, minute.slowest if known else mean, minute.fastest if known else mean)


def _per(count: int, hours: float) -> float | None:
    return round(count / hours, 1) if hours > 0 else None


def _variability(minutes: list[_Minute]) -> Variability | None:
    minutes = [minute for minute in minutes if not minute.af]
    count, total = sum(m.normal for m in minutes), sum(m.normal_sum for m in minutes)
    pairs = sum(m.differences for m in minutes)
    if count < 2 or not pairs or total < VARIABILITY_S * ANALYSIS_RATE_HZ:
        return None
    squares = sum(m.normal_squares for m in minutes)
    variance = (count * squares - total * total) / (count * (count - 1))
    difference = sum(m.differences_squares for m in minutes) / pairs
    ms = 1000.0 / ANALYSIS_RATE_HZ
    return Variability(
        round(ms * math.sqrt(variance), 1), round(ms * math.sqrt(difference), 1), count
    )
