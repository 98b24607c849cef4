"""Beat-by-beat comparison as ANSI/AAMI EC57 asks: QRS, VEB and SVEB, record by record.

Beats are matched one to one within 150 ms so that as many as possible match: in order of time,
each reference beat takes the earliest free detection in its window (for windows of one length no
other choice matches more). Where the next detection is nearer and no later beat needs it, that
one is taken instead: this changes which label is compared, but no count of matches.

From 5:00 on. What lies between `[` and `]` (ventricular flutter or fibrillation) is left out on
both sides. Paced records are left out of classification. For VEB, a reference F or Q that was
called V is no false positive; a detection called V that matches nothing is one. For SVEB the same
holds for Q alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tocsin_agent.monitor import PatientMonitor
from tocsin_agent.sources import EndOfStream, find_record, open_source
from tocsin_models import load_beat_model

START_S = 300.0
MATCH_S = 0.150
BLOCK_S = 60.0
AAMI = {
    **dict.fromkeys("NLRejnB", "N"),
    **dict.fromkeys("AaJS", "S"),
    **dict.fromkeys("VEr", "V"),
    "F": "F",
    **dict.fromkeys("/fQ?", "Q"),
}
PACED = ("102", "104", "107", "217")
_DS2 = (
    *(100, 103, 105, 111, 113, 117, 121, 123, 200, 202, 210),
    *(212, 213, 214, 219, 221, 222, 228, 231, 232, 233, 234),
)
DS2 = tuple(str(number) for number in _DS2)

Marks = list[tuple[int, str]]
"""Sample and class of each beat, in order of time."""


class Counts(NamedTuple):
    """What EC57 counts, of one record or of many."""

    qrs_tp: int = 0
    qrs_fn: int = 0
    qrs_fp: int = 0
    veb_tp: int = 0
    veb_fn: int = 0
    veb_fp: int = 0
    sveb_tp: int = 0
    sveb_fn: int = 0
    sveb_fp: int = 0

    def score(self, kind: str) -> tuple[float, float]:
        """Give sensitivity and positive predictivity in percent; 100 where there was nothing."""
        tp, fn, fp = (getattr(self, f"{kind}_{part}") for part in ("tp", "fn", "fp"))
        return (
            100.0 * tp / (tp + fn) if tp + fn else 100.0,
            100.0 * tp / (tp + fp) if tp + fp else 100.0,
        )


def add_up(counts: list[Counts]) -> Counts:
    """Give the gross counts."""
    return Counts(*(sum(column) for column in zip(*counts, strict=True)))


def match(reference: Marks, given: Marks, within: int) -> list[tuple[str, str]]:
    """Pair beats one to one; the class "" stands for none on that side."""
    pairs: list[tuple[str, str]] = []
    at = 0
    for position, (sample, label) in enumerate(reference):
        while at < len(given) and given[at][0] < sample - within:
            pairs.append(("", given[at][1]))
            at += 1
        if at == len(given) or given[at][0] > sample + within:
            pairs.append((label, ""))
            continue
        following = reference[position + 1][0] if position + 1 < len(reference) else None
        if _next_is_nearer(sample, given, at, within, following):
            pairs.append(("", given[at][1]))
            at += 1
        pairs.append((label, given[at][1]))
        at += 1
    pairs += [("", label) for _, label in given[at:]]
    return pairs


def _next_is_nearer(sample: int, given: Marks, at: int, within: int, following: int | None) -> bool:
    """Tell whether the detection after `at` is nearer, and free because nobody else needs it."""
    if at + 1 == len(given):
        return False
    first, second = given[at][0], given[at + 1][0]
    needed = following is not None and second >= following - within
    return not needed and abs(second - sample) < abs(first - sample)


def count(reference: Marks, given: Marks, rate_hz: float, *, classify: bool = True) -> Counts:
    """Count matches, misses and false alarms; beats outside the judged time are not passed in."""
    pairs = match(reference, given, round(MATCH_S * rate_hz))
    qrs = (
        sum(bool(a and b) for a, b in pairs),
        sum(not b for _, b in pairs),
        sum(not a for a, _ in pairs),
    )
    if not classify:
        return Counts(*qrs)
    return Counts(*qrs, *_classes(pairs, "V", forgiven="FQ"), *_classes(pairs, "S", forgiven="Q"))


def _classes(pairs: list[tuple[str, str]], label: str, forgiven: str) -> tuple[int, int, int]:
    tp = sum(a == b == label for a, b in pairs)
    fn = sum(a == label != b for a, b in pairs)
    fp = sum(b == label != a and a not in tuple(forgiven) for a, b in pairs)
    return tp, fn, fp


class Replay(NamedTuple):
    """One record through the whole monitor, beside its reference."""

    record: str
    counts: Counts
    alarms: dict[str, int]  # onsets from the beginning, by code


def replay(record: str) -> Replay:
    """Run `DATABASE/RECORD` through the monitor as `tocsin replay` does, and count.

    Raises
    ------
    SourceError
        If the record cannot be read; set TOCSIN_RECORDS.
    """
    import wfdb  # only those who measure need it

    marks: Marks = []
    alarms: dict[str, int] = {}
    with open_source(record, block_s=BLOCK_S) as source:
        monitor = PatientMonitor(source.spec, None, load_beat_model())
        end = 0
        while True:
            try:
                block = source.read(0.0)
            except EndOfStream:
                break
            assert block is not None
            end = block.stop_index
            report = monitor.push(block)
            marks += [(b.r_index, b.label) for b in report.beats]
            for alert in report.alerts:
                if alert.sequence == 1:
                    alarms[alert.code] = alarms.get(alert.code, 0) + 1
        rate_hz = source.spec.rate_hz
    path, _ = find_record(record)
    annotation = wfdb.rdann(str(path), "atr")
    signs = list(zip([int(s) for s in annotation.sample], annotation.symbol, strict=True))
    reference = [(sample, AAMI[symbol]) for sample, symbol in signs if symbol in AAMI]
    judged = _judged(signs, end, rate_hz)
    number = record.rpartition("/")[2]
    counts = count(
        [mark for mark in reference if judged[mark[0]]],
        [mark for mark in marks if judged[min(mark[0], end - 1)]],
        rate_hz,
        classify=number not in PACED,
    )
    return Replay(record, counts, dict(sorted(alarms.items())))


def _judged(signs: Marks, end: int, rate_hz: float) -> NDArray[np.bool_]:
    """Tell of each sample whether it counts."""
    judged = np.ones(max(end, signs[-1][0] + 1), dtype=bool)
    judged[: round(START_S * rate_hz)] = False
    begin = None
    for sample, symbol in [*signs, (len(judged), "]")]:
        if symbol == "[":
            begin = sample
        elif symbol == "]" and begin is not None:
            judged[begin:sample] = False
            begin = None
    return judged
