"""Figures and names as text; unknown values are a dash."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

CLASS_NAMES = {
    "N": "normal",
    "S": "supraventricular ectopic",
    "V": "ventricular ectopic",
    "F": "fusion",
    "Q": "unclassifiable",
    "O": "no beat",
    "X": "not analysed",
}
BEAT_KINDS = {
    "qrs": ("QRS", "Beats found", "beats", "Every heartbeat, whatever its class."),
    "veb": (
        "VEB",
        "Ventricular ectopic beats",
        "ventricular ectopic beats",
        "Extra beats that start in the lower chambers.",
    ),
    "sveb": (
        "SVEB",
        "Supraventricular ectopic beats",
        "supraventricular ectopic beats",
        "Early beats that start above the lower chambers.",
    ),
}


def or_dash(value: object) -> object:
    """Return a value, or a dash where it is unknown."""
    return "–" if value is None or value == "" else value


def finite(value: object) -> float | None:
    """Return a finite number, or None for null, NaN and other types."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def decimals(value: object, digits: int = 2, unit: str = "") -> str:
    """Write a number with its unit, or a dash."""
    number = finite(value)
    return "–" if number is None else f"{number:,.{digits}f}{unit}"


def counted(value: object) -> str:
    """Write a count, or a dash."""
    return decimals(value, 0)


def how_many(count: float, one: str, many: str | None = None) -> str:
    """Write a count with its noun."""
    return f"{counted(count)} {one if count == 1 else many or one + 's'}"


def clock(seconds: float) -> str:
    """Write the time from the start of a record."""
    tenths = round(max(seconds, 0.0) * 10)
    hours, minutes = tenths // 36000, tenths // 600 % 60
    return f"{hours}:{minutes:02d}:{tenths // 10 % 60:02d}.{tenths % 10}"


def moment(iso: object) -> str:
    """Write a date and time for people."""
    shown = re.fullmatch(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(?::\d\d(?:\.\d+)?)?(Z|\+00:00)?", str(iso))
    if not shown:
        return str(or_dash(iso))
    return f"{shown[1]} {shown[2]}" + (" UTC" if shown[3] else "")


def name_of(result: Mapping[str, Any]) -> str:
    """Return the name of the database and subset."""
    subset = result.get("subset")
    name = PurePath(str(subset)).name if subset else ""  # a subset may be a file of names
    return f"{result.get('database')}" + (f" ({name})" if name else "")


def in_words(code: str) -> str:
    """Return a code as words."""
    words = code.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def ends_of(ends: object) -> tuple[float | None, float | None]:
    """Return the ends of an interval, or None twice."""
    if not isinstance(ends, Sequence) or len(ends) != 2:
        return None, None
    low, high = finite(ends[0]), finite(ends[1])
    return (None, None) if low is None or high is None else (low, high)


def interval_in_words(low: float | None, high: float | None) -> str:
    """Write an interval."""
    return "no interval" if low is None or high is None else f"{low:.2f} – {high:.2f}"
