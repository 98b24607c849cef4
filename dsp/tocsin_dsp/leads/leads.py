"""Several leads: all are analysed all the time, one is in use, the others correct it.

Every lead has a detector and an observer of its own, so that the state of another lead is ready
when it comes into use. `tocsin_dsp.leads.choice` chooses the lead in use,
`tocsin_dsp.leads.fusion` merges the beats of all.

Latency: none but that of fusion.
"""

from __future__ import annotations

from itertools import groupby, islice
from operator import itemgetter
from typing import NamedTuple, TypeAlias

import numpy as np

from tocsin_dsp.arrays import NewestRows
from tocsin_dsp.beats.beats import BeatObserver, BeatView, RelatedBeat, describe, relate
from tocsin_dsp.beats.delineation import LONGEST_WAIT, NOT_DELINEATED, Delineated, DelineationQueue
from tocsin_dsp.beats.waves import LONGEST_RR_WITH_T, Waves
from tocsin_dsp.conditioning.condition import Conditioned
from tocsin_dsp.conditioning.quality import CERTAIN_MV, FAINTEST_MV, SMALLEST_SPAN_MV, Hop
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.detection.candidates import CandidateFinder
from tocsin_dsp.detection.qrs import LeadDetector, Qrs
from tocsin_dsp.leads.choice import CLEAR, LeadChoice
from tocsin_dsp.leads.fusion import FusedBeat, Fusion

CREST = 4.0
"""Height of a beat, of the usual range of a tenth of a second: white noise has 1.3."""
CREST_OVER = 2 * ANALYSIS_RATE_HZ
"""Analysis samples before a beat's decision in which the usual range is taken."""
_TENTH, _QRS = ANALYSIS_RATE_HZ // 10, 20

RECENT = LONGEST_RR_WITH_T + 4 * ANALYSIS_RATE_HZ + LONGEST_WAIT
"""Analysis samples kept: search-back finds a beat some seconds back, and its waves may wait."""
SPAN_REACH = 15
"""Samples on both sides of R (60 ms) over which the peak-to-peak value of a faint beat is taken."""


class LeadBeat(NamedTuple):
    """A beat in a lead, by column; `recovered` if the lead in use missed it and another showed it.

    `others` is the same beat in other good leads, as far as it is known by then.
    """

    view: BeatView
    lead: int
    delineated: Delineated = NOT_DELINEATED
    recovered: bool = False
    others: tuple[BeatView, ...] = ()

    @property
    def waves(self) -> Waves:
        """The waves of the beat; reading them may delineate it."""
        return self.delineated.waves


Observation: TypeAlias = "LeadBeat | Hop"


