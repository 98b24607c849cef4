"""The agent on real records: floors, and no step back. CI judges all of mitdb; svdb is recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from accuracy.record import RECORDED, measure

FLOORS = {("qrs", "se"): 99.5, ("qrs", "ppv"): 99.5, ("veb", "se"): 88.0, ("veb", "ppv"): 80.0}
SLACK = {"qrs": 0.05, "veb": 0.5, "sveb": 2.0}
"""Percentage points by which a gross score may fall before someone must decide that it may."""

pytestmark = pytest.mark.records
_measured: list[dict[str, Any]] = []


@pytest.fixture
def measured(records: Path) -> dict[str, Any]:  # noqa: ARG001 - says where the records are
    """Give what mitdb yields, measured once."""
    if not _measured:
        _measured.append(measure("mitdb"))
    return _measured[0]


@pytest.fixture
def recorded() -> dict[str, Any]:
    """Give what was committed for it."""
    content: dict[str, Any] = json.loads(RECORDED.read_text(encoding="utf-8"))
    mitdb: dict[str, Any] = content["mitdb"]
    return mitdb


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
def test_no_score_fell_behind_what_is_recorded(
    measured: dict[str, Any], recorded: dict[str, Any], kind: str, score: str
) -> None:
    for now, known in ((measured, recorded), (measured["ds2"], recorded["ds2"])):
        fell = known[kind][score] - now[kind][score]
        assert fell <= SLACK[kind], "if this is meant, `make accuracy` records the new scores"


def test_no_life_threatening_alarm_is_lost_or_invented(
    measured: dict[str, Any], recorded: dict[str, Any]
) -> None:
    for code in (
        "asystole",
        "extreme_bradycardia",
        "extreme_tachycardia",
        "ventricular_tachycardia",
    ):
        now, known = measured["alarms"][code], recorded["alarms"][code]
        assert now["missed"] <= known["missed"]
        assert now["false"] <= known["false"]
