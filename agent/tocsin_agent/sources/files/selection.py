"""Which signals of a file are used: the ECG leads of one rate, or those that the user names."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.sources.base import Content, Recording
from tocsin_agent.sources.files.guard import file_id
from tocsin_agent.sources.files.signal_names import (
    Role,
    ecg_leads,
    mv_per_unit,
    nominal_mv_per_unit,
    role_of,
)
from tocsin_dsp.signal import MAX_LEADS, MAX_RATE_HZ, StreamSpec

_LOG = logging.getLogger(__name__)


class Described(Protocol):
    """What a file states of one of its signals."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def unit(self) -> str:
        """Its unit, as written."""

    @property
    def rate_hz(self) -> float:
        """Samples per second."""

    @property
    def mv_per_unit(self) -> float | None:
        """Millivolts in its unit; None for what is no voltage."""


class FileSignal(NamedTuple):
    """One signal of a file; attributes as in `Described`.

    `calibrated` is False where the unit states no size (`NU`, `adu`).
    """

    name: str
    unit: str
    rate_hz: float
    mv_per_unit: float | None
    calibrated: bool

    @classmethod
    def of(cls, name: str, unit: str, rate_hz: float) -> FileSignal:
        """Return a signal whose size follows from its unit, and from its name where it has none."""
        size = mv_per_unit(unit)
        known = size is not None
        if size is None and role_of(name) is Role.ECG:
            size = nominal_mv_per_unit(unit)
        return cls(name, unit, rate_hz, size, known)


class Choice(NamedTuple):
    """Which signals are used.

    Attributes
    ----------
    used : list of int
        Places in the file's list, in the order of the leads.
    notes : list of str
        What the user may want to know.
    contents : tuple of Content
        Each signal of the file, and why it is left out.
    """

    used: list[int]
    notes: list[str]
    contents: tuple[Content, ...]


class SignalFile(Recording):
    """A file that holds signals of any kind, of which the leads are taken.

    Parameters
    ----------
    path : Path
        The file.
    leads : sequence of str, optional
        See `choose`.
    block_s : float
        Seconds of signal in a block.
    """

    def __init__(
        self, path: Path, *, leads: Sequence[str] | None = None, block_s: float = 0.25
    ) -> None:
        super().__init__(block_s=block_s)
        self.path = path
        self._wanted = tuple(leads) if leads else None

    def _choose(self, signals: Sequence[FileSignal], notes: Sequence[str] = ()) -> list[int]:
        """Choose the leads, describe the stream by them, and return their places in the file.

        Parameters
        ----------
        signals : sequence of FileSignal
        notes : sequence of str
            Logged before those of the choice.

        Raises
        ------
        SourceError
            See `choose`.
        """
        choice = choose(self.path, signals, self._wanted)
        for note in (*notes, *choice.notes):
            _LOG.warning("%s: %s", self.path, note)
        chosen = [signals[i] for i in choice.used]
        self.spec = StreamSpec(
            stream_id=file_id(self.path),
            rate_hz=chosen[0].rate_hz,
            leads=tuple(signal.name for signal in chosen),
            calibrated=all(signal.calibrated for signal in chosen),
        )
        self.contents = choice.contents
        return choice.used


def choose(path: Path, signals: Sequence[Described], wanted: Sequence[str] | None) -> Choice:
    """Choose the signals to read, all of one rate.

    Parameters
    ----------
    path : Path
        For errors.
    signals : sequence
        What the file holds, with distinct names (`distinct`).
    wanted : sequence of str or None
        The names to take, in order; None takes the ECG leads, of the rate that most of them have.

    Raises
    ------
    SourceError
        `NOT_FOUND` for a name that the file does not have, `MALFORMED` where no signal is an ECG or
        the named ones cannot be used; both list the signals.
    """
    if wanted is not None:
        used, notes = _named(path, signals, wanted), list[str]()
    else:
        used, notes = _ecg(path, signals)
    return Choice(used, notes, _contents(signals, used))


