"""Beats of several leads, told as one patient's: one lead leads, what others saw plainly corrects.

A beat is *plain* in a lead where it looks like the patient's usual beat there, is not faint, and
was told at once. Noise, T and P waves seldom are. Three rules rest on it:

- *Missed.* What another good lead plainly saw in a gap between the beats of the lead in use is
  told: with the beat that ends the gap, or once that lead cannot have a beat in time any more.
- *Contradicted.* A beat unlike its usual waits until another lead confirms it. If one of them
  plainly saw a beat just before or after it instead, so near that not both can be beats, then it
  was the P or T wave of that one, or noise, and is not told.
- *Changed.* When another lead comes into use, what it plainly saw since the last beat is told.

What a lead sees that did not agree with the lead in use before proves nothing: in complete block
one lead may show P waves as plainly as another its few QRS.

What other good leads have seen of a beat by the time it is told goes with it: what kind it is can
be asked of each. No beat waits for that; one unlike its usual waits for them anyway.

A beat that one lead alone sees is told if nothing contradicts it, however odd it is: extrasystoles
of which the other lead shows little are real (mitdb 106). That leads which see the same beats can
be believed is the inter-lead index of Li, Mark & Clifford (Physiol. Meas. 29:15, 2008), here beat
by beat.

Latency: none for nearly all beats; at most 0.24 s (`APART`) beyond the beat's own for one that
waits; a beat that was missed is told 1 s after it, and no sooner than 1 s after the gap is one.
"""

from __future__ import annotations

from collections import deque
from statistics import median
from typing import NamedTuple

from tocsin_dsp.beats.beats import AFTER, Followed
from tocsin_dsp.conditioning.quality import Hop, LeadState
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.leads.choice import SILENT

# Times in analysis samples (4 ms). Chosen on DS1 of mitdb; all are flat around these values.
SAME_BEAT = 50  # the lead in use tells no two beats within 200 ms, not even across a change
TOGETHER = 30  # what two leads see within 120 ms is one beat
APART = 60  # what they see within 240 ms cannot be two
ALIKE = 0.55  # likeness to the usual shape of its lead: a plain beat's, at least,
SHARED = 0.15  # of the last beats have its shape: some five, which noise seldom has
STRONG = 0.35  # and so its strength
AT_ONCE = 150  # told within 0.6 s: neither by search-back nor by support
USUAL = 8  # the usual RR interval is the median of so many between beats told,
LONGEST_RR = 3 * ANALYSIS_RATE_HZ  # none of them longer
GAP_RR = 1.2  # and so many of it without a beat are a gap
WAIT = APART + AFTER + 2  # so long after R the others have told what they see near it
SURE = 262  # and so long after it even a lead in doubt has told what it sees: see `path.LAG`
LATELY, AGREED = 12, 9  # of a lead's last plain beats the lead in use must have seen so many
OTHERS = 3  # leads beside the one in use that a beat goes with: more would cost and tell little
HEARD = 24  # so many are remembered: those, and two seconds of noise
BACK = 3 * ANALYSIS_RATE_HZ  # what was missed longer ago is not told any more
_NEVER = 1 << 62


class Seen(NamedTuple):
    """A beat as seen in a lead, by column; `missed` if only a lead that is not used showed it.

    `others` is the same beat as other good leads saw it, if they have by the time it is told.
    """

    lead: int
    beat: Followed
    missed: bool = False
    others: tuple[Followed, ...] = ()


def is_plain(beat: Followed) -> bool:
    """Tell whether a beat looks like the usual one of its lead and was no hard find."""
    return (
        beat.readable
        and beat.likeness >= ALIKE
        and beat.strength >= STRONG
        and beat.decided - beat.r_index <= AT_ONCE
    )


def _due(seen: Seen) -> int:
    """Return until when a beat waits at most."""
    return max(seen.beat.r_index + WAIT, seen.beat.decided)


