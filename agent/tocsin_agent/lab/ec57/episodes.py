"""Compare two annotation files episode by episode: EC57:2012 4.3.3.4, epicmp(1).

An episode of atrial fibrillation lasts from a rhythm mark `(AFIB` to the next rhythm mark that
says anything else; one of ventricular fibrillation or flutter from `[` to `]`. A reference episode
is found, and a test episode is right, where the two files overlap by any amount.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from tocsin_agent.lab.ec57.annotations import RHYTHM, VF_END, VF_ONSET, Annotations
from tocsin_agent.lab.ec57.period import LEARNING_PERIOD_S, judged_period
from tocsin_agent.lab.ec57.reading import ForwardReader
from tocsin_agent.lab.ec57.statistics import (
    Ratio,
    Row,
    aggregate,
    closing_lines,
    mean,
    nearest,
    percent_figure,
    whole,
)

_AF, _FLUTTER = "(AFIB", "(AFL"
_HEADER = "Record  TPs   FN  TPp   FP  ESe E+P DSe D+P  Ref duration  Test duration "
_WIDTH = 72
_RATIOS = ("episode_se", "episode_ppv", "duration_se", "duration_ppv")


class EpisodeKind(Enum):
    """What the episodes are of."""

    AF = "AF"
    VF = "VF"


class Episode(NamedTuple):
    """From its first sample up to, not including, its last."""

    start: int
    end: int

    def overlap(self, other: Episode) -> int:
        """Return how many samples two episodes share."""
        return max(0, min(self.end, other.end) - max(self.start, other.start))


@dataclass(frozen=True)
class EpisodeOptions:
    """Where the comparison departs from the standard; as it stands, it does not.

    Parameters
    ----------
    start_s, end_s : float, float or None
        What is judged, see `judged_period`.
    shortest_s : float
        Episodes shorter than this are left out of the episode counts.
    shortest_in_durations : bool
        Leave them out of the durations as well.
    exclude_flutter : bool
        Neither reward nor blame what the test file says of AF while the reference says atrial
        flutter, as EC38:1998 asked. Flutter is otherwise no AF.
    """

    start_s: float = LEARNING_PERIOD_S
    end_s: float | None = None
    shortest_s: float = 0.0
    shortest_in_durations: bool = False
    exclude_flutter: bool = False


@dataclass(frozen=True)
class EpisodeResult:
    """The comparison of one record.

    Parameters
    ----------
    record : str
        Its name.
    tps, fn : int
        Reference episodes found and missed.
    tpp, fp : int
        Test episodes that were right and false.
    overlap : int
        Samples during which both files were in an episode.
    reference_duration, test_duration : int
        Samples during which each of them was.
    rate_hz : float
        Samples in a second.
    excluded : int
        How much of `test_duration` lies in what the options exclude.
    """

    record: str
    tps: int
    fn: int
    tpp: int
    fp: int
    overlap: int
    reference_duration: int
    test_duration: int
    rate_hz: float
    excluded: int = 0

    @property
    def ratios(self) -> dict[str, Ratio]:
        """Episode and duration sensitivity and positive predictivity; durations in seconds."""
        overlap_s = self.overlap / self.rate_hz
        values = (
            Ratio(self.tps, self.tps + self.fn),
            Ratio(self.tpp, self.tpp + self.fp),
            Ratio(overlap_s, self.reference_duration / self.rate_hz),
            Ratio(overlap_s, (self.test_duration - self.excluded) / self.rate_hz),
        )
        return dict(zip(_RATIOS, values, strict=True))

    @property
    def printed(self) -> dict[str, int | None]:
        """The same in whole percent, as a row of the table has them: durations in samples."""
        se = Ratio(self.overlap, self.reference_duration)
        ppv = Ratio(self.overlap, self.test_duration - self.excluded)
        ratios = self.ratios | {"duration_se": se, "duration_ppv": ppv}
        return {key: ratio.whole_percent for key, ratio in ratios.items()}

    @property
    def durations_ms(self) -> tuple[int, int]:
        """Duration of the reference and of the test episodes, as a row of the table has them."""
        reference, test = self.reference_duration, self.test_duration
        return nearest(reference * 1000 / self.rate_hz), nearest(test * 1000 / self.rate_hz)

    def row(self) -> Row:
        """Return what `aggregate` needs; durations to the millisecond, as the table has them."""
        counts = {"TPs": self.tps, "FN": self.fn, "TPp": self.tpp, "FP": self.fp}
        reference_ms, test_ms = self.durations_ms
        durations = {"reference_s": reference_ms / 1000, "test_s": test_ms / 1000}
        return Row(self.record, sums=counts | durations, ratios=self.ratios)


def compare_episodes(
    reference: Annotations,
    test: Annotations,
    kind: EpisodeKind,
    options: EpisodeOptions | None = None,
) -> EpisodeResult:
    """Compare two annotation files of one record, in one time base.

    Parameters
    ----------
    reference, test : Annotations
        What is true, and what is judged.
    kind : EpisodeKind
        Whether AF or VF is judged.
    options : EpisodeOptions, optional
        The standard's where left out.
    """
    options = options or EpisodeOptions()
    start, end = judged_period(reference, test, options.start_s, options.end_s)
    shortest = options.shortest_s * reference.rate_hz
    ours = list(_episodes(reference, kind, start, end))
    theirs = list(_episodes(test, kind, start, end))
    flutter: list[Episode] = []
    if options.exclude_flutter and kind is EpisodeKind.AF:
        flutter = list(_rhythm_episodes(reference, _FLUTTER, start, end))
    if options.shortest_in_durations:
        ours, theirs = _at_least(ours, shortest), _at_least(theirs, shortest)
    counted_ours, counted_theirs = _at_least(ours, shortest), _at_least(theirs, shortest)
    tps = sum(_meets(episode, theirs) for episode in counted_ours)
    tpp = sum(_meets(episode, ours) for episode in counted_theirs)
    excused = sum(
        _meets(episode, flutter) and not _meets(episode, ours) for episode in counted_theirs
    )
    return EpisodeResult(
        record=reference.record,
        tps=tps,
        fn=len(counted_ours) - tps,
        tpp=tpp,
        fp=len(counted_theirs) - tpp - excused,
        overlap=_shared(ours, theirs),
        reference_duration=sum(episode.end - episode.start for episode in ours),
        test_duration=sum(episode.end - episode.start for episode in theirs),
        rate_hz=reference.rate_hz,
        excluded=_shared(flutter, theirs),
    )


def _episodes(
    annotations: Annotations, kind: EpisodeKind, start: int, end: int
) -> Iterator[Episode]:
    if kind is EpisodeKind.AF:
        return _rhythm_episodes(annotations, _AF, start, end)
    file = ForwardReader(annotations)
    marks = (
        (mark.sample, mark.symbol == VF_ONSET) for mark in file if mark.symbol in (VF_ONSET, VF_END)
    )
    return _between(marks, start, end)


def _rhythm_episodes(
    annotations: Annotations, rhythm: str, start: int, end: int
) -> Iterator[Episode]:
    file = ForwardReader(annotations)
    marks = ((mark.sample, mark.aux == rhythm) for mark in file if mark.symbol == RHYTHM)
    return _between(marks, start, end)


def _between(marks: Iterator[tuple[int, bool]], start: int, end: int) -> Iterator[Episode]:
    """Give the stretches from on to off inside the judged period; on twice is on once."""
    onset: int | None = None
    for sample, on in (*marks, (end, False)):
        if on:
            onset = sample if onset is None else onset
        elif onset is not None:
            inside = Episode(max(onset, start), min(sample, end))
            if inside.end > inside.start:
                yield inside
            onset = None


def _at_least(episodes: list[Episode], samples: float) -> list[Episode]:
    return [episode for episode in episodes if episode.end - episode.start >= samples]


def _meets(episode: Episode, others: list[Episode]) -> bool:
    return any(episode.overlap(other) for other in others)


def _shared(ours: list[Episode], theirs: list[Episode]) -> int:
    return sum(one.overlap(other) for one in ours for other in theirs)


def duration(ms: int) -> str:
    """Return a duration as the reference programs print it: `0.000`, `0:19.060`, `1:47:51.301`."""
    if ms == 0:
        return "0.000"
    minutes, rest = divmod(ms, 60_000)
    text = f"{rest // 1000:02d}.{rest % 1000:03d}"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{text}" if hours else f"{minutes}:{text}"


def lines(
    results: Sequence[EpisodeResult], kind: EpisodeKind, *, statistics: bool = True
) -> list[str]:
    """Return the line format of epicmp(1), and below it what sumstats(1) adds.

    Parameters
    ----------
    results : sequence of EpisodeResult
        One a record.
    kind : EpisodeKind
        What they are of.
    statistics : bool
        Whether the rows Sum, Gross and Average follow.
    """
    table = [f"({kind.value} detection)", _HEADER, *(_line(result) for result in results)]
    if not statistics or not results:
        return table
    return [*table, *closing_lines(_WIDTH, _closing(results), "", len(results))]


def _line(result: EpisodeResult) -> str:
    reference, test = map(duration, result.durations_ms)
    return (
        f"{result.record:>6}"
        + "".join(whole(n, 5) for n in (result.tps, result.fn, result.tpp, result.fp))
        + " "
        + "".join(percent_figure(value, 4) for value in result.printed.values())
        + f"{reference:>14}{test:>15}"
    )


def _closing(results: Sequence[EpisodeResult]) -> list[str]:
    """Return the rows Sum, Gross and Average.

    Of durations, sumstats(1) knows what is printed: milliseconds and whole percentages. It averages
    the percentages, and works the overlap out again from the longer of the two durations.
    """
    total = aggregate([result.row() for result in results])
    counts = "".join(whole(total.sums[key], 5) for key in ("TPs", "FN", "TPp", "FP"))
    reference_ms = sum(result.durations_ms[0] for result in results)
    test_ms = sum(result.durations_ms[1] for result in results)
    overlap_ms = sum(_printed_overlap_ms(result) for result in results)
    gross, average = total.gross, dict(total.average)
    gross["duration_se"] = Ratio(overlap_ms, reference_ms).percent
    gross["duration_ppv"] = Ratio(overlap_ms, test_ms).percent
    for key in _RATIOS[2:]:
        average[key] = mean(result.printed[key] for result in results)
    return [
        f"{'Sum':6}{counts}{duration(reference_ms):>31}{duration(test_ms):>15}",
        f"{'Gross':27}" + "".join(percent_figure(gross[key], 4) for key in _RATIOS),
        f"{'Average':27}" + "".join(percent_figure(average[key], 4) for key in _RATIOS),
    ]


def _printed_overlap_ms(result: EpisodeResult) -> float:
    reference_ms, test_ms = result.durations_ms
    if reference_ms > test_ms:
        return reference_ms * (result.printed["duration_se"] or 0) / 100
    return test_ms * (result.printed["duration_ppv"] or 0) / 100
