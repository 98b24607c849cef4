"""The comparisons as a report for people: every figure with the count that it rests on.

The tables of the reference programs are for comparing with these programs, and state percentages
alone; here 0 of 2 beats reads as `0.00 % (0 of 2)`.
"""

from __future__ import annotations

from collections.abc import Sequence

from tocsin_agent.lab.ec57.statistics import Ratio, Row, aggregate

_NAMES = {
    "qrs": "QRS",
    "veb": "VEB",
    "sveb": "SVEB",
    "C": "couplets",
    "S": "short runs",
    "L": "long runs",
    "episode": "episodes",
    "duration": "duration",
    "beats_missed": "beats in shutdowns",
    "N_missed": "N in shutdowns",
    "S_missed": "S in shutdowns",
    "V_missed": "V in shutdowns",
    "F_missed": "F in shutdowns",
}
_ENDS = {"_se": " Se", "_ppv": " +P", "Se": " Se", "+P": " +P"}
# Figures that are only averaged: the name, the unit, and the sum that counts what they rest on.
_MEANS = {
    "rr_error_ms": ("RR error", " ms", "rr_intervals", "interval"),
    "error": ("RMS error", "", "measurements", "measurement"),
    "mean_reference": ("mean reference", "", "measurements", "measurement"),
}


def in_words(title: str, rows: Sequence[Row]) -> list[str]:
    """Return one table as a report.

    Parameters
    ----------
    title : str
        What was compared.
    rows : sequence of Row
        One a record.

    Returns
    -------
    list of str
        A line a figure: over all records together, and the mean of the records that have it.
    """
    total = aggregate(rows)
    lines = [f"{title}: {counted(total.records, 'record')}"]
    for key, pool in total.pools.items():
        mean, records = total.average[key], total.averaged[key]
        average = "" if mean is None else f"average {mean:6.2f} % of {counted(records, 'record')}"
        lines.append(f"  {_name(key):<20}{share(pool, _unit(key)):<42}{average}".rstrip())
    for key, (name, unit, of, one) in _MEANS.items():
        if key in total.average:
            mean, behind = total.average[key], counted(round(total.sums[of]), one)
            said = "-" if mean is None else f"{mean:.2f}{unit}"
            by_record = counted(total.averaged[key], "record")
            lines.append(f"  {name:<20}average {said} of {by_record} ({behind})")
    return lines


def share(ratio: Ratio, unit: str = "") -> str:
    """Return a percentage with the counts, or seconds, that it rests on."""
    part, whole = (f"{value:.1f}" if unit else f"{value:.0f}" for value in ratio)
    said = "-" if ratio.percent is None else f"{ratio.percent:.2f} %"
    return f"{said:>8} ({part} of {whole}{unit})"


def counted(count: int, one: str) -> str:
    """Return a count with its noun."""
    return f"{count} {one}" if count == 1 else f"{count} {one}s"


def _name(key: str) -> str:
    for end, said in _ENDS.items():
        if key.endswith(end) and key.removesuffix(end) in _NAMES:
            return _NAMES[key.removesuffix(end)] + said
    return _NAMES[key]


def _unit(key: str) -> str:
    return " s" if key.startswith("duration") else ""
