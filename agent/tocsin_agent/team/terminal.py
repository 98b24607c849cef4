"""Writes an item as text for a terminal. Pure: same item and style, same text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

import click
import numpy as np
from numpy.typing import NDArray

from tocsin_agent.messages.alert import Alert, Audience, Phase, PresenceView, Priority, Strip
from tocsin_agent.messages.lease import LeaseState
from tocsin_agent.team.feed import (
    AlertSeen,
    ConnectionSeen,
    Item,
    Malformed,
    PresenceSeen,
    StatusSeen,
)

_MARK = {Priority.HIGH: "!!!", Priority.MEDIUM: "!! ", Priority.LOW: "!  "}
_COLOUR = {Priority.HIGH: "bright_red", Priority.MEDIUM: "bright_yellow", Priority.LOW: "cyan"}
_PHASE = {Phase.ONSET: "begins", Phase.UPDATE: "goes on", Phase.END: "has ended"}
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # braille: left, right column
_BRAILLE = 0x2800
_MIN_SPAN_MV = 1.0  # the least range of the drawing, so that noise on a flat line stays small
_PREVIEW_BYTES = 60
_INDENT = "      "
_HANDED_OVER = "; handed over from the bedside"


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
    """

    colour: bool = False
    width: int = 80
    zone: tzinfo | None = None
    strip_rows: int = 4


def render(item: Item, style: Style) -> str:
    """Return the text of one item, without a trailing newline."""
    match item:
        case AlertSeen():
            return _alert(item, style)
        case StatusSeen():
            return _status(item, style)
        case PresenceSeen():
            return _presence(item, style)
        case Malformed():
            shown = clean(item.payload[:_PREVIEW_BYTES].decode("utf-8", "replace"))
            more = f" … ({len(item.payload)} bytes)" if len(item.payload) > _PREVIEW_BYTES else ""
            return _paint(
                f"??? malformed on {clean(item.topic)}: {clean(item.reason)}: {shown}{more}",
                style,
                fg="magenta",
            )
        case ConnectionSeen():
            sign = "--- " if item.connected else "xxx "
            return _paint(sign + clean(item.message), style, dim=item.connected, bold=False)


def clean(text: str) -> str:
    """Replace control characters: a payload is not trusted, and they could control the terminal."""
    return "".join(c if c.isprintable() else "�" for c in text)


def _paint(text: str, style: Style, *, fg: str | None = None, **how: bool) -> str:
    return click.style(text, fg=fg, **how) if style.colour else text


def _alert(item: AlertSeen, style: Style) -> str:
    alert = item.alert
    colour = _COLOUR[alert.priority]
    tag = f"#{alert.alert_id[:6]}.{alert.sequence}"
    code = clean(alert.code)
    head = f"{_MARK[alert.priority]} {alert.priority.upper():<6} {code} {_PHASE[alert.phase]}"
    if item.again:
        whom = "handed over to the team" if item.audience is Audience.TEAM else "at the bedside too"
        why = _why(alert.presence).removesuffix(_HANDED_OVER)
        return _paint(f"{head}  {tag}  {whom}: {why}", style, fg=colour)
    flags = [tag]
    if alert.synthetic:
        flags.append("SYNTHETIC")
    if alert.phase is Phase.END:
        flags.append(f"lasted {_span((alert.detected_at - alert.onset_at).total_seconds())}")
    if item.missed_onset:
        flags.append("its onset was not received here")
    bold = alert.phase is not Phase.END
    lines = [
        _paint(head, style, fg=colour, bold=bold) + "  " + "  ".join(flags),
        _INDENT + _paint(clean(alert.text), style, bold=bold),
        _INDENT + _times(alert, style),
        _INDENT + _who(alert),
        _INDENT + _evidence(alert, style.width - len(_INDENT)),
    ]
    if alert.presence is not None:
        lines.append(f"{_INDENT}to the {item.audience}: {_why(alert.presence)}")
    if alert.strip is not None and style.strip_rows:
        try:
            drawn = draw_strip(alert, alert.strip, style.width - len(_INDENT), style.strip_rows)
        except ValueError:  # the alert is shown without it
            drawn = ["(its ECG strip cannot be read)"]
        lines += [_INDENT + line for line in drawn]
    return "\n".join(lines)


def _times(alert: Alert, style: Style) -> str:
    local = _in_zone(alert.onset_at, style.zone)
    late_s = (alert.detected_at - alert.onset_at).total_seconds()
    return (
        f"since {_in_zone(alert.onset_at, UTC):%Y-%m-%d %H:%M:%S} UTC "
        f"({local:%H:%M:%S} {local.tzname()}), detected {late_s:+.1f} s"
    )


def _who(alert: Alert) -> str:
    rate = "HR —" if alert.heart_rate_bpm is None else f"HR {alert.heart_rate_bpm:.0f}/min"
    parts = [rate, alert.location or "location unknown"]
    if alert.patient:
        parts.append(f"patient {alert.patient}")
    parts.append(f"{alert.site}/{alert.device}")
    return clean("  ·  ".join(parts))


def _evidence(alert: Alert, width: int) -> str:
    evidence = alert.evidence
    quality = alert.signal_quality
    parts = [f"why: {evidence.rule}", _values(evidence.measured)]
    if evidence.probabilities:
        parts.append("P " + _values(evidence.probabilities))
    if quality.used is not None:
        parts.append(f"lead {quality.used} quality {quality.leads.get(quality.used, math.nan):.2f}")
    if evidence.model:
        parts.append(evidence.model)
    line = clean(" | ".join(part for part in parts if part))
    return line if len(line) <= width else line[: max(0, width - 1)] + "…"


def _values(values: Mapping[str, float | str]) -> str:
    return ", ".join(
        f"{k} {v if isinstance(v, str) else format(v, '.4g')}" for k, v in values.items()
    )


