"""Alerts and beds as a page shows them: cleaned, and in one language. Pure."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import resources

import msgspec

from tocsin_agent.messages.active import Active, ActiveAlert, AlertState
from tocsin_agent.messages.alert import UNSEEN_ENDS, Alert, Audience, Phase, begins_at
from tocsin_agent.messages.printable import clean
from tocsin_agent.team.console.protocol import (
    AlertView,
    LeadView,
    Level,
    Measured,
    Reliability,
    StripView,
    Why,
)
from tocsin_agent.team.language import Language, rate_of

MAX_TEXT = 500
"""The most characters of a text from outside that are shown."""
_MAX_NAMES = 64  # limits and measured values of one alert
_VERDICT = "verified"


class Known(msgspec.Struct, frozen=True):
    """What is known of a code beforehand: what to do, and how often the alarm was right."""

    to_do: str = ""
    right: tuple[Reliability, ...] = ()


@functools.cache
def known_alarms() -> Mapping[str, Known]:
    """Return what `make docs` has written of each alarm (`alarms.json`), by code."""
    file = resources.files("tocsin_agent.team.console") / "alarms.json"
    return msgspec.json.decode(file.read_bytes(), type=dict[str, Known])


class Latest(msgspec.Struct, frozen=True):
    """The latest document of an alert, to whom it was sent, and why its origin is not proven."""

    alert: Alert
    audience: Audience
    unproven: str = ""


def short(text: str) -> str:
    """Return a text from outside: cleaned and cut."""
    return clean(text, MAX_TEXT)


def view_of_active(
    active: Active, alert: ActiveAlert, latest: Latest | None, language: Language
) -> AlertView:
    """Return an alert that its device lists as open.

    Parameters
    ----------
    active : Active
        The device's message.
    alert : ActiveAlert
        One of its alerts: its state is right, whatever the documents say.
    latest : Latest or None
        Its latest document, for texts and reasons.
    language : Language
    """
    if latest is not None:
        view = view_of_document(latest, language)
        text = view.text
    else:
        view, text = None, short(alert.text)
    known = known_alarms().get(alert.code, Known())
    return AlertView(
        site=active.site,
        device=active.device,
        alert_id=alert.alert_id,
        sequence=max(alert.sequence, view.sequence if view else 0),
        code=short(alert.code),
        kind=alert.kind,
        priority=alert.priority,
        phase=view.phase if view else (Phase.END if alert.ended_at else Phase.UPDATE),
        state=alert.state,
        condition=view.condition if view else short(language.condition_of(alert.code, {})),
        text=text,
        rate_bpm=view.rate_bpm if view else alert.heart_rate_bpm,
        since=alert.since,
        detected_at=view.detected_at if view else None,
        ended_at=alert.ended_at,
        end_observed=alert.end_observed,
        holder=short(alert.holder) if alert.holder is not None else None,
        accepted_at=alert.accepted_at,
        silenced_until=alert.silenced_until,
        level=short(alert.level),
        addressed=tuple(Level(short(name), at) for name, at in alert.addressed.items()),
        repeats=alert.repeats,
        audience=view.audience if view else None,
        why=view.why if view else None,
        what_to_do=known.to_do,
        right=known.right,
        unproven=view.unproven if view else "",
        synthetic=view.synthetic if view else False,
        clock=view.clock if view else "synchronised",
        has_strip=view.has_strip if view else False,
    )


def view_of_document(latest: Latest, language: Language) -> AlertView:
    """Return an alert as its latest document has it: nobody is known to have accepted it."""
    alert, known = latest.alert, known_alarms().get(latest.alert.code, Known())
    ended, evidence = alert.phase is Phase.END, alert.evidence
    return AlertView(
        site=alert.site,
        device=alert.device,
        alert_id=alert.alert_id,
        sequence=alert.sequence,
        code=short(alert.code),
        kind=alert.kind,
        priority=alert.priority,
        phase=alert.phase,
        state=AlertState.RETURNED_UNACKNOWLEDGED if ended else AlertState.UNACKNOWLEDGED,
        condition=short(language.condition(alert)),
        text=short(language.sentence(alert)),
        rate_bpm=rate_of(alert),
        since=alert.onset_at,
        detected_at=alert.detected_at,
        ended_at=alert.detected_at if ended else None,
        end_observed=not ended or evidence.measured.get("ended") not in UNSEEN_ENDS,
        level=short(alert.escalation.to or latest.audience),
        addressed=tuple(Level(short(one.level), one.at) for one in alert.escalation.addressed),
        repeats=alert.escalation.repeat,
        audience=latest.audience,
        why=_why(alert, language),
        what_to_do=known.to_do,
        right=known.right,
        unproven=short(latest.unproven),
        synthetic=alert.synthetic,
        clock=alert.clock.value,
        has_strip=alert.strip is not None,
    )


def _why(alert: Alert, language: Language) -> Why:
    evidence = alert.evidence
    verified = evidence.measured.get(_VERDICT)
    certainty = float(verified) if isinstance(verified, float | int) else None
    return Why(
        rule=short(language.rule(alert)),
        limits=_measured(evidence.limits),
        measured=_measured(evidence.measured),
        verdict=_VERDICT if certainty is not None else None,
        certainty=certainty,
        probabilities=_measured(evidence.probabilities),
        model=short(evidence.model) if evidence.model is not None else None,
        lead=short(alert.signal_quality.used) if alert.signal_quality.used else None,
        trusted=alert.signal_quality.trusted,
    )


def _measured(values: Mapping[str, float | str] | Mapping[str, float]) -> tuple[Measured, ...]:
    named = list(values.items())[:_MAX_NAMES]
    return tuple(
        Measured(short(name), short(value) if isinstance(value, str) else value)
        for name, value in named
    )


def leads_of(active: Active) -> tuple[LeadView, ...]:
    """Return the leads, the one in use first."""
    quality = active.signal_quality
    if quality is None:
        return ()
    used = quality.used
    leads = sorted(quality.leads.items(), key=lambda lead: lead[0] != used)
    return tuple(LeadView(short(name), value, name == used) for name, value in leads[:_MAX_NAMES])


def strip_view(alert: Alert) -> StripView | None:
    """Return the strip of an alert; None without one, or one that cannot be read."""
    strip = alert.strip
    if strip is None:
        return None
    try:
        rows = len(strip.decode())
    except ValueError:
        return None
    beats = [beat for beat in strip.beats if beat.row < rows]
    return StripView(
        leads=tuple(short(lead) for lead in strip.leads),
        rate_hz=strip.rate_hz,
        gain_per_mv=strip.gain_per_mv,
        data=strip.data,
        from_at=begins_at(alert, strip, rows),
        rows=tuple(beat.row for beat in beats),
        labels=tuple(short(beat.label) for beat in beats),
        onset_row=strip.onset_row if strip.onset_row is None or strip.onset_row < rows else None,
    )
