"""The whole job on one screen: samples of one patient in, beats and alerts out."""

from __future__ import annotations

import numpy as np

from tocsin_agent.messages.context import PatientContext
from tocsin_agent.monitor import technical
from tocsin_agent.monitor.alarms.context import (
    Suppression,
    Suppressions,
    admit,
    closed_by,
    effect_of,
)
from tocsin_agent.monitor.alarms.episodes import Alarms, Transition
from tocsin_agent.monitor.alarms.event import AlertEvent, EventWriter
from tocsin_agent.monitor.alarms.verification import Verifier
from tocsin_agent.monitor.labels.corrections import ALL_RULES, LabelRules
from tocsin_agent.monitor.labels.half_minutes import with_half_minutes
from tocsin_agent.monitor.labels.labeller import Labeller
from tocsin_agent.monitor.report import LabelledBeat, MonitorVitals, Report, joined, labelled_beat
from tocsin_agent.monitor.rhythm.finding import Finding
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.monitor.rhythm.rhythm import Rhythm
from tocsin_agent.monitor.rhythm.verdicts import Verdicts
from tocsin_agent.monitor.technical import ModelsInUse
from tocsin_agent.monitor.timeline import Beat, Failure, Item
from tocsin_agent.monitor.trends import Trends
from tocsin_dsp.conditioning.condition import Conditioner
from tocsin_dsp.conditioning.quality import Hop, QualityMeter
from tocsin_dsp.errors import SignalError, SignalFault
from tocsin_dsp.leads.leads import LeadSet
from tocsin_dsp.rhythms.fibrillation import WindowObserver
from tocsin_dsp.rhythms.irregularity import IrregularityObserver
from tocsin_dsp.signal import SampleBlock, StreamSpec, cut
from tocsin_models import Models

CUT_LEAD_S = 30.0
"""A longer block is cut into parts of so many seconds of one lead, half of two: products of larger
matrices wake the threads of the BLAS, which cost more processor time than they save."""
FLUSH_S = 0.6
"""Decides every beat at the end of a stream, and is too short for `lead_off`."""