def _why(view: PresenceView | None) -> str:
    if view is None:
        return "presence not stated"
    who = " ".join(clean(part) for part in (view.role, view.id) if part)
    if view.attended:
        return f"attended by {who}"
    reasons = {
        "none": "nobody is present",
        "expired": f"the lease of {who} expired",
        "released": f"{who} has left",
        "malformed": "the presence message is malformed and counts as nobody present",
        "unknown": "presence is unknown and counts as nobody present",
    }
    why = reasons.get(view.reason, f"nobody is present ({clean(view.reason)})")
    return why + _HANDED_OVER if view.handover else why


def _span(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _status(item: StatusSeen, style: Style) -> str:
    device = f"{item.address.site}/{item.address.device}"
    texts = {
        "online": ("is online", "green"),
        "stopped": ("was stopped", None),
        "offline": ("IS OFFLINE: no alerts can come from it", "bright_red"),
    }
    text, colour = texts.get(item.status.state, (f"reports state {item.status.state!r}", None))
    since = f" (since {_clock(item.status.since, style)})" if item.status.since else ""
    if item.status.state == "offline" and item.status.since:
        since = f" (it was connected at {_clock(item.status.since, style)})"
    return _paint(clean(f"=== device {device} {text}{since}"), style, fg=colour)


def _presence(item: PresenceSeen, style: Style) -> str:
    where = f"{item.address.leaf} at {item.address.site}"
    lease = item.lease
    if lease is None:
        return clean(f"+++ {where}: nobody is present")
    until = _clock(lease.expires_at, style)
    text = {
        LeaseState.PRESENT: f"{lease.id} is present until {until} unless renewed: "
        "alerts go to the bedside",
        LeaseState.RELEASED: f"{lease.id} has left: alerts go to the team",
        LeaseState.GONE: f"{lease.id} lost the connection: alerts go to the team",
    }[lease.state]
    return clean(f"+++ {where}: {text}")


def _in_zone(when: datetime, zone: tzinfo | None) -> datetime:
    try:
        return when.astimezone(zone)
    except (OverflowError, ValueError, OSError):  # year 1 or 9999, from a wrong clock
        return when


def _clock(when: datetime, style: Style) -> str:
    local = _in_zone(when, style.zone)
    return f"{local:%H:%M:%S} {local.tzname()}"


# -- the strip --------------------------------------------------------------------------------


def draw_strip(alert: Alert, strip: Strip, width: int, rows: int) -> list[str]:
    """Draw the lead that the beat labels are from, with the onset marked below it.

    Parameters
    ----------
    alert : Alert
        Names the lead and the onset.
    strip : Strip
        What to draw.
    width, rows : int
        Size in characters.

    Returns
    -------
    list of str
        `rows` lines of braille, and one with the lead, the scale and the onset's mark.
    """
    samples = strip.decode()
    used = alert.signal_quality.used
    column = strip.leads.index(used) if used in strip.leads else 0
    lead = samples[:, column]
    if not len(lead) or width < 1:
        return []
    seconds = len(lead) / strip.rate_hz
    low, high = _scale(lead)
    lines = draw_trace(lead, width, rows, low, high)
    legend = f"{clean(strip.leads[column])}  {seconds:.1f} s  {low:+.1f} to {high:+.1f} mV"
    at = alert.onset_index - strip.start_index
    if 0 <= at < len(lead):
        mark = at * width // len(lead)
        pointer = "↑ onset" if mark + 7 <= width else "onset ↑"
        start = mark if pointer[0] == "↑" else mark - 6
        if start >= len(legend) + 2:
            legend = legend.ljust(start) + pointer
        else:
            lines.append(" " * max(0, start) + pointer)
    return [*lines, legend]


def _scale(lead: NDArray[np.float64]) -> tuple[float, float]:
    if np.isnan(lead).all():
        return -_MIN_SPAN_MV / 2, _MIN_SPAN_MV / 2
    low, high = float(np.nanmin(lead)), float(np.nanmax(lead))
    missing = max(0.0, _MIN_SPAN_MV - (high - low)) / 2
    return low - missing, high + missing


def draw_trace(
    samples_mv: NDArray[np.float64], width: int, rows: int, low: float, high: float
) -> list[str]:
    """Draw one lead in braille, 2 by 4 dots a character; a column spans its least to greatest.

    Parameters
    ----------
    samples_mv : ndarray of float64, shape (n,)
        NaN where a sample is missing: nothing is drawn there.
    width, rows : int
        Size in characters.
    low, high : float
        Values of the lowest and the highest dot, in mV.
    """
    columns, levels = 2 * width, 4 * rows
    cells = [[0] * width for _ in range(rows)]
    edges = np.linspace(0, len(samples_mv), columns + 1)
    previous: int | None = None
    for column in range(columns):
        start = int(edges[column])
        piece = samples_mv[start : max(start + 1, int(edges[column + 1]))]
        piece = piece[~np.isnan(piece)]
        if not len(piece):
            previous = None
            continue
        bottom, top = (
            int(np.clip((value - low) / (high - low) * (levels - 1) + 0.5, 0, levels - 1))
            for value in (piece.min(), piece.max())
        )
        # A steep slope is joined to the column before it, so that the line has no gap.
        if previous is not None:
            bottom, top = min(bottom, previous + 1), max(top, previous - 1)
        previous = round(np.clip((piece[-1] - low) / (high - low), 0, 1) * (levels - 1))
        for level in range(max(0, bottom), min(levels - 1, top) + 1):
            from_top = levels - 1 - level
            cells[from_top // 4][column // 2] |= _DOTS[column % 2][from_top % 4]
    return ["".join(chr(_BRAILLE + cell) for cell in row) for row in cells]
