"""Tables of programs that name themselves in the first lines, and do not name the columns there."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.sources.files.signal_names import Role, role_of, seconds_per_unit

_OPENBCI_LEADS = ((20, 16), (9, 8), (5, 4))  # columns at least, and the channels among them
_OPENSIGNALS_SPAN_MV = 3.0  # of an ECG sensor of PLUX and BITalino: 3.3 V / 1100, 3 V / 1000


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Parameters
    ----------
    name : str
        Without its unit.
    unit : str or None
        As the heading states it.
    role : Role
        What the name says that it is.
    counts : tuple of float or None
        Gain in counts a mV and baseline, where the writer is known to store counts of that size.
    calibrated : bool
        False where the size of a count rests on a guess.
    """

    name: str
    unit: str | None
    role: Role
    counts: tuple[float, float] | None = None
    calibrated: bool = True


class Export(NamedTuple):
    """What a program that names itself in the first lines is known to write."""

    columns: tuple[Column, ...]
    rate_hz: float | None
    notes: tuple[str, ...]


def known_export(path: Path, remarks: Sequence[str], width: int) -> Export | None:
    """Return what a program that is known states; None for another table.

    Parameters
    ----------
    path : Path
        For errors.
    remarks : sequence of str
        The lines before the samples, without comment signs.
    width : int
        Cells of a line of samples.
    """
    for remark in remarks[:5]:
        if remark.startswith("OpenSignals Text File Format"):
            return _opensignals(path, remarks, width)
        if remark.startswith("OpenBCI Raw"):
            return _openbci(remarks, width)
        if re.match(r"Interval=\s", remark):
            return _labchart(remarks, width)
        if re.fullmatch(r"[0-9.]+ \w+/sample", remark):
            return _acqknowledge(remarks, width)
    return None


def _opensignals(path: Path, remarks: Sequence[str], width: int) -> Export:
    """Read the header of OpenSignals (BITalino, biosignalsplux): one line of JSON."""
    try:
        [stated] = [json.loads(line) for line in remarks if line.startswith("{")]
        devices = list(stated.values())
        device: dict[str, Any] = devices[0]
        names = [str(name) for name in device["column"]]
        rate_hz = float(device["sampling rate"])
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise SourceError(
            SourceFault.MALFORMED, f"{path} has a header of OpenSignals that is damaged ({error})"
        ) from error
    if len(devices) > 1 or width not in {len(names), len(names) + 1}:
        raise SourceError(
            SourceFault.MALFORMED,
            f"{path} has {len(devices)} devices and {width} cells a line, {len(names)} are named: "
            "export each device to a file of its own",
        )
    sensors = _per_channel(device, "sensor", names)
    labels = _per_channel(device, "label", names)
    columns = []
    for i, name in enumerate(names):
        if labels[i] is None and sensors[i] is None:
            role = Role.COUNTER if name.lower() == "nseq" else Role.LABEL
            columns.append(Column(name, None, role))
            continue
        sensor = re.sub(r"BIT$", "", str(sensors[i] or "RAW").upper())
        known = sensor not in {"RAW", "CUSTOM", ""}
        role = role_of(sensor) if known else Role.UNKNOWN
        shown = sensor if known and sensors.count(sensors[i]) == 1 else f"{sensor} {name}"
        bits = _bits(device, i, len(names))
        counts = None
        if not device.get("convertedValues"):
            counts = (2.0**bits / _OPENSIGNALS_SPAN_MV, 2.0 ** (bits - 1))
        columns.append(Column(shown, None, role, counts, calibrated=role is Role.ECG))
    rate = rate_hz if math.isfinite(rate_hz) and rate_hz > 0 else None
    note = "OpenSignals: counts of a sensor that spans 3 mV assumed"
    return Export(tuple(columns), rate, () if device.get("convertedValues") else (note,))


