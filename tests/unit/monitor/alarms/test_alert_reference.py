"""docs/alerts.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tocsin_agent.monitor.alarms.episodes import ALARMS

PAGE = Path(__file__).resolve().parents[4] / "docs" / "alerts.md"
ROWS = {
    cells[0].strip("`"): cells
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if line.startswith("| `") and (cells := [c.strip() for c in line.strip("|").split("|")])
}


def test_every_condition_is_described_and_no_other() -> None:
    assert ROWS.keys() == ALARMS.keys()


@pytest.mark.parametrize("code", ALARMS)
def test_a_row_is_true(code: str) -> None:
    _, kind, priority, _, hold, silences = ROWS[code]
    alarm = ALARMS[code]
    assert kind == alarm.kind
    assert priority.startswith(alarm.priority)
    assert hold == (f"{alarm.hold_s:g} s" if alarm.hold_s else "when samples arrive")
    assert set(re.findall(r"`(\w+)`", silences)) == alarm.implies
