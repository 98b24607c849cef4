"""The agent: one loop that reads a source, monitors it, and commits every alert."""

from __future__ import annotations

import logging
import math
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime

from tocsin_agent.delivery.answering import Vitals
from tocsin_agent.delivery.committer import Committer
from tocsin_agent.delivery.faults import Fault
from tocsin_agent.delivery.store import AlertStore
from tocsin_agent.errors import SourceError
from tocsin_agent.messages.active import MonitorState
from tocsin_agent.messages.alert import ClockState
from tocsin_agent.messages.health import AgentHealth
from tocsin_agent.monitor.alarms.table import UNKNOWN_REASON
from tocsin_agent.retry import Backoff
from tocsin_agent.runtime.clock import StreamClock
from tocsin_agent.runtime.continuity import Continuity
from tocsin_agent.runtime.corrections import Corrections
from tocsin_agent.runtime.document import Identity
from tocsin_agent.runtime.stream import Beat, Monitor, PatientStream, StreamReport
from tocsin_agent.sources.base import EndOfStream, Source
from tocsin_agent.sources.plausibility import FirstLook
from tocsin_agent.sources.settings import SourceSettings
from tocsin_agent.updates.field import FieldModels
from tocsin_agent.wall_clock import WallClock
from tocsin_dsp.signal import MIN_RATE_HZ, SampleBlock, StreamSpec
from tocsin_models import Models

log = logging.getLogger(__name__)

MonitorFactory = Callable[[StreamSpec, Models], Monitor]

_REASON_S = 5.0  # another reason of a lost source is reported so long after the last
_FAULTS_S = 1.0
_POLL_S = 0.25  # the longest wait for samples or for a retry before the periodic work
_PLACEHOLDER = StreamSpec("unreached", MIN_RATE_HZ, ("unknown",))


