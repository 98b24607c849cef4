"""Writes an item as text for a terminal. Pure: same item and style, same text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo

import click

from tocsin_agent.messages.alert import (
    UNSEEN_ENDS,
    Alert,
    Audience,
    ClockState,
    Kind,
    Phase,
    PresenceView,
    Priority,
)
from tocsin_agent.messages.lease import LeaseState
from tocsin_agent.messages.printable import clean
from tocsin_agent.team.feed import (
    ActiveSeen,
    AlertSeen,
    ConnectionSeen,
    Item,
    Malformed,
    PresenceSeen,
    ResponseSeen,
    StatusSeen,
    TrendSeen,
    WaveSeen,
)
from tocsin_agent.team.language import DEFAULT, Language, load_language, place_of
from tocsin_agent.team.trace import draw_strip
from tocsin_agent.team.trends import line

_MARK = {Priority.HIGH: "!!!", Priority.MEDIUM: "!! ", Priority.LOW: "!  "}
_COLOUR = {Priority.HIGH: "bright_red", Priority.MEDIUM: "bright_yellow", Priority.LOW: "cyan"}
_ORDINARY_ENDS = frozenset({"", "no longer found", "samples arrive again"})
_SUPERSEDED = "superseded by "
_PREVIEW_BYTES = 60
_INDENT = "      "


@dataclass(frozen=True, slots=True)
class Style:
    """The format of the text.

    Parameters
    ----------
    colour : bool
        Whether to use terminal colours.
    width : int
        Columns of the terminal.
    zone : tzinfo, optional
        The reader's time zone; the system's if unset.
    strip_rows : int
        Height of the ECG strip in lines; 0 for none.
    language : Language
        The reader's; English by default.
    """

    colour: bool = False
    width: int = 80
    zone: tzinfo | None = None
    strip_rows: int = 4
    language: Language = field(default_factory=lambda: load_language(DEFAULT))


def render(item: Item, style: Style) -> str:
    """Return the text of one item, without a trailing newline."""
    match item:
        case AlertSeen():
            text = _alert(item, style) + _origin(item, style)
        case StatusSeen():
            text = _status(item, style)
        case PresenceSeen():
            text = _presence(item, style)
        case ActiveSeen():
            text = _holders(item, style)
        case ResponseSeen():
            text = clean(f"+++ {style.language.outcome(item.response)}")
        case TrendSeen():
            text = clean(line(item.trend))
        case WaveSeen():
            wave = item.waveform
            text = clean(f"{wave.site}/{wave.device} {wave.lead} from sample {wave.start_index}")
        case Malformed():
            text = _malformed(item, style)
        case ConnectionSeen():
            sign = "--- " if item.connected else "xxx "
            text = _paint(sign + clean(item.message), style, dim=item.connected, bold=False)
    return text


def _malformed(item: Malformed, style: Style) -> str:
    shown = clean(item.payload[:_PREVIEW_BYTES].decode("utf-8", "replace"))
    more = f" … ({len(item.payload)} bytes)" if len(item.payload) > _PREVIEW_BYTES else ""
    what = style.language.words.malformed.format(topic=item.topic, reason=item.reason)
    return _paint(f"??? {clean(what)}: {shown}{more}", style, fg="magenta")


def _paint(text: str, style: Style, *, fg: str | None = None, **how: bool) -> str:
    return click.style(text, fg=fg, **how) if style.colour else text


def _alert(item: AlertSeen, style: Style) -> str:
    """Write where, what and how fast on the first line; an end or a handover on one line."""
    alert, words = item.alert, style.language.words
    colour = _COLOUR[alert.priority]
    tag = f"#{alert.alert_id[:6]}.{alert.sequence}"
    head = clean(f"{_MARK[alert.priority]} {style.language.headline(alert)}")
    over = f" {_over(alert, style.language)}" if alert.phase is Phase.END else ""
    # The end is also sent to who had the onset, without a view: then it is shown as any other end.
    if item.again and not (over and alert.presence is None):
        how = words.again_team if item.audience is Audience.TEAM else words.again_bedside
        why = how.format(why=presence_reason(alert.presence, style.language, handover=False))
        return _paint(f"{head}{over}  {tag}  {clean(why)}", style, fg=colour)
    if item.repeated:
        far = alert.escalation
        call = words.repeated.format(number=far.repeat + 1, level=far.to or "1")
        return _paint(f"{head}{over}  {tag}  {clean(call)}", style, fg=colour, bold=True)
    if alert.phase is Phase.END:
        return _paint(clean(_end(item, style)), style, fg=colour)
    lines = [
        _paint(head, style, fg=colour, bold=True),
        _INDENT + clean("  ·  ".join(_facts(item, tag, style))),
        _INDENT + _paint(clean(style.language.sentence(alert)), style, bold=True),
        _INDENT + _who(alert, style.language),
        _INDENT + _evidence(alert, style.language, style.width - len(_INDENT)),
    ]
    if alert.presence is not None:
        to = words.to_team if item.audience is Audience.TEAM else words.to_bedside
        lines.append(
            _INDENT + clean(to.format(why=presence_reason(alert.presence, style.language)))
        )
    if alert.strip is not None and style.strip_rows:
        width = style.width - len(_INDENT)
        try:
            drawn = draw_strip(alert, alert.strip, width, style.strip_rows, style.language)
        except ValueError:  # the alert is shown without it
            drawn = [words.strip_unreadable]
        lines += [_INDENT + line for line in drawn]
    return "\n".join(lines)


def _over(alert: Alert, language: Language) -> str:
    """Return that a condition has ended, or that nobody knows whether it has."""
    reason = str(alert.evidence.measured.get("ended", ""))
    return end_reason(alert, language) if reason in UNSEEN_ENDS else language.words.has_ended


def _origin(item: AlertSeen, style: Style) -> str:
    """Return who signed the alert, or that nobody is known to have, on a line of its own."""
    origin, words = item.origin, style.language.words
    if origin is None:
        return ""
    if origin.genuine:
        signed = clean(words.signed_by.format(who=origin.by))
        return "" if item.alert.phase is Phase.END else f"\n{_INDENT}{signed}"
    text = clean(words.unproven.format(reason=origin.reason))
    return f"\n{_INDENT}" + _paint(text, style, fg="magenta", bold=True)


def _holders(item: ActiveSeen, style: Style) -> str:
    """Write one line for each alert that somebody took or gave back: who has it now."""
    words, address = style.language.words, item.address
    place = (item.active.location if item.active else None) or f"{address.site}/{address.device}"
    lines = []
    for alert in item.changed:
        condition = style.language.condition_of(alert.code, {})
        over = words.has_ended if alert.end_observed else words.end_not_observed
        ended = f" {over}" if alert.ended_at else ""
        who = words.has_it.format(who=alert.holder or words.nobody_yet)
        line = f"+++ {place[:1].upper()}{place[1:]}: {condition}{ended}: {who}"
        lines.append(clean(f"{line}  #{alert.alert_id[:6]}"))
    return "\n".join(lines) or clean(f"=== {place}: {words.nothing_active}")


def _end(item: AlertSeen, style: Style) -> str:
    """Write an end on one line: where, what, how long, until when, and why if it is not over."""
    alert, language = item.alert, style.language
    words = language.words
    parts = [
        f"{_MARK[alert.priority]} {place_of(alert)}: {end_in_words(alert, language)}",
        clock_in_zone(alert.detected_at, style.zone),
        f"#{alert.alert_id[:6]}.{alert.sequence}",
    ]
    if alert.synthetic:
        parts.append(words.synthetic)
    if reason := end_reason(alert, language):
        parts.append(reason)
    if item.missed_onset:
        parts.append(words.onset_missed)
    return "  ".join(parts)


def end_in_words(alert: Alert, language: Language) -> str:
    """Return that a condition has ended, and how long it lasted."""
    lasted = span_in_words((alert.detected_at - alert.onset_at).total_seconds())
    words = language.words
    return f"{language.condition(alert)} {words.has_ended} {words.after.format(span=lasted)}"


def end_reason(alert: Alert, language: Language) -> str:
    """Return why an episode ended, if for another reason than that its condition is over."""
    words, reason = language.words, str(alert.evidence.measured.get("ended", ""))
    if reason.startswith(_SUPERSEDED):
        graver = language.condition_of(reason.removeprefix(_SUPERSEDED), {})
        return words.superseded.format(condition=graver)
    # What the equipment reports of itself is over when it says so, in whatever words.
    reported = alert.kind is Kind.TECHNICAL and reason not in UNSEEN_ENDS
    if reported or reason in _ORDINARY_ENDS:
        return ""
    return words.unseen_end.format(reason=language.phrase(reason))


def _facts(item: AlertSeen, tag: str, style: Style) -> list[str]:
    """Return priority, phase, times and what a reader must not overlook."""
    alert, words = item.alert, style.language.words
    late_s = (alert.detected_at - alert.onset_at).total_seconds()
    priority = {Priority.HIGH: words.high, Priority.MEDIUM: words.medium, Priority.LOW: words.low}
    utc = in_zone(alert.onset_at, UTC)
    since = words.since.format(
        local=clock_in_zone(alert.onset_at, style.zone), utc=f"{utc:%Y-%m-%d %H:%M:%S}"
    )
    facts = [f"{priority[alert.priority]} {_phase(alert, style.language)}", since]
    if alert.phase is Phase.ONSET:
        facts.append(words.detected.format(span=span_in_words(late_s)))
    facts.append(tag)
    if alert.synthetic:
        facts.append(words.synthetic)
    if alert.clock is not ClockState.SYNCHRONISED:
        unset = alert.clock is ClockState.UNSYNCHRONISED
        facts.append(words.clock_not_set if unset else words.clock_corrected)
    if item.missed_onset:
        facts.append(words.onset_missed)
    return facts


def _phase(alert: Alert, language: Language) -> str:
    return language.words.begins if alert.phase is Phase.ONSET else language.words.goes_on


def _who(alert: Alert, language: Language) -> str:
    words, bpm = language.words, alert.heart_rate_bpm
    parts = [
        words.heart_rate_unknown if bpm is None else words.heart_rate.format(rate=f"{bpm:.0f}")
    ]
    if alert.patient:
        parts.append(words.patient.format(patient=alert.patient))
    parts += [f"{alert.site}/{alert.device}", alert.code]
    return clean("  ·  ".join(parts))


def _evidence(alert: Alert, language: Language, width: int) -> str:
    evidence, quality, words = alert.evidence, alert.signal_quality, language.words
    parts = [words.why.format(rule=language.rule(alert)), _values(evidence.measured)]
    if evidence.probabilities:
        parts.append("P " + _values(evidence.probabilities))
    if quality.used is not None:
        value = f"{quality.leads.get(quality.used, math.nan):.2f}"
        parts.append(words.lead_quality.format(lead=quality.used, quality=value))
    if evidence.model:
        parts.append(evidence.model)
    line = clean(" | ".join(part for part in parts if part))
    return line if len(line) <= width else line[: max(0, width - 1)] + "…"


def _values(values: Mapping[str, float | str]) -> str:
    return ", ".join(
        f"{k} {v if isinstance(v, str) else format(v, '.4g')}" for k, v in values.items()
    )


def presence_reason(view: PresenceView | None, language: Language, *, handover: bool = True) -> str:
    """Return why an alert went to the team or to the bedside."""
    words = language.words
    if view is None:
        return words.unstated_presence
    who = " ".join(part for part in (view.role, view.id) if part)
    if view.attended:
        return words.attended.format(who=who)
    reasons = {
        "none": words.nobody,
        "expired": words.expired.format(who=who),
        "released": words.left.format(who=who),
        "malformed": words.malformed_lease,
        "unknown": words.unknown_presence,
    }
    why = reasons.get(view.reason, f"{words.nobody} ({view.reason})")
    return f"{why}; {words.handed_over}" if view.handover and handover else why


def span_in_words(seconds: float) -> str:
    """Return a duration: `2.0 s`, `3 min 5 s`, `2 h 10 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _status(item: StatusSeen, style: Style) -> str:
    words = style.language.words
    device = f"{item.address.site}/{item.address.device}"
    texts = {
        "online": (words.device_online, "green"),
        "stopped": (words.device_stopped, None),
        "offline": (words.device_offline, "bright_red"),
    }
    text, colour = texts.get(item.status.state, (words.device_state, None))
    shown = text.format(device=device, state=repr(item.status.state))
    if item.status.since:
        when = words.connected_at if item.status.state == "offline" else words.since_when
        shown += f" ({when.format(clock=clock_in_zone(item.status.since, style.zone))})"
    return _paint(clean(f"=== {shown}"), style, fg=colour)


def _presence(item: PresenceSeen, style: Style) -> str:
    words, lease = style.language.words, item.lease
    where = words.role_at.format(role=item.address.leaf, site=item.address.site)
    if lease is None:
        return clean(f"+++ {where}: {words.nobody}")
    text = {
        LeaseState.PRESENT: words.present_until,
        LeaseState.RELEASED: words.person_left,
        LeaseState.GONE: words.person_gone,
    }[lease.state]
    until = clock_in_zone(lease.expires_at, style.zone)
    return clean(f"+++ {where}: {text.format(who=lease.id, clock=until)}")


def in_zone(when: datetime, zone: tzinfo | None) -> datetime:
    """Return a time in a zone, the system's if None; as it is at the ends of the calendar."""
    try:
        return when.astimezone(zone)
    except (OverflowError, ValueError, OSError):  # year 1 or 9999, from a wrong clock
        return when


def clock_in_zone(when: datetime, zone: tzinfo | None) -> str:
    """Return the time of day with the name of its zone."""
    local = in_zone(when, zone)
    return f"{local:%H:%M:%S} {local.tzname()}"
