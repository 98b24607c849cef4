"""One stream, listened to: its monitor, its clock, and the documents that come of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from tocsin_agent.messages.alert import Alert
from tocsin_agent.monitor.alarms.event import AlertEvent
from tocsin_agent.runtime.clock import StreamClock
from tocsin_agent.runtime.document import Identity, compose
from tocsin_dsp.signal import SampleBlock, StreamSpec
from tocsin_models import Models


class Beat(Protocol):
    """What a consumer of reports may ask of a labelled beat."""

    @property
    def r_index(self) -> int: ...  # noqa: D102
    @property
    def label(self) -> str: ...  # noqa: D102


class Report(Protocol):
    """What the monitor says about some samples."""

    @property
    def beats(self) -> Sequence[Beat]: ...  # noqa: D102
    @property
    def alerts(self) -> Sequence[AlertEvent]: ...  # noqa: D102


class Monitor(Protocol):
    """The part of `PatientMonitor` that is needed here; an alarm engine of your own fits too."""

    def push(self, block: SampleBlock) -> Report: ...  # noqa: D102
    def finish(self) -> Report: ...  # noqa: D102
    def source_lost(self) -> Report: ...  # noqa: D102
    def use(self, models: Models) -> Report: ...  # noqa: D102


class StreamReport(NamedTuple):
    """A report on samples up to `position` (exclusive), and its alerts as documents."""

    spec: StreamSpec
    position: int
    report: Report
    alerts: list[Alert]


class PatientStream:
    """Hands samples to a monitor and returns what it says, with UTC, device and codes.

    Parameters
    ----------
    spec : StreamSpec
        The stream.
    monitor : Monitor
        A fresh one.
    clock : StreamClock
        When its samples were taken.
    identity : Identity
        Who rings.

    Attributes
    ----------
    position : int
        Source index after the last sample heard.
    """

    def __init__(
        self, spec: StreamSpec, monitor: Monitor, clock: StreamClock, identity: Identity
    ) -> None:
        self.spec = spec
        self.clock = clock
        self.position = 0
        self._identity = identity
        self._monitor = monitor

    def hear(self, block: SampleBlock) -> StreamReport:
        """Hand samples to the monitor."""
        self.position = block.stop_index
        return self._heard(self._monitor.push(block))

    def observe(self, block: SampleBlock, arrived: datetime, *, steady: bool = False) -> None:
        """Learn what time it is, before a block is heard, from when it arrived (aware UTC).

        `steady` says that this is no arrival, but when the link knows that the block was taken.
        """
        if block.start_index < self.position:  # the device counts from anew
            self.clock = StreamClock.anchored(self.spec.rate_hz, block.stop_index, arrived)
        self.clock.observe(block.stop_index, arrived, steady=steady)

    def finish(self) -> StreamReport:
        """End the stream: what is open ends."""
        return self._heard(self._monitor.finish())

    def use(self, models: Models) -> StreamReport:
        """Go on with other models."""
        return self._heard(self._monitor.use(models))

    def source_lost(self) -> StreamReport:
        """Say that no samples come."""
        return self._heard(self._monitor.source_lost())

    def document(self, event: AlertEvent) -> Alert:
        """Return the document for an event of this stream."""
        return compose(event, clock=self.clock, identity=self._identity, spec=self.spec)

    def _heard(self, report: Report) -> StreamReport:
        alerts = [self.document(event) for event in report.alerts]
        return StreamReport(self.spec, self.position, report, alerts)
