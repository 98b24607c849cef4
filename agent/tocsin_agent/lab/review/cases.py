"""Which stretches of ECG are reviewed.

Alerts that people rejected, alerts of which the models were unsure, a random sample of the other
alerts, and a random share of stretches without an alert. The sample and the silent stretches keep
the review from containing errors alone, which no model could be trained on without a bias.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta

from tocsin_agent.errors import LabError
from tocsin_agent.messages.alert import Evidence, Kind, Phase
from tocsin_agent.messages.reading import ANY
from tocsin_agent.monitor.alarms.event import AlertEvent

BEFORE_S, AFTER_S, LONGEST_S, SILENT_S = 10.0, 10.0, 60.0, 30.0
UNSURE_VERIFIED = 0.4
"""Answer of the model of alarms up to which an alert that it let pass is unsure; 0.2 raises it."""
UNSURE_PROBABILITY = 0.7
"""Mean probability of the beats that count below which an alert is unsure."""


class Why(StrEnum):
    """Why a stretch is reviewed. Readers do not see it."""

    REJECTED = "rejected"
    UNSURE = "unsure"
    SAMPLED = "sampled"
    SILENT = "silent"


class Case(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One stretch of ECG to review; indices are samples of the source."""

    case: Annotated[str, Meta(description="Its name in the review, such as `case-001`.")] = ""
    record: Annotated[
        str, Meta(description="`database/record`, or empty where the ECG is the alert's strip.")
    ]
    patient: Annotated[str, Meta(description="Whose ECG it is: records of one patient share it.")]
    alert_id: Annotated[str, Meta(description="The alert; empty for a silent stretch.")] = ""
    asked: Annotated[str, Meta(description="The code of the alert, or `any`.")]
    why: Why
    rate_hz: float
    start: Annotated[int, Meta(description="First sample of the stretch.")]
    stop: Annotated[int, Meta(description="Sample after its last.")]
    onset: Annotated[int | None, Meta(description="Onset by the agent.")] = None
    end: Annotated[int | None, Meta(description="End by the agent, where it is known.")] = None
    verified: Annotated[float | None, Meta(description="What the model of alarms answered.")] = None


class Span(NamedTuple):
    """An alert of a record from its onset to its end, as an expert may review it."""

    event: AlertEvent
    end: int


def unsure(evidence: Evidence) -> bool:
    """Return whether the models that an alert rests on were unsure of it."""
    verified = evidence.measured.get("verified")
    if isinstance(verified, float | int):
        return verified <= UNSURE_VERIFIED
    return any(p < UNSURE_PROBABILITY for p in evidence.probabilities.values())


def spans(events: Iterable[AlertEvent], samples: int) -> list[Span]:
    """Return the physiological alerts of a record with their ends, in the order of their onsets."""
    begun: dict[str, AlertEvent] = {}
    ends: dict[str, int] = {}
    for event in events:
        if event.kind is not Kind.PHYSIOLOGICAL:
            continue
        if event.phase is Phase.ONSET:
            begun[event.alert_id] = event
        elif event.phase is Phase.END:
            ends[event.alert_id] = event.detected_index
    found = [Span(event, ends.get(alert_id, samples)) for alert_id, event in begun.items()]
    return sorted(found, key=lambda span: span.event.onset_index)


def alert_cases(
    record: str,
    patient: str,
    rate_hz: float,
    samples: int,
    found: Iterable[Span],
    *,
    rejected: Collection[str] = (),
) -> Iterator[Case]:
    """Yield a case for each alert of a record.

    Parameters
    ----------
    record, patient : str
    rate_hz : float
    samples : int
        Length of the record.
    found : iterable of Span
    rejected : collection of str
        Ids of the alerts that people rejected.
    """
    before, after, longest = (round(s * rate_hz) for s in (BEFORE_S, AFTER_S, LONGEST_S))
    for event, end in found:
        start = max(event.onset_index - before, 0)
        stop = min(max(event.detected_index, end) + after, start + longest, samples)
        verified = event.evidence.measured.get("verified")
        yield Case(
            record=record,
            patient=patient,
            alert_id=event.alert_id,
            asked=event.code,
            why=Why.REJECTED
            if event.alert_id in rejected
            else (Why.UNSURE if unsure(event.evidence) else Why.SAMPLED),
            rate_hz=rate_hz,
            start=start,
            stop=max(stop, start + 1),
            onset=event.onset_index,
            end=end,
            verified=float(verified) if isinstance(verified, float | int) else None,
        )


def silent_cases(
    record: str, patient: str, rate_hz: float, samples: int, found: Iterable[Span]
) -> Iterator[Case]:
    """Yield the stretches of `SILENT_S` of a record that no alert touches."""
    length, margin = round(SILENT_S * rate_hz), round(BEFORE_S * rate_hz)
    taken = [(event.onset_index - margin, end + margin) for event, end in found]
    for start in range(0, samples - length + 1, length):
        if not any(start < stop and begin < start + length for begin, stop in taken):
            yield Case(
                record=record,
                patient=patient,
                asked=ANY,
                why=Why.SILENT,
                rate_hz=rate_hz,
                start=start,
                stop=start + length,
            )


def choose(
    alerts: Sequence[Case], silent: Sequence[Case], count: int, silent_share: float, seed: int
) -> list[Case]:
    """Choose what is reviewed, name it and shuffle it.

    Rejected alerts are taken first, then those of which the models were unsure, each up to a third
    of the count; a random sample of the rest fills up.

    Parameters
    ----------
    alerts, silent : sequence of Case
    count : int
        Number of alerts; fewer where there are not so many.
    silent_share : float
        Silent stretches, as a share of the alerts that were chosen; 0 to 1.
    seed : int
        Of the random choice.

    Raises
    ------
    LabError
        If there is nothing to review.
    """
    rng = np.random.default_rng(seed)

    def some(of: Sequence[Case], at_most: int) -> list[Case]:
        picked = rng.permutation(len(of))[: max(at_most, 0)]
        return [of[i] for i in sorted(picked.tolist())]

    first: list[Case] = []
    for why in (Why.REJECTED, Why.UNSURE):
        first += some([case for case in alerts if case.why is why], -(-count // 3))
    first = first[:count]
    chosen = {id(case) for case in first}
    rest = [case for case in alerts if id(case) not in chosen]
    first += some(rest, count - len(first))
    first += some(silent, round(silent_share * len(first)))
    if not first:
        raise LabError(
            "nothing to review: there is no alert, and silent stretches are a share of the alerts"
        )
    shuffled = [first[i] for i in rng.permutation(len(first)).tolist()]
    return [
        msgspec.structs.replace(case, case=f"case-{number:03d}")
        for number, case in enumerate(shuffled, 1)
    ]
