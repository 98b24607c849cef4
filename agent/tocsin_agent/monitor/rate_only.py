"""The monitor of a device that sends intervals between beats and no ECG: alarms of the rate only.

Without an ECG, asystole looks as a lost contact does, and a pause as a missed beat; ectopy and
fibrillation do not show. None of them is looked for.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tocsin_agent.messages.context import PatientContext
from tocsin_agent.monitor import technical
from tocsin_agent.monitor.alarms.context import admit, closed_by, effect_of
from tocsin_agent.monitor.alarms.episodes import Alarms, Transition
from tocsin_agent.monitor.alarms.event import AlertEvent, EventWriter
from tocsin_agent.monitor.report import MonitorVitals, Report
from tocsin_agent.monitor.rhythm.finding import Finding
from tocsin_agent.monitor.rhythm.history import History
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.monitor.rhythm.rate import RateRules
from tocsin_agent.monitor.timeline import Beat
from tocsin_dsp.conditioning.condition import Conditioner
from tocsin_dsp.conditioning.quality import HOP
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.errors import SignalError, SignalFault
from tocsin_dsp.signal import SampleBlock, StreamSpec
from tocsin_models import Models


class RateMonitor:
    """Monitor one stream of marks. Source indices are analysis indices: both have 250 a second.

    Reason for its size: it offers what `PatientMonitor` offers to the agent, one method each.

    Parameters
    ----------
    spec : StreamSpec
        One lead of marks, at the analysis rate.
    limits : Limits, optional
    context : callable, optional
        Returns what is known of the patient now.

    Raises
    ------
    SignalError
        If the stream has another rate, or more than one lead.
    """

    def __init__(
        self,
        spec: StreamSpec,
        limits: Limits | None = None,
        context: Callable[[], PatientContext] = PatientContext,
    ) -> None:
        if spec.rate_hz != ANALYSIS_RATE_HZ or len(spec.leads) != 1:
            raise SignalError(
                SignalFault.RATE, f"marks of one lead at {ANALYSIS_RATE_HZ} Hz expected, not {spec}"
            )
        self.spec = spec
        self._limits, self._context = limits or Limits(), context
        self._applied = context()
        self._effect = effect_of(self._applied, self._limits)
        self._history = History(self._limits)
        self._rate = RateRules(self._effect.limits, self._history)
        self._alarms = Alarms()
        self._events = EventWriter(spec, Conditioner(spec))
        self._now: int | None = None  # index after the last mark
        self._missing_since: int | None = None
        self._due = 0  # when missing marks are reported next

    def push(self, block: SampleBlock) -> Report:
        """Take the next marks."""
        if block.spec != self.spec:
            raise SignalError(SignalFault.LEADS, f"a block of {block.spec} came to {self.spec}")
        alerts = self._use_context()
        if len(block):
            reason = "samples arrive again"
            alerts += self._emit(self._alarms.close("source_lost", self._at, reason))
        if block.start_index != self._now:
            self._history.restart()
            self._missing_since = None
        marks = block.samples_mv[:, 0]
        missing = np.isnan(marks)
        changes = np.flatnonzero((marks > 0) | np.diff(missing, prepend=not missing[:1].any()))
        for row in changes.tolist():
            index = block.start_index + row
            alerts += self._pass_time(index)
            if missing[row]:
                self._history.end_signal()
                if self._missing_since is None:
                    self._missing_since = index
                    self._due = index + round(self._limits.lead_off_s * ANALYSIS_RATE_HZ)
                continue
            if self._history.signal_since is None:
                self._history.begin_signal(index)
            self._missing_since = None
            if marks[row] > 0:
                alerts += self._take(index)
        return Report([], alerts + self._pass_time(block.stop_index))

    def finish(self) -> Report:
        """End every open episode."""
        return Report([], self._emit(self._alarms.close_all(self._at, "the recording ended")))

    def use(self, models: Models) -> Report:  # noqa: ARG002 - as `PatientMonitor`
        """Change nothing: no model is asked."""
        return Report([], [])

    def source_lost(self, reason: str | None = None) -> Report:
        """Raise `source_lost`; as in `PatientMonitor`."""
        return Report([], self._raise([technical.source_lost(self._at, reason)]))

    def device_event(
        self, code: str, rule: str, subject: str, measured: dict[str, float | str], *, over: bool
    ) -> Report:
        """Raise, or end, what the device itself reported; as in `PatientMonitor`."""
        if over:
            return Report([], self._emit(self._alarms.close(code, self._at, rule, subject)))
        finding = technical.device_event(self._at, code, rule, subject, measured)
        return Report([], self._raise([finding]))

    def outbox_pressure(self, pending: int, dropped: int, max_pending: int) -> Report:
        """Raise or continue `outbox_pressure`; as in `PatientMonitor`."""
        finding = technical.outbox_pressure(self._at, pending, dropped, max_pending)
        return Report([], self._raise([finding]))

    def fault(self, code: str, rule: str, subject: str, measured: dict[str, float | str]) -> Report:
        """Raise or continue what fails in keeping or delivering alerts; as in `PatientMonitor`."""
        finding = technical.device_event(self._at, code, rule, subject, measured)
        last = self._alarms.last_found(code, subject)
        continued = finding if last is None else finding._replace(onset=last)
        return Report([], self._raise([continued]))

    def vitals(self) -> MonitorVitals:
        """Return the heart rate as known now."""
        return MonitorVitals(self._history.heart_rate_bpm(self._at), None)

    @property
    def _at(self) -> int:
        return self._now or 0

    def _take(self, index: int) -> list[AlertEvent]:
        """Take a beat."""
        beat = Beat(index, index, "N", 1.0, self.spec.leads[0])
        self._history.take(beat)
        return self._raise(self._rate.take(beat))

    def _pass_time(self, index: int) -> list[AlertEvent]:
        """Let time pass: report every half second that no beats are reported for too long."""
        alerts: list[AlertEvent] = []
        while self._missing_since is not None and self._due <= index:
            self._now, self._due = self._due, self._due + HOP
            alerts += self._raise([self._no_contact(self._missing_since)])
        self._now = index
        return alerts + self._raise([])

    def _no_contact(self, since: int) -> Finding:
        limit, lead = self._limits.lead_off_s, self.spec.leads[0]
        measured: dict[str, float | str] = {"lead": lead, "state": "no beats", "leads_left": 0.0}
        rule, stated = f"no beat reported for {limit:g} s", {"lead_off_s": limit}
        return Finding("lead_off", since, self._at, rule, stated, measured, lead, last_lead=True)

    def _use_context(self) -> list[AlertEvent]:
        """Apply a context that has changed, and end what it suppresses."""
        current = self._context()
        if current == self._applied:
            return []
        before, self._applied = self._effect, current
        self._effect = effect_of(current, self._limits)
        self._rate.use(self._effect.limits)
        alerts: list[AlertEvent] = []
        for code, reason in closed_by(before, self._effect).items():
            alerts += self._emit(self._alarms.close(code, self._at, reason))
        return alerts

    def _raise(self, findings: list[Finding]) -> list[AlertEvent]:
        if findings and not self._effect.is_none:
            rate_bpm = self._history.heart_rate_bpm(self._at)
            findings = admit(self._effect, findings, rate_bpm)
        return self._emit(self._alarms.step(self._at, findings))

    def _emit(self, transitions: list[Transition]) -> list[AlertEvent]:
        return [
            self._events.event(each, self._history.heart_rate_bpm(each.at), None)
            for each in transitions
        ]