class Fusion:
    """Take the beats of all leads, in order of decision, and tell the patient's.

    Parameters
    ----------
    leads : int
    """

    def __init__(self, leads: int) -> None:
        self._used = 0
        self._good = [True] * leads
        self._rr: deque[int] = deque(maxlen=USUAL)
        self._known_at = 0  # when what is known last changed
        self._last_r = -LONGEST_RR  # of the last beat told
        self._usual: float = _NEVER
        self._gap_known = _NEVER  # when no beat of the lead in use can end this interval in time
        self.skip()

    def skip(self) -> None:
        """Go on after a gap in the samples: what was not told before it is not told at all."""
        self._heard: list[deque[Followed]] = [deque(maxlen=HEARD) for _ in self._good]
        self._waiting: list[Seen] = []  # of the lead in use, in order
        self._sure_r = _NEVER  # of the last beat that is not strange, or that another lead saw
        self._judged_r = -1  # and that for which this is known:
        self._silent_elsewhere = False  # a lead that had seen the same beats saw none since

    def hear(self, hop: Hop, used: int) -> list[Seen]:
        """Take the quality of a half second and the lead in use; return what is told by it."""
        self._known_at = hop.stop
        before, self._good = self._good, [state is LeadState.GOOD for state in hop.states]
        pairs = enumerate(zip(before, self._good, strict=True))
        if any(was != good for lead, (was, good) in pairs if lead != used):
            self._sure_r = hop.stop  # a lead that was not good until now is no witness
        return self._follow(used, hop.stop)

    def alone_since(self, now: int) -> int | None:
        """Return since when the lead in use alone shows beats, all of them strange; see `Hop`.

        A beat is strange that is neither like the usual one nor like several others of late: noise
        does not repeat itself, a tachycardia does.
        Known after two seconds, when the beats that the leads shared are still remembered.
        """
        if now - self._sure_r < SILENT:
            return None
        if self._judged_r != self._sure_r:
            self._judged_r = self._sure_r
            self._silent_elsewhere = any(
                good
                and lead != self._used
                and sum(map(is_plain, self._heard[lead])) >= AGREED
                and self._agrees(lead, self._used, self._sure_r)
                for lead, good in enumerate(self._good)
            )
        return self._sure_r if self._silent_elsewhere else None

    def proves(self, lead: int, beat: Followed, used: int) -> bool:
        """Tell whether a beat of one lead can prove that the lead in use is at fault."""
        own = self._heard[used]
        alone = lead == used or not own
        return is_plain(beat) and (alone or self._agrees(lead, used, own[-1].r_index))

    def take(self, seen: Seen, used: int) -> list[Seen]:
        """Take a beat of any lead, and the lead in use; return what is told by it."""
        now = seen.beat.decided
        self._known_at = now
        self._heard[seen.lead].append(seen.beat)
        if seen.lead != used or seen.beat.likeness >= ALIKE or seen.beat.share >= SHARED:
            self._sure_r = seen.beat.r_index
        told = self._follow(used, now)
        if seen.lead == used:
            self._waiting.append(seen)
        return told + self._settle(now)

    def pass_time(self, now: int) -> list[Seen]:
        """Let time pass to analysis index `now`: tell what falls due, as of when it does."""
        told: list[Seen] = []
        while self._waiting:
            due = _due(self._waiting[0])
            if due > now:
                return told
            told += self._settle(due)
        while self._gap_known <= now:
            start = max(self._last_r + APART, self._gap_known - BACK)
            missed = next(iter(self._missed(self._used, start, now - SURE + 1)), None)
            if missed is None:
                break
            due = max(self._gap_known, missed.beat.r_index + SURE, self._known_at)
            told.append(self._told(missed, due))
        return told

    def _follow(self, used: int, now: int) -> list[Seen]:
        """Change to another lead, and tell what it plainly saw since the last beat told."""
        if used == self._used:
            return []
        told = self._settle(now, at_once=True)
        self._used, self._sure_r = used, now
        for beat in list(self._heard[used]):
            if beat.r_index >= max(self._last_r + SAME_BEAT, now - BACK) and is_plain(beat):
                told += self._tell(Seen(used, beat), now)
        return told

    def _settle(self, now: int, *, at_once: bool = False) -> list[Seen]:
        """Tell the beats that need not wait, or drop them, up to the first that must."""
        told: list[Seen] = []
        while self._waiting:
            seen = self._waiting[0]
            if not at_once and now < _due(seen) and self._doubtful(seen):
                break
            del self._waiting[0]
            again = seen.beat.r_index < self._last_r + SAME_BEAT
            if not again and not self._contradicted(seen):
                told += self._tell(seen, now)
        return told

    def _tell(self, seen: Seen, now: int) -> list[Seen]:
        """Tell a beat, and before it what its lead missed."""
        missed: list[Seen] = []
        if seen.beat.r_index - self._last_r > GAP_RR * self._usual:
            start = max(self._last_r + APART, now - BACK)
            missed = self._missed(seen.lead, start, seen.beat.r_index - APART + 1)
        return [self._told(each, now) for each in (*missed, seen)]

    def _told(self, seen: Seen, now: int) -> Seen:
        r_index = seen.beat.r_index
        if r_index - self._last_r < LONGEST_RR:
            self._rr.append(r_index - self._last_r)
        self._last_r = r_index
        self._usual = median(self._rr) if self._rr else _NEVER
        self._gap_known = r_index + int(GAP_RR * self._usual) + SURE
        others = self._others(seen)
        if others:
            seen = seen._replace(others=others)
        return (
            seen
            if seen.beat.decided == now
            else seen._replace(beat=seen.beat._replace(decided=now))
        )

    # -- what other leads saw ------------------------------------------------------------------

    def _near(self, seen: Seen, reach: int) -> list[tuple[int, Followed]]:
        """Return what other leads saw so near, by lead."""
        first, last = seen.beat.r_index - reach, seen.beat.r_index + reach
        return [
            (lead, beat)
            for lead, heard in enumerate(self._heard)
            if lead != seen.lead
            for beat in heard
            if first <= beat.r_index <= last
        ]

    def _others(self, seen: Seen) -> tuple[Followed, ...]:
        """Return the beat as other good leads have seen it, in order of leads, a few at most.

        What a lead saw nearer to the beat told before belongs to that one.
        """
        nearest: dict[int, tuple[int, Followed]] = {}
        for lead, beat in self._near(seen, TOGETHER):
            away = abs(beat.r_index - seen.beat.r_index)
            taken = abs(beat.r_index - self._last_r) < away
            if not self._good[lead] or not beat.readable or taken:
                continue
            if lead not in nearest or away < nearest[lead][0]:
                nearest[lead] = away, beat
        return tuple(beat for _, beat in list(nearest.values())[:OTHERS])

    def _contradicted(self, seen: Seen) -> bool:
        if seen.beat.likeness >= ALIKE or self._near(seen, TOGETHER):
            return False
        return any(self._good[lead] and is_plain(beat) for lead, beat in self._near(seen, APART))

    def _doubtful(self, seen: Seen) -> bool:
        """Tell whether a beat is to wait: another lead might know better."""
        if seen.beat.likeness >= ALIKE or seen.beat.r_index >= self._last_r + SILENT:
            return False  # what ends a silence does not wait
        others = any(good for lead, good in enumerate(self._good) if lead != seen.lead)
        return others and not self._near(seen, TOGETHER)

    def _agrees(self, lead: int, used: int, until: int) -> bool:
        """Tell whether the lead in use saw nearly all that another plainly saw of late."""
        seen = [
            b.r_index for b in self._heard[lead] if b.r_index <= until + TOGETHER and is_plain(b)
        ]
        own = [b.r_index for b in self._heard[used]]
        agreed = [any(abs(r - o) <= TOGETHER for o in own) for r in seen[-LATELY:]]
        return sum(agreed) * LATELY >= len(agreed) * AGREED

    def _missed(self, by: int, start: int, stop: int) -> list[Seen]:
        """Return what other good leads plainly saw from `start` on, before `stop`.

        Of several leads, half must have seen it.
        """
        good = [
            lead
            for lead, good in enumerate(self._good)
            if good and lead != by and self._agrees(lead, by, start - APART)
        ]
        plain = [
            Seen(lead, beat, missed=True)
            for lead in good
            for beat in self._heard[lead]
            if start <= beat.r_index < stop and is_plain(beat)
        ]
        plain.sort(key=lambda seen: seen.beat.r_index)
        missed: list[Seen] = []
        for seen in plain:
            if missed and seen.beat.r_index < missed[-1].beat.r_index + APART:
                continue
            by_leads = {seen.lead} | {lead for lead, _ in self._near(seen, TOGETHER)}
            if 2 * len(by_leads.intersection(good)) >= len(good):
                missed.append(seen)
        return missed
