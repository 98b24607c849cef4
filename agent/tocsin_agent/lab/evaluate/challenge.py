"""The score of the PhysioNet/CinC Challenge 2015, by the rule of its real-time event.

Clifford et al., Computing in Cardiology 42:273, 2015. A bedside monitor raised an alarm at 5:00,
which is labelled true or false. The agent raises it if an alarm of that kind is open within the ten
seconds before. A true alarm that it suppresses weighs five times:
(TP + TN) / (TP + TN + FP + 5 FN).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tocsin_agent.lab.evaluate.judge import Judgement
from tocsin_agent.monitor.alarms.table import ALARMS

ALARMS_FILE = "ALARMS"
_FROM_S, _TO_S = 290.0, 300.0  # within which an alarm must be open


def challenge_score(folder: Path, judged: Sequence[Judgement]) -> dict[str, Any] | None:
    """Return the score and its counts by alarm type; None where there is no `ALARMS` file."""
    listed = folder / ALARMS_FILE
    if not listed.is_file():
        return None
    raised = {j.record: j.raised for j in judged}
    by_type: dict[str, dict[str, Any]] = {}
    for line in listed.read_text(encoding="utf-8").splitlines():
        record, kind, label = (part.strip() for part in line.split(","))
        if record not in raised:
            continue
        raises = any(
            code in _codes(kind) and detected <= _TO_S and ended >= _FROM_S
            for code, detected, ended in raised[record]
        )
        cell = {(True, True): "tp", (True, False): "fp", (False, True): "fn"}.get(
            (raises, label == "1"), "tn"
        )
        counts = by_type.setdefault(kind, {"tp": 0, "fp": 0, "tn": 0, "fn": 0})
        counts[cell] += 1
    for counts in by_type.values():
        counts["score"] = _score(counts)
    total = {cell: sum(c[cell] for c in by_type.values()) for cell in ("tp", "fp", "tn", "fn")}
    return {"score": _score(total), **total, "by_type": by_type}


def _codes(kind: str) -> set[str]:
    """Return the codes of the agent's alarms that answer an alarm type of the challenge."""
    judged = ((code, alarm.judged_by) for code, alarm in ALARMS.items())
    return {code for code, judging in judged if judging and kind in judging.challenge_2015}


def _score(c: dict[str, Any]) -> float | None:
    weighed = c["tp"] + c["tn"] + c["fp"] + 5 * c["fn"]
    return round((c["tp"] + c["tn"]) / weighed, 4) if weighed else None
