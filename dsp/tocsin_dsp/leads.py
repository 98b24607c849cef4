"""Several leads: each is listened to all the time, one is believed at a time.

Every lead has a detector and an observer of its own, so that the one to change to already knows
the patient. The first lead is preferred; another is used while the first carries no ECG or is
noisy. A change is made on the quality grid, hence in stream time.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from tocsin_dsp.beats import BeatObserver, BeatView
from tocsin_dsp.condition import Conditioned
from tocsin_dsp.qrs import LeadDetector
from tocsin_dsp.quality import Hop

SAME_BEAT = 50  # analysis samples: what two leads see within 200 ms is one beat
BAD, GOOD = 0.5, 0.9
LEAVE_AFTER = 4  # half seconds that a lead is bad before another is used
RETURN_AFTER = 20  # half seconds that a preferred lead is good before it is used again


class LeadBeat(NamedTuple):
    """A beat as seen in the lead that is believed, by column."""

    view: BeatView
    lead: int


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
        self._used = 0
        self._last_r = -SAME_BEAT

    def push(self, piece: Conditioned, hops: list[Hop]) -> list[Observation]:
        """Return beats and qualities in the order in which they were decided."""
        timeline: list[tuple[int, int, Observation]] = [(hop.stop, -1, hop) for hop in hops]
        for lead, (detector, observer) in enumerate(
            zip(self._detectors, self._observers, strict=True)
        ):
            if piece.restarted:
                detector.skip_to(piece.start)
                observer.skip_to(piece.start)
            x = piece.samples[:, lead]
            views = observer.push(x, detector.push(x))
            timeline += [(view.decided, lead, LeadBeat(view, lead)) for view in views]
        timeline.sort(key=lambda item: item[:2])
        return [kept for _, _, seen in timeline if (kept := self._keep(seen)) is not None]

    def _keep(self, seen: Observation) -> Observation | None:
        if isinstance(seen, Hop):
            self._choose(seen)
            return seen._replace(used=self._used)
        r_index = seen.view.r_index
        if seen.lead != self._used or r_index < self._last_r + SAME_BEAT:
            return None
        self._last_r = r_index
        return seen

    def _choose(self, hop: Hop) -> None:
        for lead, value in enumerate(hop.values):
            self._good_for[lead] = self._good_for[lead] + 1 if value >= GOOD else 0
            self._bad_for[lead] = self._bad_for[lead] + 1 if value < BAD else 0
        for preferred in range(self._used):
            if self._good_for[preferred] >= RETURN_AFTER:
                self._used = preferred
                return
        off = not hop.states[self._used].carries_ecg
        if off or self._bad_for[self._used] >= LEAVE_AFTER:
            best = max(range(len(hop.values)), key=lambda lead: hop.values[lead])
            if hop.values[best] > hop.values[self._used]:
                self._used = best
