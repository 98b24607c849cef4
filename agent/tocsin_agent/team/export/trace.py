"""A stretch of ECG with its marks: what every file format of this folder is written from."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tocsin_agent.messages.alert import UNSEEN_ENDS, Alert, Codes, Phase, begins_at

MISSING = -32768
"""The count of a missing sample."""
_MOST = 32767
_GAINS = (1000.0, 500.0, 200.0, 100.0, 50.0, 20.0, 10.0, 5.0, 2.0, 1.0)  # short in any header
_ROWS_AT_ONCE = 1 << 20

BEATS = ("N", "S", "V", "F", "Q")
"""Labels of beats (AAMI EC57)."""


class Mark(NamedTuple):
    """Something at a row: a beat, the onset or the end of a condition.

    Attributes
    ----------
    row : int
    text : str
        A label of a beat, or a condition.
    codes : Codes or None
        The condition in public code systems; None for a beat.
    """

    row: int
    text: str
    codes: Codes | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """A stretch of ECG.

    Parameters
    ----------
    name : str
        Of its files; see `file_name`.
    leads : tuple of str
        Names of the columns.
    rate_hz : float
        Samples per second.
    samples_mv : ndarray, shape (rows, leads)
        In mV; NaN where a sample is missing.
    start : datetime or None
        UTC of the first row; None where it is not known.
    marks : tuple of Mark
        In order of their rows; all inside the trace.
    notes : tuple of str
        Sentences about the whole.
    patient : str
        A pseudonym; empty where none is known.
    device : str
        Site and device; empty where none is known.
    synthetic : bool
        True where the samples are not from a patient.

    Raises
    ------
    ValueError
        Without a sample or a lead, or if a sample is too large for a count of 16 bits.
    """

    name: str
    leads: tuple[str, ...]
    rate_hz: float
    samples_mv: NDArray[np.floating]
    start: datetime | None = None
    marks: tuple[Mark, ...] = ()
    notes: tuple[str, ...] = ()
    patient: str = ""
    device: str = ""
    synthetic: bool = False

    def __post_init__(self) -> None:
        if not self.samples_mv.size or self.samples_mv.shape[1] != len(self.leads):
            raise ValueError(f"{self.name} has no samples")

    @property
    def rows(self) -> int:
        """Samples a lead."""
        return len(self.samples_mv)

    def gain_per_mv(self) -> float:
        """Return counts per mV: 1000, less where a sample would not fit into 16 bits.

        Raises
        ------
        ValueError
            If no gain down to 1 fits.
        """
        peak_mv = max(
            (
                float(np.nanmax(np.abs(part), initial=0.0))
                for part in np.split(
                    self.samples_mv, range(_ROWS_AT_ONCE, self.rows, _ROWS_AT_ONCE)
                )
                if np.isfinite(part).any()
            ),
            default=0.0,
        )
        for gain in _GAINS:
            if round(peak_mv * gain) <= _MOST:
                return gain
        raise ValueError(f"{self.name} has a sample of {peak_mv:g} mV: that is no ECG in mV")

    def counts(self) -> NDArray[np.int16]:
        """Return the samples as little-endian counts of `gain_per_mv`; `MISSING` where missing."""
        gain, counts = self.gain_per_mv(), np.empty(self.samples_mv.shape, "<i2")
        for first in range(0, self.rows, _ROWS_AT_ONCE):
            part = np.rint(self.samples_mv[first : first + _ROWS_AT_ONCE].astype(np.float64) * gain)
            counts[first : first + _ROWS_AT_ONCE] = np.nan_to_num(part, nan=MISSING)
        return counts

    def missing(self) -> list[tuple[int, int, tuple[str, ...]]]:
        """Return the stretches with missing samples: first row, rows, and the leads."""
        absent = np.isnan(self.samples_mv)
        if not absent.any():
            return []
        changes = np.flatnonzero((absent[1:] != absent[:-1]).any(axis=1)) + 1
        edges = [0, *changes.tolist(), self.rows]
        return [
            (begin, end - begin, tuple(np.array(self.leads)[absent[begin]].tolist()))
            for begin, end in itertools.pairwise(edges)
            if absent[begin].any()
        ]


def trace_of(alert: Alert) -> Trace:
    """Return the strip of an alert as a trace.

    Raises
    ------
    ValueError
        If it has none, or one that cannot be read.
    """
    strip = alert.strip
    if strip is None:
        raise ValueError(
            f"{alert.code} {alert.phase} has no strip: onsets carry one, and every phase of high "
            "priority"
        )
    samples = strip.decode()
    if not len(samples):
        raise ValueError("the strip of this alert is empty")
    marks = [Mark(beat.row, beat.label) for beat in strip.beats if beat.row < len(samples)]
    if strip.onset_row is not None and strip.onset_row < len(samples):
        marks.append(Mark(strip.onset_row, alert.code, alert.codes))
    return Trace(
        name=f"{alert.alert_id[:12]}_{alert.sequence}",
        leads=strip.leads,
        rate_hz=strip.rate_hz,
        samples_mv=samples,
        start=begins_at(alert, strip, len(samples)),
        marks=tuple(sorted(marks, key=lambda mark: mark.row)),
        notes=(f"{alert.code} {alert.priority} alert {alert.alert_id}.{alert.sequence}",),
        patient=alert.patient or "",
        device=f"{alert.site}/{alert.device}",
        synthetic=alert.synthetic,
    )


def traces_of(documents: Sequence[Alert]) -> list[Trace]:
    """Return the strips of an alert's documents, one a document that has one.

    Raises
    ------
    ValueError
        If none has a strip that can be read.
    """
    found = [trace_of(alert) for alert in documents if alert.strip is not None]
    if not found:
        raise ValueError("no document of this alert has a strip")
    return found


def end_was_seen(alert: Alert) -> bool:
    """Return False for an end that says that nobody knows whether the condition lasts."""
    return alert.evidence.measured.get("ended") not in UNSEEN_ENDS


def marks_of(alerts: Sequence[Alert], first_index: int, rows: int) -> tuple[Mark, ...]:
    """Return where conditions begin and end in a recording; no end where nobody saw it.

    Parameters
    ----------
    alerts : sequence of Alert
        Of this recording.
    first_index : int
        Sample index of its first row.
    rows : int
        How many it has.
    """
    marks = set[Mark]()
    for alert in alerts:
        if alert.phase is Phase.ONSET:
            marks.add(Mark(alert.onset_index - first_index, alert.code, alert.codes))
        elif alert.phase is Phase.END and end_was_seen(alert):
            marks.add(Mark(alert.detected_index - first_index, f"{alert.code} end", alert.codes))
    inside = [mark for mark in marks if 0 <= mark.row < rows]
    return tuple(sorted(inside, key=lambda mark: (mark.row, mark.text)))


def file_name(text: str) -> str:
    """Return a text as a name that every file system and the WFDB library accept."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", text).strip("_")[:64] or "ecg"


def plain(text: str) -> str:
    """Return a text in printable ASCII, for headers that hold nothing else; others become `_`."""
    return re.sub(r"[^\x20-\x7e]", "_", text)


def in_ms(moment: datetime) -> datetime:
    """Return a time in UTC, rounded to the millisecond."""
    moment = moment.astimezone(UTC) + timedelta(microseconds=500)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
