"""False ectopic labels in normal rhythm: how often beats are S or V where no beat is ectopic.

Sensitivity and predictivity say little of a patient without ectopy: every such label is false.
Judged are records whose reference marks beats of the class N alone, and records that a list of
rhythms (`challenge2017`) calls normal.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tocsin_agent.lab.evaluate.challenge2017 import listed_rhythms
from tocsin_agent.lab.evaluate.judge import Judgement

ECTOPIC = "SV"


def false_ectopy(folder: Path, judged: Sequence[Judgement]) -> dict[str, Any] | None:
    """Return counts and rates of the labels S and V; None where no record is of normal rhythm.

    Parameters
    ----------
    folder : Path
        Of the database.
    judged : sequence of Judgement

    Returns
    -------
    dict or None
        `records`, `hours` and `beats` judged; by label `count`, `per_hour`, `per_1000_beats`, and
        `records` in which it occurs.
    """
    rhythms = listed_rhythms(folder)
    normal = [j for j in judged if j.only_normal or rhythms.get(j.record) == "N"]
    beats = sum(sum(j.labels.values()) for j in normal)
    if not beats:
        return None
    hours = sum(j.hours for j in normal)
    return {
        "records": len(normal),
        "hours": round(hours, 3),
        "beats": beats,
        **{
            label: _rates([j.labels.get(label, 0) for j in normal], hours, beats)
            for label in ECTOPIC
        },
    }


def _rates(counts: Sequence[int], hours: float, beats: int) -> dict[str, Any]:
    total = sum(counts)
    return {
        "count": total,
        "per_hour": round(total / hours, 2),
        "per_1000_beats": round(1000 * total / beats, 2),
        "records": sum(count > 0 for count in counts),
    }
