"""The most probable sequence of candidates: rhythm decides where log odds are equal."""

from __future__ import annotations

from itertools import pairwise

from tocsin_dsp.detection.path import LAG, STEPS, Path
from tocsin_dsp.detection.shapes import Weighed
from tocsin_dsp.limits import SHORTEST_RR

RR = 200


def candidate(r_index: int, odds: float) -> Weighed:
    return Weighed(r_index, r_index + 27, 1.0, 1.0, odds)


def beats_of(path: Path, candidates: list[Weighed]) -> list[int]:
    """Return the R peaks that become final while candidates arrive, and the remaining ones."""
    found = []
    for each in candidates:
        while path.due is not None and path.due < each.r_index:
            found.append(path.confirm_next().r_index)
        path.add(each)
    while path.due is not None:
        found.append(path.confirm_next().r_index)
    return found


def regular() -> Path:
    return Path(candidate(0, 0.0), [RR] * 20)


def test_of_equal_candidates_those_in_rhythm_are_chosen() -> None:
    beats = range(RR, 10 * RR, RR)
    between = [at + 90 for at in beats]
    both = sorted([candidate(at, 1.0) for at in (*beats, *between)])
    assert beats_of(regular(), both) == list(beats)


def test_a_certain_beat_out_of_rhythm_is_chosen() -> None:
    at = [RR, RR + 120, RR + 120 + 280, 3 * RR + 200]
    assert beats_of(regular(), [candidate(r, 6.0) for r in at]) == at


def test_improbable_candidates_make_no_beats() -> None:
    assert beats_of(regular(), [candidate(r, -5.0) for r in range(60, 3000, 60)]) == []


def test_no_two_beats_are_closer_than_the_shortest_rr() -> None:
    found = beats_of(regular(), [candidate(r, 6.0) for r in range(RR, 3000, SHORTEST_RR - 5)])
    assert min(b - a for a, b in pairwise(found)) >= SHORTEST_RR


def test_a_beat_is_due_a_second_after_its_peak() -> None:
    path = regular()
    path.add(candidate(RR, 5.0))
    assert path.due == RR + LAG
    assert path.confirm_next().r_index == path.last.r_index == RR
    assert path.due is None


def test_improbable_sequences_are_dropped() -> None:
    path = regular()
    for r in range(60, 100_000, 60):
        path.add(candidate(r, -8.0))
    assert len(path._steps) == STEPS
