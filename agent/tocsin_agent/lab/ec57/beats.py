"""Beat by beat: what EC57:2012 4.3.2 and bxb(1) of the WFDB Software Package compare.

Every beat of the reference is paired with a beat of the test within the match window, or stands
alone as missed; every beat of the test that finds no partner stands alone as extra. The pairs are
counted in a matrix of reference class by test class, from which every other figure follows.
`beat_tables` prints it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tocsin_agent.lab.ec57.annotations import (
    NOISE,
    VF_END,
    VF_ONSET,
    Annotations,
    same_time_base,
)
from tocsin_agent.lab.ec57.period import LEARNING_PERIOD_S, judged_period
from tocsin_agent.lab.ec57.reading import ForwardReader, Mark
from tocsin_agent.lab.ec57.statistics import Ratio, Row

# Rows are the reference, columns the test: N S V F Q, O for no beat, X for no analysis.
CLASSES = "NSVFQOX"
BEATS = "NSVFQ"
_FLUTTER_WAVE = "!"
_REMEMBERED = 2  # stretches of VF and shutdowns that bxb(1) looks at

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
    rr_intervals : int
        How many pairs of intervals it rests on.
    shutdown_s : float
        How long the test was shut down, in the learning period too.
    pairs : tuple of Pair
        Every event, in time order.
    """

    record: str
    matrix: NDArray[np.int64]
    rr_error_ms: float | None
    rr_intervals: int
    shutdown_s: float
    pairs: tuple[Pair, ...] = field(repr=False)

    def cells(self, *labels: str) -> int:
        """Return how many events have one of these labels, such as `Vn`."""
        places = [(CLASSES.index(label[0]), CLASSES.index(label[1].upper())) for label in labels]
        return sum(int(self.matrix[place]) for place in places)

    def beats(self, of_class: str = BEATS) -> int:
        """Return how many beats of these classes the reference has."""
        return self.cells(*labels(of_class, CLASSES))

    @property
    def qrs(self) -> Score:
        """Detection of beats, whatever their class."""
        return Score(
            tp=self.cells(*labels(BEATS, BEATS)),
            fn=self.cells(*labels(BEATS, "OX")),
            fp=self.cells(*labels("OX", BEATS)),
        )

    @property
    def veb(self) -> Score:
        """Ventricular ectopic beats; those called so on a fusion or Q beat are not held false."""
        return Score(
            tp=self.cells("Vv"),
            fn=self.cells(*labels("V", "NSFQOX")),
            fp=self.cells(*labels("NSOX", "V")),
        )

    @property
    def sveb(self) -> Score:
        """Supraventricular ectopic beats, as the row of a record counts them."""
        return Score(
            tp=self.cells("Ss"),
            fn=self.cells(*labels("S", "NVFQOX")),
            fp=self.cells(*labels("NVFQOX", "S")),
        )

    def row(self) -> Row:
        """Return what the statistics over records are made of.

        Notes
        -----
        In the row of a record bxb(1) holds every S against +P that is none by the reference, but
        sumstats(1) spares those on fusion and Q beats. It averages the RR error that is printed.
        """
        sveb = self.sveb
        kinds = {"qrs": self.qrs, "veb": self.veb, "sveb": sveb}
        ratios: dict[str, Ratio] = {}
        sums = {label: self.cells(label) for label in labels(CLASSES, CLASSES)}
        sums["rr_intervals"] = self.rr_intervals
        for kind, score in kinds.items():
            ratios |= {f"{kind}_se": score.se, f"{kind}_ppv": score.ppv}
            sums |= {f"{kind}_tp": score.tp, f"{kind}_fn": score.fn, f"{kind}_fp": score.fp}
        spared = Score(sveb.tp, sveb.fn, sveb.fp - self.cells("Fs", "Qs")).ppv
        error_ms = None if self.rr_error_ms is None else round(self.rr_error_ms, 2)
        return Row(
            self.record,
            sums=sums,
            ratios=ratios,
            pooled={"sveb_ppv": spared},
            means={"rr_error_ms": error_ms},
        )

    def shutdown_row(self) -> Row:
        """Return the same of the table of shutdowns.

        Notes
        -----
        The first percentage leaves missed S beats out of its numerator, as bxb(1) does. The time is
        in whole seconds, since sumstats(1) adds up what is printed.
        """
        return Row(
            self.record,
            sums={f"{ref}x": self.cells(f"{ref}x") for ref in BEATS}
            | {"shutdown_s": math.floor(self.shutdown_s + 0.5)}
            | {f"{ref}_beats": self.beats(ref) for ref in BEATS},
            ratios={"beats_missed": Ratio(self._unseen("NVFQ").part, self.beats())}
            | {f"{ref}_missed": self._unseen(ref) for ref in "NSVF"},
        )

    def _unseen(self, of_class: str) -> Ratio:
        return Ratio(self.cells(*labels(of_class, "X")), self.beats(of_class))


