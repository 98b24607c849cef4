"""The columns of a table: which are leads, which is the clock, and how values become millivolts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.sources.base import Content
from tocsin_agent.sources.files.signal_names import (
    Role,
    mv_per_unit,
    nominal_mv_per_unit,
    seconds_per_unit,
)
from tocsin_agent.sources.files.table_head import Head
from tocsin_agent.sources.files.table_options import TableOptions
from tocsin_dsp.signal import MAX_LEADS, FloatArray

_LOOK_ROWS = 100  # rows that say what a column holds


class TableColumns:
    """The columns of a table.

    Parameters
    ----------
    path : Path
        For errors.
    head : Head
        What the first lines say.
    options : TableOptions
        What the user says.
    used : sequence of int, optional
        The columns of the leads, where they are known.
    """

    def __init__(
        self, path: Path, head: Head, options: TableOptions, used: Sequence[int] | None = None
    ) -> None:
        self._path = path
        self._options = options
        self.head = head
        self.notes = list(head.notes)
        self._left: dict[int, str] = {}  # why a column is no lead, where its values say so
        clocks = [i for i, column in enumerate(head.columns) if column.role is Role.CLOCK]
        # A device's own clock is better than that of the phone that received its packets.
        self.clocks = sorted(clocks, key=lambda i: "phone" in head.columns[i].name.lower())
        self.clock = 0  # which of them gives the time
        self.used = list(used) if used is not None else self._chosen()
        if len(set(self.leads)) < len(self.leads):
            raise SourceError(
                SourceFault.MALFORMED, f"{path}: lead names repeat: {', '.join(self.leads)}"
            )

    @property
    def time(self) -> int | None:
        """The column of the time of each row."""
        return self.clocks[self.clock] if self.clocks else None

    def look_at_clocks(self, first: FloatArray) -> None:
        """Take the first clock that runs: a date of the day beside a time of day does not.

        Parameters
        ----------
        first : ndarray of float64, shape (n, clocks)
            The first rows of the clocks.
        """
        for at in range(len(self.clocks)):
            if (np.diff(first[:, at]) > 0).any():
                self.clock = at
                return

    @property
    def leads(self) -> tuple[str, ...]:
        """Names of the leads."""
        return tuple(self.head.columns[i].name for i in self.used)

    @property
    def time_unit_s(self) -> float | None:
        """Seconds in a unit of the time column, where its heading states one."""
        return None if self.time is None else self.unit_of_clock_s(self.clock)

    def unit_of_clock_s(self, at: int) -> float | None:
        """Return the seconds in a unit of one of the clocks, where its heading states one."""
        unit = self.head.columns[self.clocks[at]].unit
        return None if unit is None else seconds_per_unit(unit)

    @property
    def calibrated(self) -> bool:
        """Whether the size of each lead's unit is known, or given."""
        if self._options.unit != "mV":
            return True
        columns = [self.head.columns[i] for i in self.used]
        return all(
            column.calibrated and (column.unit is None or mv_per_unit(column.unit) is not None)
            for column in columns
        )

    def contents(self, rate_hz: float) -> tuple[Content, ...]:
        """Return each column, and why it is no lead."""
        out = []
        for i, column in enumerate(self.head.columns):
            used = i in self.used
            reason = "" if used else self._left.get(i) or self._why(i)
            out.append(
                Content(column.name, column.unit or "", rate_hz if used else None, used, reason)
            )
        return tuple(out)

    def _why(self, column: int) -> str:
        if column == self.time:
            return "the time of each row"
        if column in self.clocks:
            return "named as clock"
        role = self.head.columns[column].role
        if role is Role.UNKNOWN:
            return "not named as an ECG"
        return "not chosen" if role is Role.ECG else f"named as {role.value}"

    def _chosen(self) -> list[int]:
        """Return the columns of the wanted leads, or those that are named as one."""
        columns = self.head.columns
        names = [column.name for column in columns]
        if self._options.leads is None:
            found = self.head.leads()
            if not found:
                raise SourceError(
                    SourceFault.MALFORMED,
                    f"{self._path} has no column that is an ECG; its columns are "
                    f"{', '.join(names)}. Choose with the leads option",
                )
            if len(found) > MAX_LEADS:
                raise SourceError(
                    SourceFault.MALFORMED,
                    f"{self._path} has {len(found)} columns of samples: one row a sample and at "
                    f"most {MAX_LEADS} leads expected; choose with the leads option",
                )
            left = [
                names[i]
                for i, column in enumerate(columns)
                if i not in found and i != self.time and column.role is not Role.COUNTER
            ]
            if left:
                shown = ", ".join(left[:20]) + (" …" if len(left) > 20 else "")
                self.notes.append(f"not taken as leads: {shown}; choose with --leads")
            return found
        absent = [lead for lead in self._options.leads if lead not in names]
        if absent:
            raise SourceError(
                SourceFault.NOT_FOUND,
                f"{self._path} has no column {', '.join(absent)}; its columns are "
                f"{', '.join(names)}",
            )
        return [names.index(lead) for lead in self._options.leads]

    def look_at(self, first: FloatArray) -> None:
        """Leave out columns whose name says nothing and whose values are a clock or labels.

        Parameters
        ----------
        first : ndarray of float64, shape (n, leads)
            The first rows of the leads.
        """
        if self._options.leads is not None or len(first) < _LOOK_ROWS:
            return
        for at, column in reversed(list(enumerate(self.used))):
            named = self.head.columns[column]
            what = what_is_no_ecg(first[:, at])
            if named.role is Role.UNKNOWN and what is not None and len(self.used) > 1:
                del self.used[at]
                self._left[column] = f"its values are {what}"
                self.notes.append(f"not taken as a lead: {named.name}, whose values are {what}")

    def to_mv(self, values: FloatArray) -> FloatArray:
        """Convert stored values to millivolts, each column by its unit, else by the option."""
        options = self._options
        if options.unit == "counts":
            return options.to_mv(values)
        out = options.to_mv(values)
        for at, i in enumerate(self.used):
            column = self.head.columns[i]
            unit = column.unit
            size = None if unit is None else (mv_per_unit(unit) or nominal_mv_per_unit(unit))
            if size is not None:
                out[:, at] = values[:, at] * size
            elif column.counts is not None and options.unit == "mV":
                gain, baseline = column.counts
                out[:, at] = (values[:, at] - baseline) / gain
        return out


def what_is_no_ecg(values: FloatArray) -> str | None:
    """Say what a column holds that rises all the time, rests, or has a few whole values."""
    present = values[np.isfinite(values)]
    if len(present) < _LOOK_ROWS:
        return None
    steps = np.diff(present)
    if (steps > 0).mean() > 0.95:
        return "a clock or a counter"
    if len(np.unique(present)) <= 8 and (present == np.rint(present)).all():
        return "labels"
    if (steps == 0).mean() > 0.9:
        return "a number that changes seldom"
    return None
