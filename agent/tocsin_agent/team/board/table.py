"""The board in words: cells, the panel of the selected alert, the line at the foot. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from tocsin_agent.messages.acknowledgement import Action
from tocsin_agent.messages.active import ActiveAlert, AlertState, MonitorState
from tocsin_agent.messages.alert import Kind, Priority
from tocsin_agent.messages.printable import clean
from tocsin_agent.team.board.ward import UNANSWERED_S, Alive, Line, Outstanding, Ward
from tocsin_agent.team.context import in_words
from tocsin_agent.team.language import Language, Words
from tocsin_agent.team.terminal import Style, clock_in_zone, span_in_words
from tocsin_agent.team.trace import draw_strip

_MARK = {Priority.HIGH: "!!!", Priority.MEDIUM: "!! ", Priority.LOW: "!  "}
_LEADS_SHOWN = 3
_OUTCOME_S = 20.0  # so long a confirmed answer stays at the foot


class Cells(NamedTuple):
    """One line of the board in words; in a narrow terminal the leads are cut first."""

    bed: str
    alive: str
    rate: str
    active: str
    who: str
    since: str
    leads: str


def titles(language: Language) -> Cells:
    """Return the titles of the columns."""
    w = language.words
    return Cells(
        w.bed, w.alive, w.rate_column, w.active_column, w.who_column, w.since_column, w.leads_column
    )


def cells(line: Line, now: datetime, style: Style) -> Cells:
    """Return a line in words."""
    shown = Cells(
        line.place,
        _alive(line, style.language),
        _rate(line),
        _active(line, style),
        _who(line, style),
        _since(line, now, style),
        _leads(line, style.language),
    )
    return Cells(*(clean(cell) for cell in shown))


def _alive(line: Line, language: Language) -> str:
    words = language.words
    return {
        Alive.YES: words.yes,
        Alive.NO: words.no,
        Alive.STOPPED: words.stopped,
        Alive.SILENT: words.silent_for.format(span=span_in_words(line.silent_s)),
    }[line.alive]


def _rate(line: Line) -> str:
    known = line.active.heart_rate_bpm if line.active else None
    if known is None and line.alert is not None and line.active is None:
        known = line.alert.heart_rate_bpm
    lost = line.active is not None and line.active.monitor is not MonitorState.MONITORING
    unknown = known is None or lost or line.alive in {Alive.NO, Alive.SILENT}
    return "—" if unknown else f"{known:.0f}"


def _leads(line: Line, language: Language) -> str:
    """Return each lead with its quality; the one in use is marked."""
    active = line.active
    if active is not None and active.monitor is MonitorState.SOURCE_LOST:
        return language.words.no_ecg
    quality = active.signal_quality if active else None
    if quality is None:
        return "—"
    used = sorted(quality.leads.items(), key=lambda lead: lead[0] != quality.used)
    shown = [
        f"{name}{'*' if name == quality.used else ''} {value:.0%}"
        for name, value in used[:_LEADS_SHOWN]
    ]
    return " ".join(shown) + (" …" if len(used) > _LEADS_SHOWN else "")


def _active(line: Line, style: Style) -> str:
    alert, language = line.alert, style.language
    if alert is None:
        known = in_words(line.active.context if line.active else None, style.language, style.zone)
        return (
            f"{language.words.nothing_active}  ({known})"
            if known
            else (language.words.nothing_active)
        )
    text = f"{_MARK[alert.priority]} {language.condition_of(alert.code, {})}"
    ended = alert.state is AlertState.RETURNED_UNACKNOWLEDGED
    words = language.words
    over = words.has_ended if alert.end_observed else words.end_not_observed
    return f"{text} ({over})" if ended else text


def _since(line: Line, now: datetime, style: Style) -> str:
    if line.alert is None:
        return ""
    lasted = span_in_words(max(0.0, round((now - line.alert.since).total_seconds())))
    clock = clock_in_zone(line.alert.since, style.zone).split(" ", 1)[0]
    return f"{clock} ({lasted.replace('.0 s', ' s')})"


def _who(line: Line, style: Style) -> str:
    alert, words = line.alert, style.language.words
    if alert is None:
        return ""
    if alert.holder is not None:
        return alert.holder
    said = [words.nobody_yet]
    if alert.silenced_until is not None:
        clock = clock_in_zone(alert.silenced_until, style.zone).split(" ", 1)[0]
        said.append(words.silenced_until.format(clock=clock))
    elif alert.level:
        said.append(words.call_level.format(level=alert.level, number=alert.repeats + 1))
    return "  ".join(said)


def panel(ward: Ward, line: Line | None, style: Style) -> str:
    """Return what the panel shows: the alert in a sentence, its strip, the patient's context."""
    words = style.language.words
    if line is None:
        return words.select_bed
    known = in_words(line.active.context if line.active else None, style.language, style.zone)
    context = [words.context.format(context=known)] if known else []
    if line.alert is None:
        return "\n".join([clean(f"{line.place}: {words.nothing_active}"), *context])
    return "\n".join([_alert_panel(ward, line.alert, style), *context])