class Agent:
    """Reads a source, monitors it, and commits every alert before it reads on.

    A recording is read to its end. A live source that sends nothing for `settings.timeout_s` raises
    `source_lost`; one that breaks, or cannot be opened, is opened again until it works.

    Reason for its size: one method for each thing that can happen to a source.

    Parameters
    ----------
    source : Source
        Not yet opened; `run` opens and closes it. A live source should be wrapped in a
        `QueuedSource`, whose `read` returns within its timeout whatever the link does.
    store : AlertStore
        Where alerts are committed: an `Outbox`.
    identity : Identity
        Site, device and patient in the alerts.
    build_monitor : callable
        Returns a monitor for a stream and the models in use.
    models : FieldModels
        The models in use; asked for updates between two blocks, and given each failure.
    settings : SourceSettings
        Timeout and retry times of a live source.
    wake : callable, optional
        Called after each commit, and when a stream begins: the publisher's `wake`.
    delivery_faults : callable, optional
        Returns what does not work in delivering alerts: the publisher's `faults`.
    on_models : callable, optional
        Called with the models in use whenever they change.
    on_report : callable, optional
        Called with each report after its alerts are committed.
    on_block : callable, optional
        Called with each block after its alerts are committed, the clock, and the new beats.
    turn : context manager, optional
        Entered while a block is analysed; see `Turns`.

    Attributes
    ----------
    turned_s : float
        Monotonic time at which the loop turned last; infinite once it has ended.
    work : Work
        What was analysed.
    """

    def __init__(
        self,
        source: Source,
        store: AlertStore,
        *,
        identity: Identity,
        build_monitor: MonitorFactory,
        models: FieldModels,
        settings: SourceSettings,
        wake: Callable[[], None] = lambda: None,
        delivery_faults: Callable[[], Sequence[Fault]] = tuple,
        on_models: Callable[[Models], None] = lambda _: None,
        on_report: Callable[[StreamReport], None] = lambda _: None,
        on_block: Callable[[SampleBlock, StreamClock, Sequence[Beat]], None] | None = None,
        turn: AbstractContextManager[None] | None = None,
    ) -> None:
        self._on_block, self._turn = on_block, turn or nullcontext()
        self.committer, self._wake = Committer(store, wake), wake
        self._source, self._settings = source, settings
        self._identity, self._build_monitor, self._models = identity, build_monitor, models
        self._on_models, self._on_report = on_models, on_report
        self._delivery_faults, self._faults_at_s = delivery_faults, 0.0
        self._stream: PatientStream | None = None
        self._first_look = FirstLook(_PLACEHOLDER)
        self._silence = _Silence()
        self._wall, self._corrections = WallClock(), Corrections()
        self._abandoned = False
        self.work = Work()
        self.turned_s = time.monotonic()

    def run(self, stop: threading.Event) -> None:
        """Monitor until the source ends or `stop` is set.

        Episodes that are open when the agent is stopped, or when its source fails for good, stay
        open in the store: nobody says that they are over. The next run continues them or ends them
        as unknown (`Continuity`), except where it reads the same recording: there their end will
        come up again.

        Raises
        ------
        SourceError
            If a recording cannot be read. Alerts of the samples before that are committed.
        MissingExtraError
            If the package that a live source needs is not installed.
        DeliveryError
            If alerts are lost: neither the store nor the broker took them before the end.
        """
        self._silence.since_s = self.turned_s = time.monotonic()
        try:
            if self._open(stop):
                self._read(stop)
        finally:
            self._source.close()
            if not self._abandoned:
                self.committer.close()
            self.turned_s = math.inf  # it has ended, and does not stand still

    def commit_fault(self, fault: Fault) -> None:
        """Commit a fault at once, where `run` was not called."""
        self._commit(self._stream_or_placeholder().fault(fault))

    def abandon(self) -> None:
        """Commit nothing any more: another agent monitors the patient; any thread.

        A thread cannot be ended from outside: one that stands still ends when it turns again.
        """
        self._abandoned = True
        # It may wait for a device, which the next agent needs.
        threading.Thread(target=self._source.close, name="tocsin-close", daemon=True).start()

    def health(self) -> AgentHealth:
        """Return the agent's part of the health message; any thread."""
        stream = self._stream
        return AgentHealth(
            stream=stream.spec.stream_id if stream else None,
            position_s=stream.position / stream.spec.rate_hz if stream else None,
            silent_s=time.monotonic() - self._silence.since_s,
            source_lost=self._silence.lost,
            source=getattr(self._source, "health", None),
            held_in_memory=self.committer.held,
            clock=ClockState.SYNCHRONISED if self._wall.is_set else ClockState.UNSYNCHRONISED,
            clock_drift_ppm=stream.clock.drift_ppm if stream else None,
            models=self._models.health(),
        )

    def vitals(self) -> Vitals:
        """Return what the open alerts are shown with; any thread."""
        stream = self._stream
        if stream is None:
            return Vitals()
        state = MonitorState.SOURCE_LOST if self._silence.lost else MonitorState.MONITORING
        known = stream.vitals
        return Vitals(state, known.heart_rate_bpm, known.signal_quality)

    def use_settings(self, settings: SourceSettings) -> None:
        """Use other times for a lost source from here on; any thread."""
        self._settings = settings

    def lead_quality(self) -> dict[str, float]:
        """Return the quality of each lead, 0 to 1, as in alerts; any thread."""
        quality = self._stream.vitals.signal_quality if self._stream is not None else None
        return dict(quality.leads) if quality is not None else {}

    def _read(self, stop: threading.Event) -> None:
        """Read and monitor blocks until the source ends or `stop` is set."""
        while not (stop.is_set() or self._abandoned):
            try:
                block = self._source.read(_POLL_S)
            except EndOfStream:
                self._finish()
                return
            except SourceError as error:
                if self._source.finite:
                    raise
                log.warning("the source is lost: %s", error)
                self._source.close()
                if not self._open(stop):
                    return
                continue
            if block is not None and len(block):
                self._push(block)
            self._periodic()
        return

    def _open(self, stop: threading.Event) -> bool:
        """Open the source, a live one with retries; return False if stopped before it opens."""
        backoff = Backoff(self._settings.retry_first_s, self._settings.retry_max_s)
        while not (stop.is_set() or self._abandoned):
            try:
                self._source.open()
            except SourceError as error:
                if self._source.finite:
                    raise
                wait_s = backoff.next_s()
                level = logging.DEBUG if str(error) == self._silence.fault else logging.WARNING
                log.log(level, "cannot open the source: %s; tried again until it opens", error)
                self._silence.fault = str(error)
            else:
                self._silence.fault = None
                return True
            until_s = time.monotonic() + wait_s
            while (left_s := until_s - time.monotonic()) > 0 and not stop.is_set():
                stop.wait(min(left_s, _POLL_S))
                self._periodic()
        return False

    def _push(self, block: SampleBlock) -> None:
        taken_utc = self._source.stop_utc
        now = taken_utc or datetime.now(UTC)
        stream = self._stream
        begins = stream is None or stream.spec != block.spec
        if stream is None or begins:
            if self._source.finite:
                self._finish()
            stream = self._stream = self._begin(block, now)
            self._first_look = FirstLook(block.spec)
        elif self._source.start_utc is None and not self._source.finite:
            stream.synchronise(block, now, exact=taken_utc is not None)
        self._silence.since_s, self._silence.lost = time.monotonic(), False
        began_s = time.thread_time()
        with self._turn:
            report = stream.push(block)
        self.work.add(len(block), time.thread_time() - began_s)
        self._commit(report)
        if self._on_block is not None:
            self._on_block(block, stream.clock, report.report.beats)
        for event in self._first_look.take(block):
            self._commit(stream.device_event(event))
        if begins:
            self._wake()  # receivers are to know that this patient is monitored

    def _begin(self, block: SampleBlock, now: datetime) -> PatientStream:
        """Begin a stream; its clock is that of the source, else the arrival of this block."""
        log.info("monitoring %s", block.spec.stream_id)
        if self._source.finite:
            self.committer.end_orphans(block.spec.stream_id, now)
        start_utc = self._source.start_utc
        rate_hz = block.spec.rate_hz
        if start_utc is not None:
            clock = StreamClock(rate_hz, start_utc)
        else:
            # A recording without a date begins now; a live source delivers what was just taken.
            index = block.start_index if self._source.finite else block.stop_index
            clock = StreamClock.anchored(rate_hz, index, now)
        monitor = self._build_monitor(block.spec, self._models.models)
        continuity = None
        if not self._source.finite:
            continuity = Continuity(
                uuid.uuid4().hex,
                self.committer.left_open(),
                stream_id=block.spec.stream_id,
                start_index=block.start_index,
                rate_hz=rate_hz,
            )
        return PatientStream(block.spec, monitor, clock, self._identity, continuity)

    def _finish(self) -> None:
        if self._stream is not None:
            self._commit(self._stream.finish())
            self._stream = None

    def _commit(self, report: StreamReport) -> None:
        if self._abandoned:
            raise AbandonedError
        self.committer.commit(report.alerts)
        if not self._source.finite:
            self._corrections.note(report.alerts)
        self.committer.keep(report.trends)
        for failure in report.report.failures:
            if (models := self._models.failed(failure.name, failure.failed)) is not None:
                self._on_models(models)
        self._on_report(report)

    def _periodic(self) -> None:
        """Do the work that is due with and without samples."""
        self.turned_s = time.monotonic()
        self._follow_clock()
        self._report_silence()
        for event in self._source.take_events():
            self._commit(self._stream_or_placeholder().device_event(event))
        if (models := self._models.update()) is not None:
            self._on_models(models)
            if self._stream is not None:
                log.info("other models from sample %d on: %s", self._stream.position, models.hashes)
                self._commit(self._stream.use(models))
        self.committer.retry()
        pressure = self.committer.pressure()
        if self._stream is not None and pressure is not None and pressure.pressed:
            self._commit(self._stream.outbox_pressure(pressure))
        self._raise_faults()

    def _raise_faults(self) -> None:
        """Raise, once a second, what does not work in keeping and delivering alerts."""
        if (now_s := time.monotonic()) < self._faults_at_s:
            return
        self._faults_at_s = now_s + _FAULTS_S
        faults = self.committer.faults()
        for fault in [*faults, *self._delivery_faults()]:
            self._commit(self._stream_or_placeholder().fault(fault))
        if faults:
            self.committer.losses_raised()

    def _follow_clock(self) -> None:
        """Raise that the clock of this gateway was set, and put the times of alerts right."""
        seconds = self._wall.step()
        if seconds is None or self._source.finite:
            return
        log.warning("the clock of this gateway was set by %+.1f s", seconds)
        if self._stream is None:
            return
        corrected = self._corrections.after(seconds)
        for alert in corrected:
            self._stream.count_extra(alert.alert_id)
        self.committer.commit(corrected)
        self._commit(self._stream.clock_was_set(seconds))

    def _report_silence(self) -> None:
        """Raise `source_lost` when a live source has been silent; update it with a new reason."""
        silence, now_s = self._silence, time.monotonic()
        silent_s = now_s - silence.since_s
        if self._source.finite or silent_s < self._settings.timeout_s:
            return
        reason = self._source.why_silent() or silence.fault
        if silence.lost and (reason in {None, silence.reason} or now_s < silence.next_reason_s):
            return
        silence.lost, silence.reason = True, reason
        silence.next_reason_s = now_s + _REASON_S
        log.warning("no samples for %.1f s: %s", silent_s, reason or UNKNOWN_REASON)
        self._commit(self._stream_or_placeholder().source_lost(reason))

    def _stream_or_placeholder(self) -> PatientStream:
        """Return the stream; before the first sample one that can raise technical alarms."""
        if self._stream is None:
            monitor = self._build_monitor(_PLACEHOLDER, self._models.models)
            self._stream = _placeholder(monitor, self._identity)
        return self._stream


