"""Beat by beat: what EC57:2012 4.3.2 and bxb(1) of the WFDB Software Package compare.

Every beat of the reference is paired with a beat of the test within the match window, or stands
alone as missed; every beat of the test that finds no partner stands alone as extra. The pairs are
counted in a matrix of reference class by test class, from which every other figure follows.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tocsin_agent.lab.ec57.annotations import (
    AAMI_CLASS,
    NOISE,
    VF_END,
    VF_ONSET,
    Annotations,
    is_shutdown,
    same_time_base,
)
from tocsin_agent.lab.ec57.period import LEARNING_PERIOD_S, judged_period
from tocsin_agent.lab.ec57.statistics import (
    Aggregate,
    Ratio,
    Row,
    aggregate,
    closing_lines,
    figure,
    whole,
)

# Rows are the reference, columns the test: N S V F Q, O for no beat, X for no analysis.
CLASSES = "NSVFQOX"
_BEATS = "NSVFQ"
_NO_BEAT, _NO_ANALYSIS = CLASSES.index("O"), CLASSES.index("X")
# A flutter wave has a place in the sequence of intervals, but is a beat of no class.
_FLUTTER_WAVE = "!"
_MARGIN_S = 0.15  # what a lone shutdown mark leaves to the annotations beside it, as bxb(1) does

Interval = tuple[int, int]


@dataclass(frozen=True)
class BeatOptions:
    """How to compare; the defaults are the standard's, anything else is for development.

    Parameters
    ----------
    start_s : float
        End of the learning period: annotations before it do not count.
    end_s : float or None
        End of the comparison. None: the end of the record or, where the header does not state it,
        of the reference annotations. 0: the end of whichever annotations end first.
    match_window_s : float
        Largest distance between the two beats of a pair.
    exclude_vf : bool
        Leave out what lies in ventricular flutter or fibrillation by the reference, from `[` to
        `]`, the marks included.
    shutdown : bool
        Honour shutdown marks. Without, a beat missed in a shutdown is a beat missed.
    """

    start_s: float = LEARNING_PERIOD_S
    end_s: float | None = None
    match_window_s: float = 0.15
    exclude_vf: bool = True
    shutdown: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.start_s < math.inf:
            raise ValueError(f"start_s is {self.start_s}: it should be 0 or more")
        if self.end_s is not None and self.end_s != 0 and not self.end_s > self.start_s:
            raise ValueError(f"end_s is {self.end_s}: it should be 0, or after start_s")
        if not 0 <= self.match_window_s < math.inf:
            raise ValueError(f"match_window_s is {self.match_window_s}: it should be 0 or more")


STANDARD = BeatOptions()


class Pair(NamedTuple):
    """One event of the comparison: a pair, a missed beat or an extra one.

    Parameters
    ----------
    label : str
        Reference class in capitals and test class in small letters, such as `Nv`; `o` where the
        test has no beat, `x` where it was shut down, `O` and `X` likewise of the reference.
    reference, test : int or None
        Sample of either beat.
    """

    label: str
    reference: int | None
    test: int | None


@dataclass(frozen=True)
class Score:
    """How well one kind of beat was found.

    Parameters
    ----------
    tp, fn, fp : int
        Found, missed and falsely found.
    """

    tp: int
    fn: int
    fp: int

    @property
    def se(self) -> Ratio:
        """Sensitivity."""
        return Ratio(self.tp, self.tp + self.fn)

    @property
    def ppv(self) -> Ratio:
        """Positive predictivity."""
        return Ratio(self.tp, self.tp + self.fp)


@dataclass(frozen=True, eq=False)
class BeatComparison:
    """What one record gives.

    Parameters
    ----------
    record : str
        Its name.
    matrix : ndarray of int64, 7 by 7
        Events by class, in the order of `CLASSES`: rows the reference, columns the test.
    rr_error_ms : float or None
        Root mean square of the difference between the RR intervals of reference and test.
    shutdown_s : float
        How long the test was shut down within the comparison.
    pairs : tuple of Pair
        Every event, in time order.
    """

    record: str
    matrix: NDArray[np.int64]
    rr_error_ms: float | None
    shutdown_s: float
    pairs: tuple[Pair, ...] = field(repr=False)

    def cells(self, *labels: str) -> int:
        """Return how many events have one of these labels, such as `Vn`."""
        places = [(CLASSES.index(label[0]), CLASSES.index(label[1].upper())) for label in labels]
        return sum(int(self.matrix[place]) for place in places)

    def beats(self, of_class: str = _BEATS) -> int:
        """Return how many beats of these classes the reference has."""
        return self.cells(*_labels(of_class, CLASSES))

    @property
    def qrs(self) -> Score:
        """Detection of beats, whatever their class."""
        return Score(
            tp=self.cells(*_labels(_BEATS, _BEATS)),
            fn=self.cells(*_labels(_BEATS, "OX")),
            fp=self.cells(*_labels("OX", _BEATS)),
        )

    @property
    def veb(self) -> Score:
        """Ventricular ectopic beats; those called so on a fusion or Q beat are not held false."""
        return Score(
            tp=self.cells("Vv"),
            fn=self.cells(*_labels("V", "NSFQOX")),
            fp=self.cells(*_labels("NSOX", "V")),
        )

    @property
    def sveb(self) -> Score:
        """Supraventricular ectopic beats, as the row of a record counts them."""
        return Score(
            tp=self.cells("Ss"),
            fn=self.cells(*_labels("S", "NVFQOX")),
            fp=self.cells(*_labels("NVFQOX", "S")),
        )

    def row(self) -> Row:
        """Return what the statistics over records are made of.

        Notes
        -----
        In the row of a record bxb(1) holds every S against +P that is none by the reference, but
        sumstats(1) spares those on fusion and Q beats. Both are as the programs print them.
        """
        sveb = self.sveb
        kinds = {"qrs": self.qrs, "veb": self.veb, "sveb": sveb}
        ratios: dict[str, Ratio] = {}
        sums = {label: self.cells(label) for label in _labels(CLASSES, CLASSES)}
        for kind, score in kinds.items():
            ratios |= {f"{kind}_se": score.se, f"{kind}_ppv": score.ppv}
            sums |= {f"{kind}_tp": score.tp, f"{kind}_fn": score.fn, f"{kind}_fp": score.fp}
        spared = Score(sveb.tp, sveb.fn, sveb.fp - self.cells("Fs", "Qs"))
        return Row(
            self.record,
            sums=sums,
            ratios=ratios,
            pooled={"sveb_ppv": spared.ppv},
            means={"rr_error_ms": self.rr_error_ms},
        )

    def shutdown_row(self) -> Row:
        """Return the same of the table of shutdowns."""
        return Row(
            self.record,
            sums={f"{ref}x": self.cells(f"{ref}x") for ref in _BEATS}
            | {"shutdown_s": self.shutdown_s}
            | {f"{ref}_beats": self.beats(ref) for ref in _BEATS},
            ratios={"beats_missed": self._unseen(_BEATS)}
            | {f"{ref}_missed": self._unseen(ref) for ref in "NSVF"},
        )

    def _unseen(self, of_class: str) -> Ratio:
        return Ratio(self.cells(*_labels(of_class, "X")), self.beats(of_class))


def _labels(references: str, tests: str) -> list[str]:
    return [ref + test.lower() for ref in references for test in tests]


def compare_beats(
    reference: Annotations, test: Annotations, options: BeatOptions = STANDARD
) -> BeatComparison:
    """Compare two sets of annotations of one record beat by beat.

    Parameters
    ----------
    reference, test : Annotations
        The truth and what is judged. A test in another rate is rescaled to the reference's.
    options : BeatOptions
        How to compare.

    Returns
    -------
    BeatComparison

    Notes
    -----
    - Beats pair as `match` says. A beat belongs to the comparison if it lies in it, whatever its
      partner would be: a pair astride the end of the learning period is an extra or a missed beat.
    - A beat missed while the test was shut down counts in column X instead of O; an extra one
      where the reference is unreadable counts in row X.
    - A flutter wave (`!`) outside the excluded segments is no beat of any class: a test that calls
      a beat so has missed it.
    - At every event, a missed or extra beat included, the RR interval that ends with the current
      beat of the reference is compared with the one that ends with the current beat of the test;
      one missed beat so counts twice. The interval of the reference counts from its beat before,
      of the learning period too, and not at all across its unreadable or VF segments.
    """
    test = same_time_base(reference, test)
    rate_hz = reference.rate_hz
    window = reference.index_of(options.match_window_s)
    # `end` is the first sample behind the comparison
    start, end = judged_period(reference, test, options.start_s, options.end_s, window=window + 1)
    vf = vf_segments(reference) if options.exclude_vf else []
    unreadable = shutdowns(reference, end) if options.shutdown else []
    shut = shutdowns(test, end) if options.shutdown else []
    truth = _Sequence.of(reference, start, end, vf)
    judged = _Sequence.of(test, start, end, vf)

    matrix = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    pairs = []
    error = _IntervalError(truth, judged, sorted([*vf, *unreadable]))
    for i, j in match(truth.samples, judged.samples, window):
        error.event()
        if i is None and j is not None:
            row, column = _absent(judged.samples[j], unreadable), judged.classes[j]
        elif j is None and i is not None:
            row, column = truth.classes[i], _absent(truth.samples[i], shut)
        elif i is not None and j is not None:
            row, column = truth.classes[i], judged.classes[j]
        error.passed(i is not None, j is not None)
        matrix[row, column] += 1
        pairs.append(
            Pair(
                CLASSES[row] + CLASSES[column].lower(),
                None if i is None else truth.samples[i],
                None if j is None else judged.samples[j],
            )
        )
    inside = sum(max(0, min(off, end) - max(on, start)) for on, off in shut)
    return BeatComparison(
        record=reference.record,
        matrix=matrix,
        rr_error_ms=error.rms_ms(rate_hz),
        shutdown_s=inside / rate_hz,
        pairs=tuple(pairs),
    )


def match(
    reference: Sequence[int], test: Sequence[int], window: int
) -> Iterator[tuple[int | None, int | None]]:
    """Pair two sequences of samples, both in time order.

    Of the two beats at hand, one of each sequence, the earlier stands alone if the later is out of
    the window or at least as near to the next one of the earlier's sequence; otherwise they pair.

    Parameters
    ----------
    reference, test : sequence of int
        Samples in time order.
    window : int
        Largest distance within a pair.

    Yields
    ------
    reference, test : int or None
        Their indices, None where the other stands alone.
    """
    i = j = 0
    while i < len(reference) and j < len(test):
        apart = abs(reference[i] - test[j])
        if reference[i] <= test[j]:
            alone = apart > window or _nearer(reference, i + 1, test[j], apart)
            yield i, None if alone else j
            i, j = i + 1, j + (not alone)
        else:
            alone = apart > window or _nearer(test, j + 1, reference[i], apart)
            yield None if alone else i, j
            i, j = i + (not alone), j + 1
    yield from ((k, None) for k in range(i, len(reference)))
    yield from ((None, k) for k in range(j, len(test)))


def _nearer(samples: Sequence[int], index: int, to: int, apart: int) -> bool:
    return index < len(samples) and abs(samples[index] - to) <= apart


def vf_segments(annotations: Annotations) -> list[Interval]:
    """Return the segments from `[` to `]`; one that never ends goes on for ever."""
    segments = []
    onset = None
    for sample, symbol in zip(annotations.sample.tolist(), annotations.symbol, strict=True):
        if symbol == VF_ONSET and onset is None:
            onset = sample
        elif symbol == VF_END and onset is not None:
            segments.append((onset, sample))
            onset = None
    if onset is not None:
        segments.append((onset, _FOR_EVER))
    return segments


_FOR_EVER = 2**62


def shutdowns(annotations: Annotations, end: int) -> list[Interval]:
    """Return where the annotator saw nothing it could read, as bxb(1) takes it from NOISE marks.

    A shutdown goes from its mark to the next NOISE mark of another subtype. Where a beat comes
    before that, the mark stood alone in the middle of the shutdown, as in the AHA database: it
    then goes from 150 ms behind the annotation before to 150 ms ahead of the one behind. One that
    nothing follows lasts until `end`.
    """
    margin = annotations.index_of(_MARGIN_S)
    marks = list(
        zip(
            annotations.sample.tolist(),
            annotations.symbol,
            annotations.subtype.tolist(),
            strict=True,
        )
    )
    found: list[Interval] = []
    onset: int | None = None  # index of the mark
    for k, (sample, symbol, subtype) in enumerate(marks):
        if symbol == NOISE and is_shutdown(subtype):
            onset = k if onset is None else onset
        elif onset is None:
            continue
        elif symbol == NOISE:
            found.append((marks[onset][0], sample))
            onset = None
        elif symbol in AAMI_CLASS:
            before = marks[onset - 1][0] + margin if onset else 0
            found.append((before, max(before, marks[onset + 1][0] - margin)))
            onset = None
    if onset is not None:
        found.append((marks[onset][0], max(marks[onset][0], end)))
    return found


@dataclass(frozen=True)
class _Sequence:
    """The beats of one side: samples, classes, and the last beat of the learning period."""

    samples: list[int]
    classes: list[int]
    before: int | None

    @classmethod
    def of(cls, annotations: Annotations, start: int, end: int, vf: list[Interval]) -> _Sequence:
        samples, classes = [], []
        before = None
        for sample, symbol in zip(annotations.sample.tolist(), annotations.symbol, strict=True):
            of_class = "O" if symbol == _FLUTTER_WAVE else AAMI_CLASS.get(symbol)
            if of_class is None or sample >= end or _within(sample, vf):
                continue
            if sample < start:
                before = sample
                continue
            samples.append(sample)
            classes.append(CLASSES.index(of_class))
        return cls(samples, classes, before)

    def interval(self, index: int) -> Interval | None:
        """Return the samples of the beat before and of this one."""
        if index >= len(self.samples):
            return None
        before = self.samples[index - 1] if index else self.before
        return None if before is None else (before, self.samples[index])


def _within(sample: int, segments: list[Interval]) -> bool:
    k = bisect_right(segments, (sample, _FOR_EVER)) - 1
    return k >= 0 and sample <= segments[k][1]


def _absent(sample: int, segments: list[Interval]) -> int:
    return _NO_ANALYSIS if _within(sample, segments) else _NO_BEAT


class _IntervalError:
    """Sums the squared difference of the RR intervals that end with the current beats."""

    def __init__(self, truth: _Sequence, judged: _Sequence, broken: list[Interval]) -> None:
        self._truth, self._judged, self._broken = truth, judged, broken
        self._i = self._j = 0
        self._squares = self._count = 0

    def event(self) -> None:
        truth, judged = self._truth.interval(self._i), self._judged.interval(self._j)
        if truth is None or judged is None or self._is_broken(truth):
            return
        self._squares += ((truth[1] - truth[0]) - (judged[1] - judged[0])) ** 2
        self._count += 1

    def passed(self, reference: bool, test: bool) -> None:
        self._i += reference
        self._j += test

    def rms_ms(self, rate_hz: float) -> float | None:
        if not self._count:
            return None
        return math.sqrt(self._squares / self._count) * 1000 / rate_hz

    def _is_broken(self, interval: Interval) -> bool:
        k = bisect_left(self._broken, (interval[0], 0))
        return k < len(self._broken) and self._broken[k][0] < interval[1]


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
    """Return the table of beats as bxb(1) writes it, with what sumstats(1) adds unless told not."""
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
    counts = "".join(whole(total.sums[f"{ref}x"], 5) for ref in _BEATS)
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
        return round(sum(total.sums[label] for label in _labels(of_class, CLASSES)))

    gross = _percents(total.gross[key] for key in _PERCENTS)
    average = _percents(total.average[key] for key in (*_PERCENTS, "rr_error_ms"))
    return closing_lines(
        _RULE_WIDTH,
        [
            _counts("Sum ", total.sums),
            f"{'Gross':{_COUNTS_WIDTH}}{gross}",
            f"{'Average':{_COUNTS_WIDTH}}{average}",
        ],
        f"Total QRS complexes: {beats(_BEATS)}  Total VEBs: {beats('V')}  "
        f"Total SVEBs: {beats('S')}",
        total.records,
    )


def _shutdown_line(row: Row) -> str:
    counts = "".join(whole(row.sums[f"{ref}x"], 5) for ref in _BEATS)
    missed, *of_class = (ratio.percent for ratio in row.ratios.values())
    beats = " ".join(whole(row.sums[f"{ref}_beats"], 0) for ref in _BEATS)
    return (
        f"{row.record:>4}{counts}{figure(missed, 9, 2)}{_percents(of_class)}"
        f"{whole(row.sums['shutdown_s'], 5)} seconds {beats}"
    )
