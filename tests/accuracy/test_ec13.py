"""The clauses of EC13 and IEC 60601-2-27: every one that is recorded as met is met."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tocsin_agent.cli.evaluate import command
from tocsin_agent.lab.evaluate import ec13
from tocsin_agent.lab.evaluate.ec13 import Outcome, as_table, run_suite
from tocsin_agent.lab.evaluate.ec13.clauses import CLAUSES, Clause

RECORDED = Path(__file__).with_name("ec13.json")
PAGE = Path(__file__).parents[2] / "docs" / "evaluation" / "ec13.md"
"""Written by `tocsin evaluate ec13 --json tests/accuracy/ec13.json` and by hand from it."""


def recorded() -> dict[str, dict[str, Any]]:
    content = json.loads(RECORDED.read_text(encoding="utf-8"))
    return {clause["name"]: clause for clause in content["clauses"]}


@pytest.mark.parametrize("clause", CLAUSES, ids=lambda clause: clause.name)
def test_a_clause_that_was_met_is_met(clause: Clause) -> None:
    (outcome,) = run_suite(clauses=(clause,))
    assert outcome.met >= recorded()[clause.name]["met"], outcome.measured


def test_every_clause_is_recorded_and_published() -> None:
    assert list(recorded()) == [clause.name for clause in CLAUSES]
    outcomes = [Outcome(**clause) for clause in recorded().values()]
    assert as_table(outcomes) in PAGE.read_text(encoding="utf-8")


def test_the_command_reports_clause_by_clause(monkeypatch: pytest.MonkeyPatch) -> None:
    few = tuple(clause for clause in CLAUSES if clause.name in {"drift", "narrow waves"})
    monkeypatch.setattr(ec13, "run_suite", lambda: run_suite(clauses=few))
    as_json = CliRunner().invoke(command, ["ec13", "--json", "-"], standalone_mode=False)
    result = json.loads(as_json.output)
    assert [clause["name"] for clause in result["clauses"]] == ["narrow waves", "drift"]
    table = CliRunner().invoke(command, ["ec13"], standalone_mode=False)
    assert "1 mV of 10 ms is not counted" in table.output
