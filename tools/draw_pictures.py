#!/usr/bin/env python3
"""Draws the pictures of `docs/team.md`: the board, and the chain of an alert that nobody accepts.

`python tools/draw_pictures.py [FOLDER]`, without a folder into `docs/strips`. The board is the real
one, with the messages of five devices; the chain is that of the default configuration.
"""

from __future__ import annotations

import asyncio
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self
from xml.sax.saxutils import escape

from tocsin_agent.delivery.settings import EscalationSettings
from tocsin_agent.messages.active import Active, ActiveAlert, AlertState, MonitorState
from tocsin_agent.messages.alert import (
    Alert,
    Audience,
    Codes,
    Evidence,
    Kind,
    Phase,
    PresenceView,
    Priority,
    SignalQuality,
    Strip,
)
from tocsin_agent.messages.status import Status
from tocsin_agent.messages.topics import Address, Branch
from tocsin_agent.sources.opening import open_source
from tocsin_agent.team.board.screen import BoardApp, Person
from tocsin_agent.team.feed import ActiveSeen, AlertSeen, ConnectionSeen, Item, StatusSeen
from tocsin_agent.team.terminal import Style

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "strips"
NOW = datetime(2026, 3, 1, 12, 0, 41, tzinfo=UTC)
SITE = "ward3"
_SIZE = (144, 24)


