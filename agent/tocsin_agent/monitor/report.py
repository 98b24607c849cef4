"""What the monitor reports about some samples: labelled beats and alert events."""

from __future__ import annotations

from itertools import chain
from typing import NamedTuple

from tocsin_agent.messages.alert import SignalQuality
from tocsin_agent.monitor.alarms.context import Suppression
from tocsin_agent.monitor.alarms.event import AlertEvent
from tocsin_agent.monitor.timeline import Beat, Failure
from tocsin_agent.monitor.trends import MinuteTrend
from tocsin_dsp.beats.delineation import NOT_DELINEATED, Delineated
from tocsin_dsp.conditioning.condition import Conditioner


class LabelledBeat(NamedTuple):
    """A beat as reported; `r_index` and `decided_index` are source samples.

    Of V and S also the similarity of the QRS to the patient's usual one (1 the same), and how much
    of the usual interval it came early. What was measured of its waves is None where unknown; the
    waves of some beats together are measured when any of theirs is first read, which must happen in
    the thread of the monitor.
    """

    r_index: int
    label: str
    decided_index: int
    lead: str
    probability: float
    likeness: float | None = None
    premature_percent: float | None = None
    delineated: Delineated = NOT_DELINEATED

    @property
    def qrs_s(self) -> float | None:
        """Width of the QRS, s."""
        return _known(self.delineated.waves.qrs_s)

    @property
    def p_score(self) -> float | None:
        """Evidence for a P wave, 0 to 1; there is one from `tocsin_dsp.beats.waves.P_SCORE` on."""
        return _known(self.delineated.waves.p_score)

    @property
    def pr_s(self) -> float | None:
        """PR interval, s."""
        return _known(self.delineated.waves.pr_s)

    @property
    def st_mv(self) -> float | None:
        """ST level 60 ms after the QRS, mV."""
        return _known(self.delineated.waves.st_mv)

    @property
    def previous_qt_s(self) -> float | None:
        """QT interval of the beat before, whose T wave ends only now, s."""
        return _known(self.delineated.waves.previous_qt_s)


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
    ectopic = beat.label in "SV"
    return LabelledBeat(
        source.to_source(beat.r_index),
        beat.label,
        source.to_source(beat.decided) + source.delay,
        beat.lead,
        beat.probability,
        round(beat.likeness, 3) if ectopic else None,
        premature_percent if ectopic else None,
        beat.delineated,
    )


def _known(value: float) -> float | None:
    return None if value != value else round(value, 4)  # noqa: PLR0124 - NaN