def _alert_panel(ward: Ward, alert: ActiveAlert, style: Style) -> str:
    words = style.language.words
    document = ward.alert(alert.alert_id)
    if document is None:
        return f"{clean(alert.text)}\n{words.no_strip}"
    head = clean(style.language.headline(document))
    lines = [head, clean(style.language.sentence(document))]
    if document.strip is None:
        return "\n".join([*lines, words.no_strip])
    try:
        lines += draw_strip(document, document.strip, style.width, style.strip_rows, style.language)
    except ValueError:
        lines.append(words.strip_unreadable)
    return "\n".join(lines)


def summary(lines: Sequence[Line], language: Language) -> str:
    """Return how many beds and alerts there are."""
    words = language.words
    if not lines:
        return words.waiting
    alerts = [line.alert for line in lines if line.alert is not None]
    unaccepted = [a for a in alerts if a.state is not AlertState.ACKNOWLEDGED]
    beds = len({(line.site, line.device) for line in lines})
    text = words.watching.format(beds=beds, open=len(alerts), unaccepted=len(unaccepted))
    return f"{text}\n{present}" if (present := _present(lines, words)) else text


def _present(lines: Sequence[Line], words: Words) -> str:
    """Return who is present at each site, as the devices that can send know it."""
    sites: dict[str, set[str]] = {}
    for line in lines:
        view = line.active.presence if line.active else None
        if view is not None and line.alive is Alive.YES:
            known = words.present_as.format(who=view.id, role=view.role)
            sites.setdefault(line.site, set()).add(known if view.attended else words.nobody)
    said = [f"{site}: {' / '.join(sorted(known))}" for site, known in sorted(sites.items())]
    return clean("  ·  ".join(said))


def action_name(action: Action, language: Language) -> str:
    """Return an action in words."""
    words = language.words
    return {
        Action.ACCEPT: words.key_accept,
        Action.REJECT: words.key_reject,
        Action.GIVE_BACK: words.key_give_back,
        Action.SILENCE: words.key_silence,
    }[action]


def outcome(sent: Outstanding | None, now: datetime, language: Language) -> str:
    """Return what became of the last answer: an unconfirmed one says so, a confirmed one goes."""
    if sent is None:
        return ""
    words, action = language.words, action_name(sent.answer.message.action, language)
    age_s = (now - sent.sent_at).total_seconds()
    if sent.response is not None:
        text = words.answered.format(action=action, outcome=language.outcome(sent.response))
        return clean(f"{sent.place}: {text}") if age_s <= _OUTCOME_S else ""
    if age_s > UNANSWERED_S:
        text = words.unanswered.format(action=action, seconds=f"{UNANSWERED_S:g}")
    else:
        text = words.sending.format(action=action)
    return clean(f"{sent.place}: {text}")


def urgent(line: Line) -> bool:
    """Return whether a line must catch the eye: an unaccepted patient alert, or a dead device."""
    if line.alert is None:
        return line.alive in {Alive.NO, Alive.SILENT}
    waits = line.alert.state is not AlertState.ACKNOWLEDGED
    return waits and line.alert.priority is Priority.HIGH and line.alert.kind is Kind.PHYSIOLOGICAL


def as_text(ward: Ward, now: datetime, style: Style) -> str:
    """Return the whole board as lines of text."""
    lines = ward.lines(now)
    rows = [titles(style.language), *(cells(line, now, style) for line in lines)]
    widths = [max(map(_columns, column)) for column in zip(*rows, strict=True)]
    texts = [
        "  ".join(
            cell + " " * (width - _columns(cell)) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]
    texts.append(summary(lines, style.language))
    if ward.unproven:
        texts.append(style.language.words.unproven_left_out.format(count=ward.unproven))
    return "\n".join(texts)


def _columns(text: str) -> int:
    """Return the columns that a text takes in a terminal."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
