"""Alarms on trends: `trend_ectopy`, `trend_atrial_fibrillation`, `trend_st`; off by default.

Judged once a minute. The limit of atrial fibrillation is six minutes in an hour: episodes that long
foretell strokes (Healey et al., N. Engl. J. Med. 366:120, 2012). An ST level that changes by 0.1 mV
for a minute is the usual definition of an ischaemic episode in an ambulatory ECG; here it is
experimental, since posture changes it too.

Latency: up to a minute.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tocsin_agent.messages.trend import StLevel
from tocsin_agent.monitor.rhythm.finding import Finding
from tocsin_agent.monitor.rhythm.limits import Limits

RECENT_MINUTES, BEFORE_MINUTES = 15, 75
"""Ectopy of the last quarter of an hour is compared with that of the hour before it."""
TWICE = 2.0
"""It rises where it is so many times as frequent."""


class Span(NamedTuple):
    """What some minutes were: hours with an ECG, ventricular beats, atrial fibrillation in s."""

    hours: float
    ventricular: int
    af_s: float


class Spans(NamedTuple):
    """The spans that the rules compare."""

    recent: Span  # the last quarter of an hour
    before: Span  # the hour before that
    hour: Span  # the last hour
    hour_before: Span


def find_trends(
    start: int, stop: int, spans: Spans, st: Mapping[str, StLevel], limits: Limits
) -> list[Finding]:
    """Return the trends that hold at the end of a minute.

    Parameters
    ----------
    start, stop : int
        Analysis indices of the minute.
    spans : Spans
    st : mapping
        The ST level of each lead in this minute.
    limits : Limits
    """
    if limits.trend_alarms == "off":
        return []
    found = _ectopy(start, stop, spans, limits) + _fibrillation(start, stop, spans, limits)
    if limits.trend_alarms == "experimental":
        found += _st(start, stop, st, limits)
    return found


def _ectopy(start: int, stop: int, spans: Spans, limits: Limits) -> list[Finding]:
    recent, before, limit = spans.recent, spans.before, limits.trend_ectopy_per_hour
    if recent.hours < RECENT_MINUTES / 120 or before.hours < 0.5:  # half of each is monitored
        return []
    now, then = recent.ventricular / recent.hours, before.ventricular / before.hours
    if now < max(limit, TWICE * then):
        return []
    rule = f"{limit:g} ventricular beats an hour or more, and twice as many as in the hour before"
    measured: dict[str, float | str] = {"per_hour": round(now, 1), "before": round(then, 1)}
    stated = {"trend_ectopy_per_hour": limit}
    return [Finding("trend_ectopy", start, stop, rule, stated, measured)]


def _fibrillation(start: int, stop: int, spans: Spans, limits: Limits) -> list[Finding]:
    hour, before, limit = spans.hour, spans.hour_before, limits.trend_af_percent
    if hour.hours < 0.5 or before.hours < 0.5 or before.af_s:
        return []
    percent = hour.af_s / 36 / hour.hours
    if percent < limit:
        return []
    rule = f"atrial fibrillation for {limit:g} % of an hour or more, and none in the hour before"
    measured: dict[str, float | str] = {"percent": round(percent, 1)}
    stated = {"trend_af_percent": limit}
    return [Finding("trend_atrial_fibrillation", start, stop, rule, stated, measured)]


def _st(start: int, stop: int, st: Mapping[str, StLevel], limits: Limits) -> list[Finding]:
    limit = limits.trend_st_mv
    rule = f"ST level {limit:g} mV or more from the patient's baseline for a minute (experimental)"
    return [
        Finding(
            "trend_st",
            start,
            stop,
            rule,
            {"trend_st_mv": limit},
            {"lead": lead, "change_mv": level.change_mv},
            subject=lead,
        )
        for lead, level in st.items()
        if level.change_mv is not None and abs(level.change_mv) >= limit
    ]
