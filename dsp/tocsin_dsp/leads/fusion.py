"""Fusion of the beats of several leads: one lead leads, plain beats of the others correct it.

A beat is *plain* in a lead where it has the patient's typical shape there, is not faint, and was
detected without search-back or support. Noise, T and P waves are seldom plain. Three rules use it:

- *Recovered.* A plain beat of another good lead in a gap between the beats of the lead in use is
  reported: with the beat that ends the gap, or once the lead in use cannot end it in time.
- *Contradicted.* An atypical beat waits until another lead confirms it. If another lead shows a
  plain beat just before or after it instead, so near that not both can be beats, it was the P or T
  wave of that beat, or noise, and is dropped.
- *Changed.* When another lead comes into use, its plain beats since the last beat are reported.

A lead that did not agree with the lead in use before corrects nothing: in complete block one lead
may show P waves as plainly as another its few QRS.

The same beat in the other good leads, as far as it is known by then, is reported with it, so that a
classifier can use each. No beat waits for that; an atypical one waits for the other leads anyway.

A beat in one lead alone is reported if nothing contradicts it, however atypical: extrasystoles that
hardly show in the other lead are real (mitdb 106). That leads which show the same beats are
reliable is the inter-lead index of Li, Mark & Clifford (Physiol. Meas. 29:15, 2008), applied here
beat by beat.

Latency: none for nearly all beats; at most 0.24 s (`APART`) beyond the beat's own for one that
waits; a recovered beat is reported 1 s after it, and no sooner than 1 s after the gap is one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from typing import NamedTuple

from tocsin_dsp.arrays import median
from tocsin_dsp.beats.beats import AFTER, RelatedBeat
from tocsin_dsp.conditioning.quality import Hop, LeadState
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.leads.choice import SILENT
from tocsin_dsp.limits import LONGEST_RR

# Times in analysis samples (4 ms). Chosen on DS1 of mitdb; the results vary little around them.
SAME_BEAT = 50  # 200 ms, the lead in use has no two beats within, even across a change
TOGETHER = 30  # 120 ms, beats of two leads within are one beat
APART = 60  # 240 ms, beats of two leads within cannot be two beats
ALIKE = 0.55  # smallest likeness of a plain beat to the typical shape of its lead
STRONG = 0.35  # smallest strength of a plain beat
AT_ONCE = 150  # 0.6 s, greatest latency of a plain beat: no search-back, no support
SHARED = 0.15  # share of recent beats with its shape from which a beat is not atypical: some five
RR_KEPT = 8  # RR intervals whose median is the typical one
GAP_RR = 1.2  # typical RR intervals without a beat that are a gap
WAIT = APART + AFTER + 2  # after R the beats of other leads near it are known
CERTAIN = 262  # after R even those of a lead with support are known: see `path.LAG`
LATELY = 12  # last plain beats of a lead by which its agreement is judged
AGREED = 9  # so many of them must be beats of the lead in use too
OTHERS = 3  # other leads reported with a beat, at most: more cost time and add little
KEPT = 24  # beats kept per lead: the above, and two seconds of noise
BACK = 3 * ANALYSIS_RATE_HZ  # a beat missed longer ago is not recovered
_NEVER = 1 << 62


class FusedBeat(NamedTuple):
    """A beat in a lead, by column; `recovered` if the lead in use missed it.

    `others` is the same beat in other good leads, as far as it is known when it is reported.
    """

    lead: int
    beat: RelatedBeat
    recovered: bool = False
    others: tuple[RelatedBeat, ...] = ()


def is_plain(beat: RelatedBeat) -> bool:
    """Return whether a beat has the typical shape of its lead and was detected without help."""
    return (
        beat.readable
        and beat.likeness >= ALIKE
        and beat.strength >= STRONG
        and beat.decided - beat.r_index <= AT_ONCE
    )


def _due(waiting: FusedBeat) -> int:
    """Return the latest time at which a waiting beat is reported or dropped."""
    return max(waiting.beat.r_index + WAIT, waiting.beat.decided)


class Fusion:
    """Merge the beats of all leads, in order of decision, into those of the patient.

    Reason for its size: all three rules read and change the same beats and the same rhythm.

    Parameters
    ----------
    leads : int
    """

    def __init__(self, leads: int) -> None:
        self._used = 0
        self._good = [True] * leads
        self._rr: deque[int] = deque(maxlen=RR_KEPT)
        self._known_at = 0  # last change of the state
        self._last_r = -LONGEST_RR  # of the last beat reported
        self._typical_rr = float(_NEVER)
        self._gap_known = _NEVER  # from then on no beat of the lead in use can end this interval
        self.skip()

    def skip(self) -> None:
        """Continue after a gap in the samples: beats that wait are dropped."""
        self._recent: list[deque[RelatedBeat]] = [deque(maxlen=KEPT) for _ in self._good]
        self._waiting: list[FusedBeat] = []  # of the lead in use, in order
        self._sure_r = _NEVER  # of the last beat that is typical or that another lead shows
        self._judged_r = -1  # the value of `_sure_r` for which `_silent_elsewhere` was computed
        self._silent_elsewhere = False  # a lead that agreed has shown no beat since

    def observe_quality(self, hop: Hop, used: int) -> list[FusedBeat]:
        """Update by the quality of a half second and the lead in use; return beats now final."""
        self._known_at = hop.stop
        before, self._good = self._good, [state is LeadState.GOOD for state in hop.states]
        if self._good != before and any(
            was != good
            for lead, (was, good) in enumerate(zip(before, self._good, strict=True))
            if lead != used
        ):
            self._sure_r = hop.stop  # a lead that was not good until now proves nothing
        return self._change_to(used, hop.stop)

    def alone_since(self, now: int) -> int | None:
        """Return since when the lead in use alone shows beats, all of them atypical; see `Hop`.

        An atypical beat resembles neither the typical one nor several other recent ones: noise does
        not repeat itself, a tachycardia does. Known after two seconds, while the beats that the
        leads shared are still kept.
        """
        if now - self._sure_r < SILENT:
            return None
        if self._judged_r != self._sure_r:
            self._judged_r = self._sure_r
            self._silent_elsewhere = any(
                good
                and lead != self._used
                and sum(map(is_plain, self._recent[lead])) >= AGREED
                and self._agrees(lead, self._used, self._sure_r)
                for lead, good in enumerate(self._good)
            )
        return self._sure_r if self._silent_elsewhere else None

    def proves(self, lead: int, beat: RelatedBeat, used: int) -> bool:
        """Return whether a beat of one lead can prove that the lead in use is at fault."""
        own = self._recent[used]
        alone = lead == used or not own
        return is_plain(beat) and (alone or self._agrees(lead, used, own[-1].r_index))

    def add_beat(self, new: FusedBeat, used: int) -> list[FusedBeat]:
        """Add a beat of any lead, given the lead in use; return beats now final."""
        now = new.beat.decided
        self._known_at = now
        self._recent[new.lead].append(new.beat)
        if new.lead != used or new.beat.likeness >= ALIKE or new.beat.share >= SHARED:
            self._sure_r = new.beat.r_index
        final = self._change_to(used, now)
        if new.lead == used:
            self._waiting.append(new)
        return final + self._settle(now)

    def pass_time(self, now: int) -> list[FusedBeat]:
        """Advance to analysis index `now`; return the beats due by then, each as of its time."""
        final: list[FusedBeat] = []
        while self._waiting:
            due = _due(self._waiting[0])
            if due > now:
                return final
            final += self._settle(due)
        while self._gap_known <= now:
            start = max(self._last_r + APART, self._gap_known - BACK)
            missed = next(iter(self._missed(self._used, start, now - CERTAIN + 1)), None)
            if missed is None:
                break
            due = max(self._gap_known, missed.beat.r_index + CERTAIN, self._known_at)
            final.append(self._finalise(missed, due))
        return final

    def _change_to(self, used: int, now: int) -> list[FusedBeat]:
        """Change to another lead; return its plain beats since the last beat reported."""
        if used == self._used:
            return []
        final = self._settle(now, at_once=True)
        self._used, self._sure_r = used, now
        for beat in list(self._recent[used]):
            if beat.r_index >= max(self._last_r + SAME_BEAT, now - BACK) and is_plain(beat):
                final += self._with_missed(FusedBeat(used, beat), now)
        return final

    def _settle(self, now: int, *, at_once: bool = False) -> list[FusedBeat]:
        """Return waiting beats that are final, up to the first that must wait; drop others."""
        final: list[FusedBeat] = []
        while self._waiting:
            first = self._waiting[0]
            if not at_once and now < _due(first) and self._must_wait(first):
                break
            del self._waiting[0]
            again = first.beat.r_index < self._last_r + SAME_BEAT
            if not again and not self._contradicted(first):
                final += self._with_missed(first, now)
        return final

    def _with_missed(self, beat: FusedBeat, now: int) -> list[FusedBeat]:
        """Return a final beat, and before it those that its lead missed."""
        missed: list[FusedBeat] = []
        if beat.beat.r_index - self._last_r > GAP_RR * self._typical_rr:
            start = max(self._last_r + APART, now - BACK)
            missed = self._missed(beat.lead, start, beat.beat.r_index - APART + 1)
        return [self._finalise(each, now) for each in (*missed, beat)]

    def _finalise(self, final: FusedBeat, now: int) -> FusedBeat:
        """Update the rhythm by a final beat; return it with the other leads and its time."""
        r_index = final.beat.r_index
        if r_index - self._last_r < LONGEST_RR:
            self._rr.append(r_index - self._last_r)
        self._last_r = r_index
        self._typical_rr = median(self._rr) if self._rr else _NEVER
        self._gap_known = r_index + int(GAP_RR * self._typical_rr) + CERTAIN
        others = self._others(final)
        if others:
            final = final._replace(others=others)
        if final.beat.decided == now:
            return final
        return final._replace(beat=final.beat._replace(decided=now))

    # -- the other leads -----------------------------------------------------------------------

    def _near(self, of: FusedBeat, reach: int) -> list[tuple[int, RelatedBeat]]:
        """Return the beats of other leads within `reach`, with their lead."""
        first, last = of.beat.r_index - reach, of.beat.r_index + reach
        return [
            (lead, beat)
            for lead, recent in enumerate(self._recent)
            if lead != of.lead
            for beat in recent
            if first <= beat.r_index <= last
        ]

    def _others(self, of: FusedBeat) -> tuple[RelatedBeat, ...]:
        """Return the same beat in other good leads, in order of leads, at most `OTHERS`.

        A beat of another lead that is nearer to the beat before belongs to that one.
        """
        if len(self._good) == 1:
            return ()
        nearest: dict[int, tuple[int, RelatedBeat]] = {}
        for lead, beat in self._near(of, TOGETHER):
            away = abs(beat.r_index - of.beat.r_index)
            taken = abs(beat.r_index - self._last_r) < away
            if not self._good[lead] or not beat.readable or taken:
                continue
            if lead not in nearest or away < nearest[lead][0]:
                nearest[lead] = away, beat
        return tuple(beat for _, beat in list(nearest.values())[:OTHERS])

    def _contradicted(self, beat: FusedBeat) -> bool:
        """Return whether a plain beat of another lead excludes an atypical one."""
        if beat.beat.likeness >= ALIKE or self._near(beat, TOGETHER):
            return False
        return any(self._good[lead] and is_plain(near) for lead, near in self._near(beat, APART))

    def _must_wait(self, beat: FusedBeat) -> bool:
        """Return whether a beat waits for the other leads."""
        if beat.beat.likeness >= ALIKE or beat.beat.r_index >= self._last_r + SILENT:
            return False  # the beat that ends a silence does not wait
        others = any(good for lead, good in enumerate(self._good) if lead != beat.lead)
        return others and not self._near(beat, TOGETHER)

    def _agrees(self, lead: int, used: int, until: int) -> bool:
        """Return whether the lead in use shows nearly all recent plain beats of another."""
        own = sorted([b.r_index for b in self._recent[used]])
        count = agreed = 0
        for beat in reversed(self._recent[lead]):
            r = beat.r_index
            if r <= until + TOGETHER and is_plain(beat):
                count += 1
                first = bisect_left(own, r - TOGETHER)
                agreed += first < len(own) and own[first] <= r + TOGETHER
                if count == LATELY:
                    break
        return agreed * LATELY >= count * AGREED

    def _missed(self, by: int, start: int, stop: int) -> list[FusedBeat]:
        """Return plain beats of the other good leads from `start` on, before `stop`.

        Of several leads, half must show the beat.
        """
        good = [
            lead
            for lead, good in enumerate(self._good)
            if good and lead != by and self._agrees(lead, by, start - APART)
        ]
        plain = [
            FusedBeat(lead, beat, recovered=True)
            for lead in good
            for beat in self._recent[lead]
            if start <= beat.r_index < stop and is_plain(beat)
        ]
        plain.sort(key=lambda each: each.beat.r_index)
        missed: list[FusedBeat] = []
        for each in plain:
            if missed and each.beat.r_index < missed[-1].beat.r_index + APART:
                continue
            by_leads = {each.lead} | {lead for lead, _ in self._near(each, TOGETHER)}
            if 2 * len(by_leads.intersection(good)) >= len(good):
                missed.append(each)
        return missed
