"""The stretch of a record that a comparison judges."""

from __future__ import annotations

from tocsin_agent.lab.ec57.annotations import Annotations

LEARNING_PERIOD_S = 300.0


def judged_period(
    reference: Annotations,
    test: Annotations,
    start_s: float,
    end_s: float | None,
    *,
    window: int = 0,
) -> tuple[int, int]:
    """Return the first and the last sample that are judged.

    Parameters
    ----------
    reference, test : Annotations
        In the same time base.
    start_s : float
        Where it begins; 5:00 in the standard, behind the learning period (EC57:2012 4.3.2).
    end_s : float or None
        Where it ends. None is the end of the record, or of the reference annotations where the
        header does not state the length; 0 is the end of the shorter of the two files. What lies
        behind the end of the record is never judged.
    window : int
        How many samples behind the last annotation still belong to it, where one is the end.
    """
    start = reference.index_of(start_s)
    length = reference.n_samples
    if end_s:
        end = reference.index_of(end_s)
        return start, end if length is None else min(end, length)
    if end_s is None and length is not None:
        return start, length
    last = _last(reference) if end_s is None else min(_last(reference), _last(test))
    return start, last + window


def _last(annotations: Annotations) -> int:
    return int(annotations.sample[-1]) if len(annotations) else 0
