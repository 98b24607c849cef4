"""The score of the PhysioNet/CinC Challenge 2017: one rhythm for each short record.

Clifford et al., Computing in Cardiology 44, 2017: the F1 of the classes N (normal), A
(atrial fibrillation), O (any other rhythm) and ~ (too noisy); the official score is the mean of the
first three.

The agent is a monitor and states no rhythm of a record. The class is derived from its output, in
this order, with limits from textbooks that were not fitted:

- ~ with fewer than three beats, or an unreadable ECG for most of the time;
- A with an alarm of atrial fibrillation. It requires thirty seconds, and half of these records last
  no longer;
- N without any other alarm and any ectopic beat (S, V or F), with a rate between 50 and 100/min and
  nine tenths of the RR intervals within a fifth of their median;
- O otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from tocsin_agent.messages.alert import Kind, Phase
from tocsin_agent.monitor import LabelledBeat
from tocsin_agent.monitor.alarms.event import AlertEvent
from tocsin_agent.monitor.alarms.table import ALARMS

CLASSES = "NAO~"
LABELS_FILE = "REFERENCE.csv"
MOST = 0.5  # share of a record above which an unreadable ECG makes it ~
BEATS_AT_LEAST = 3  # fewer make it ~
NORMAL_BPM = (50.0, 100.0)  # rate of N
REGULAR_WITHIN = 0.2  # of their median, for the RR intervals of N
REGULAR_SHARE = 0.9  # of the RR intervals of N
_ECTOPIC = frozenset("SVF")


def rhythm_of(
    beats: Sequence[LabelledBeat], alerts: Iterable[AlertEvent], rate_hz: float, samples: int
) -> str:
    """Return the class of the challenge for the agent's output on a record.

    Parameters
    ----------
    beats, alerts : sequence
        The output of the monitor.
    rate_hz : float
        Sampling rate of the record.
    samples : int
        Length of the record.
    """
    events = list(alerts)
    unreadable = [(a.onset_index, _end(a, events, samples)) for a in events if _is_unreadable(a)]
    if len(beats) < BEATS_AT_LEAST or _covered(unreadable) > MOST * samples:
        return "~"
    raised = {a.code for a in events if a.kind is Kind.PHYSIOLOGICAL}
    if "atrial_fibrillation" in raised:
        return "A"
    if raised or any(b.label in _ECTOPIC for b in beats):
        return "O"
    intervals = [(after.r_index - before.r_index) / rate_hz for before, after in pairwise(beats)]
    typical = median(intervals)
    regular = sum(abs(rr - typical) <= REGULAR_WITHIN * typical for rr in intervals)
    normal = NORMAL_BPM[0] <= 60.0 / typical <= NORMAL_BPM[1]
    return "N" if normal and regular >= REGULAR_SHARE * len(intervals) else "O"


def _is_unreadable(alert: AlertEvent) -> bool:
    """Return whether an alert states that no lead can be read from here on."""
    if alert.phase is not Phase.ONSET:
        return False
    last_lead = ALARMS[alert.code].last_lead
    return alert.code == "signal_unusable" or alert.priority is last_lead


def _end(onset: AlertEvent, events: Sequence[AlertEvent], samples: int) -> int:
    ended = (
        a.detected_index for a in events if a.alert_id == onset.alert_id and a.phase is Phase.END
    )
    return min(next(ended, samples), samples)


def _covered(stretches: Iterable[tuple[int, int]]) -> int:
    """Return the number of samples in the union of intervals."""
    covered = reached = 0
    for start, end in sorted(stretches):
        covered += max(0, end - max(start, reached))
        reached = max(reached, end)
    return covered


def listed_rhythms(folder: Path) -> dict[str, str]:
    """Return the class of each record that `REFERENCE.csv` lists; none where there is no such file.

    Parameters
    ----------
    folder : Path
        Of the database.
    """
    listed = folder / LABELS_FILE
    if not listed.is_file():
        return {}
    lines = (line.partition(",") for line in listed.read_text(encoding="utf-8").splitlines())
    named = {record.strip(): label.strip() for record, _, label in lines}
    return {record: label for record, label in named.items() if label and label in CLASSES}


def rhythm_f1(folder: Path, rhythms: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the scores in percent; None where there is no `REFERENCE.csv`.

    Parameters
    ----------
    folder : Path
        Of the database.
    rhythms : mapping of str to str
        Class of each record; listed records that are not in it are left out.

    Returns
    -------
    dict or None
        `mean` of N, A and O; `f1` by class, None where neither side has one; `labels` and
        `confusion`, with the reference in the rows.
    """
    listed = listed_rhythms(folder)
    if not listed:
        return None
    matrix = [[0] * len(CLASSES) for _ in CLASSES]
    for record, label in listed.items():
        if record in rhythms:
            matrix[CLASSES.index(label)][CLASSES.index(rhythms[record])] += 1
    f1 = {label: _f1(matrix, at) for at, label in enumerate(CLASSES)}
    official = [f1[label] for label in "NAO"]
    known = [score for score in official if score is not None]
    return {
        "mean": round(sum(known) / len(known), 3) if len(known) == len(official) else None,
        "f1": f1,
        "labels": CLASSES,
        "confusion": matrix,
    }


def _f1(matrix: Sequence[Sequence[int]], at: int) -> float | None:
    true, found = sum(matrix[at]), sum(row[at] for row in matrix)
    return round(200.0 * matrix[at][at] / (true + found), 3) if true + found else None
