"""Compares what two versions of the agent make of the same samples. Pure.

Both began with the first sample and know nothing of the patient before it, so equal code gives
equal alerts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

LEAST_BEATS_SHARE = 0.9
"""Of the beats that the version in use finds; a version that finds fewer is refused."""
ONSET_S = 5.0
"""An alarm is the same if its onset differs by no more."""
LATER_S = 2.0
"""A version that raises an alarm of high priority later than this is refused."""
_FEW_BEATS = 20
_SHOWN = 20


class Onset(NamedTuple):
    """When an alarm began, and when it was raised; seconds of the recording."""

    code: str
    priority: str
    onset_s: float
    raised_s: float


class Found(NamedTuple):
    """What a version found in one recording."""

    beats: int
    onsets: tuple[Onset, ...]


class Comparison(NamedTuple):
    """Result of a comparison.

    Attributes
    ----------
    refusals : tuple of str
        Why the new version must not be used: alarms of high priority missed or late, beats missed.
    differences : tuple of str
        All differences, those included.
    alarms, beats : int
        What the version in use found.
    """

    refusals: tuple[str, ...]
    differences: tuple[str, ...]
    alarms: int
    beats: int


def read_output(lines: Iterable[str], rates_hz: Mapping[str, float]) -> dict[str, Found]:
    """Read what `tocsin replay --json` printed.

    Parameters
    ----------
    lines : iterable of str
        Alerts, and a summary at the end.
    rates_hz : mapping of str to float
        Samples per second of each recording.

    Returns
    -------
    dict
        By recording.

    Raises
    ------
    ValueError
        If a recording is missing, or the output is no such output.
    """
    alerts: list[dict[str, Any]] = []
    records: list[dict[str, Any]] = []
    for line in lines:
        found = msgspec.json.decode(line, type=dict[str, Any])
        records += found.get("records", [])
        if found.get("phase") == "onset":
            alerts.append(found)
    results = {}
    for record in records:
        uri = record["record"]
        rate_hz = rates_hz[uri]
        onsets = tuple(
            Onset(
                one["code"],
                one["priority"],
                one["onset_index"] / rate_hz,
                one["detected_index"] / rate_hz,
            )
            for one in alerts
            if one["stream"] == record["stream"]
        )
        if "fault" in record:
            raise ValueError(f"{uri}: {record['fault']}")
        results[uri] = Found(sum(record["beats"].values()), onsets)
    if missing := set(rates_hz) - set(results):
        raise ValueError(f"nothing was printed of {min(missing)}")
    return results


def compare(used: Mapping[str, Found], new: Mapping[str, Found]) -> Comparison:
    """Compare the version in use with a new one, recording by recording."""
    refusals, differences = list[str](), list[str]()
    for name, before in used.items():
        after = new[name]
        few = after.beats < LEAST_BEATS_SHARE * before.beats and before.beats >= _FEW_BEATS
        if after.beats != before.beats:
            text = f"{name}: {after.beats} beats, and {before.beats} before"
            differences.append(text)
            if few:
                refusals.append(text)
        for text, grave in _alarms(name, before.onsets, after.onsets):
            differences.append(text)
            if grave:
                refusals.append(text)
    return Comparison(
        tuple(refusals),
        tuple(differences[:_SHOWN]),
        sum(len(found.onsets) for found in used.values()),
        sum(found.beats for found in used.values()),
    )


def _alarms(name: str, before: Sequence[Onset], after: Sequence[Onset]) -> list[tuple[str, bool]]:
    """Return each difference of the alarms, and whether it forbids the new version."""
    found, left = list[tuple[str, bool]](), list(after)
    for one in before:
        close = [
            other
            for other in left
            if other.code == one.code and abs(other.onset_s - one.onset_s) <= ONSET_S
        ]
        what = f"{name}: {one.code} at {one.onset_s:.1f} s"
        if not close:
            found.append((f"{what} is missing", one.priority == "high"))
            continue
        same = min(close, key=lambda other: abs(other.onset_s - one.onset_s))
        left.remove(same)
        later_s = same.raised_s - one.raised_s
        if abs(later_s) > 0.05:
            text = f"{what} is raised {abs(later_s):.1f} s {'later' if later_s > 0 else 'earlier'}"
            found.append((text, one.priority == "high" and later_s > LATER_S))
        if same.priority != one.priority:
            text = f"{what} has the priority {same.priority}, not {one.priority}"
            found.append((text, one.priority == "high"))
    found += [(f"{name}: {one.code} at {one.onset_s:.1f} s is new", False) for one in left]
    return found
