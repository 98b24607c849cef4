"""Technical conditions that neither beats nor qualities show.

Codes: `source_lost`, `patient_call`, `battery_low`, `electrode_impedance`, `clock_jump`,
`model_failed`, `outbox_pressure`. Each is found at an analysis index `at`.
"""

from __future__ import annotations

from tocsin_agent.monitor.alarms.table import SUPPORTS
from tocsin_agent.monitor.rhythm.finding import Finding
from tocsin_agent.monitor.timeline import Failure
from tocsin_dsp.conditioning.condition import LONGEST_GAP_S


def source_lost(at: int, reason: str | None = None) -> Finding:
    """Return that a live source is silent, and why where that is known."""
    rule = "no samples within the source's timeout"
    if reason is None:
        return _finding("source_lost", at, rule)
    return _finding("source_lost", at, rule, reason=reason)


def gap_too_long(at: int) -> Finding:
    """Return that samples are missing for too long: nobody was monitored meanwhile."""
    rule = f"a gap of more than {LONGEST_GAP_S:g} s in the samples"
    return _finding("source_lost", at, rule)


def device_event(
    at: int, code: str, rule: str, subject: str, measured: dict[str, float | str]
) -> Finding:
    """Return what the device itself reported: its button, its battery, its electrodes."""
    return _finding(code, at, rule, subject, **measured)


def clock_jump(at: int, seconds: float) -> Finding:
    """Return that the clock of the source jumped back."""
    rule = "a block began earlier than the one before it"
    return _finding("clock_jump", at, rule, seconds=round(seconds, 3))


def outbox_pressure(at: int, pending: int, dropped: int, max_pending: int) -> Finding:
    """Return that more alerts wait for the broker than the outbox should hold."""
    return Finding(
        "outbox_pressure",
        at,
        at,
        "alerts fill the outbox faster than the broker takes them",
        {"max_pending": float(max_pending)},
        {"pending": float(pending), "dropped": float(dropped)},
    )


class ModelsInUse:
    """The models in use, and what is lost without those that are missing or have failed.

    Parameters
    ----------
    model_ids : dict
        `name@hash` by task, None where there is no model.
    """

    def __init__(self, model_ids: dict[str, str | None]) -> None:
        self.use(model_ids)

    def use(self, model_ids: dict[str, str | None]) -> None:
        """Begin with these models."""
        self._ids = model_ids
        self._faults: dict[str, dict[str, float | str]] = {
            task: {"model": task, "reason": "no model", "without": SUPPORTS[task].lost}
            for task, model_id in model_ids.items()
            if model_id is None
        }

    @property
    def present(self) -> list[str]:
        """The tasks that have a model."""
        return [task for task, model_id in self._ids.items() if model_id]

    def id_of(self, task: str | None) -> str | None:
        """Return `name@hash` of the model of a task, None without a task or a model."""
        return None if task is None else self._ids[task]

    def failed(self, failure: Failure, at: int) -> Finding:
        """Return that a model failed; where none takes over, it is missing from now on."""
        task, instead = failure.name, failure.instead
        self._ids[task] = instead
        fault: dict[str, float | str] = {
            "model": task,
            "failed": failure.failed,
            "reason": failure.reason,
            "without": f"{instead} took its place" if instead else SUPPORTS[task].lost,
        }
        if instead is None:
            self._faults[task] = fault
        return self._finding(task, fault, at)

    def missing(self, at: int) -> list[Finding]:
        """Return the models that are missing."""
        return [self._finding(task, fault, at) for task, fault in self._faults.items()]

    @staticmethod
    def _finding(task: str, fault: dict[str, float | str], at: int) -> Finding:
        rule = "a model is missing, was refused or answered nonsense"
        return _finding("model_failed", at, rule, task, **fault)


def _finding(code: str, at: int, rule: str, subject: str = "", **measured: float | str) -> Finding:
    return Finding(code, at, at, rule, {}, measured, subject)