class PatientMonitor:
    """Monitor one stream. Any cutting of the same samples gives the same reports, concatenated.

    Reason for its size: its attributes are the steps of the path of a sample, one each.

    Parameters
    ----------
    spec : StreamSpec
    limits : Limits, optional
    context : PatientContext, optional
        What is known of the patient; see `tocsin_agent.monitor.alarms.context`.
    models : Models, optional
        For one that is missing `model_failed` is raised, and the alarms without it continue.
    rules : LabelRules, optional
        The rules between the models and the labels; training leaves one out to measure it.
    """

    def __init__(
        self,
        spec: StreamSpec,
        limits: Limits | None = None,
        models: Models | None = None,
        *,
        context: PatientContext | None = None,
        rules: LabelRules = ALL_RULES,
    ) -> None:
        limits, leads = limits or Limits(), len(spec.leads)
        self._longest = max(int(CUT_LEAD_S * spec.rate_hz / leads), 1)
        self.spec = spec
        self._condition = Conditioner(spec)
        self._quality = QualityMeter(leads, spec.range_mv)
        self._leads = LeadSet(leads, calibrated=spec.calibrated)
        self._windows = WindowObserver(leads)
        self._half_minutes = IrregularityObserver()
        self._labels = Labeller(spec.leads, models or Models(), limits, rules)
        self._models = ModelsInUse(self._labels.model_ids)
        verdicts = Verdicts()
        self._verifier = Verifier(leads, models or Models(), verdicts)
        self._rhythm = Rhythm(spec.leads, limits, verdicts)
        self._alarms = Alarms()
        self._events = EventWriter(spec, self._condition)
        self._trends = Trends(spec.leads, self._condition, limits)
        self._limits = limits  # as configured
        self._effect = effect_of(context or PatientContext(), limits)
        self._suppressions, self._suppressed = Suppressions(), list[Suppression]()
        self._rhythm.use(self._effect.limits)
        self._now = 0  # analysis index: everything before it has been taken

    def push(self, block: SampleBlock) -> Report:
        """Take the next block of the stream, of any length.

        Raises
        ------
        SignalError
            If the block belongs to another stream: make a monitor for that one.
        """
        if block.spec is not self.spec and block.spec != self.spec:
            raise SignalError(SignalFault.LEADS, f"a block of {block.spec} came to {self.spec}")
        return joined([self._push(part) for part in cut(block, self._longest)])

    def _push(self, block: SampleBlock) -> Report:
        """Take the next samples, no more than fit the processor's cache."""
        began_before = self._condition.next_index is not None
        piece = self._condition.push(block)
        alerts = self._restart(piece.start, began_before) if piece.restarted else []
        self._events.remember(piece)
        self._trends.remember(piece)
        alerts += self._samples_arrived(piece.jumped_by) if len(block) else []

        observed = self._leads.push(piece, self._quality.push(piece.samples))
        labelled = self._labels.push(self._windows.push(piece, observed))
        timeline = self._labels.in_rhythm(with_half_minutes(self._half_minutes, labelled))

        beats: list[LabelledBeat] = []
        failures: list[Failure] = []
        for item in timeline:
            alerts += self._pass_time(item.decided)
            for each in (*self._verifier.take(item), item):
                alerts += self._take(each)
                failures += [each] if isinstance(each, Failure) else []
            if isinstance(item, Beat):
                early = self._rhythm.premature_percent
                beats.append(labelled_beat(item, self._condition, early))
        alerts += self._pass_time(piece.stop)
        return Report(
            beats, alerts, tuple(failures), self._trends.taken(), self._taken_suppressed()
        )

    def finish(self) -> Report:
        """End a finite stream: decide the last beats, and end every open episode."""
        report = Report([], [])
        if self._condition.next_index is not None:
            missing = np.full((round(FLUSH_S * self.spec.rate_hz), len(self.spec.leads)), np.nan)
            report = self.push(SampleBlock(self.spec, self._condition.next_index, missing))
        self._trends.finish(self._now)
        ended = self._emit(self._alarms.close_all(self._now, "the recording ended"))
        trends = report.trends + self._trends.taken()
        return report._replace(alerts=report.alerts + ended, trends=trends)

    def use(self, models: Models) -> Report:
        """Ask other models about all that is decided from here on; earlier failures are over."""
        self._labels.use(models)
        self._verifier.use(models)
        self._models.use(self._labels.model_ids)
        alerts: list[AlertEvent] = []
        for task in self._models.present:
            reason = "another model is in use"
            alerts += self._emit(self._alarms.close("model_failed", self._now, reason, task))
        return Report([], alerts)

    def use_context(self, context: PatientContext) -> Report:
        """Let another context apply to all that is decided from here on, between two blocks.

        An open episode that it suppresses ends, and states that as its reason.
        """
        before, self._effect = self._effect, effect_of(context, self._limits)
        self._rhythm.use(self._effect.limits)
        alerts: list[AlertEvent] = []
        for code, reason in closed_by(before, self._effect).items():
            alerts += self._emit(self._alarms.close(code, self._now, reason))
        return Report([], alerts)

    def source_lost(self, reason: str | None = None) -> Report:
        """Raise `source_lost`; it ends when samples arrive again.

        Parameters
        ----------
        reason : str, optional
            Why no samples arrive, in words. Another reason than before is an update.
        """
        return Report([], self._raise([technical.source_lost(self._now, reason)]))

    def device_event(
        self, code: str, rule: str, subject: str, measured: dict[str, float | str], *, over: bool
    ) -> Report:
        """Raise, or end, what the device itself reported.

        Parameters
        ----------
        code : str
            A row of `tocsin_agent.monitor.alarms.table`.
        rule : str
            What was reported, for the evidence or as the reason of the end.
        subject : str
            The lead, where each has an alarm of its own.
        measured : dict
            What the text of the row is filled in with.
        over : bool
            The device reported that it is over.
        """
        if over:
            return Report([], self._emit(self._alarms.close(code, self._now, rule, subject)))
        finding = technical.device_event(self._now, code, rule, subject, measured)
        return Report([], self._raise([finding]))

    def outbox_pressure(self, pending: int, dropped: int, max_pending: int) -> Report:
        """Raise or continue `outbox_pressure`; it ends 60 s after the last call.

        Parameters
        ----------
        pending, dropped, max_pending : int
            Alerts that wait for the broker, that were removed for lack of room, and that may wait.
        """
        finding = technical.outbox_pressure(self._now, pending, dropped, max_pending)
        return Report([], self._raise([self._continued(finding)]))

    def fault(self, code: str, rule: str, subject: str, measured: dict[str, float | str]) -> Report:
        """Raise or continue what does not work in keeping or delivering alerts.

        It ends 60 s after the last call; parameters as in `device_event`.
        """
        finding = technical.device_event(self._now, code, rule, subject, measured)
        return Report([], self._raise([self._continued(finding)]))

    def vitals(self) -> MonitorVitals:
        """Return the heart rate and the signal quality as known now."""
        return MonitorVitals(self._rhythm.heart_rate_bpm(self._now), self._events.signal_quality())

    def _continued(self, finding: Finding) -> Finding:
        """Return a finding that lasts since it was last found, so that it counts once."""
        last = self._alarms.last_found(finding.code, finding.subject)
        return finding if last is None else finding._replace(onset=last)

    def _pass_time(self, now: int) -> list[AlertEvent]:
        """Let stream time pass: find what falls due before the next item, end what is over."""
        self._now = now
        return self._raise(self._rhythm.pass_time(now))

    def _take(self, item: Item) -> list[AlertEvent]:
        """Take what was decided at the instant to which time has passed."""
        if isinstance(item, Failure):
            return self._raise([self._models.failed(item, self._now)])
        self._events.take(item)
        findings = self._rhythm.take(item)
        self._trends.take(item, self._rhythm)
        if isinstance(item, Hop):
            findings += self._models.missing(self._now)
        return self._raise(findings)

    def _restart(self, start: int, began_before: bool) -> list[AlertEvent]:
        """Begin, or continue after a gap too long to bridge."""
        alerts = self._raise([technical.gap_too_long(self._now)]) if began_before else []
        self._quality.skip_to(start)
        self._verifier.restart()
        self._rhythm.restart()
        self._trends.restart(start)
        self._now = start
        return alerts

    def _samples_arrived(self, jumped_by: int) -> list[AlertEvent]:
        alerts = self._emit(self._alarms.close("source_lost", self._now, "samples arrive again"))
        if jumped_by:
            seconds = jumped_by / self.spec.rate_hz
            alerts += self._raise([technical.clock_jump(self._now, seconds)])
        return alerts

    def _raise(self, findings: list[Finding]) -> list[AlertEvent]:
        """Let findings open, continue and supersede episodes, and let others end."""
        findings = self._trends.step(self._now, findings)
        if findings and not self._effect.is_none:
            rate_bpm = self._rhythm.heart_rate_bpm(self._now)
            self._suppressed += self._suppressions.take(self._effect, findings, rate_bpm)
            findings = admit(self._effect, findings, rate_bpm)
        return self._emit(self._alarms.step(self._now, findings))

    def _taken_suppressed(self) -> tuple[Suppression, ...]:
        """Return the suppressions since the last call, at source samples."""
        taken, self._suppressed = self._suppressed, []
        return tuple(one._replace(at=self._condition.to_source(one.at)) for one in taken)

    def _emit(self, transitions: list[Transition]) -> list[AlertEvent]:
        """Write down what happened to episodes."""
        return [
            self._events.event(
                transition,
                self._rhythm.heart_rate_bpm(transition.at),
                self._models.id_of(transition.finding.model),
            )
            for transition in transitions
        ]
