"""The whole job on one screen: samples of one patient in, alerts out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tocsin_agent.monitor.alarms.episodes import Alarms, Transition
from tocsin_agent.monitor.alarms.event import AlertEvent, EventWriter
from tocsin_agent.monitor.alarms.table import SUPPORTS
from tocsin_agent.monitor.labels.corrections import ALL_RULES, LabelRules
from tocsin_agent.monitor.labels.half_minutes import with_half_minutes
from tocsin_agent.monitor.labels.labeller import Labeller
from tocsin_agent.monitor.rhythm.finding import Finding
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.monitor.rhythm.rhythm import Rhythm
from tocsin_agent.monitor.timeline import Beat, Failure, Item
from tocsin_dsp.conditioning.condition import LONGEST_GAP_S, Conditioner
from tocsin_dsp.conditioning.quality import Hop, QualityMeter
from tocsin_dsp.errors import SignalError, SignalFault
from tocsin_dsp.leads.leads import LeadSet
from tocsin_dsp.rhythms.fibrillation import WindowObserver
from tocsin_dsp.rhythms.irregularity import IrregularityObserver
from tocsin_dsp.signal import SampleBlock, StreamSpec
from tocsin_models import Models

NO_MODELS = Models()
NO_MODEL = "a model is missing, was refused or answered nonsense"
FLUSH_S = 0.6  # decides every beat, and is too short for a missing lead to ring


class LabelledBeat(NamedTuple):
    """A beat as reported; `r_index` and `decided_index` are source samples.

    What was measured of its waves is None where unknown: the width of the QRS, the evidence for a P
    wave (0 to 1; from `tocsin_dsp.beats.waves.P_SCORE` on there is one), the PR interval, the ST level
    60 ms after the QRS, and the QT interval of the beat before, whose T wave is only now over.
    Of ventricular and supraventricular beats, how like the QRS is to the patient's usual one (1 the
    same) and how much earlier than usual it came.
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


class Report(NamedTuple):
    """What was decided on some samples: labelled beats, alert events, and models that failed."""

    beats: list[LabelledBeat]
    alerts: list[AlertEvent]
    failures: tuple[Failure, ...] = ()


