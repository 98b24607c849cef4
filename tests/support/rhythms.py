"""Beats and qualities made by hand, and what the rules of rhythm find in them."""

from __future__ import annotations

from itertools import accumulate

from tocsin_agent.monitor.rhythm.finding import Finding
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.monitor.rhythm.rhythm import Rhythm
from tocsin_agent.monitor.timeline import Beat
from tocsin_dsp.conditioning.quality import HOP, Hop, LeadState
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ

RATE = ANALYSIS_RATE_HZ
DECIDED = 91  # samples after R: the usual beat
GOOD, NOISY, LOOSE, FLAT, RAILED, GONE = LeadState


def beats(rr: list[int], labels: str | None = None, at: int = RATE) -> list[Beat]:
    """Give beats at these intervals, in samples; the first at `at`."""
    labels = labels or "N" * (len(rr) + 1)
    places = accumulate([at, *rr])
    return [Beat(r, r + DECIDED, label, 0.9, "II") for r, label in zip(places, labels, strict=True)]


def hops(seconds: float, *states: LeadState, start: int = 0) -> list[Hop]:
    """Give qualities for so many seconds, of one good lead where no states are given."""
    given = states or (GOOD,)
    values = tuple(1.0 if s is GOOD else 0.3 if s is NOISY else 0.0 for s in given)
    stops = range(start + HOP, start + round(seconds * RATE) + 1, HOP)
    return [Hop(stop, given, values) for stop in stops]


def in_time(*items: Beat | Hop) -> list[Beat | Hop]:
    """Give items in the order of decision, qualities before beats."""
    return sorted(items, key=lambda i: (i.decided, isinstance(i, Beat)))


def judge(
    *items: Beat | Hop,
    until: int = 0,
    limits: Limits | None = None,
    leads: tuple[str, ...] = ("II",),
) -> list[Finding]:
    """Take items in stream time, then let time pass."""
    rhythm = Rhythm(leads, limits or Limits())
    found: list[Finding] = []
    for item in in_time(*items):
        found += rhythm.pass_time(item.decided)
        found += rhythm.take(item)
    return found + rhythm.pass_time(until)


def judge_beats(
    rr: list[int], labels: str | None = None, limits: Limits | None = None
) -> list[Finding]:
    """Judge beats in a clear signal that ends with the last of them."""
    given = beats(rr, labels)
    return judge(*given, *hops(given[-1].decided / RATE), limits=limits)


def judge_trust(rr: list[int], labels: str, trust: str) -> list[Finding]:
    """Judge beats of which those marked `?` are not trusted, in a clear signal."""
    given = [b._replace(trusted=t != "?") for b, t in zip(beats(rr, labels), trust, strict=True)]
    return judge(*given, *hops(given[-1].decided / RATE))


def of(found: list[Finding], code: str) -> list[Finding]:
    """Give the findings of one code."""
    return [f for f in found if f.code == code]
