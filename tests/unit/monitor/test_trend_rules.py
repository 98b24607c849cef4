"""Alarms on trends: the rules by hand, and that they are off by default."""

from __future__ import annotations

import msgspec
import pytest

from support.patients import make_script, play
from tocsin_agent.messages.trend import StLevel
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.monitor.trend_rules import Span, Spans, find_trends
from tocsin_agent.sources.scripted.script import Segment
from tocsin_models import load_models

ON, EXPERIMENTAL = (
    msgspec.structs.replace(Limits(), trend_alarms=a) for a in ("on", "experimental")
)
CALM = Span(1.0, 0, 0.0)
QUIET = Spans(Span(0.25, 0, 0.0), CALM, CALM, CALM)
DRIFT = {"II": StLevel(0.15, 0.02, 0.13)}


def codes(spans: Spans, limits: Limits = ON) -> set[str]:
    return {finding.code for finding in find_trends(0, 15_000, spans, DRIFT, limits)}


@pytest.mark.parametrize(
    ("recent", "before", "found"),
    [
        (Span(0.25, 15, 0.0), Span(1.0, 30, 0.0), True),
        (Span(0.25, 15, 0.0), Span(1.0, 31, 0.0), False),  # not twice as many
        (Span(0.25, 14, 0.0), CALM, False),  # below 60 an hour
        (Span(0.1, 15, 0.0), CALM, False),  # too little was monitored
        (Span(0.25, 15, 0.0), Span(0.4, 0, 0.0), False),
    ],
)
def test_ectopy_rises(recent: Span, before: Span, found: bool) -> None:
    assert ("trend_ectopy" in codes(QUIET._replace(recent=recent, before=before))) is found


@pytest.mark.parametrize(
    ("hour", "before", "found"),
    [
        (Span(1.0, 0, 360.0), CALM, True),
        (Span(1.0, 0, 350.0), CALM, False),
        (Span(1.0, 0, 360.0), Span(1.0, 0, 5.0), False),  # not new
        (Span(1.0, 0, 360.0), Span(0.0, 0, 0.0), False),  # nobody knows
    ],
)
def test_a_burden_of_atrial_fibrillation_is_new(hour: Span, before: Span, found: bool) -> None:
    spans = QUIET._replace(hour=hour, hour_before=before)
    assert ("trend_atrial_fibrillation" in codes(spans)) is found


def test_st_is_experimental_and_everything_is_off_by_default() -> None:
    assert codes(QUIET) == set()
    assert codes(QUIET, EXPERIMENTAL) == {"trend_st"}
    rising = QUIET._replace(recent=Span(0.25, 100, 0.0))
    assert codes(rising, Limits()) == set()


def test_an_alarm_on_a_trend_reaches_the_alerts() -> None:
    script = make_script(
        Segment(seconds=40 * 60.0), Segment(seconds=9 * 60.0, pattern="NNNNNNNNNNNV"), leads=("II",)
    )
    result = play(script, load_models(), ON)
    (onset,) = result.of("trend_ectopy")
    assert onset.evidence.limits == {"trend_ectopy_per_hour": 60.0}
    assert onset.text.startswith("Ventricular ectopy is rising")
    # an hour before is known once half of it was monitored
    assert 45 * 60 * 360 < onset.detected_index < 47 * 60 * 360
