"""Wave delineation on the test records of ludb: no regression from the recorded figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tocsin_agent.lab.evaluate import select
from tocsin_agent.lab.evaluate.waves import POINTS, evaluate_waves, half

RECORDED = Path(__file__).with_name("waves.json")
"""Recorded by `tocsin waves ludb --json tests/accuracy/waves.json`."""
SLACK_MS, SLACK_PERCENT = 0.5, 0.5

pytestmark = pytest.mark.records
_measured: list[dict[str, Any]] = []


@pytest.fixture
def measured(records: Path) -> dict[str, Any]:
    """Return the figures of the even records, measured once."""
    if not _measured:
        selection = select("ludb", records)
        _measured.append(
            evaluate_waves(selection._replace(records=half(selection.records, "even")))
        )
    return _measured[0]


@pytest.fixture
def recorded() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(RECORDED.read_text(encoding="utf-8"))
    return content


def test_every_lead_of_the_even_records_was_judged(measured: dict[str, Any]) -> None:
    assert len(measured["records"]) == 100
    assert measured["leads"] == 1200
    assert not measured["failed"]


@pytest.mark.parametrize("group", ["all leads", "ii"])
@pytest.mark.parametrize("point", POINTS)
def test_no_point_moved_or_spread(
    measured: dict[str, Any], recorded: dict[str, Any], group: str, point: str
) -> None:
    now, known = (r["groups"][group]["points"][point] for r in (measured, recorded))
    assert abs(now["mean_ms"]) <= abs(known["mean_ms"]) + SLACK_MS
    assert now["sd_ms"] <= known["sd_ms"] + SLACK_MS


@pytest.mark.parametrize("score", ["se", "ppv"])
@pytest.mark.parametrize("wave", ["P", "QRS", "T"])
def test_no_further_wave_is_missed_or_false(
    measured: dict[str, Any], recorded: dict[str, Any], wave: str, score: str
) -> None:
    now, known = (r["groups"]["all leads"]["waves"][wave][score] for r in (measured, recorded))
    assert now >= known - SLACK_PERCENT


def test_p_waves_are_separated_from_fibrillation(
    measured: dict[str, Any], recorded: dict[str, Any]
) -> None:
    assert measured["p_by_rhythm"]["all"]["auc"] >= recorded["p_by_rhythm"]["all"]["auc"] - 0.005
    now, known = (r["p_by_rhythm"]["atrial fibrillation"]["sp"] for r in (measured, recorded))
    assert now >= known - 2 * SLACK_PERCENT


def test_t_ends_within_the_cse_tolerance(measured: dict[str, Any]) -> None:
    assert measured["groups"]["all leads"]["points"]["T end"]["within_cse"]
