"""The most probable sequence of candidates: rhythm helps where weight does not tell."""

from __future__ import annotations

from itertools import pairwise

from tocsin_dsp.detection.path import LAG, NEAREST, STEPS, Path
from tocsin_dsp.detection.shapes import Weighed

RR = 200


def candidate(r_index: int, odds: float) -> Weighed:
    return Weighed(r_index, r_index + 27, 1.0, 1.0, odds)


def told(path: Path, candidates: list[Weighed]) -> list[int]:
    """Give the R peaks told while candidates come, and those that are still to come."""
    found = []
    for seen in candidates:
        while path.due is not None and path.due < seen.r_index:
            found.append(path.tell().r_index)
        path.add(seen)
    while path.due is not None:
        found.append(path.tell().r_index)
    return found


def regular() -> Path:
    return Path(candidate(0, 0.0), [RR] * 20)


def test_of_equal_candidates_those_in_rhythm_are_taken() -> None:
    beats = range(RR, 10 * RR, RR)
    between = [at + 90 for at in beats]
    both = sorted([candidate(at, 1.0) for at in (*beats, *between)])
    assert told(regular(), both) == list(beats)


def test_a_beat_out_of_rhythm_is_taken_where_it_is_certain() -> None:
    at = [RR, RR + 120, RR + 120 + 280, 3 * RR + 200]
    assert told(regular(), [candidate(r, 6.0) for r in at]) == at


def test_improbable_candidates_make_no_beats() -> None:
    assert told(regular(), [candidate(r, -5.0) for r in range(60, 3000, 60)]) == []


def test_no_two_beats_are_nearer_than_a_heart_can_beat() -> None:
    found = told(regular(), [candidate(r, 6.0) for r in range(RR, 3000, NEAREST - 5)])
    assert min(b - a for a, b in pairwise(found)) >= NEAREST


def test_a_beat_is_due_a_second_after_its_peak() -> None:
    path = regular()
    path.add(candidate(RR, 5.0))
    assert path.due == RR + LAG
    assert path.tell().r_index == path.last.r_index == RR
    assert path.due is None


def test_candidates_that_lead_nowhere_are_forgotten() -> None:
    path = regular()
    for r in range(60, 100_000, 60):
        path.add(candidate(r, -8.0))
    assert len(path._steps) == STEPS