def labels(references: str, tests: str) -> list[str]:
    """Return the labels of all pairs of a reference class with a test class."""
    return [ref + test.lower() for ref in references for test in tests]


def compare_beats(
    reference: Annotations, test: Annotations, options: BeatOptions = STANDARD
) -> BeatComparison:
    """Compare two sets of annotations of one record beat by beat.

    Both files are read forward together. Of the two current beats the earlier is taken: as the
    partner of the later (see `_are_partners`), or alone. What was taken is gone.

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
    - A beat without a partner is paired with `o`, or with `x` while the other file is shut down.
    - A test beat without a partner during the reference's VF is not counted.
    - The last test beat before the comparison starts may be the partner of the first reference
      beat. A test beat without a partner within one window after the start is passed over.
    - A flutter wave (`!`) outside VF is no beat of any class: a test that calls a beat so has
      missed it.
    - The RR error compares, at every pairing, missed and extra beats included, the two intervals
      that end at the current beats.
    """
    test = same_time_base(reference, test)
    window = reference.index_of(options.match_window_s)
    # `end` is the first sample behind the comparison
    start, end = judged_period(reference, test, options.start_s, options.end_s, window=window + 1)
    truth = _BeatReader(reference, options, window, end)
    judged = _BeatReader(test, options, window, end)
    truth.read_to(start)
    judged.read_to(start, keep_last_before=True)

    pairs: list[Pair] = []
    error = _IntervalError()
    while not (truth.at_end and judged.at_end):
        ours, theirs = truth.current, judged.current
        reference_first = ours.sample <= theirs.sample
        earlier, later = (truth, judged) if reference_first else (judged, truth)
        if _are_partners(earlier, later, window):
            pairs.append(Pair(ours.label + theirs.label.lower(), ours.sample, theirs.sample))
            truth.advance()
            judged.advance()
        elif reference_first:
            absent = "x" if judged.is_shut_down(ours.sample) else "o"
            pairs.append(Pair(ours.label + absent, ours.sample, None))
            truth.advance()
        else:
            judged.advance()
            if theirs.sample <= start + window or truth.is_in_vf(theirs.sample):
                continue
            absent = "X" if truth.is_shut_down(theirs.sample) else "O"
            pairs.append(Pair(absent + theirs.label.lower(), None, theirs.sample))
        error.add(ours.interval, theirs.interval)

    matrix = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    for label, *_ in pairs:
        matrix[CLASSES.index(label[0]), CLASSES.index(label[1].upper())] += 1
    rate_hz = reference.rate_hz
    return BeatComparison(
        record=reference.record,
        matrix=matrix,
        rr_error_ms=error.rms_ms(rate_hz),
        rr_intervals=error.count,
        shutdown_s=judged.shutdown_samples / rate_hz,
        pairs=tuple(pairs),
    )


class _Beat(NamedTuple):
    """One beat of a file.

    Parameters
    ----------
    sample : int
    label : str
        One of `CLASSES`; `O` for a flutter wave, which has a place in the sequence of intervals but
        is a beat of no class.
    interval : int or None
        Samples from the beat before; None for the first beat, and where VF or a shutdown began in
        between.
    """

    sample: int
    label: str
    interval: int | None


_END = _Beat(2**62, "O", None)


