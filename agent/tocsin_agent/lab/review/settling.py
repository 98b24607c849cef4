"""From the answers of two readers to one: where they agree, what is disputed, who decides it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tocsin_agent.errors import LabError
from tocsin_agent.lab.review.agreement import Kappa, cohens_kappa
from tocsin_agent.lab.review.cases import Case
from tocsin_agent.lab.review.folder import Answer, agent_beats, read_answers, read_review
from tocsin_agent.messages.reading import Verdict

ONSET_WITHIN_S = 2.0
"""How far two onsets may lie apart and still be one; their mean is taken."""
BEAT_WITHIN_S = 0.15
"""As two annotators may mark a beat differently (EC57)."""

Beats = tuple[tuple[int, str], ...]


class Disputed(NamedTuple):
    """A case on which the readers differ, and in what."""

    case: Case
    about: str
    first: Answer
    second: Answer


class Settled(NamedTuple):
    """A case with its one answer, its beats, and who gave it."""

    case: Case
    answer: Answer
    beats: Beats
    by: str


class Comparison(NamedTuple):
    """Two readers compared; `unanswered` are cases that not both answered."""

    readers: tuple[str, str]
    verdicts: Kappa
    beats: Kappa
    agreed: tuple[Settled, ...]
    disputed: tuple[Disputed, ...]
    unanswered: tuple[str, ...]


def compare(folder: Path, cases: Sequence[Case], first: str, second: str) -> Comparison:
    """Compare two readers.

    Agreement is that of the verdicts (with the condition where it is another one), and that of the
    labels of the beats which both marked within `BEAT_WITHIN_S`.

    Raises
    ------
    LabError
        If both are one reader, or an answer cannot be read.
    """
    if first == second:
        raise LabError("two different readers are needed: one cannot agree with themselves")
    ours, theirs = (read_answers(folder, name, cases) for name in (first, second))
    both = [case for case in cases if case.case in ours and case.case in theirs]
    agreed, disputed = list[Settled](), list[Disputed]()
    labels: list[tuple[str, str]] = []
    for case in both:
        a, b = ours[case.case], theirs[case.case]
        shown = agent_beats(folder, case)
        beats = (
            a.beats if a.beats is not None else shown,
            b.beats if b.beats is not None else shown,
        )
        pairs, alone = _paired(*beats, round(BEAT_WITHIN_S * case.rate_hz))
        labels += pairs
        about = _difference(a, b, case.rate_hz)
        if not about and (alone or any(one != other for one, other in pairs)):
            about = "beats"
        if about:
            disputed.append(Disputed(case, about, a, b))
        else:
            answer = a._replace(onset=_mean(a.onset, b.onset), end=_mean(a.end, b.end))
            agreed.append(Settled(case, answer, beats[0], "both"))
    names = [(_said(ours[c.case]), _said(theirs[c.case])) for c in both]
    return Comparison(
        (first, second),
        cohens_kappa([a for a, _ in names], [b for _, b in names]),
        cohens_kappa([a for a, _ in labels], [b for _, b in labels]),
        tuple(agreed),
        tuple(disputed),
        tuple(case.case for case in cases if case not in both),
    )


def settle(
    folder: Path, found: Comparison, adjudicator: str | None
) -> tuple[list[Settled], list[Disputed]]:
    """Return one answer for each case, and what is still disputed.

    Parameters
    ----------
    folder : Path
    found : Comparison
    adjudicator : str or None
        The reader who decides what is disputed; not one of the two.

    Raises
    ------
    LabError
        If the adjudicator is one of the two readers, or has no answers that can be read.
    """
    if adjudicator is None:
        return list(found.agreed), list(found.disputed)
    if adjudicator in found.readers:
        raise LabError(f"{adjudicator} is one of the two readers: a third person decides")
    # Of all cases: this person may have read more than the two.
    decided: Mapping[str, Answer] = read_answers(folder, adjudicator, read_review(folder).cases)
    settled, open_ = list(found.agreed), list[Disputed]()
    for one in found.disputed:
        answer = decided.get(one.case.case)
        if answer is None:
            open_.append(one)
            continue
        beats = answer.beats if answer.beats is not None else agent_beats(folder, one.case)
        settled.append(Settled(one.case, answer, beats, adjudicator))
    return sorted(settled, key=lambda s: s.case.case), open_


def _said(answer: Answer) -> str:
    return answer.verdict + (f" {answer.condition}" if answer.verdict is Verdict.OTHER else "")


def _difference(a: Answer, b: Answer, rate_hz: float) -> str:
    if (a.verdict, a.condition) != (b.verdict, b.condition):
        return "verdict"
    within = ONSET_WITHIN_S * rate_hz
    for name, one, other in (("onset", a.onset, b.onset), ("end", a.end, b.end)):
        if (one is None) != (other is None):
            return name
        if one is not None and other is not None and abs(one - other) > within:
            return name
    return ""


def _mean(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else (one + other) // 2


def _paired(first: Beats, second: Beats, within: int) -> tuple[list[tuple[str, str]], int]:
    """Return the labels of the beats that both marked, and the number that one alone marked."""
    pairs: list[tuple[str, str]] = []
    i = j = alone = 0
    while i < len(first) and j < len(second):
        apart = first[i][0] - second[j][0]
        if abs(apart) <= within:
            pairs.append((first[i][1], second[j][1]))
            i, j = i + 1, j + 1
        else:
            alone += 1
            i, j = (i + 1, j) if apart < 0 else (i, j + 1)
    return pairs, alone + len(first) - i + len(second) - j
