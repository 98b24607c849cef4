"""Several leads: each is listened to all the time, one is used, the others correct it.

Every lead has a detector and an observer of its own, so that the one to change to already knows
the patient. Which lead is used is told by `tocsin_dsp.choice`, what is told of the beats of all by
`tocsin_dsp.fusion`.

Latency: none but that of fusion.
"""

from __future__ import annotations

from operator import itemgetter
from typing import NamedTuple, TypeAlias

import numpy as np

from tocsin_dsp.beats import BeatObserver, BeatView, Followed, describe
from tocsin_dsp.candidates import CandidateFinder
from tocsin_dsp.choice import CLEAR, LeadChoice
from tocsin_dsp.condition import Conditioned
from tocsin_dsp.fusion import Fusion, Seen
from tocsin_dsp.qrs import LeadDetector
from tocsin_dsp.quality import FAINTEST_MV, Hop
from tocsin_dsp.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.waves import LONGEST_RR, UNKNOWN, Delineator, Waves

RECENT = LONGEST_RR + 4 * ANALYSIS_RATE_HZ  # samples kept: a search-back finds a beat seconds back


class LeadBeat(NamedTuple):
    """A beat as seen in a lead, by column; `missed` if only a lead that is not used showed it."""

    view: BeatView
    lead: int
    waves: Waves = UNKNOWN
    missed: bool = False


Observation: TypeAlias = "LeadBeat | Hop"


class LeadSet:
    """Find the beats of a patient in however many leads.

    Parameters
    ----------
    leads : int
    """

    def __init__(self, leads: int) -> None:
        self._finder = CandidateFinder(leads)
        self._detectors = [LeadDetector() for _ in range(leads)]
        self._observers = [BeatObserver() for _ in range(leads)]
        self._choice = LeadChoice(leads)
        self._fusion = Fusion(leads)
        self._delineator = Delineator()
        self._recent = np.empty((0, leads))  # samples behind the newest

    def push(self, piece: Conditioned, hops: list[Hop]) -> list[Observation]:
        """Return beats and qualities in the order in which they were decided."""
        if piece.restarted:
            self._finder.skip_to(piece.start)
            self._fusion.skip()
        timeline: list[tuple[int, int, Followed | Hop]] = [(hop.stop, -1, hop) for hop in hops]
        stages = zip(
            self._detectors, self._observers, self._finder.push(piece.samples), strict=True
        )
        for lead, (detector, observer, heard) in enumerate(stages):
            if piece.restarted:
                detector.skip_to(piece.start)
                observer.skip_to(piece.start)
            x = piece.samples[:, lead]
            beats = [beat for beat in detector.decide(heard) if beat.level_mv >= FAINTEST_MV]
            timeline += [(beat.decided, lead, beat) for beat in observer.push(x, beats)]
        timeline.sort(key=itemgetter(0, 1))
        told: list[Seen | Hop] = []
        choice, fusion = self._choice, self._fusion
        for now, lead, seen in timeline:
            told += fusion.pass_time(now)
            if isinstance(seen, Hop):
                choice.hear(seen)
                told.append(Hop(*seen[:3], choice.used))
                told += fusion.hear(seen, choice.used)
            else:
                clear = seen.strength >= CLEAR and fusion.proves(lead, seen, choice.used)
                choice.see(lead, seen.r_index, clear=clear)
                told += fusion.take(Seen(lead, seen), choice.used)
        told += fusion.pass_time(piece.stop)
        return self._described(piece, told)

    def _described(self, piece: Conditioned, told: list[Seen | Hop]) -> list[Observation]:
        """Return the same observations with the beats described and delineated, in one batch."""
        if piece.restarted:
            self._delineator.skip()
            self._recent = piece.samples
        else:
            self._recent = np.concatenate((self._recent[-RECENT:], piece.samples))
        beats = [seen for seen in told if isinstance(seen, Seen)]
        if not beats:
            return [hop for hop in told if isinstance(hop, Hop)]
        r_index = np.array([seen.beat.r_index for seen in beats])
        leads = [seen.lead for seen in beats]
        start = piece.stop - len(self._recent)
        waves = self._delineator.push(self._recent, start, r_index, np.array(leads))
        views = describe([seen.beat for seen in beats])
        found = map(LeadBeat, views, leads, waves, [seen.missed for seen in beats])
        return [next(found) if isinstance(seen, Seen) else seen for seen in told]
