"""Several leads: each is listened to all the time, one is used, the others correct it.

Every lead has a detector and an observer of its own, so that the one to change to already knows
the patient. Which lead is used is told by `tocsin_dsp.leads.choice`, what is told of the beats of all by
`tocsin_dsp.leads.fusion`.

Latency: none but that of fusion.
"""

from __future__ import annotations

from itertools import groupby, islice
from operator import itemgetter
from typing import NamedTuple, TypeAlias

import numpy as np

from tocsin_dsp.beats.beats import BeatObserver, BeatView, Followed, describe, follow
from tocsin_dsp.beats.waves import LONGEST_RR, UNKNOWN, Delineator, Waves
from tocsin_dsp.conditioning.condition import Conditioned
from tocsin_dsp.conditioning.quality import FAINTEST_MV, Hop
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.detection.candidates import CandidateFinder
from tocsin_dsp.detection.qrs import LeadDetector, Qrs
from tocsin_dsp.leads.choice import CLEAR, LeadChoice
from tocsin_dsp.leads.fusion import Fusion, Seen

RECENT = LONGEST_RR + 4 * ANALYSIS_RATE_HZ  # samples kept: a search-back finds a beat seconds back


class LeadBeat(NamedTuple):
    """A beat as seen in a lead, by column; `missed` if only a lead that is not used showed it.

    `others` is how other good leads, which saw it by then, show it.
    """

    view: BeatView
    lead: int
    waves: Waves = UNKNOWN
    missed: bool = False
    others: tuple[BeatView, ...] = ()


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
        self._recent = np.full((RECENT, leads), np.nan)  # samples behind the newest

    def push(self, piece: Conditioned, hops: list[Hop]) -> list[Observation]:
        """Return beats and qualities in the order in which they were decided."""
        if piece.restarted:
            self._skip_to(piece.start)
        self._recent = np.concatenate((self._recent[-RECENT:], piece.samples))
        heard = self._finder.push(piece.samples)
        complete: list[tuple[BeatObserver, int, Qrs]] = []
        for lead, (detector, observer) in enumerate(
            zip(self._detectors, self._observers, strict=True)
        ):
            beats = [b for b in detector.decide(heard[lead]) if b.level_mv >= FAINTEST_MV]
            complete += [(observer, lead, b) for b in observer.complete(beats, piece.stop)]
        followed = follow(self._recent, piece.stop, complete)
        timeline: list[tuple[int, int, Followed | Hop]] = [(hop.stop, -1, hop) for hop in hops]
        for (_, lead, _), beat in zip(complete, followed, strict=True):
            timeline.append((beat.decided, lead, beat))
        timeline.sort(key=itemgetter(0, 1))
        told: list[Seen | Hop] = []
        choice, fusion = self._choice, self._fusion
        for now, same in groupby(timeline, key=itemgetter(0)):
            told += fusion.pass_time(now)
            used = choice.used  # comes last: what the others saw by then goes with its beat
            for _, lead, seen in sorted(same, key=lambda item: item[1] == used):
                if isinstance(seen, Hop):
                    choice.hear(seen)
                    changed = fusion.hear(seen, choice.used)
                    told += [Hop(*seen[:3], choice.used, fusion.alone_since(seen.stop)), *changed]
                else:
                    clear = seen.strength >= CLEAR and fusion.proves(lead, seen, choice.used)
                    choice.see(lead, seen.r_index, clear=clear)
                    told += fusion.take(Seen(lead, seen), choice.used)
        told += fusion.pass_time(piece.stop)
        return self._described(piece, told)

    def _skip_to(self, next_index: int) -> None:
        """Go on after a gap; the next sample has this analysis index."""
        self._fusion.skip()
        self._delineator.skip()
        self._finder.skip_to(next_index)
        for detector, observer in zip(self._detectors, self._observers, strict=True):
            detector.skip_to(next_index)
            observer.skip_to(next_index)
        self._recent = np.full_like(self._recent[:RECENT], np.nan)

    def _described(self, piece: Conditioned, told: list[Seen | Hop]) -> list[Observation]:
        """Return the same observations with the beats described and delineated, in one batch."""
        beats = [seen for seen in told if isinstance(seen, Seen)]
        if not beats:
            return [hop for hop in told if isinstance(hop, Hop)]
        r_index = np.array([seen.beat.r_index for seen in beats])
        leads = [seen.lead for seen in beats]
        start = piece.stop - len(self._recent)
        waves = self._delineator.push(self._recent, start, r_index, np.array(leads))
        views = iter(describe([view for seen in beats for view in (seen.beat, *seen.others)]))
        found = (
            LeadBeat(next(views), b.lead, w, b.missed, tuple(islice(views, len(b.others))))
            for b, w in zip(beats, waves, strict=True)
        )
        return [next(found) if isinstance(seen, Seen) else seen for seen in told]