def distinct(names: Sequence[str]) -> list[str]:
    """Rename repeated names: `ECG, ECG` becomes `ECG, ECG-2`."""
    taken: list[str] = []
    for name in names:
        number, new = 2, name
        while new in taken:
            new = f"{name}-{number}"
            number += 1
        taken.append(new)
    return taken


def _ecg(path: Path, signals: Sequence[Described]) -> tuple[list[int], list[str]]:
    volts = [i for i, signal in enumerate(signals) if signal.mv_per_unit is not None]
    found = [volts[i] for i in ecg_leads([signals[i].name for i in volts])]
    if not found:
        there = ", ".join(signal.name for signal in signals)
        for signal in signals:
            if role_of(signal.name) is Role.ECG:
                raise SourceError(SourceFault.MALFORMED, _no_voltage(path, signal))
        raise SourceError(
            SourceFault.MALFORMED,
            f"{path} has no ECG lead; its signals are {there}. Choose with the leads option",
        )
    notes = []
    # All of one rate: that of most leads, then the highest. One above the limit cannot be used.
    rates = [signals[i].rate_hz for i in found]
    kept = max(rates, key=lambda rate: (rate <= MAX_RATE_HZ, rates.count(rate), rate))
    left = [signals[i] for i in found if signals[i].rate_hz != kept]
    if left:
        notes.append(
            f"{', '.join(f'{s.name} ({s.rate_hz:g} Hz)' for s in left)} not used: the leads in use "
            f"have {kept:g} Hz; choose others with --leads"
        )
    unnamed = [
        signals[i].name
        for i in volts
        if i not in found and role_of(signals[i].name) is Role.UNKNOWN
    ]
    if unnamed:
        notes.append(f"{', '.join(unnamed)} not used: not named as an ECG; choose with --leads")
    found = [i for i in found if signals[i].rate_hz == kept]
    if len(found) > MAX_LEADS:
        notes.append(f"{len(found)} leads exist; the first {MAX_LEADS} are used")
    return found[:MAX_LEADS], notes


def _named(path: Path, signals: Sequence[Described], wanted: Sequence[str]) -> list[int]:
    names = [signal.name for signal in signals]
    absent = [name for name in wanted if name not in names]
    if absent:
        raise SourceError(
            SourceFault.NOT_FOUND,
            f"{path} has no signal {', '.join(map(repr, absent))}; its signals are "
            f"{', '.join(names)}",
        )
    used = [names.index(name) for name in wanted]
    for i in used:
        if signals[i].mv_per_unit is None:
            raise SourceError(SourceFault.MALFORMED, _no_voltage(path, signals[i]))
    if len({signals[i].rate_hz for i in used}) > 1:
        rates = ", ".join(f"{names[i]} {signals[i].rate_hz:g} Hz" for i in used)
        raise SourceError(
            SourceFault.MALFORMED, f"{path}: choose leads of one sampling rate; there are {rates}"
        )
    return used


def _no_voltage(path: Path, signal: Described) -> str:
    unit = f"has the unit {signal.unit!r}" if signal.unit else "has no unit"
    return (
        f"signal {signal.name!r} of {path} is not stored in volts: it {unit}. If it is an ECG, "
        "write its unit (`mV`, `uV`, or `adu` for counts) into the header of the file"
    )


def _contents(signals: Sequence[Described], used: list[int]) -> tuple[Content, ...]:
    rate_hz = signals[used[0]].rate_hz
    return tuple(
        Content(s.name, s.unit, s.rate_hz, i in used, "" if i in used else _why(s, rate_hz))
        for i, s in enumerate(signals)
    )


def _why(signal: Described, rate_hz: float) -> str:
    """Return why a signal is left out."""
    if signal.mv_per_unit is None:
        return "not stored in volts"
    role = role_of(signal.name)
    if role not in {Role.ECG, Role.UNKNOWN}:
        return f"named as {role.value}"
    if signal.rate_hz != rate_hz:
        return f"of another rate than {rate_hz:g} Hz"
    return "not named as an ECG" if role is Role.UNKNOWN else "not chosen"
