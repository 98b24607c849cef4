"""What verification says of the candidates that are open, read by the families of rules."""

from __future__ import annotations

from typing import NamedTuple


class Verdict(NamedTuple):
    """The answer about one candidate.

    Attributes
    ----------
    at : int
        The analysis index for which it was asked.
    probability : float
        That the condition is true.
    accepted : bool
        Whether it alone raises the alarm.
    why : str
        What opened the candidate.
    measured : dict
        The evidence, as an alert states it.
    """

    at: int
    probability: float
    accepted: bool
    why: str
    measured: dict[str, float | str]


class Verdicts:
    """The newest verdicts; written by `tocsin_agent.monitor.alarms.verification`.

    Attributes
    ----------
    active : bool
        Whether a model verifies; where none does, the rules decide alone.
    tachycardia, fibrillation : Verdict or None
        None while no candidate is open.
    """

    def __init__(self) -> None:
        self.active = False
        self.clear()

    def clear(self) -> None:
        """Forget the verdicts."""
        self.tachycardia: Verdict | None = None
        self.fibrillation: Verdict | None = None
