"""The tables of `docs/alerts.md`, from the table of alarms: `make docs`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from tocsin_agent.monitor.alarms.table import ALARMS, Alarm
from tocsin_agent.monitor.rhythm.limits import Limits

PAGE = Path("docs") / "alerts.md"
BEGIN = "<!-- begin: alarms, written by `make docs` -->"
END = "<!-- end: alarms -->"


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


def render_page(page: str) -> str:
    """Return the page with its generated part replaced.

    Raises
    ------
    ValueError
        If the page has no such part.
    """
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"no part between {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n\n{render_table()}\n{render_sources()}\n{end}{after}"


def _priority(alarm: Alarm) -> str:
    if alarm.last_lead is None:
        return alarm.priority.value
    return f"{alarm.priority.value}, {alarm.last_lead.value} for the last lead"


def _codes(codes: Iterable[str]) -> str:
    return ", ".join(f"`{code}`" for code in codes)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def main() -> None:
    """Write the page below the working directory."""
    PAGE.write_text(render_page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