class _BeatReader:
    """The beats of a file, read forward: the current one and the next.

    On its way to the next beat it passes over VF, from `[` to `]` with all that lies between, and
    takes notice of shutdowns. It remembers the two latest of either. Since the next beat has been
    read already, so has what lies before it.
    """

    def __init__(
        self, annotations: Annotations, options: BeatOptions, window: int, end: int
    ) -> None:
        self._file = ForwardReader(annotations, end)
        self._options, self._window, self._end = options, window, end
        self._vf: deque[Interval] = deque(maxlen=_REMEMBERED)
        self._shutdowns: deque[Interval] = deque(maxlen=_REMEMBERED)
        self._last_beat: int | None = None
        self.shutdown_samples = 0
        self.current = self._read()
        self.next = self._read()

    @property
    def at_end(self) -> bool:
        """Whether there is no current beat."""
        return self.current is _END

    def advance(self) -> None:
        """Go on by one beat."""
        self.current, self.next = self.next, self._read()

    def read_to(self, start: int, *, keep_last_before: bool = False) -> None:
        """Make the first beat at `start` or behind it the current one, or the last before it."""
        while self.next.sample < start:
            self.advance()
        if self.current.sample < start and not keep_last_before:
            self.advance()

    def is_in_vf(self, sample: int) -> bool:
        """Whether a sample lies in one of the two latest stretches of VF."""
        return _within(sample, self._vf)

    def is_shut_down(self, sample: int) -> bool:
        """Whether a sample lies in one of the two latest shutdowns."""
        return _within(sample, self._shutdowns)

    def _read(self) -> _Beat:
        before = self._last_beat  # None: the interval from it is unknown
        for mark in self._file:
            label = "O" if mark.symbol == _FLUTTER_WAVE else mark.beat
            if label is not None:
                self._last_beat = mark.sample
                return _Beat(mark.sample, label, None if before is None else mark.sample - before)
            if mark.symbol == VF_ONSET and self._options.exclude_vf:
                self._pass_over_vf(mark)
                before = None
            elif mark.begins_shutdown and self._options.shutdown:
                self._note_shutdown(mark)
                before = None
        return _END

    def _pass_over_vf(self, onset: Mark) -> None:
        """Read to the end of VF; where none comes, to the end of the file."""
        end = next((mark.sample for mark in self._file if mark.symbol == VF_END), self._end)
        self._vf.append((onset.sample, end))

    def _note_shutdown(self, onset: Mark) -> None:
        """Find out how far a shutdown reaches.

        It ends at the next annotation if that is a NOISE mark too. If not, the mark stands alone
        inside the shutdown (as in the AHA database), which then reaches to one window from the
        annotations beside it.
        """
        after = self._file.take()
        if after is None:
            begin, end = onset.sample, self._end
        elif after.symbol == NOISE and not after.begins_shutdown:
            begin, end = onset.sample, after.sample
        else:
            self._file.hold(after)
            vf_end = self._vf[-1][1] if self._vf else 0
            begin = max(self._last_beat or 0, vf_end) + self._window
            end = max(begin, after.sample - self._window)
        self._shutdowns.append((begin, end))
        self.shutdown_samples += end - begin


def _within(sample: int, stretches: Iterable[Interval]) -> bool:
    return any(first <= sample <= last for first, last in stretches)


def _are_partners(earlier: _BeatReader, later: _BeatReader, window: int) -> bool:
    """Tell whether the earlier of the two current beats is the partner of the later one.

    It is if the later lies within the window, unless the beat that follows the earlier in its file
    is at least as near to the later; and even then, if that beat is nearer still to the one that
    follows the later.
    """
    apart = later.current.sample - earlier.current.sample
    rival = earlier.next.sample
    rival_apart = abs(rival - later.current.sample)
    return apart <= window and (apart < rival_apart or abs(rival - later.next.sample) < rival_apart)


class _IntervalError:
    """The squared difference of two RR intervals, over all pairings where both are known."""

    def __init__(self) -> None:
        self._squares = self.count = 0

    def add(self, reference: int | None, test: int | None) -> None:
        if reference is not None and test is not None:
            self._squares += (reference - test) ** 2
            self.count += 1

    def rms_ms(self, rate_hz: float) -> float | None:
        if not self.count:
            return None
        return math.sqrt(self._squares / self.count) * 1000 / rate_hz
