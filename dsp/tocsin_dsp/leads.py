"""Several leads: each is listened to all the time, one is believed at a time.

Every lead has a detector and an observer of its own, so that the one to change to already knows
the patient. The first lead is preferred; another is used while the first carries no ECG, is noisy,
or has been silent for two seconds while another showed two clear beats: then it is the electrode
that fell silent and not the heart. Changes are made in stream time.

Detection knows no millivolts; here a beat must have some: a monitor must not take 0.15 mV for a QRS
(IEC 60601-2-27), or it would count the noise, once used to it, of a heart that stands still.
"""

from __future__ import annotations

from operator import itemgetter
from typing import NamedTuple, TypeAlias

import numpy as np

from tocsin_dsp.beats import BeatObserver, BeatView, Followed, describe
from tocsin_dsp.condition import Conditioned
from tocsin_dsp.qrs import LeadDetector
from tocsin_dsp.quality import Hop, LeadState
from tocsin_dsp.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.waves import LONGEST_RR, UNKNOWN, Delineator, Waves

SAME_BEAT = 50  # analysis samples: what two leads see within 200 ms is one beat
FAINTEST_MV = 0.038  # envelope of a triangle of 0.15 mV and 80 ms
LEAVE_AFTER = 4  # half seconds that a lead is bad before another is used
RETURN_AFTER = 20  # half seconds that a preferred lead is good before it is used again
SILENT = 2 * ANALYSIS_RATE_HZ  # so long without a beat here,
MISSED = 2  # with so many clear beats elsewhere, proves that the lead is at fault
CLEAR = 0.6  # strength of a beat that is clear
RECENT = LONGEST_RR + 4 * ANALYSIS_RATE_HZ  # samples kept: a search-back finds a beat seconds back


class LeadBeat(NamedTuple):
    """A beat as seen in the lead that is believed, by column."""

    view: BeatView
    lead: int
    waves: Waves = UNKNOWN


Observation: TypeAlias = "LeadBeat | Hop"


class LeadSet:
    """Find the beats of a patient in however many leads.

    Parameters
    ----------
    leads : int
    """

    def __init__(self, leads: int) -> None:
        self._detectors = [LeadDetector() for _ in range(leads)]
        self._observers = [BeatObserver() for _ in range(leads)]
        self._good_for = [0] * leads
        self._bad_for = [0] * leads
        self._missed = [0] * leads
        self._heard = [0] * leads
        self._used = 0
        self._last_r = -SAME_BEAT
        self._delineator = Delineator()
        self._recent = np.empty((0, leads))  # samples behind the newest

    def push(self, piece: Conditioned, hops: list[Hop]) -> list[Observation]:
        """Return beats and qualities in the order in which they were decided."""
        timeline: list[tuple[int, int, Followed | Hop]] = [(hop.stop, -1, hop) for hop in hops]
        for lead, (detector, observer) in enumerate(
            zip(self._detectors, self._observers, strict=True)
        ):
            if piece.restarted:
                detector.skip_to(piece.start)
                observer.skip_to(piece.start)
            x = piece.samples[:, lead]
            beats = [beat for beat in detector.push(x) if beat.level_mv >= FAINTEST_MV]
            timeline += [(beat.decided, lead, beat) for beat in observer.push(x, beats)]
        timeline.sort(key=itemgetter(0, 1))
        kept: list[tuple[int, Followed | Hop]] = []
        for _, lead, seen in timeline:
            if isinstance(seen, Hop):
                self._choose(seen)
                kept.append((lead, seen._replace(used=self._used)))
            elif self._keeps(seen, lead):
                kept.append((lead, seen))
        return self._described(piece, kept)

    def _described(
        self, piece: Conditioned, kept: list[tuple[int, Followed | Hop]]
    ) -> list[Observation]:
        """Return the same observations with the beats described and delineated, in one batch."""
        if piece.restarted:
            self._delineator.skip()
            self._recent = piece.samples
        else:
            self._recent = np.concatenate((self._recent[-RECENT:], piece.samples))
        beats = [(lead, seen) for lead, seen in kept if isinstance(seen, Followed)]
        if not beats:
            return [seen for _, seen in kept if isinstance(seen, Hop)]
        r_index = np.array([seen.r_index for _, seen in beats])
        leads = [lead for lead, _ in beats]
        start = piece.stop - len(self._recent)
        waves = self._delineator.push(self._recent, start, r_index, np.array(leads))
        views = describe([seen for _, seen in beats])
        found = map(LeadBeat, views, leads, waves)
        return [seen if isinstance(seen, Hop) else next(found) for _, seen in kept]

    def _keeps(self, beat: Followed, lead: int) -> bool:
        self._compare(beat, lead)
        if lead != self._used or beat.r_index < self._last_r + SAME_BEAT:
            return False
        self._last_r = beat.r_index
        return True

    def _compare(self, beat: Followed, seen_in: int) -> None:
        """Count what the other leads did not see, and leave a lead that fell silent."""
        if beat.strength >= CLEAR:
            for lead in range(len(self._missed)):
                self._missed[lead] += 1
        self._missed[seen_in] = 0
        self._heard[seen_in] = beat.r_index
        silent = beat.r_index - self._heard[self._used] > SILENT
        if silent and self._missed[self._used] >= MISSED:
            self._used = seen_in

    def _choose(self, hop: Hop) -> None:
        for lead, state in enumerate(hop.states):
            clear = state is LeadState.GOOD
            good = clear and hop.stop - self._heard[lead] < 2 * SILENT
            self._good_for[lead] = self._good_for[lead] + 1 if good else 0
            self._bad_for[lead] = 0 if clear else self._bad_for[lead] + 1
        for preferred in range(self._used):
            if self._good_for[preferred] >= RETURN_AFTER:
                self._used = preferred
                return
        off = not hop.states[self._used].carries_ecg
        # By state, not by the quality index alone: a restful lead is not always the better one.
        best = max(range(len(hop.states)), key=lambda n: (-hop.states[n], hop.values[n]))
        noisy = self._bad_for[self._used] >= LEAVE_AFTER and hop.states[best] is LeadState.GOOD
        if (off or noisy) and hop.states[best] < hop.states[self._used]:
            self._used = best
