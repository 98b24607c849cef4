"""The tables of `docs/alerts.md`, from the table of alarms: `make docs`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tocsin_agent.monitor.alarms.table import ALARMS, Alarm
from tocsin_agent.monitor.rhythm.limits import Limits

PAGE = Path("docs") / "alerts.md"
BEGIN = "<!-- begin: alarms, written by `make docs` -->"
END = "<!-- end: alarms -->"
BEGIN_USE = "<!-- begin: use, written by `make docs` and `make accuracy` -->"
END_USE = "<!-- end: use -->"
KNOWN = Path("agent") / "tocsin_agent" / "team" / "console" / "alarms.json"
RECORDED = Path("tests") / "accuracy" / "recorded.json"


def render_table() -> str:
    """Return what every alarm is, as Markdown."""
    limits = msgspec.structs.asdict(Limits())
    return _table(
        ("code", "kind", "priority", "raised when", "ends after", "suppresses"),
        [
            (
                f"`{alarm.code}`",
                alarm.kind.value,
                _priority(alarm),
                alarm.definition.format(**limits),
                f"{alarm.hold_s:g} s" if alarm.hold_s else "when the source reports its end",
                _codes(code for code in ALARMS if code in alarm.implies),
            )
            for alarm in ALARMS.values()
        ],
    )


def render_sources() -> str:
    """Return what every alarm rests on and how others name it, as Markdown."""
    return _table(
        ("code", "limits", "model", "MDC", "SNOMED CT", "WFDB"),
        [
            (
                f"`{alarm.code}`",
                _codes(f"limits.{name}" for name in alarm.limits),
                f"`{alarm.model.task}`" if alarm.model else "",
                str(alarm.codes.mdc or ""),
                alarm.codes.snomed_ct or "",
                f"`{alarm.wfdb}`" if alarm.wfdb else "",
            )
            for alarm in ALARMS.values()
        ],
    )


def render_actions() -> str:
    """Return what a person does about every alarm, as Markdown."""
    return _table(
        ("code", "what to do"),
        [(f"`{alarm.code}`", alarm.to_do) for alarm in ALARMS.values()],
    )


def render_judged(recorded: Mapping[str, Any]) -> str:
    """Return how often every alarm was right and how soon, on which records, as Markdown.

    Parameters
    ----------
    recorded : mapping
        What `make accuracy` has measured, by database.
    """
    rows, judged = list[tuple[str, ...]](), set[str]()
    for code in ALARMS:
        for database, measured in recorded.items():
            found = measured["alarms"].get(code)
            if found is None or not (found["true"] or found["false"] or found["missed"]):
                continue
            judged.add(code)
            raised, due = found["true"] + found["false"], found["true"] + found["missed"]
            delay = found["delay_s"]
            rows.append(
                (
                    f"`{code}`",
                    f"{database}, {len(measured['per_record'])} records",
                    f"{found['true']} of {raised}" if raised else "–",
                    f"{found['true']} of {due}" if due else "–",
                    f"{delay['median']:.1f} / {delay['p95']:.1f} s" if delay else "–",
                )
            )
    head = (
        "code",
        "records",
        "right, of those raised",
        "found, of those due",
        "delay: median / 95 %",
    )
    left = _codes(code for code in ALARMS if code not in judged)
    return f"{_table(head, rows)}\nNot judged, for want of a reference: {left}.\n"


def render_page(page: str, recorded: Mapping[str, Any]) -> str:
    """Return the page with its generated parts replaced; `recorded` as in `render_judged`.

    Raises
    ------
    ValueError
        If the page has no such part.
    """
    page = _replaced(page, (BEGIN, END), f"{render_table()}\n{render_sources()}")
    return _replaced(page, (BEGIN_USE, END_USE), f"{render_actions()}\n{render_judged(recorded)}")


def _replaced(page: str, marks: tuple[str, str], text: str) -> str:
    before, _, rest = page.partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not end:
        raise ValueError(f"no part between {marks[0]!r} and {marks[1]!r}")
    return f"{before}{marks[0]}\n\n{text}\n{end}{after}"


def _priority(alarm: Alarm) -> str:
    if alarm.last_lead is None:
        return alarm.priority.value
    return f"{alarm.priority.value}, {alarm.last_lead.value} for the last lead"


def _codes(codes: Iterable[str]) -> str:
    return ", ".join(f"`{code}`" for code in codes)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def render_known(recorded: Mapping[str, Any]) -> str:
    """Return what the console shows beside an alert, as JSON: what to do, how often it was right.

    Parameters
    ----------
    recorded : mapping
        As in `render_judged`.
    """
    known = {}
    for code, alarm in ALARMS.items():
        right = []
        for database, measured in recorded.items():
            found = measured["alarms"].get(code)
            if found is not None and (found["true"] or found["false"] or found["missed"]):
                right.append(
                    {
                        "records": f"{database}, {len(measured['per_record'])} records",
                        "right": found["true"],
                        "raised": found["true"] + found["false"],
                        "found": found["true"],
                        "due": found["true"] + found["missed"],
                    }
                )
        known[code] = {"to_do": alarm.to_do, "right": right}
    return json.dumps(known, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Write the page and the console's file below the working directory, a checkout."""
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    KNOWN.write_text(render_known(recorded), encoding="utf-8")
    PAGE.write_text(render_page(PAGE.read_text(encoding="utf-8"), recorded), encoding="utf-8")


if __name__ == "__main__":
    main()
