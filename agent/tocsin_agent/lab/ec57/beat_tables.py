"""The tables of the beat-by-beat comparison, as bxb(1) and sumstats(1) print them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tocsin_agent.lab.ec57.beats import BEATS, CLASSES, BeatComparison, labels
from tocsin_agent.lab.ec57.statistics import (
    Aggregate,
    Row,
    aggregate,
    closing_lines,
    figure,
    whole,
)

# The tables, column by column: the heading and the cells that it counts.
_COLUMNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Nn'", ("Nn", "Nf", "Nq")),
    ("Sn'", ("Sn", "Sf", "Sq")),
    ("Vn'", ("Vn", "Vf", "Vq")),
    ("Fn'", ("Fn", "Ff", "Fq", "Qn", "Qf", "Qq")),
    ("On'", ("On", "Of", "Oq", "Xn", "Xf", "Xq")),
    ("Ns", ("Ns",)),
    ("Ss", ("Ss",)),
    ("Vs", ("Vs",)),
    ("Fs'", ("Fs", "Qs")),
    ("Os'", ("Os", "Xs")),
    ("Nv", ("Nv",)),
    ("Sv", ("Sv",)),
    ("Vv", ("Vv",)),
    ("Fv'", ("Fv", "Qv")),
    ("Ov'", ("Ov", "Xv")),
    ("No'", ("No", "Nx")),
    ("So'", ("So", "Sx")),
    ("Vo'", ("Vo", "Vx")),
    ("Fo'", ("Fo", "Qo", "Fx", "Qx")),
)
_PERCENTS = ("qrs_se", "qrs_ppv", "veb_se", "veb_ppv", "sveb_se", "sveb_ppv")
_HEADING = (
    "Record Nn' Sn' Vn' Fn' On'  Ns  Ss  Vs  Fs' Os' Nv  Sv   Vv  Fv' Ov' No' So' Vo' Fo'"
    "  Q Se   Q +P   V Se   V +P   S Se   S +P RR err"
)
_RULE_WIDTH = 132
_COUNTS_WIDTH = 83
_SHUTDOWN_HEADING = (
    "Record Nx   Sx   Vx   Fx   Qx  % beats  % N    % S    % V    % F   Total Shutdown",
    "                                missed missed missed missed missed      Time",
)
_SHUTDOWN_RULE_WIDTH = 72


def lines(results: Sequence[BeatComparison], *, statistics: bool = True) -> list[str]:
    """Return the table of beats as bxb(1) writes it, by default with what sumstats(1) adds."""
    rows = [result.row() for result in results]
    table = [_HEADING, *(_line(row) for row in rows)]
    return [*table, *_closing(aggregate(rows))] if rows and statistics else table


def shutdown_lines(results: Sequence[BeatComparison], *, statistics: bool = True) -> list[str]:
    """Return the table of shutdowns, likewise."""
    rows = [result.shutdown_row() for result in results]
    table = [*_SHUTDOWN_HEADING, *(_shutdown_line(row) for row in rows)]
    if not (rows and statistics):
        return table
    total = aggregate(rows)
    counts = "".join(whole(total.sums[f"{ref}x"], 5) for ref in BEATS)
    summed = f"Sum {counts}{'':37}{whole(total.sums['shutdown_s'], 5)} seconds"
    return [*table, *closing_lines(_SHUTDOWN_RULE_WIDTH, [summed], "", total.records)]


def _line(row: Row) -> str:
    percents = _percents(row.ratios[key].percent for key in _PERCENTS)
    return _counts(f"{row.record:>4}", row.sums) + percents + _percents(row.means.values())


def _counts(name: str, sums: Mapping[str, float]) -> str:
    widths = {"Nn'": 5, "Vv": 4}
    return name + "".join(
        " " + whole(sum(sums[label] for label in labels), widths.get(heading, 3))
        for heading, labels in _COLUMNS
    )


def _percents(values: Iterable[float | None]) -> str:
    return "".join(" " + figure(value, 6, 2) for value in values)


def _closing(total: Aggregate) -> list[str]:
    def beats(of_class: str) -> int:
        return round(sum(total.sums[label] for label in labels(of_class, CLASSES)))

    gross = _percents(total.gross[key] for key in _PERCENTS)
    average = _percents(total.average[key] for key in (*_PERCENTS, "rr_error_ms"))
    return closing_lines(
        _RULE_WIDTH,
        [
            _counts("Sum ", total.sums),
            f"{'Gross':{_COUNTS_WIDTH}}{gross}",
            f"{'Average':{_COUNTS_WIDTH}}{average}",
        ],
        f"Total QRS complexes: {beats(BEATS)}  Total VEBs: {beats('V')}  Total SVEBs: {beats('S')}",
        total.records,
    )


def _shutdown_line(row: Row) -> str:
    counts = "".join(whole(row.sums[f"{ref}x"], 5) for ref in BEATS)
    missed, *of_class = (ratio.percent for ratio in row.ratios.values())
    beats = " ".join(whole(row.sums[f"{ref}_beats"], 0) for ref in BEATS)
    return (
        f"{row.record:>4}{counts}{figure(missed, 9, 2)}{_percents(of_class)}"
        f"{whole(row.sums['shutdown_s'], 5)} seconds {beats}"
    )
