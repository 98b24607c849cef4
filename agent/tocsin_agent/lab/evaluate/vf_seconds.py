"""Ventricular fibrillation second by second, with tachycardia counted apart.

A second is what fills its middle in the reference; an alarm covers the seconds from its stated
onset to the last in which its condition was found. What the reference marks as ventricular
tachycardia is counted for itself, since much of it is flutter by its waveform.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tocsin_agent.lab.ec57.annotations import RHYTHM, VF_ONSET, Annotations
from tocsin_agent.lab.evaluate.alarm_scoring import VF_RHYTHMS, vf_marks
from tocsin_agent.messages.alert import Phase
from tocsin_agent.monitor.alarms.event import AlertEvent
from tocsin_agent.monitor.alarms.table import ALARMS

CODE = "ventricular_fibrillation"
FIRST_S = 30  # of an episode that are counted for themselves
LEAST_S = 5  # an episode this long must raise an alarm
WITHIN_S = 10.0


class VfSeconds(NamedTuple):
    """Seconds and episodes of one record; `delays_s` are those of the episodes that are found."""

    tp: int
    fn: int
    fp: int
    tn: int
    first_tp: int
    first: int
    vt_alarmed: int
    vt: int
    episodes: int
    delays_s: tuple[float, ...]


def judge_seconds(
    reference: Annotations, alerts: Iterable[AlertEvent], samples: int
) -> VfSeconds | None:
    """Compare each second; None for a reference that has no marks of fibrillation or rhythm."""
    if VF_ONSET not in reference.symbol and not any(aux in VF_RHYTHMS for aux in reference.aux):
        return None
    seconds = int(samples / reference.rate_hz)
    fibrillates, tachycardia, known = _marked(reference, seconds)
    covered = np.zeros(seconds, bool)
    begun: list[float] = []
    for onset_s, detected_s, last_s in _alarms(alerts, reference.rate_hz):
        covered[max(round(onset_s), 0) : max(int(last_s), 0)] = True
        begun.append(detected_s)
    other = known & ~fibrillates & ~tachycardia
    first_tp = first = episodes = 0
    delays: list[float] = []
    for start, stop in _stretches(fibrillates):
        if stop - start < LEAST_S:
            continue
        episodes += 1
        until = min(start + FIRST_S, stop)
        first_tp, first = first_tp + int(covered[start:until].sum()), first + until - start
        within = [at for at in begun if start - 2 <= at <= stop]
        if within:
            delays.append(round(max(min(within) - start, 0.0), 3))
        elif covered[start]:  # an alarm that has begun before
            delays.append(0.0)
    return VfSeconds(
        int((covered & fibrillates).sum()),
        int((~covered & fibrillates).sum()),
        int((covered & other).sum()),
        int((~covered & other).sum()),
        first_tp,
        first,
        int((covered & tachycardia).sum()),
        int(tachycardia.sum()),
        episodes,
        tuple(delays),
    )


def in_total(judged: Sequence[VfSeconds]) -> dict[str, Any] | None:
    """Return the figures over all records that have such marks."""
    if not judged:
        return None
    tp, fn, fp, tn, first_tp, first, vt_alarmed, vt, episodes = (
        np.array([each[:9] for each in judged]).sum(axis=0).tolist()
    )
    delays = [d for each in judged for d in each.delays_s]
    return {
        "se": _percent(tp, tp + fn),
        "sp": _percent(tn, tn + fp),
        "first_30_s_se": _percent(first_tp, first),
        "seconds": {"tp": tp, "fn": fn, "fp": fp, "tn": tn},
        "vt_seconds": vt,
        "vt_seconds_alarmed": vt_alarmed,
        "episodes": episodes,
        "episodes_alarmed": len(delays),
        "within_10_s": _percent(sum(d <= WITHIN_S for d in delays), episodes),
        "delay_s_median": round(float(np.median(delays)), 2) if delays else None,
    }


def _marked(
    reference: Annotations, seconds: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return by second: fibrillation or flutter, tachycardia, and whether anything is known."""
    rate = reference.rate_hz
    fibrillates, tachycardia = np.zeros(seconds, bool), np.zeros(seconds, bool)
    for at, begins in vf_marks(reference):
        fibrillates[_second(at, rate) :] = begins
    rhythm = zip(reference.sample.tolist(), reference.symbol, reference.aux, strict=True)
    marks = [(at, aux) for at, symbol, aux in rhythm if symbol == RHYTHM]
    for at, aux in marks:
        tachycardia[_second(at, rate) :] = aux == "(VT"
    known = np.ones(seconds, bool)
    if VF_ONSET not in reference.symbol and marks:
        known[: _second(marks[0][0], rate)] = False
    return fibrillates, tachycardia & ~fibrillates, known


def _second(at: int, rate_hz: float) -> int:
    return max(int(np.ceil(at / rate_hz - 0.5)), 0)


def _stretches(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flags.astype(int), [0]))))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _alarms(alerts: Iterable[AlertEvent], rate_hz: float) -> list[tuple[float, float, float]]:
    """Return onset, detection and last sign of each alarm of fibrillation, s."""
    begun: dict[str, tuple[float, float]] = {}
    found = []
    for alert in alerts:
        if alert.code != CODE:
            continue
        at = alert.detected_index / rate_hz
        if alert.phase is Phase.ONSET:
            begun[alert.alert_id] = (alert.onset_index / rate_hz, at)
        elif alert.phase is Phase.END and alert.alert_id in begun:
            onset, detected = begun.pop(alert.alert_id)
            closed = alert.evidence.measured.get("ended") == "the recording ended"
            found.append((onset, detected, at if closed else at - ALARMS[CODE].hold_s))
    return found


def _percent(part: int, whole: int) -> float | None:
    return round(100.0 * part / whole, 2) if whole else None
