"""Judge every clause, and report the result as data and as a table."""

from __future__ import annotations

from typing import Any, NamedTuple

from tocsin_agent.lab.evaluate.ec13.clauses import CLAUSES, NOT_JUDGED, Clause, Meter
from tocsin_agent.lab.evaluate.ec13.meter import Reading, read
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_dsp.signal import FloatArray
from tocsin_models import Models, load_models


class Outcome(NamedTuple):
    """A clause as it was measured; the fields are those of `Clause` and `Measured`."""

    name: str
    standard: str
    requirement: str
    measured: str
    met: bool
    stated: bool
    wording: str


def run_suite(models: Models | None = None, clauses: tuple[Clause, ...] = CLAUSES) -> list[Outcome]:
    """Judge clauses by the whole monitor on one lead.

    Parameters
    ----------
    models : Models, optional
        The shipped ones by default.
    clauses : tuple of Clause, optional
    """
    loaded = models or load_models()

    def meter(x: FloatArray, limits: Limits | None) -> Reading:
        return read(x, loaded, limits)

    return [_judged(clause, meter) for clause in clauses]


def as_result(outcomes: list[Outcome]) -> dict[str, Any]:
    """Return the outcomes as plain values, for JSON."""
    return {
        "database": "ec13",
        "clauses": [outcome._asdict() for outcome in outcomes],
        "met": sum(outcome.met for outcome in outcomes),
        "not_met": [outcome.name for outcome in outcomes if not outcome.met],
        "not_judged": NOT_JUDGED,
    }


def as_table(outcomes: list[Outcome]) -> str:
    """Return a Markdown table, a clause a row."""
    lines = ["| clause | requirement | measured | met |", "| --- | --- | --- | --- |"]
    for o in outcomes:
        requirement = f"{o.requirement}{' (only to be stated)' if o.stated else ''}"
        clause = f"{o.name}: {o.standard}{'' if o.wording == 'manuals' else ' (from memory)'}"
        lines.append(f"| {clause} | {requirement} | {o.measured} | {'yes' if o.met else 'no'} |")
    return "\n".join(lines)


def _judged(clause: Clause, meter: Meter) -> Outcome:
    text, met = clause.judge(meter)
    return Outcome(
        clause.name, clause.standard, clause.requirement, text, met, clause.stated, clause.wording
    )