class PatientMonitor:
    """Listen to one stream. Any cutting of the same samples gives the same reports, concatenated.

    Parameters
    ----------
    spec : StreamSpec
    limits : Limits, optional
    models : Models, optional
        For one that is missing `model_failed` rings, and the alarms that do not need it go on.
    rules : LabelRules, optional
        The rules between the models and the labels; training leaves one out to measure it.
    """

    def __init__(
        self,
        spec: StreamSpec,
        limits: Limits | None = None,
        models: Models = NO_MODELS,
        *,
        rules: LabelRules = ALL_RULES,
    ) -> None:
        limits = limits or Limits()
        self.spec = spec
        self._condition = Conditioner(spec)
        self._quality = QualityMeter(len(spec.leads), spec.range_mv)
        self._leads = LeadSet(len(spec.leads))
        self._windows = WindowObserver(len(spec.leads))
        self._half_minutes = IrregularityObserver()
        self._label = Labeller(spec.leads, models, limits, rules)
        self._know_models()
        self._rhythm = Rhythm(spec.leads, limits)
        self._alarms = Alarms()
        self._announce = EventWriter(spec, self._condition)
        self._now = 0  # analysis index: everything before it has been taken

    def push(self, block: SampleBlock) -> Report:
        """Take the next block of the stream.

        Raises
        ------
        SignalError
            If the block belongs to another stream: make a monitor for that one.
        """
        if block.spec != self.spec:
            raise SignalError(SignalFault.LEADS, f"a block of {block.spec} came to {self.spec}")
        heard_before = self._condition.next_index is not None
        piece = self._condition.push(block)
        alerts = self._begin_anew(piece.start, heard_before) if piece.restarted else []
        self._announce.remember(piece)
        alerts += self._samples_came(piece.jumped_by) if len(block) else []
        seen = self._leads.push(piece, self._quality.push(piece.samples))
        labelled = self._label.push(self._windows.push(piece, seen))
        timeline = self._label.in_rhythm(with_half_minutes(self._half_minutes, labelled))
        beats: list[LabelledBeat] = []
        failures: list[Failure] = []
        for item in timeline:
            alerts += self._pass_time(item.decided)
            alerts += self._take(item)
            if isinstance(item, Beat):
                beats.append(self._report(item))
            elif isinstance(item, Failure):
                failures.append(item)
        return Report(beats, alerts + self._pass_time(piece.stop), tuple(failures))

    def finish(self) -> Report:
        """End a finite stream: the last beats are decided, and what is still open ends with it."""
        report = Report([], [])
        if self._condition.next_index is not None:
            missing = np.full((round(FLUSH_S * self.spec.rate_hz), len(self.spec.leads)), np.nan)
            report = self.push(SampleBlock(self.spec, self._condition.next_index, missing))
        ended = self._tell(self._alarms.close_all(self._now, "the recording ended"))
        return report._replace(alerts=report.alerts + ended)

    def use(self, models: Models) -> Report:
        """Ask other models about all that is decided from here on; what failed before is over."""
        self._label.use(models)
        self._know_models()
        reason = "another model is in use"
        named = [name for name, model_id in self._model_ids.items() if model_id]
        closed = [self._alarms.close("model_failed", self._now, reason, name) for name in named]
        return Report([], [event for told in closed for event in self._tell(told)])

    def source_lost(self) -> Report:
        """Be told that no samples come, which samples cannot tell; ends when they come again."""
        return Report([], self._ring("source_lost", "no samples within the source's timeout"))

    def _pass_time(self, now: int) -> list[AlertEvent]:
        """Let stream time pass: what falls due rings or ends, as known before what comes next."""
        self._now = now
        return self._tell(self._alarms.step(now, self._rhythm.pass_time(now)))

    def _take(self, item: Item) -> list[AlertEvent]:
        """Take what was decided at the instant to which time has passed."""
        if isinstance(item, Failure):
            return self._model_failed(item)
        if isinstance(item, Hop):
            self._announce.hop = item
        elif isinstance(item, Beat):
            self._announce.trusted = item.trusted
        alerts = self._tell(self._alarms.step(self._now, self._rhythm.take(item)))
        if isinstance(item, Hop):
            for name, fault in self._faults.items():
                alerts += self._ring("model_failed", NO_MODEL, name, **fault)
        return alerts

    def _know_models(self) -> None:
        """Know which models are asked, as of the instant that is reached."""
        self._model_ids = self._label.model_ids
        self._faults: dict[str, dict[str, float | str]] = {
            name: {"model": name, "reason": "no model", "without": SUPPORTS[name].lost}
            for name, model_id in self._model_ids.items()
            if model_id is None
        }

    def _model_failed(self, failure: Failure) -> list[AlertEvent]:
        """Say so: once where another model takes over, else for as long as there is none."""
        name, instead = failure.name, failure.instead
        self._model_ids[name] = instead
        fault: dict[str, float | str] = {
            "model": name,
            "failed": failure.failed,
            "reason": failure.reason,
            "without": f"{instead} took its place" if instead else SUPPORTS[name].lost,
        }
        if instead is None:
            self._faults[name] = fault
        return self._ring("model_failed", NO_MODEL, name, **fault)

    def _begin_anew(self, start: int, heard_before: bool) -> list[AlertEvent]:
        """Begin, or go on after a gap too long to bridge; nobody was watched in such a gap."""
        rule = f"a gap of more than {LONGEST_GAP_S:g} s in the samples"
        alerts = self._ring("source_lost", rule) if heard_before else []
        self._quality.skip_to(start)
        self._rhythm.restart()
        self._now = start
        return alerts

    def _samples_came(self, jumped_by: int) -> list[AlertEvent]:
        alerts = self._tell(self._alarms.close("source_lost", self._now, "samples arrive again"))
        if jumped_by:
            rule = "a block began earlier than the one before it"
            seconds = round(jumped_by / self.spec.rate_hz, 3)
            alerts += self._ring("clock_jump", rule, seconds=seconds)
        return alerts

    def _ring(
        self, code: str, rule: str, subject: str = "", **measured: float | str
    ) -> list[AlertEvent]:
        """Raise a technical condition that neither beats nor qualities can tell."""
        finding = Finding(code, self._now, self._now, rule, {}, measured, subject)
        return self._tell(self._alarms.step(self._now, [finding]))

    def _tell(self, transitions: list[Transition]) -> list[AlertEvent]:
        if not transitions:
            return []
        rate, models = self._rhythm.heart_rate_bpm, self._model_ids
        return [
            self._announce.event(t, rate(t.at), models[t.finding.model or "beats"])
            for t in transitions
        ]

    def _report(self, beat: Beat) -> LabelledBeat:
        r_index = self._condition.to_source(beat.r_index)
        decided = self._condition.to_source(beat.decided) + self._condition.delay
        w = beat.waves
        measured = (w.qrs_s, w.p_score, w.pr_s, w.st_mv, w.previous_qt_s)
        known = [None if value != value else round(value, 4) for value in measured]  # noqa: PLR0124
        if beat.label in "SV":
            known += (round(beat.likeness, 3), self._rhythm.premature_percent)
        return LabelledBeat(r_index, beat.label, decided, beat.lead, beat.probability, *known)
