"""Compare two annotation files run by run: EC57:2012 4.3.3.2, rxr(1).

A run is two or more ectopic beats in a row. Each run of one file is looked up in the other: the
longest run that the other file has in the *match window*, from 150 ms before the first beat of the
run to 150 ms behind its last, must be at least as long as the class of the run asks. Sensitivity
looks the runs of the reference up in the test file, positive predictivity the other way round, and
either does so for ventricular and for supraventricular runs: four comparisons, each of which reads
both files once from front to back.

`runs` reads the file whose runs are judged, `_Search` the other. Both read through `_StepReader`,
which gives the meaning of an annotation for the runs of one kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from tocsin_agent.lab.ec57.annotations import RHYTHM, VF_END, VF_ONSET, Annotations
from tocsin_agent.lab.ec57.period import LEARNING_PERIOD_S, judged_period
from tocsin_agent.lab.ec57.reading import ForwardReader, Mark
from tocsin_agent.lab.ec57.statistics import (
    Aggregate,
    Ratio,
    Row,
    aggregate,
    closing_lines,
    percent_figure,
    whole,
)

MATCH_WINDOW_S = 0.15
_LONG = 6  # beats are counted up to this
_NEVER_ENDS = 2**62
_HEADER = "Record CTs CFN CTp CFP STs SFN STp SFP LTs LFN LTp LFP  CSe C+P SSe S+P LSe L+P"
_WIDTH = 77


class RunKind(Enum):
    """Where the ectopic beats of a run come from."""

    VENTRICULAR = "VE"
    SUPRAVENTRICULAR = "SVE"


class RunClass(Enum):
    """How long a run is; the value is the fewest beats."""

    COUPLET = 2
    SHORT = 3
    LONG = _LONG

    @staticmethod
    def of(beats: int) -> RunClass | None:
        """Return the class of a run, None for a single beat."""
        return next((c for c in reversed(RunClass) if beats >= c.value), None)


class Run(NamedTuple):
    """A run of one file.

    Parameters
    ----------
    first : int
        Sample of its first beat, or of the onset of VF (AF) that began it.
    last : int
        Sample of its last beat, or of the end of VF (AF) in it. A run that an onset began has
        neither before its first beat: until then this is the last of the run before it.
    beats : int
        How many, at most six. VF (AF) counts as six.
    """

    first: int
    last: int
    beats: int


@dataclass(frozen=True)
class RunOptions:
    """Where the comparison departs from the standard; as it stands, it does not.

    Parameters
    ----------
    start_s, end_s : float, float or None
        What is judged, see `judged_period`.
    match_window_s : float
        How far the match window reaches beyond the run.
    """

    start_s: float = LEARNING_PERIOD_S
    end_s: float | None = None
    match_window_s: float = MATCH_WINDOW_S


@dataclass(frozen=True)
class RunTally:
    """Runs of one class: found and missed of the reference, right and false of the test file."""

    tps: int = 0
    fn: int = 0
    tpp: int = 0
    fp: int = 0

    @property
    def sensitivity(self) -> Ratio:
        """Share of the reference runs that were found."""
        return Ratio(self.tps, self.tps + self.fn)

    @property
    def predictivity(self) -> Ratio:
        """Share of the test runs that were right."""
        return Ratio(self.tpp, self.tpp + self.fp)


@dataclass(frozen=True)
class RunTable:
    """Runs of one kind in one record."""

    couplets: RunTally
    short: RunTally
    long: RunTally


@dataclass(frozen=True)
class RunResult:
    """The comparison of one record."""

    record: str
    ventricular: RunTable
    supraventricular: RunTable

    def table(self, kind: RunKind) -> RunTable:
        """Return the runs of one kind."""
        return self.ventricular if kind is RunKind.VENTRICULAR else self.supraventricular

    def row(self, kind: RunKind) -> Row:
        """Return what `aggregate` needs."""
        table = self.table(kind)
        tallies = (("C", table.couplets), ("S", table.short), ("L", table.long))
        sums: dict[str, float] = {}
        ratios: dict[str, Ratio] = {}
        for name, tally in tallies:
            sums |= {f"{name}Ts": tally.tps, f"{name}FN": tally.fn}
            sums |= {f"{name}Tp": tally.tpp, f"{name}FP": tally.fp}
            ratios |= {f"{name}Se": tally.sensitivity, f"{name}+P": tally.predictivity}
        return Row(self.record, sums=sums, ratios=ratios)


def compare_runs(
    reference: Annotations, test: Annotations, options: RunOptions | None = None
) -> RunResult:
    """Compare two annotation files of one record, in one time base.

    Parameters
    ----------
    reference, test : Annotations
        What is true, and what is judged.
    options : RunOptions, optional
        The standard's where left out.
    """
    options = options or RunOptions()
    start, end = judged_period(reference, test, options.start_s, options.end_s)
    window = reference.index_of(options.match_window_s)
    tables = {}
    for kind in RunKind:
        found = _judge(runs(reference, kind, start, end), test, kind, window)
        right = _judge(runs(test, kind, start, end), reference, kind, window)
        tables[kind] = RunTable(*(RunTally(*found[c], *right[c]) for c in RunClass))
    return RunResult(
        reference.record, tables[RunKind.VENTRICULAR], tables[RunKind.SUPRAVENTRICULAR]
    )


class _Rhythm(Enum):
    """The rhythm that an annotation file states; AF and VF end each other."""

    AF = auto()
    VF = auto()
    OTHER = auto()


class _Means(Enum):
    """What an annotation means to the runs of one kind."""

    BEAT = auto()  # one more beat of a run
    OTHER_BEAT = auto()  # a beat of another origin
    ONSET = auto()  # VF (AF for supraventricular runs) begins, which is a long run by itself
    END = auto()  # it ends
    OTHER_ONSET = auto()  # AF (VF) begins
    SHUTDOWN = auto()  # nothing can be read from here on
    NOTHING = auto()


class _Step(NamedTuple):
    sample: int
    means: _Means


class _StepReader:
    """An annotation file, read forward, as one kind of run takes it.

    What an annotation means depends on the rhythm when it is read: a second onset while the rhythm
    lasts and an end without an onset mean nothing, and normal beats are supraventricular during AF.
    """

    def __init__(self, annotations: Annotations, kind: RunKind) -> None:
        self._file = ForwardReader(annotations)
        ventricular = kind is RunKind.VENTRICULAR
        self._beats = ("V", "F") if ventricular else ("S",)
        self._sustained = _Rhythm.VF if ventricular else _Rhythm.AF
        self.rhythm = _Rhythm.OTHER

    def take(self) -> _Step | None:
        """Return the next annotation, None at the end."""
        mark = self._file.take()
        return None if mark is None else _Step(mark.sample, self._meaning(mark))

    def _meaning(self, mark: Mark) -> _Means:
        beat = mark.beat
        if beat is not None:
            if beat == "N" and self.rhythm is _Rhythm.AF:
                beat = "S"
            return _Means.BEAT if beat in self._beats else _Means.OTHER_BEAT
        if mark.begins_shutdown:
            return _Means.SHUTDOWN
        before, self.rhythm = self.rhythm, _rhythm_after(mark, self.rhythm)
        if self.rhythm is before:
            return _Means.NOTHING
        if self.rhythm is _Rhythm.OTHER:
            return _Means.END if before is self._sustained else _Means.NOTHING
        return _Means.ONSET if self.rhythm is self._sustained else _Means.OTHER_ONSET


def _rhythm_after(mark: Mark, before: _Rhythm) -> _Rhythm:
    if mark.symbol == VF_ONSET:
        return _Rhythm.VF
    if mark.symbol == VF_END:
        return _Rhythm.OTHER if before is _Rhythm.VF else before
    if mark.symbol == RHYTHM:
        if mark.aux.startswith("(AF"):
            return _Rhythm.AF
        return _Rhythm.VF if mark.aux.startswith("(VF") else _Rhythm.OTHER
    return before


def runs(annotations: Annotations, kind: RunKind, start: int, end: int) -> Iterator[Run]:
    """Yield the runs of one file, couplets and longer, from one sample to another.

    Parameters
    ----------
    annotations : Annotations
    kind : RunKind
    start, end : int
        What is judged. A run is complete with the annotation that ends it, or with the end of the
        file; one that lasts beyond `end` is not given.
    """
    file = _StepReader(annotations, kind)
    # Before the start only VF (AF) matters. If AF (VF) cuts it short, it counts while that lasts.
    step, under_way = file.take(), False
    while step is not None and step.sample < start:
        began = under_way or step.means is _Means.ONSET
        under_way = began and step.means is not _Means.SHUTDOWN and file.rhythm is not _Rhythm.OTHER
        step = file.take()

    first = last = start
    beats = _LONG if under_way else 0
    while step is not None and step.sample <= end:
        if step.means is _Means.BEAT:
            first = first if beats else step.sample
            last = step.sample
            beats = min(beats + 1, _LONG)
        elif step.means is _Means.ONSET and not beats:
            first, beats = step.sample, _LONG
        elif step.means is _Means.END and beats:
            last = step.sample
        elif step.means in (_Means.OTHER_BEAT, _Means.SHUTDOWN):
            if RunClass.of(beats):
                yield Run(first, last, beats)
            beats = 0
        step = file.take()
    if step is None and RunClass.of(beats):
        yield Run(first, last, beats)


class _Search:
    """The longest run of a file in each of a series of match windows.

    Each search goes on where the one before stopped.
    """

    def __init__(self, annotations: Annotations, kind: RunKind) -> None:
        self._file = _StepReader(annotations, kind)
        self._held: _Step | None = None  # read by the last search, behind its window
        self._episode_end = -1  # of the last VF (AF) that was read to its end

    def longest(self, first: int, last: int) -> int:
        """Return the beats, at most six, of the longest run from one sample to another."""
        if self._episode_end > first:
            return _LONG
        again = self._held is not None
        step = self._held or self._file.take()
        while step is not None and step.sample < first:
            if step.means is _Means.ONSET:
                self._read_to_end_of_episode()
                if self._episode_end > first:
                    self._held = None
                    return _LONG
            step, again = self._file.take(), False

        longest = beats = 0
        while step is not None and step.sample <= last:
            if step.means is _Means.BEAT:
                beats += 1
                longest = max(longest, beats)
            elif step.means is _Means.ONSET and not again:
                self._read_to_end_of_episode()
                self._held = None
                return _LONG
            elif step.means in (_Means.OTHER_BEAT, _Means.OTHER_ONSET, _Means.SHUTDOWN):
                beats = 0
            step, again = self._file.take(), False
        self._held = step
        return min(longest, _LONG)

    def _read_to_end_of_episode(self) -> None:
        ends = (_Means.END, _Means.OTHER_ONSET, _Means.SHUTDOWN)
        while (step := self._file.take()) is not None:
            if step.means in ends:
                self._episode_end = step.sample
                return
        self._episode_end = _NEVER_ENDS


def _judge(
    judged: Iterator[Run], other: Annotations, kind: RunKind, window: int
) -> dict[RunClass, list[int]]:
    """Count, by class, the runs of one file that the other has and has not."""
    counts = {of: [0, 0] for of in RunClass}
    search = _Search(other, kind)
    for run in judged:
        of = RunClass.of(run.beats)
        if of is not None:
            longest = search.longest(run.first - window, run.last + window)
            counts[of][longest < of.value] += 1
    return counts


def lines(results: Sequence[RunResult], kind: RunKind, *, statistics: bool = True) -> list[str]:
    """Return the line format of rxr(1), and below it what sumstats(1) adds.

    Parameters
    ----------
    results : sequence of RunResult
        One a record.
    kind : RunKind
        Which of the two tables.
    statistics : bool
        Whether the rows Sum, Gross and Average follow.
    """
    rows = [result.row(kind) for result in results]
    title = [] if kind is RunKind.VENTRICULAR else [f"({kind.value} run detection)"]
    table = [*title, _HEADER, *(_line(row) for row in rows)]
    if not statistics or not rows:
        return table
    total = aggregate(rows)
    return [*table, *closing_lines(_WIDTH, _closing(total), _totals(total), total.records)]


def _line(row: Row) -> str:
    counts = "".join(whole(count, 4) for count in row.sums.values())
    return f"{row.record:>4}{counts} " + "".join(
        percent_figure(ratio.percent, 4) for ratio in row.ratios.values()
    )


def _closing(total: Aggregate) -> list[str]:
    counts = "".join(whole(count, 4) for count in total.sums.values())
    return [
        f"{'Sum':6}{counts}",
        f"{'Gross':55}" + "".join(percent_figure(share, 4) for share in total.gross.values()),
        f"{'Average':55}" + "".join(percent_figure(share, 4) for share in total.average.values()),
    ]


def _totals(total: Aggregate) -> str:
    couplets, short, long = (
        round(total.sums[f"{of}Ts"] + total.sums[f"{of}FN"]) for of in ("C", "S", "L")
    )
    return f"Total couplets: {couplets}  Total short runs: {short}  Total long runs: {long}"
