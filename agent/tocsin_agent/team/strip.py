"""The ECG of an alert on paper: where, what and since when above it, beats and onset in it."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, tzinfo

import numpy as np
from numpy.typing import NDArray

from tocsin_agent.drawing.paper import (
    GUTTER_MM,
    MM_S,
    Scale,
    calibration,
    grid,
    labels,
    scale_for,
    trace,
)
from tocsin_agent.drawing.shapes import Box, Lines, Shape, Sheet, Text
from tocsin_agent.messages.alert import Alert, Phase, Strip
from tocsin_agent.messages.printable import clean
from tocsin_agent.team.language import Language
from tocsin_agent.team.terminal import (
    clock_in_zone,
    end_in_words,
    end_reason,
    in_zone,
    span_in_words,
)
from tocsin_agent.team.trace import onset_row

A4_MM = (297.0, 210.0)
_MARGIN_MM = 14.0
_FIRST_PAPER_MM = 45.0  # top of the first lead, below the headline
_AT_MOST_MM = 30.0  # of paper above and below the median of a lead
_FOOT_MM = 16.0
_BAND = "≤ 30 Hz"  # what the agent's filter passes, see `tocsin_dsp.conditioning.resample`
_VENTRICULAR = "V"


def strip_sheet(
    alert: Alert, language: Language, *, zone: tzinfo | None = None, whole_page: bool = False
) -> Sheet:
    """Draw the strip of an alert on ECG paper.

    Parameters
    ----------
    alert : Alert
        With a strip.
    language : Language
        Of headline and notes.
    zone : tzinfo, optional
        The reader's time zone; the system's if unset.
    whole_page : bool
        True for a page of A4, landscape, or more where the strip is longer.

    Raises
    ------
    ValueError
        If the alert has no strip, or one that cannot be read.
    """
    strip = alert.strip
    if strip is None:
        raise ValueError(
            "this alert has no strip: onsets carry one, and every phase of high priority; the "
            "device leaves it out where the broker's packets are too small"
        )
    samples = strip.decode()
    if not samples.size:
        raise ValueError("the strip of this alert is empty")
    left = _MARGIN_MM + GUTTER_MM
    paper_mm = float(math.ceil(len(samples) / strip.rate_hz * MM_S))
    scales = _rows(samples, strip.rate_hz, left)
    foot = scales[-1].top + scales[-1].height
    width, height = left + paper_mm + _MARGIN_MM, foot + _FOOT_MM
    if whole_page:
        width, height = max(width, A4_MM[0]), max(height, A4_MM[1])
    title = clean(language.headline(alert))
    shapes: list[Shape] = [
        Box(0, 0, width, height, "page"),
        *_headlines(alert, language, zone, title),
        *_leads(strip, samples, scales, paper_mm, language),
        *_onset(alert, strip, (len(samples), scales[0], scales[-1]), language),
        *_beats(strip, len(samples), scales[0]),
        *_foot((left, left + paper_mm, foot), _span(alert, strip, len(samples)), zone),
        Text(left, foot + 10.5, _scale_note(strip, language), "small"),
    ]
    return Sheet(width, height, title, tuple(shapes))


def _rows(samples: NDArray[np.float64], rate_hz: float, left: float) -> list[Scale]:
    scales, top = list[Scale](), _FIRST_PAPER_MM
    for column in range(samples.shape[1]):
        scales.append(scale_for(samples[:, column], rate_hz, left, top, _AT_MOST_MM))
        top += scales[-1].height
    return scales


def _headlines(alert: Alert, language: Language, zone: tzinfo | None, title: str) -> list[Shape]:
    words, x = language.words, _MARGIN_MM
    utc = in_zone(alert.onset_at, zone)
    since = words.since.format(
        local=clock_in_zone(alert.onset_at, zone), utc=f"{alert.onset_at:%Y-%m-%d %H:%M:%S}"
    )
    phase = {
        Phase.ONSET: words.begins,
        Phase.UPDATE: words.goes_on,
        Phase.END: words.has_ended,
    }[alert.phase]
    facts = [f"{utc:%Y-%m-%d}", phase, since]
    sentence = language.sentence(alert)
    if alert.phase is Phase.ONSET:
        detected = span_in_words((alert.detected_at - alert.onset_at).total_seconds())
        facts.append(words.detected.format(span=detected))
    elif alert.phase is Phase.END:
        reason = end_reason(alert, language)
        sentence = end_in_words(alert, language) + (f": {reason}" if reason else "")
    if alert.synthetic:
        facts.append(words.synthetic)
    names = [f"{alert.site}/{alert.device}", alert.code, f"{alert.alert_id}.{alert.sequence}"]
    if alert.patient:
        names.insert(0, words.patient.format(patient=alert.patient))
    return [
        Text(x, 14, title, "headline"),
        Text(x, 21, clean(sentence), "line"),
        Text(x, 27, clean("  ·  ".join(facts)), "line"),
        Text(x, 32.5, clean("  ·  ".join(names)), "small"),
    ]


def _leads(
    strip: Strip,
    samples: NDArray[np.float64],
    scales: list[Scale],
    paper_mm: float,
    language: Language,
) -> list[Shape]:
    first, last = scales[0], scales[-1]
    height = last.top + last.height - first.top
    shapes = grid(first.left, first.top, paper_mm, height)
    for column, (name, scale) in enumerate(zip(strip.leads, scales, strict=True)):
        lead = samples[:, column]
        finite = lead[np.isfinite(lead)]
        note = ""
        if not len(finite):
            note = language.words.no_signal
        elif (
            finite.max() - scale.middle_mv > scale.above / 10.0
            or scale.middle_mv - finite.min() > scale.below / 10.0
        ):
            note = language.words.cut_at
        shapes += [*calibration(scale, clean(name)), trace(lead, scale)]
        if note:
            shapes.append(Text(scale.left + 1.5, scale.top + 4.5, note, "small"))
    return shapes


def _beats(strip: Strip, rows: int, scale: Scale) -> list[Shape]:
    shapes: list[Shape] = []
    tick = (scale.top - 1.8, scale.top)
    for ventricular in (False, True):
        marks = [
            (scale.x(beat.row), clean(beat.label))
            for beat in strip.beats
            if beat.row < rows and (beat.label == _VENTRICULAR) is ventricular
        ]
        shapes += labels(marks, scale.top - 2.6, tick, near=ventricular)
    return shapes


def _onset(
    alert: Alert, strip: Strip, rows_and_scales: tuple[int, Scale, Scale], language: Language
) -> list[Shape]:
    """Mark the onset through all leads, or say how long before the strip it was."""
    words, (rows, first, last) = language.words, rows_and_scales
    foot = last.top + last.height
    row = onset_row(alert, strip, rows)
    if row is None:
        before_s = (alert.detected_at - alert.onset_at).total_seconds() - rows / strip.rate_hz
        if before_s <= 0:
            return []
        text = f"◀ {words.onset_before.format(span=span_in_words(before_s))}"
        return [Text(first.left + 1.5, foot - 2.0, text, "onset name")]
    x = first.x(row)
    return [
        Lines((((x, first.top), (x, foot)),), "onset"),
        Text(x + 1.0, foot - 2.0, words.onset, "onset name"),
    ]


def _span(alert: Alert, strip: Strip, rows: int) -> tuple[datetime, datetime]:
    """Return when a strip begins and ends; one without an onset row ends at the detection."""
    length = timedelta(seconds=rows / strip.rate_hz)
    begins = alert.detected_at - length
    if strip.onset_row is not None:
        begins = alert.onset_at - timedelta(seconds=strip.onset_row / strip.rate_hz)
    return begins, begins + length


def _scale_note(strip: Strip, language: Language) -> str:
    return language.words.paper.format(band=f"{_BAND}, {strip.rate_hz:g}/s")


def _foot(
    edges: tuple[float, float, float],
    span: tuple[datetime, datetime],
    zone: tzinfo | None,
) -> list[Shape]:
    """Write the times at which the strip begins and ends."""
    left, right, foot = edges
    return [
        Text(left, foot + 5.0, _tenths(span[0], zone), "small"),
        Text(right, foot + 5.0, _tenths(span[1], zone), "row"),
    ]


def _tenths(when: datetime, zone: tzinfo | None) -> str:
    local = in_zone(when, zone)
    return f"{local:%H:%M:%S}.{local.microsecond // 100_000} {local.tzname()}"
