"""docs/alerts.md states what the table states."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tocsin_agent.lab.alarm_page import (
    BEGIN,
    BEGIN_USE,
    END,
    END_USE,
    render_actions,
    render_judged,
    render_page,
    render_sources,
    render_table,
)
from tocsin_agent.monitor.alarms.table import ALARMS

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "alerts.md"
RECORDED = json.loads((ROOT / "tests" / "accuracy" / "recorded.json").read_text(encoding="utf-8"))


def test_the_page_is_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == render_page(page, RECORDED), "run `make docs`"


@pytest.mark.parametrize("code", ALARMS)
def test_every_alarm_has_a_row_in_both_tables(code: str) -> None:
    for table in (render_table(), render_sources(), render_actions()):
        assert table.count(f"\n| `{code}` |") == 1


def test_limits_are_filled_in() -> None:
    table = render_table()
    assert "no QRS for 4 s" in table
    assert "5 or more ventricular beats in a row above 100/min" in table
    assert "{" not in table


@pytest.mark.parametrize("code", ALARMS)
def test_every_alarm_says_what_to_do_and_how_often_it_was_right(code: str) -> None:
    assert ALARMS[code].to_do, "what does a person do about it? See its neighbours in the table"
    judged, _, left = render_judged(RECORDED).partition("Not judged")
    assert (f"| `{code}` |" in judged) is not (f"`{code}`" in left)


def test_how_often_an_alarm_was_right_is_counted() -> None:
    found = {"true": 3, "false": 1, "missed": 2, "delay_s": {"median": 0.44, "p95": 1.25}}
    nothing = {"true": 0, "false": 0, "missed": 0, "delay_s": None}
    alarms = {"asystole": found, "pause": nothing, "couplet": nothing | {"missed": 4}}
    judged = render_judged({"mitdb": {"per_record": [1, 2], "alarms": alarms}})
    assert "| `asystole` | mitdb, 2 records | 3 of 4 | 3 of 5 | 0.4 / 1.2 s |\n" in judged
    assert "| `couplet` | mitdb, 2 records | – | 0 of 4 | – |\n" in judged
    assert "`pause`" in judged.partition("Not judged")[2]


def test_only_the_part_between_the_marks_is_replaced() -> None:
    use = f"{BEGIN_USE}\nold\n{END_USE}\n"
    page = f"before\n{BEGIN}\nold\n{END}\n{use}after\n"
    rendered = render_page(page, RECORDED)
    assert rendered.startswith(f"before\n{BEGIN}\n")
    assert rendered.endswith(f"{END_USE}\nafter\n")
    assert "old" not in rendered
    assert render_page(rendered, RECORDED) == rendered
    with pytest.raises(ValueError, match="no part"):
        render_page("nothing to replace", RECORDED)
