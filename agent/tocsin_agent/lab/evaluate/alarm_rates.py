"""How often alarms are raised: by code in 24 h, and by activity where the records state it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tocsin_agent.lab.evaluate.judge import Judgement
from tocsin_agent.messages.alert import Priority
from tocsin_agent.monitor.alarms.table import ALARMS


def _strip(record: str) -> str:
    """Return what the person of a strip of leadi_motion did: `sNNN_KK`, strip KK."""
    return {"09": "walking", "10": "running"}.get(record.rpartition("_")[2], "at rest")


ACTIVITIES: dict[str, Callable[[str], str]] = {"leadi_motion": _strip}
"""By database: the activity of a record."""


def alarm_rates(database: str, judged: Sequence[Judgement]) -> dict[str, Any]:
    """Return counts and rates of all alarms, and of those of high priority by activity.

    Parameters
    ----------
    database : str
    judged : sequence of Judgement

    Returns
    -------
    dict
        `by_code`: count and number in 24 h; `high`: the same of all of high priority;
        `by_activity`: hours and `by_code` of each, None where no activity is known.
    """
    activity = ACTIVITIES.get(database)
    groups: dict[str, list[Judgement]] = {}
    if activity is not None:
        for each in judged:
            groups.setdefault(activity(each.record), []).append(each)
    by_activity = {name: _rates(group) for name, group in sorted(groups.items())}
    return _rates(judged) | {"by_activity": by_activity or None}


def _rates(judged: Sequence[Judgement]) -> dict[str, Any]:
    hours = sum(each.hours for each in judged)
    counts: dict[str, int] = {}
    for each in judged:
        for code, _, _ in each.raised:
            counts[code] = counts.get(code, 0) + 1
    order = [code for code in ALARMS if code in counts]
    high = sum(counts[code] for code in order if ALARMS[code].priority is Priority.HIGH)
    return {
        "hours": round(hours, 3),
        "by_code": {code: _rate(counts[code], hours) for code in order},
        "high": _rate(high, hours),
    }


def _rate(count: int, hours: float) -> dict[str, Any]:
    return {"count": count, "per_24h": round(24 * count / hours, 2) if hours else None}