def _per_channel(device: dict[str, Any], key: str, names: list[str]) -> list[Any]:
    """Return a property of each column; None for those that are no channel, which come first."""
    stated = device.get(key)
    listed = list(stated) if isinstance(stated, list) else []
    listed = listed[-len(names) :]
    return [None] * (len(names) - len(listed)) + listed


def _bits(device: dict[str, Any], column: int, columns: int) -> int:
    stated = device.get("resolution")
    listed = list(stated) if isinstance(stated, list) else []
    at = column - columns  # from the end: the channels are the last columns
    bits = listed[at] if -at <= len(listed) else 10
    return int(bits) if isinstance(bits, int) and 4 <= bits <= 32 else 10


def _labchart(remarks: Sequence[str], width: int) -> Export | None:
    """Read the header of LabChart: lines `Interval=`, `ChannelTitle=`, `UnitName=`, `Range=`."""
    stated = {}
    for remark in remarks:
        key, _, value = remark.partition("=")
        stated[key.strip()] = [cell.strip() for cell in value.strip().split("\t")]
    titles = stated.get("ChannelTitle", [])
    interval = re.match(r"([0-9.eE+-]+)\s*(\w*)", stated["Interval"][0])
    size = seconds_per_unit(interval[2] or "s") if interval else None
    if len(titles) != width - 1:  # the first column is the time
        return None
    units = stated.get("UnitName") or [cell.split()[-1] for cell in stated.get("Range", []) if cell]
    columns = [Column("Time", "s", Role.CLOCK)]
    for i, title in enumerate(titles):
        unit = units[i].strip("*") if len(units) == len(titles) else None
        columns.append(Column(title, unit, role_of(title)))
    step_s = float(interval[1]) * size if interval and size else 0.0
    return Export(tuple(columns), 1.0 / step_s if step_s > 0 else None, ())


def _acqknowledge(remarks: Sequence[str], width: int) -> Export | None:
    """Read the header of AcqKnowledge (BIOPAC): the step, the channels, a name and a unit each."""
    for at, remark in enumerate(remarks):
        counted = re.fullmatch(r"(\d+) channels?", remark)
        step = re.fullmatch(r"([0-9.]+) (\w+)/sample", remarks[at - 1]) if at else None
        size = seconds_per_unit(step[2]) if step else None
        if counted and step and size:
            count = int(counted[1])
            listed = remarks[at + 1 : at + 1 + 2 * count]
            columns = [
                Column(name, unit, role_of(name))
                for name, unit in zip(listed[::2], listed[1::2], strict=False)
            ]
            if len(columns) == count and width - count in {1, 2}:  # a time, a trailing separator
                columns.insert(0, Column("time", None, Role.LABEL))  # in minutes, without digits
            elif len(columns) != count or width != count:
                return None
            return Export(tuple(columns), 1.0 / (float(step[1]) * size), ())
    return None


def _openbci(remarks: Sequence[str], width: int) -> Export | None:
    """Read the header of the OpenBCI GUI: names in the last line, or none in older versions."""
    rate_hz = None
    count = next((n for least, n in _OPENBCI_LEADS if width >= least), max(1, width - 1))
    for remark in remarks:
        key, _, value = remark.partition("=")
        number = re.match(r"\s*([0-9.]+)", value)
        if number and "sample rate" in key.lower():
            rate_hz = float(number[1])
        elif number and "number of channels" in key.lower():
            count = int(float(number[1]))
    listed = [cell.strip() for cell in remarks[-1].split(",")] if remarks else []
    if len(listed) < 2 or len(listed) != width:
        channels = [f"EXG Channel {i}" for i in range(min(count, width - 1))]
        listed = ["Sample Index", *channels]
        rest = width - len(listed)
        listed += [f"Other {i}" for i in range(rest)]
        if rest and any("last column = timestamp" in remark.lower() for remark in remarks):
            listed[-1] = "Timestamp"
    columns = []
    for name in listed:
        role = role_of(name)
        columns.append(Column(name, "uV" if role is Role.ECG else None, role))
    return Export(tuple(columns), rate_hz, ())
