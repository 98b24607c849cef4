"""WFDB headers as databases and users have them: a tolerant reader of header(5).

The reader of the package wfdb refuses a record whose file was renamed, whose date is odd or whose
unit is not ASCII, and replaces what it does not understand by a default. Here, what does not
concern the samples (a date) is left out, and what does is read or refused.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path

from tocsin_agent.errors import SourceError, SourceFault

DEFAULT_RATE_HZ = 250.0  # header(5)
DEFAULT_GAIN = 200.0  # header(5), for a gain of 0 or none

_FORMAT = re.compile(r"(\d+)(?:x(\d+))?(?::(\d+))?(?:\+(\d+))?")
_GAIN = re.compile(r"([-+]?\d*\.?\d+(?:[eE][-+]?\d+)?)?(?:\(([-+]?\d+)\))?(?:/(\S*))?")


@dataclass(frozen=True, slots=True)
class SignalLine:
    """One signal of a record, or of a segment.

    Parameters
    ----------
    file_name : str
        Of the signal file, beside the header; `~` where there is none.
    fmt : str
        Storage format, as in signal(5).
    samples_per_frame, skew, byte_offset : int
        As in header(5).
    gain, baseline : float
        Stored values a unit, and the stored value of 0; 200 where the header states none.
    calibrated : bool
        False where the header states no gain.
    unit : str
        `mV` by default.
    resolution : int
        Bits of the converter; 0 where it is not stated.
    zero : int
        The stored value in the middle of the converter's range.
    initial : int
        The first stored value.
    name : str
        The description; may be empty.
    """

    file_name: str
    fmt: str
    samples_per_frame: int
    skew: int
    byte_offset: int
    gain: float
    baseline: int
    calibrated: bool
    unit: str
    resolution: int
    zero: int
    initial: int
    name: str


@dataclass(frozen=True, slots=True)
class SegmentLine:
    """One segment of a multi-segment record; the name `~` is a gap."""

    name: str
    frames: int


@dataclass(frozen=True, slots=True)
class Header:
    """A header: of a record with signals, or of one with segments.

    Parameters
    ----------
    path : Path
        The header file.
    frame_rate_hz : float
        Frames a second.
    frames : int or None
        Length; None where the header leaves it to the signal file (0 or nothing stated).
    start_utc : datetime or None
        Time of the first sample, taken as UTC; None without a date that is understood.
    signals : tuple of SignalLine
        Empty for a record with segments.
    segments : tuple of SegmentLine
        Empty for a record with signals.
    notes : tuple of str
        What was left out or assumed.
    """

    path: Path
    frame_rate_hz: float
    frames: int | None
    start_utc: datetime | None
    signals: tuple[SignalLine, ...]
    segments: tuple[SegmentLine, ...]
    notes: tuple[str, ...] = ()


def read_header(path: Path) -> Header:
    """Read a header file.

    Raises
    ------
    SourceError
        `MALFORMED`, with the line that is wrong and what would be right.
    """
    lines = _lines(path)
    if not lines:
        raise _malformed(path, "is not a WFDB header (it has no line)")
    fields = lines[0].split()
    if len(fields) < 2 or not fields[1].isdigit():
        raise _malformed(
            path,
            f"is not a WFDB header: its first line is {lines[0][:60]!r}; `NAME SIGNALS RATE "
            "LENGTH` expected",
        )
    rate_hz = _rate(path, fields)
    frames = int(fields[3]) if len(fields) > 3 and fields[3].isdigit() else 0
    start, notes = _start(path, fields[4:])
    count = int(fields[1])
    if not count:
        raise _malformed(path, "describes no signal")
    segmented = re.fullmatch(r".*/(\d+)", fields[0])
    signals: tuple[SignalLine, ...] = ()
    segments: tuple[SegmentLine, ...] = ()
    if segmented:
        segments = _segments(path, lines[1:], int(segmented.group(1)))
    else:
        if len(lines) - 1 < count:
            raise _malformed(path, f"states {count} signals, but describes {len(lines) - 1}")
        signals = tuple(_signal(path, line) for line in lines[1 : 1 + count])
    return Header(path, rate_hz, frames or None, start, signals, segments, notes)


def _malformed(path: Path, what: str) -> SourceError:
    return SourceError(SourceFault.MALFORMED, f"{path} {what}")


def _lines(path: Path) -> list[str]:
    try:
        stored = path.read_bytes()
    except OSError as error:
        raise SourceError(
            SourceFault.NOT_FOUND, f"{path} cannot be read: {error.strerror or error}"
        ) from error
    try:
        text = stored.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = stored.decode("latin-1")
    stripped = (line.strip("\0 \t\r") for line in text.splitlines())
    return [line for line in stripped if line and not line.startswith("#")]


def _rate(path: Path, fields: list[str]) -> float:
    if len(fields) < 3:
        return DEFAULT_RATE_HZ
    try:
        rate_hz = float(re.split(r"[/(]", fields[2])[0])
    except ValueError:
        rate_hz = math.nan
    if not (math.isfinite(rate_hz) and rate_hz > 0):
        raise _malformed(
            path,
            f"states a sampling rate of {fields[2]!r}; a positive number such as 360 expected",
        )
    return rate_hz


def _start(path: Path, fields: list[str]) -> tuple[datetime | None, tuple[str, ...]]:
    """Read time and date in either order; a date that is not understood is no start time."""
    if not fields:
        return None, ()
    at: time | None = None
    on: date | None = None
    for field in fields:
        clock = re.fullmatch(r"(?:(\d{1,2}):)?(\d{1,2}):(\d{1,2})(\.\d+)?", field)
        day = re.fullmatch(r"(\d{1,2})/(\d{1,2})/(\d{4})", field)
        iso = re.fullmatch(r"(\d{4})-(\d{1,2})-(\d{1,2})", field)
        try:
            if clock:
                micro = round(float(clock[4] or 0) * 1e6)
                at = time(int(clock[1] or 0), int(clock[2]), int(clock[3]), min(micro, 999_999))
            elif day:
                on = date(int(day[3]), int(day[2]), int(day[1]))
            elif iso:
                on = date(int(iso[1]), int(iso[2]), int(iso[3]))
        except ValueError:
            continue
    if at is not None and on is not None:
        return datetime.combine(on, at, tzinfo=UTC), ()
    if len(fields) == 1 and at is not None:
        return None, ()  # a time without a date is usual
    return None, (
        f"{path.name} states the start as {' '.join(fields)!r}, which is no date: unused",
    )


def _segments(path: Path, lines: list[str], count: int) -> tuple[SegmentLine, ...]:
    found = []
    for line in lines:
        fields = line.split()
        if len(fields) < 2 or not fields[1].isdigit():
            raise _malformed(path, f"has a line {line[:60]!r}; `SEGMENT LENGTH` expected")
        found.append(SegmentLine(fields[0], int(fields[1])))
    if len(found) < count:
        raise _malformed(
            path,
            f"states {count} segments, but lists {len(found)}: get the record again, or, if the "
            f"listed segments are all, write /{len(found)} for /{count} in its first line",
        )
    return tuple(found[:count])


def _signal(path: Path, line: str) -> SignalLine:
    fields = line.split(maxsplit=8)
    form = _FORMAT.fullmatch(fields[1]) if len(fields) > 1 else None
    gain = _GAIN.fullmatch(fields[2]) if len(fields) > 2 else None
    if form is None or (len(fields) > 2 and gain is None):
        raise _malformed(
            path, f"has a signal line {line[:60]!r}; `FILE FORMAT GAIN ... NAME` expected"
        )
    numbers = []
    for field in fields[3:8]:
        try:
            numbers.append(int(float(field)))
        except ValueError:
            numbers.append(0)
    resolution, zero, initial = [*numbers, 0, 0, 0][:3]
    stated = float(gain[1]) if gain is not None and gain[1] else 0.0
    return SignalLine(
        file_name=fields[0],
        fmt=form[1],
        samples_per_frame=int(form[2] or 1) or 1,
        skew=int(form[3] or 0),
        byte_offset=int(form[4] or 0),
        gain=stated or DEFAULT_GAIN,
        baseline=int(gain[2]) if gain is not None and gain[2] else zero,
        calibrated=stated != 0.0,
        unit=(gain[3] if gain is not None else None) or "mV",
        resolution=resolution,
        zero=zero,
        initial=initial if len(numbers) > 2 else zero,
        name=fields[8].strip() if len(fields) > 8 else "",
    )
