"""One stream of a patient: its monitor, its clock, and its alert documents."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

import msgspec

from tocsin_agent.delivery.faults import Fault
from tocsin_agent.delivery.store import Pressure
from tocsin_agent.messages.alert import Alert, ClockState
from tocsin_agent.messages.trend import Trend
from tocsin_agent.monitor.alarms.context import Suppression
from tocsin_agent.monitor.alarms.event import AlertEvent
from tocsin_agent.monitor.report import MonitorVitals
from tocsin_agent.monitor.timeline import Failure
from tocsin_agent.monitor.trends import MinuteTrend
from tocsin_agent.runtime.clock import StreamClock
from tocsin_agent.runtime.continuity import Continuity
from tocsin_agent.runtime.document import Identity, compose, compose_trend
from tocsin_agent.sources.base import DeviceEvent
from tocsin_agent.wall_clock import LEAST_STEP_S, is_set
from tocsin_dsp.signal import SampleBlock, StreamSpec
from tocsin_models import Models


class Beat(Protocol):
    """The part of a labelled beat that users of a report read."""

    @property
    def r_index(self) -> int: ...  # noqa: D102
    @property
    def label(self) -> str: ...  # noqa: D102


class Report(Protocol):
    """What a monitor returns for some samples."""

    @property
    def beats(self) -> Sequence[Beat]: ...  # noqa: D102
    @property
    def alerts(self) -> Sequence[AlertEvent]: ...  # noqa: D102
    @property
    def failures(self) -> Sequence[Failure]: ...  # noqa: D102
    @property
    def trends(self) -> Sequence[MinuteTrend]: ...  # noqa: D102
    @property
    def suppressed(self) -> Sequence[Suppression]: ...  # noqa: D102


class Monitor(Protocol):
    """The part of `PatientMonitor` that a stream uses; another alarm engine can take its place."""

    def push(self, block: SampleBlock) -> Report: ...  # noqa: D102
    def finish(self) -> Report: ...  # noqa: D102
    def source_lost(self, reason: str | None = None) -> Report: ...  # noqa: D102
    def device_event(  # noqa: D102
        self, code: str, rule: str, subject: str, measured: dict[str, float | str], *, over: bool
    ) -> Report: ...
    def fault(  # noqa: D102
        self, code: str, rule: str, subject: str, measured: dict[str, float | str]
    ) -> Report: ...
    def outbox_pressure(  # noqa: D102
        self, pending: int, dropped: int, max_pending: int
    ) -> Report: ...
    def use(self, models: Models) -> Report: ...  # noqa: D102
    def vitals(self) -> MonitorVitals: ...  # noqa: D102


class StreamReport(NamedTuple):
    """A monitor's report, and its alerts and trends as documents.

    `position` is the next source index; `suppressed` has code, time and reason of each condition
    that raised no alarm because of the patient's context.
    """

    spec: StreamSpec
    position: int
    report: Report
    alerts: list[Alert]
    trends: Sequence[Trend] = ()
    suppressed: Sequence[tuple[str, datetime, str]] = ()


class PatientStream:
    """Pushes samples to a monitor, and completes its alert events with UTC, device and codes.

    Reason for its size: one method for each thing that can happen to a stream.

    Parameters
    ----------
    spec : StreamSpec
        The stream.
    monitor : Monitor
        A new one.
    clock : StreamClock
        When the samples were taken.
    identity : Identity
        Site, device and patient in the documents.
    continuity : Continuity, optional
        Of a live stream: gives its alerts ids that no other run gives.

    Attributes
    ----------
    position : int
        Source index after the last sample pushed.
    vitals : Vitals
        Heart rate and signal quality after the last sample pushed.
    """

    def __init__(
        self,
        spec: StreamSpec,
        monitor: Monitor,
        clock: StreamClock,
        identity: Identity,
        continuity: Continuity | None = None,
    ) -> None:
        self.spec = spec
        self.clock = clock
        self.position = 0
        self.vitals = MonitorVitals(None, None)
        self._identity = identity
        self._monitor = monitor
        self._continuity = continuity

    def push(self, block: SampleBlock) -> StreamReport:
        """Monitor a block of samples."""
        self.position = block.stop_index
        return self._complete(self._monitor.push(block))

    def synchronise(self, block: SampleBlock, utc: datetime, *, exact: bool = False) -> None:
        """Adjust the clock to a block, before it is pushed.

        Parameters
        ----------
        block : SampleBlock
        utc : datetime
            Aware UTC of the end of the block: when it arrived.
        exact : bool
            `utc` is when the device took the last sample, free of the jitter of the link.
        """
        if block.start_index < self.position:  # the device counts from zero again
            self.clock = StreamClock.anchored(self.spec.rate_hz, block.stop_index, utc)
        self.clock.observe(block.stop_index, utc, exact=exact)

    def finish(self) -> StreamReport:
        """End a recording, and with it every open episode."""
        return self._complete(self._monitor.finish())

    def use(self, models: Models) -> StreamReport:
        """Use other models from here on."""
        return self._complete(self._monitor.use(models))

    def source_lost(self, reason: str | None = None) -> StreamReport:
        """Raise `source_lost`, or update it with another reason."""
        return self._complete(self._monitor.source_lost(reason))

    def device_event(self, event: DeviceEvent) -> StreamReport:
        """Raise, or end, what the device itself reported."""
        code, rule, subject, measured, over = event
        return self._complete(self._monitor.device_event(code, rule, subject, measured, over=over))

    def clock_was_set(self, seconds: float) -> StreamReport:
        """Take over that the clock of the gateway was set by so many seconds, and raise it."""
        if self._continuity is not None:
            self.clock.set_by(seconds)
        rule = f"the clock of the gateway was set by more than {LEAST_STEP_S:g} s"
        measured: dict[str, float | str] = {"seconds": round(seconds, 1)}
        report = self._monitor.device_event("clock_step", rule, "", measured, over=False)
        return self._complete(report)

    def count_extra(self, alert_id: str) -> None:
        """Count a document of an alert of this stream that its monitor did not make."""
        if self._continuity is not None:
            self._continuity.count_extra(alert_id)

    def fault(self, fault: Fault) -> StreamReport:
        """Raise, or continue, what does not work in keeping or delivering alerts."""
        measured: dict[str, float | str] = {
            "fault": fault.subject,
            "reason": fault.reason,
            "consequence": fault.consequence,
        }
        rule = f"{fault.code}: {fault.subject}".replace("_", " ")
        return self._complete(self._monitor.fault(fault.code, rule, fault.subject, measured))

    def outbox_pressure(self, pressure: Pressure) -> StreamReport:
        """Raise `outbox_pressure`, or continue it."""
        pending, dropped, limit = pressure.pending, pressure.dropped, pressure.max_pending
        return self._complete(self._monitor.outbox_pressure(pending, dropped, limit))

    def document(self, event: AlertEvent) -> Alert:
        """Return the document for an event of this stream."""
        return compose(event, clock=self.clock, identity=self._identity, spec=self.spec)

    def _complete(self, report: Report) -> StreamReport:
        alerts = [self.document(event) for event in report.alerts]
        if self._continuity is not None:
            now = self.clock.utc(self.position)
            alerts = [self._continuity.take(alert) for alert in alerts]
            alerts = self._continuity.due(self.position, now) + alerts
            alerts = [_with_clock(alert) for alert in alerts]
        self.vitals = self._monitor.vitals()
        trends = [
            compose_trend(minute, clock=self.clock, identity=self._identity, spec=self.spec)
            for minute in report.trends
        ]
        suppressed = [(one.code, self.clock.utc(one.at), one.reason) for one in report.suppressed]
        return StreamReport(self.spec, self.position, report, alerts, trends, suppressed)


def _with_clock(alert: Alert) -> Alert:
    """Return an alert that states where the clock had not been set when it was made."""
    if is_set(alert.detected_at):
        return alert
    return msgspec.structs.replace(alert, clock=ClockState.UNSYNCHRONISED)