class LeadSet:
    """Find the beats of a patient in any number of leads.

    Parameters
    ----------
    leads : int
    calibrated : bool
        False where the amplitude is unknown: then a beat below the least height of a QRS counts
        too, if it stands out of the two seconds before it.
    """

    def __init__(self, leads: int, *, calibrated: bool = True) -> None:
        self._calibrated = calibrated
        self._finder = CandidateFinder(leads)
        self._detectors = [LeadDetector() for _ in range(leads)]
        self._observers = [BeatObserver() for _ in range(leads)]
        self._choice = LeadChoice(leads)
        self._fusion = Fusion(leads)
        self._recent = np.full((RECENT, leads), np.nan)  # newest samples
        self._newest = NewestRows(self._recent)
        self._delineation = DelineationQueue(self._recent, 0)
        self._since_hop: list[tuple[int, RelatedBeat]] = []  # beats of every lead

    def push(self, piece: Conditioned, hops: list[Hop]) -> list[Observation]:
        """Return beats and qualities in the order in which they are decided."""
        if piece.restarted:
            self._skip_to(piece.start)
        self._recent = self._newest.add(piece.samples)
        stop = piece.stop
        self._delineation.use(self._recent, stop)
        candidates = self._finder.push(piece.samples)
        complete: list[tuple[BeatObserver, int, Qrs]] = []
        for lead, (detector, observer) in enumerate(
            zip(self._detectors, self._observers, strict=True)
        ):
            found = detector.decide(candidates[lead])
            beats = [b for b in found if self._is_qrs(b, lead, stop)]
            complete += [(observer, lead, b) for b in observer.complete(beats, stop)]
        related = relate(self._recent, stop, complete)
        timeline: list[tuple[int, int, RelatedBeat | Hop]] = [(hop.stop, -1, hop) for hop in hops]
        for (_, lead, _), beat in zip(complete, related, strict=True):
            timeline.append((beat.decided, lead, beat))
        timeline.sort(key=itemgetter(0, 1))
        merged: list[FusedBeat | Hop] = []
        choice, fusion, since_hop = self._choice, self._fusion, self._since_hop
        for now, same in groupby(timeline, key=itemgetter(0)):
            merged += fusion.pass_time(now)
            used = choice.used  # comes last, so that its beat goes with those of the other leads
            for _, lead, item in sorted(same, key=lambda row: row[1] == used):
                if isinstance(item, Hop):
                    choice.observe_quality(item)
                    changed = fusion.observe_quality(item, choice.used)
                    alone_since = fusion.alone_since(item.stop)
                    given = tuple(since_hop)
                    since_hop.clear()
                    known = item._replace(used=choice.used, alone_since=alone_since, beats=given)
                    merged += [known, *changed]
                else:
                    since_hop.append((lead, item))
                    clear = item.strength >= CLEAR and fusion.proves(lead, item, choice.used)
                    choice.observe_beat(lead, item.r_index, clear=clear)
                    merged += fusion.add_beat(FusedBeat(lead, item), choice.used)
        merged += fusion.pass_time(stop)
        return self._described(merged)

    def _spans_enough(self, beat: Qrs, lead: int, stop: int) -> bool:
        """Return whether a faint beat is larger than 0.15 mV from peak to peak."""
        at = beat.r_index - (stop - len(self._recent))
        around = self._recent[max(at - SPAN_REACH, 0) : at + SPAN_REACH + 1, lead]
        return bool(np.fmax.reduce(around) - np.fmin.reduce(around) > SMALLEST_SPAN_MV)

    def _is_qrs(self, beat: Qrs, lead: int, stop: int) -> bool:
        """Return whether a beat is high enough for a QRS, or stands out where nothing is known."""
        if beat.level_mv >= CERTAIN_MV:
            return True
        if self._calibrated:  # a wave of 0.15 mV may not be counted (IEC 60601-2-27)
            return beat.level_mv >= FAINTEST_MV and self._spans_enough(beat, lead, stop)
        if beat.level_mv >= FAINTEST_MV:
            return True
        at = len(self._recent) - stop  # row of analysis index 0
        before = self._recent[beat.decided - CREST_OVER + at : beat.decided + at, lead]
        ranges = np.ptp(before.reshape(-1, _TENTH), axis=1)
        qrs = self._recent[beat.r_index - _QRS + at : beat.r_index + _QRS + at, lead]
        return bool(np.ptp(qrs) > CREST * np.median(ranges))  # not where a sample is missing

    def _skip_to(self, next_index: int) -> None:
        """Continue after a gap; the next sample has this analysis index."""
        self._fusion.skip()
        self._delineation.skip()
        self._finder.skip_to(next_index)
        self._since_hop.clear()
        for detector, observer in zip(self._detectors, self._observers, strict=True):
            detector.skip_to(next_index)
            observer.skip_to(next_index)
        self._recent = np.full_like(self._recent[:RECENT], np.nan)
        self._newest = NewestRows(self._recent)

    def _described(self, merged: list[FusedBeat | Hop]) -> list[Observation]:
        """Return the same items with the beats described, in one batch."""
        beats = [item for item in merged if isinstance(item, FusedBeat)]
        if not beats:
            return [hop for hop in merged if isinstance(hop, Hop)]
        views = iter(describe([view for beat in beats for view in (beat.beat, *beat.others)]))
        add = self._delineation.add
        found = (
            LeadBeat(
                next(views),
                b.lead,
                add(b.beat.r_index, b.lead),
                b.recovered,
                tuple(islice(views, len(b.others))),
            )
            for b in beats
        )
        return [next(found) if isinstance(item, FusedBeat) else item for item in merged]
