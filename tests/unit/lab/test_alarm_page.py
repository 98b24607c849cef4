"""docs/alerts.md states what the table states."""

from __future__ import annotations

from pathlib import Path

import pytest

from tocsin_agent.lab.alarm_page import BEGIN, END, render_page, render_sources, render_table
from tocsin_agent.monitor.alarms.table import ALARMS

PAGE = Path(__file__).resolve().parents[3] / "docs" / "alerts.md"


def test_the_page_is_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == render_page(page), "run `make docs`"


@pytest.mark.parametrize("code", ALARMS)
def test_every_alarm_has_a_row_in_both_tables(code: str) -> None:
    for table in (render_table(), render_sources()):
        assert table.count(f"\n| `{code}` |") == 1


def test_limits_are_filled_in() -> None:
    table = render_table()
    assert "no QRS for 4 s" in table
    assert "5 or more ventricular beats in a row above 100/min" in table
    assert "{" not in table


def test_only_the_part_between_the_marks_is_replaced() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    rendered = render_page(page)
    assert rendered.startswith(f"before\n{BEGIN}\n")
    assert rendered.endswith(f"{END}\nafter\n")
    assert "old" not in rendered
    assert render_page(rendered) == rendered
    with pytest.raises(ValueError, match="no part"):
        render_page("nothing to replace")