class AbandonedError(Exception):
    """The agent was replaced by another one while it stood still."""


@dataclass(slots=True)
class Work:
    """What was analysed since the start, and the CPU time that it took."""

    blocks: int = 0
    samples: int = 0
    cpu_s: float = 0.0

    def add(self, samples: int, cpu_s: float) -> None:
        """Count a block."""
        self.blocks += 1
        self.samples += samples
        self.cpu_s += cpu_s


@dataclass(slots=True)
class _Silence:
    """Since when no samples have arrived, and what was reported about it; times are monotonic."""

    since_s: float = 0.0
    lost: bool = False  # `source_lost` is active
    reason: str | None = None  # as it states it
    next_reason_s: float = 0.0  # when another may be reported
    fault: str | None = None  # why the source could not be opened


def _placeholder(monitor: Monitor, identity: Identity) -> PatientStream:
    """Return a stream for a source that never opened, so that `source_lost` can be raised."""
    now = datetime.now(UTC)
    clock = StreamClock(_PLACEHOLDER.rate_hz, now)
    continuity = Continuity(
        uuid.uuid4().hex, stream_id=_PLACEHOLDER.stream_id, start_index=0, rate_hz=clock.rate_hz
    )
    return PatientStream(_PLACEHOLDER, monitor, clock, identity, continuity)
