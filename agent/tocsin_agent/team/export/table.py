"""A trace as CSV: a column of seconds, a column a lead in mV, an empty cell where missing."""

from __future__ import annotations

import csv
import io

import numpy as np

from tocsin_agent.messages.printable import clean
from tocsin_agent.team.export.trace import MISSING, Trace, file_name, in_ms

_ROWS_AT_ONCE = 100_000


def tables(trace: Trace) -> dict[str, bytes]:
    """Return the samples, and the marks where there are any, each as a file of UTF-8 by name.

    The first line names the columns; seconds count from the first row, whose UTC is in a line of
    the marks.
    """
    name, gain = file_name(trace.name), trace.gain_per_mv()
    places = max(0, int(np.ceil(np.log10(gain))))
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["time (s)", *(f"{clean(lead)} (mV)" for lead in trace.leads)])
    counts = trace.counts()
    for first in range(0, trace.rows, _ROWS_AT_ONCE):
        part = counts[first : first + _ROWS_AT_ONCE]
        values = part / gain
        for row, (some, missing) in enumerate(zip(values, part == MISSING, strict=True), first):
            cells = [
                "" if gone else f"{value:.{places}f}"
                for value, gone in zip(some.tolist(), missing.tolist(), strict=True)
            ]
            writer.writerow([f"{row / trace.rate_hz:.6f}", *cells])
    files = {f"{name}.csv": text.getvalue().encode()}
    marks = io.StringIO(newline="")
    writer = csv.writer(marks, lineterminator="\n")
    writer.writerow(["row", "seconds", "utc", "text", "mdc", "snomed_ct"])
    if trace.start is not None:
        writer.writerow([0, "0.000000", in_ms(trace.start).isoformat(), "start", "", ""])
    for mark in trace.marks:
        codes = mark.codes
        writer.writerow(
            [
                *(mark.row, f"{mark.row / trace.rate_hz:.6f}", "", mark.text),
                (codes.mdc or "") if codes else "",
                (codes.snomed_ct or "") if codes else "",
            ]
        )
    files[f"{name}.marks.csv"] = marks.getvalue().encode()
    return files
