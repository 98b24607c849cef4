"""The score of the PhysioNet/CinC Challenge 2015, by the rule of its real-time event.

Clifford et al., Computing in Cardiology 42:273, 2015. A bedside monitor raised an alarm at 5:00, or
where the header of a record that was cut says so; it is labelled true or false. The agent raises it
if an alarm of that kind is open within the ten seconds before. A true alarm that it suppresses
weighs five times: (TP + TN) / (TP + TN + FP + 5 FN).
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from tocsin_agent.lab.evaluate.judge import Judgement
from tocsin_agent.monitor.alarms.table import ALARMS

ALARMS_FILE = "ALARMS"
ALARM_S = 300.0
"""When the alarm was raised, unless the header says otherwise."""
WITHIN_S = 10.0  # before it an alarm must be open
_STATED = re.compile(r"alarm is at ([0-9.]+) s")


def challenge_score(folder: Path, judged: Sequence[Judgement]) -> dict[str, Any] | None:
    """Return the score and its counts by alarm type; None where there is no `ALARMS` file."""
    listed = folder / ALARMS_FILE
    if not listed.is_file():
        return None
    raised = {j.record: j.raised for j in judged}
    by_type: dict[str, dict[str, Any]] = {}
    for record, (kind, true, alarm_s) in alarms_of(folder, raised).items():
        open_since = [
            detected
            for code, detected, ended in raised[record]
            if code in _codes(kind) and detected <= alarm_s and ended >= alarm_s - WITHIN_S
        ]
        cell = {(True, True): "tp", (True, False): "fp", (False, True): "fn"}.get(
            (bool(open_since), true), "tn"
        )
        counts = by_type.setdefault(kind, _empty())
        counts[cell] += 1
        if cell in _NAMED:
            counts[_NAMED[cell]].append(record)
        elif cell == "tp":
            counts["before_s"].append(round(alarm_s - min(open_since), 2))
    for counts in by_type.values():
        counts["score"] = _score(counts)
        early = counts.pop("before_s")
        counts["before_s_median"] = round(median(early), 2) if early else None
    total = {cell: sum(c[cell] for c in by_type.values()) for cell in ("tp", "fp", "tn", "fn")}
    before = _raised_before(alarms_of(folder, raised), raised)
    return {"score": _score(total), **total, "by_type": by_type, "raised_before": before}


def _raised_before(
    listed: Mapping[str, ListedAlarm], raised: Mapping[str, Sequence[tuple[str, float, float]]]
) -> dict[str, Any]:
    """Return how many alarms began before the judged seconds, by code, and in how many hours."""
    ends = {record: max(alarm.at_s - WITHIN_S, 0.0) for record, alarm in listed.items()}
    begun = [c for record, end in ends.items() for c, at, _ in raised[record] if at < end]
    by_code = {code: begun.count(code) for code in ALARMS if code in begun}
    return {"hours": round(sum(ends.values()) / 3600, 3), "by_code": by_code}


class ListedAlarm(NamedTuple):
    """The alarm of a record: its type, whether it is true, and when it was raised."""

    kind: str
    true: bool
    at_s: float


def alarms_of(folder: Path, records: Container[str] | None = None) -> dict[str, ListedAlarm]:
    """Return the alarms that `ALARMS` in a folder lists, by record; of some records if given."""
    alarms = {}
    for line in (folder / ALARMS_FILE).read_text(encoding="utf-8").splitlines():
        record, kind, label = (part.strip() for part in line.split(","))
        if records is None or record in records:
            alarms[record] = ListedAlarm(kind, label == "1", _alarm_s(folder / f"{record}.hea"))
    return alarms


_NAMED = {"fn": "lost", "fp": "kept"}  # the records that a result names


def _empty() -> dict[str, Any]:
    return {"tp": 0, "fp": 0, "tn": 0, "fn": 0, "lost": [], "kept": [], "before_s": []}


def _alarm_s(header: Path) -> float:
    """Return when the alarm was raised, s."""
    if not header.is_file():
        return ALARM_S
    stated = _STATED.search(header.read_text(encoding="utf-8", errors="replace"))
    return float(stated.group(1)) if stated else ALARM_S


def _codes(kind: str) -> set[str]:
    """Return the codes of the agent's alarms that answer an alarm type of the challenge."""
    judged = ((code, alarm.judged_by) for code, alarm in ALARMS.items())
    return {code for code, judging in judged if judging and kind in judging.challenge_2015}


def _score(c: dict[str, Any]) -> float | None:
    weighed = c["tp"] + c["tn"] + c["fp"] + 5 * c["fn"]
    return round((c["tp"] + c["tn"]) / weighed, 4) if weighed else None
