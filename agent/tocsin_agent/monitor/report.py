"""What the monitor reports about some samples: labelled beats and alert events."""

from __future__ import annotations

from itertools import chain
from typing import NamedTuple

from tocsin_agent.messages.alert import SignalQuality
from tocsin_agent.monitor.alarms.context import Suppression
from tocsin_agent.monitor.alarms.event import AlertEvent
from tocsin_agent.monitor.timeline import Beat, Failure
from tocsin_agent.monitor.trends import MinuteTrend
from tocsin_dsp.conditioning.condition import Conditioner


class LabelledBeat(NamedTuple):
    """A beat as reported; `r_index` and `decided_index` are source samples.

    What was measured of its waves is None where unknown: the width of the QRS, the evidence for a P
    wave (0 to 1; from `tocsin_dsp.beats.waves.P_SCORE` on there is one), the PR interval, the ST
    level 60 ms after the QRS, and the QT interval of the beat before, whose T wave ends only now.
    Of V and S also the similarity of the QRS to the patient's usual one (1 the same), and how much
    of the usual interval it came early.
    """

    r_index: int
    label: str
    decided_index: int
    lead: str
    probability: float
    qrs_s: float | None = None
    p_score: float | None = None
    pr_s: float | None = None
    st_mv: float | None = None
    previous_qt_s: float | None = None
    likeness: float | None = None
    premature_percent: float | None = None


class MonitorVitals(NamedTuple):
    """What a screen shows beside the alarms; None where it is not known."""

    heart_rate_bpm: float | None
    signal_quality: SignalQuality | None


class Report(NamedTuple):
    """What some samples decided, in order: beats, alert events, models that failed, minutes.

    `suppressed` are conditions that raised no alarm because of the patient's context.
    """

    beats: list[LabelledBeat]
    alerts: list[AlertEvent]
    failures: tuple[Failure, ...] = ()
    trends: tuple[MinuteTrend, ...] = ()
    suppressed: tuple[Suppression, ...] = ()


def joined(reports: list[Report]) -> Report:
    """Return the report of several parts of a block, at least one."""
    if len(reports) == 1:
        return reports[0]
    beats = [beat for report in reports for beat in report.beats]
    alerts = [alert for report in reports for alert in report.alerts]
    failures, trends, suppressed = zip(*[report[2:] for report in reports], strict=True)
    return Report(beats, alerts, *(tuple(chain(*each)) for each in (failures, trends, suppressed)))


def labelled_beat(beat: Beat, source: Conditioner, premature_percent: float | None) -> LabelledBeat:
    """Return a beat in source samples.

    Parameters
    ----------
    beat : Beat
    source : Conditioner
        Converts analysis indices to source samples.
    premature_percent : float or None
        How much of the usual interval it came early.
    """
    w = beat.waves
    known = [_known(value) for value in (w.qrs_s, w.p_score, w.pr_s, w.st_mv, w.previous_qt_s)]
    if beat.label in "SV":
        known += (round(beat.likeness, 3), premature_percent)
    r_index = source.to_source(beat.r_index)
    decided = source.to_source(beat.decided) + source.delay
    return LabelledBeat(r_index, beat.label, decided, beat.lead, beat.probability, *known)


def _known(value: float) -> float | None:
    return None if value != value else round(value, 4)  # noqa: PLR0124 - NaN
