"""The agent on real records, mitdb and a part of vfdb: floors, and no regression."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tocsin_agent.lab.studies.record import RECORDED, measure

FLOORS = {("qrs", "se"): 99.5, ("qrs", "ppv"): 99.5, ("veb", "se"): 88.0, ("veb", "ppv"): 80.0}
SLACK = {"qrs": 0.05, "veb": 0.5, "sveb": 2.0}
"""Percentage points by which a gross score may fall without a decision."""

pytestmark = pytest.mark.records
_measured: dict[str, dict[str, Any]] = {}


@pytest.fixture
def measured(records: Path) -> dict[str, Any]:  # noqa: ARG001 - names the folder of the records
    """Return the figures of mitdb, measured once."""
    return _once("mitdb")


def _once(database: str) -> dict[str, Any]:
    if database not in _measured:
        _measured[database] = measure(database)
    return _measured[database]


@pytest.fixture
def recorded() -> dict[str, Any]:
    """Return its committed figures."""
    return _recorded("mitdb")


def _recorded(database: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(RECORDED.read_text(encoding="utf-8"))
    of_database: dict[str, Any] = content[database]
    return of_database


def test_all_records_were_judged(measured: dict[str, Any]) -> None:
    assert len(measured["per_record"]) == 48
    assert not measured["missing"]
    assert not measured["failed"]


@pytest.mark.parametrize(("kind", "score"), FLOORS)
def test_floors_hold(measured: dict[str, Any], kind: str, score: str) -> None:
    judged = measured["ds2"] if kind == "veb" else measured
    assert judged[kind][score] >= FLOORS[kind, score]


@pytest.mark.parametrize("score", ["se", "ppv"])
@pytest.mark.parametrize("kind", SLACK)
def test_no_score_is_below_the_recorded_one(
    measured: dict[str, Any], recorded: dict[str, Any], kind: str, score: str
) -> None:
    for now, known in ((measured, recorded), (measured["ds2"], recorded["ds2"])):
        fell = known[kind][score] - now[kind][score]
        assert fell <= SLACK[kind], "if this is intended, record the new scores: `make accuracy`"


def test_no_further_high_priority_alarm_is_missed_or_false(
    measured: dict[str, Any], recorded: dict[str, Any]
) -> None:
    for code in (
        "asystole",
        "extreme_bradycardia",
        "extreme_tachycardia",
        "ventricular_fibrillation",
        "ventricular_tachycardia",
    ):
        now, known = measured["alarms"][code], recorded["alarms"][code]
        assert now["missed"] <= known["missed"]
        assert now["false"] <= known["false"]


def test_fibrillation_is_found_as_recorded(records: Path) -> None:  # noqa: ARG001
    now, known = _once("vfdb"), _recorded("vfdb")
    for score in ("episode_se", "episode_ppv", "duration_se", "duration_ppv"):
        assert now["vf"][score] >= known["vf"][score] - 1.0
    alarms, before = (x["alarms"]["ventricular_fibrillation"] for x in (now, known))
    assert alarms["missed"] <= before["missed"]
    assert alarms["false"] <= before["false"]