class _Script:
    """A broker that has these messages for the board."""

    def __init__(self, items: list[Item]) -> None:
        self._items = items

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def poll(self, timeout_s: float) -> list[Item]:  # noqa: ARG002
        items, self._items = self._items, []
        return items

    def send(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Nobody presses a key."""


def board() -> str:
    """Return the board as SVG."""

    async def run() -> str:
        app = BoardApp(
            _Script(_messages()), Style(zone=UTC, strip_rows=6), Person("dr-k"), lambda: NOW
        )
        async with app.run_test(size=_SIZE) as pilot:
            while len(app.ward.lines(NOW)) < 5:
                await pilot.pause(0.02)
            app.show()
            earlier, picture = "", ""
            while not (picture == earlier and "Quit" in picture):  # the keys come last
                await pilot.pause(0.1)
                earlier, picture = picture, app.export_screenshot(title="tocsin board")
            return picture

    # Without the fonts from another server; the reader's own are as good.
    return re.sub(r"@font-face \{.*?\}\s*", "", asyncio.run(run()), flags=re.DOTALL)


def _messages() -> list[Item]:
    strip = _strip()
    present = PresenceView(True, Audience.BEDSIDE, "lease", "cardiologist", "dr-k")
    items: list[Item] = [ConnectionSeen(True, "connected")]
    for device, rate, quality, alerts in (
        (
            "bed12",
            184.0,
            {"II": 0.93, "V1": 0.81},
            (_alert("3fa2", "ventricular_tachycardia", 41),),
        ),
        (
            "bed7",
            71.0,
            {"II": 0.7, "V1": 0.2},
            (
                _alert(
                    "9b01",
                    "asystole",
                    101,
                    state=AlertState.RETURNED_UNACKNOWLEDGED,
                    ended_at=NOW - timedelta(seconds=80),
                    silenced_until=NOW + timedelta(seconds=100),
                ),
            ),
        ),
        (
            "bed4",
            36.0,
            {"MLII": 0.88},
            (
                _alert(
                    "c4d7", "extreme_bradycardia", 241, state=AlertState.ACKNOWLEDGED, holder="dr-k"
                ),
            ),
        ),
        ("bed9", 68.0, {"II": 0.95}, ()),
        ("bed10", None, {}, ()),
    ):
        active = Active(
            site=SITE,
            device=device,
            at=NOW - timedelta(seconds=95 if rate is None else 3),
            monitor=MonitorState.MONITORING,
            location=f"ward 3, bed {device[3:]}",
            heart_rate_bpm=rate,
            signal_quality=SignalQuality(leads=quality, used=next(iter(quality), None)),
            presence=present,
            alerts=alerts,
        )
        address = Address(Branch.ACTIVE, SITE, device, "")
        items.append(ActiveSeen(active, address, "", retained=True))
        status = Status(state="online", since=NOW, site=SITE, device=device)
        items.append(StatusSeen(status, Address(Branch.STATUS, SITE, device, ""), "", True))
    items.append(AlertSeen(_document(strip), Audience.TEAM, ""))
    return items


def _strip() -> Strip:
    """Return ten seconds of a scripted patient in whom a tachycardia begins."""
    with open_source("synthetic:all_alarms", block_s=180.0) as source:
        block = source.read(1.0)
    if block is None:
        raise RuntimeError("the scripted patient has no samples")
    rate_hz = block.spec.rate_hz
    first, last = (round(seconds * rate_hz) for seconds in (163.0, 173.0))
    samples = block.samples_mv[first:last]
    return Strip.encode(block.spec.leads, rate_hz, first, samples, onset_row=round(7.2 * rate_hz))


def _document(strip: Strip) -> Alert:
    return Alert(
        alert_id="3fa2".ljust(32, "0"),
        sequence=1,
        phase=Phase.ONSET,
        kind=Kind.PHYSIOLOGICAL,
        code="ventricular_tachycardia",
        codes=Codes(),
        priority=Priority.HIGH,
        onset_index=strip.start_index + (strip.onset_row or 0),
        detected_index=strip.start_index + round(10 * strip.rate_hz),
        onset_at=NOW - timedelta(seconds=41),
        detected_at=NOW - timedelta(seconds=39),
        device="bed12",
        site=SITE,
        stream="script",
        synthetic=True,
        location="ward 3, bed 12",
        heart_rate_bpm=184.0,
        evidence=Evidence(rule="", limits={}, measured={"beats": 5.0, "rate_bpm": 184.0}),
        signal_quality=SignalQuality(leads={"II": 0.93}, used="II"),
        text="Ventricular tachycardia: 5 ventricular beats in a row at 184/min.",
        strip=strip,
    )


def _alert(begin: str, code: str, age_s: float, **more: Any) -> ActiveAlert:  # noqa: ANN401
    fields = {
        "alert_id": begin.ljust(32, "0"),
        "sequence": 1,
        "code": code,
        "kind": Kind.PHYSIOLOGICAL,
        "priority": Priority.HIGH,
        "state": AlertState.UNACKNOWLEDGED,
        "since": NOW - timedelta(seconds=age_s),
        "text": "Ventricular tachycardia: 12 ventricular beats in a row at 184/min.",
        "level": "team",
        "repeats": 1,
    }
    return ActiveAlert(**(fields | more))


def chain() -> str:
    """Return who is called when, while nobody accepts an alert of high priority, as SVG."""
    settings = EscalationSettings()
    width, left, row, end_s = 760, 130, 34, 240
    starts, due = [], 0.0
    for name, wait_s in settings.levels:
        starts.append((name, due))
        due += wait_s
    height = 64 + row * len(starts)

    def x(seconds: float) -> float:
        return left + (width - left - 20) * seconds / end_s

    parts = [f'<rect width="{width}" height="{height}" fill="#fff"/>']
    for tick in range(0, end_s + 1, 30):
        parts.append(f'<path d="M{x(tick):g} 30V{height - 30}" stroke="#ddd"/>')
        parts.append(_text(x(tick), height - 12, f"{tick} s", "middle"))
    parts.append(
        _text(
            left,
            20,
            "nobody accepts: who is called when, while somebody is present (else the team at once)",
            "start",
        )
    )
    for number, (name, start) in enumerate(starts):
        y = 48 + row * number
        parts.append(_text(left - 10, y + 4, name, "end"))
        parts.append(
            f'<path d="M{x(start):g} {y}H{x(end_s):g}" stroke="#b00020" stroke-width="2"/>'
        )
        parts.append(f'<circle cx="{x(start):g}" cy="{y}" r="7" fill="#b00020"/>')
        repeats = [
            t for t in range(int(settings.repeat_s), end_s + 1, int(settings.repeat_s)) if t > start
        ]
        parts += [f'<circle cx="{x(t):g}" cy="{y}" r="4" fill="#b00020"/>' for t in repeats]
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">\n'
        "<title>Who is called when, while nobody accepts an alert of high priority</title>\n"
        f'<g font-family="sans-serif" font-size="13" fill="none">\n{body}\n</g>\n</svg>\n'
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="#222">{escape(text)}</text>'


def pictures() -> dict[str, str]:
    """Return the text of each picture by its file name."""
    return {"team-board.svg": board(), "team-chain.svg": chain()}


def main(arguments: list[str]) -> None:
    """Write the pictures."""
    folder = Path(arguments[0]) if arguments else FOLDER
    for name, text in pictures().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
