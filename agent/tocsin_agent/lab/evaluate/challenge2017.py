"""The score of the PhysioNet/CinC Challenge 2017: one rhythm for each short record.

Clifford et al., Computing in Cardiology 44, 2017: the F1 of the classes N (normal), A
(atrial fibrillation), O (any other rhythm) and ~ (too noisy); the official score is the mean of the
first three.

The agent is a monitor and names no rhythm for a record. What it says of one is read so, in this
order; the limits are those of the textbook and were fitted to nothing:

- ~ where it found fewer than three beats, or said for most of the time that the ECG cannot be read;
- A where the alarm of atrial fibrillation rang. It asks for thirty seconds of it, and half of these
  records last no longer;
- N where no other alarm rang, no beat was called ectopic (S, V or F), the rate was between 50 and
  100/min, and nine tenths of the RR intervals lay within a fifth of their median;
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
MOST = 0.5
BEATS_AT_LEAST = 3
NORMAL_BPM = (50.0, 100.0)
REGULAR_WITHIN, REGULAR_SHARE = 0.2, 0.9
_ECTOPIC = frozenset("SVF")


def rhythm_of(
    beats: Sequence[LabelledBeat], alerts: Iterable[AlertEvent], rate_hz: float, samples: int
) -> str:
    """Return what the agent said of a record, as one of the challenge's classes.

    Parameters
    ----------
    beats, alerts : sequence
        All that the monitor reported.
    rate_hz : float
        Of the record.
    samples : int
        Its length.
    """
    told = list(alerts)
    unreadable = [(a.onset_index, _end(a, told, samples)) for a in told if _is_unreadable(a)]
    if len(beats) < BEATS_AT_LEAST or _covered(unreadable) > MOST * samples:
        return "~"
    rang = {a.code for a in told if a.kind is Kind.PHYSIOLOGICAL}
    if "atrial_fibrillation" in rang:
        return "A"
    if rang or any(b.label in _ECTOPIC for b in beats):
        return "O"
    intervals = [(after.r_index - before.r_index) / rate_hz for before, after in pairwise(beats)]
    usual = median(intervals)
    regular = sum(abs(rr - usual) <= REGULAR_WITHIN * usual for rr in intervals)
    normal = NORMAL_BPM[0] <= 60.0 / usual <= NORMAL_BPM[1]
    return "N" if normal and regular >= REGULAR_SHARE * len(intervals) else "O"


def _is_unreadable(alert: AlertEvent) -> bool:
    """Return whether an alert says that no lead can be read from here on."""
    if alert.phase is not Phase.ONSET:
        return False
    last_lead = ALARMS[alert.code].last_lead
    return alert.code == "signal_unusable" or alert.priority is last_lead


def _end(onset: AlertEvent, told: Sequence[AlertEvent], samples: int) -> int:
    ended = (
        a.detected_index for a in told if a.alert_id == onset.alert_id and a.phase is Phase.END
    )
    return min(next(ended, samples), samples)


def _covered(stretches: Iterable[tuple[int, int]]) -> int:
    """Return how many samples lie in any of some stretches."""
    covered = reached = 0
    for start, end in sorted(stretches):
        covered += max(0, end - max(start, reached))
        reached = max(reached, end)
    return covered


def rhythm_f1(folder: Path, rhythms: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the scores in percent; None where there is no `REFERENCE.csv`.

    Parameters
    ----------
    folder : Path
        Of the database.
    rhythms : mapping of str to str
        Class given, by record; a listed record that is not there counts nowhere.

    Returns
    -------
    dict or None
        `mean` of N, A and O; `f1` by class, null where neither side has one; `labels` and
        `confusion`, rows the reference.
    """
    listed = folder / LABELS_FILE
    if not listed.is_file():
        return None
    matrix = [[0] * len(CLASSES) for _ in CLASSES]
    for line in listed.read_text(encoding="utf-8").splitlines():
        record, _, label = (part.strip() for part in line.partition(","))
        if record in rhythms and label in CLASSES and label:
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
    true, told = sum(matrix[at]), sum(row[at] for row in matrix)
    return round(200.0 * matrix[at][at] / (true + told), 3) if true + told else None
