"""A condition that holds at an instant of stream time, with its evidence."""

from __future__ import annotations

from typing import NamedTuple

from tocsin_agent.monitor.timeline import Beat


class Reason(NamedTuple):
    """A ventricular beat that a finding rests on.

    `premature_percent` is by how much of the usual interval it came early; None where unknown.
    """

    beat: Beat
    premature_percent: float | None


class Finding(NamedTuple):
    """A condition that holds at `at` and began at `onset`, both analysis indices.

    Attributes
    ----------
    code : str
        A row of `tocsin_agent.monitor.alarms.table`.
    rule, limits, measured
        The evidence, as an alert states it.
    subject : str
        A lead or a model, where each has an alarm of its own.
    probability : float or None
        The model's probability of the condition.
    model : str or None
        The task of the model that supports it: `beats`, `vf`, `af` or `alarms`.
    last_lead : bool
        Whether it concerns the last lead that carried an ECG: the row then has another priority.
    reasons : tuple of Reason
        The ventricular beats that it rests on.
    """

    code: str
    onset: int
    at: int
    rule: str
    limits: dict[str, float]
    measured: dict[str, float | str]
    subject: str = ""
    probability: float | None = None
    model: str | None = None
    last_lead: bool = False
    reasons: tuple[Reason, ...] = ()
