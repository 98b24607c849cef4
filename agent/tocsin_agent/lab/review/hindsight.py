"""What a model would have done: the agent over the reviewed records, judged by the readers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from tocsin_agent.lab.review.annotation_set import Reviewed
from tocsin_agent.lab.review.cases import Span
from tocsin_agent.messages.reading import ANY, Verdict


class Hindsight(NamedTuple):
    """Counts of one alarm over reviewed stretches.

    A stretch counts by the condition that the readers found, against the alarms of that code that
    the agent raises, or has open, within it.
    """

    true_kept: int = 0
    true_lost: int = 0
    false_kept: int = 0
    false_suppressed: int = 0


def hindsight(
    reviewed: Sequence[Reviewed], raised: Mapping[str, Sequence[Span]]
) -> dict[str, Hindsight]:
    """Judge what the agent raises in the reviewed stretches.

    Parameters
    ----------
    reviewed : sequence of Reviewed
    raised : dict
        The alerts of each record, by its name; stretches of other records are left out.

    Returns
    -------
    dict
        By alarm code: of the alerts that were asked about, and of the conditions that were found.
    """
    counts: dict[str, Hindsight] = {}
    for one in reviewed:
        if one.case.record not in raised:
            continue
        sounding = _codes(raised[one.case.record], one)
        found = one.condition if one.verdict is not Verdict.FALSE else ""
        codes = {one.case.asked, found} | (sounding if one.case.asked == ANY else set())
        for code in sorted(codes - {"", ANY}):
            sounds = code in sounding
            name = (
                ("true_kept" if sounds else "true_lost")
                if code == found
                else ("false_kept" if sounds else "false_suppressed")
            )
            before = counts.get(code, Hindsight())
            counts[code] = before._replace(**{name: getattr(before, name) + 1})
    return counts


def _codes(found: Iterable[Span], one: Reviewed) -> set[str]:
    """Return the codes of the alerts that are open within a stretch."""
    case = one.case
    return {
        event.code
        for event, end in found
        if event.detected_index < case.stop and max(end, event.detected_index) > case.start
    }
