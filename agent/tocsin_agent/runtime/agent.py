"""The agent: samples in, alerts committed, one loop."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from tocsin_agent.delivery.committer import Committer
from tocsin_agent.delivery.store import AlertStore
from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.runtime.clock import StreamClock
from tocsin_agent.runtime.document import Identity
from tocsin_agent.runtime.stream import Monitor, PatientStream, StreamReport
from tocsin_agent.sources.base import EndOfStream, Source
from tocsin_agent.sources.settings import SourceSettings
from tocsin_dsp.signal import MIN_RATE_HZ, SampleBlock, StreamSpec
from tocsin_models import Models

log = logging.getLogger(__name__)

_POLL_S = 0.25
_PRESSURE_EVERY_S = 2.0
# What may pass while nobody touches the configuration; anything else is told to a person at once.
_PASSING = frozenset({SourceFault.LOST, SourceFault.UNREACHABLE})


class Agent:
    """Reads a source, has it monitored, and commits every alert before it reads on.

    A recording is read to its end. A live link is watched: silence for `settings.timeout_s` rings
    `source_lost`, and a broken link is opened again, for ever.

    Parameters
    ----------
    source : Source
        Not yet opened; opened and closed by `run`. A live link should come in a `QueuedSource`,
        whose `read` keeps its timeout whatever the link does.
    outbox : AlertStore
        Where alerts are committed: an `Outbox`.
    identity : Identity
        Who rings.
    build_monitor : callable
        Makes the monitor of a stream.
    settings : SourceSettings
        Timeout and retry times of a live link.
    wake : callable, optional
        Told after each commit: the publisher's `wake`.
    new_models : callable, optional
        Asked between blocks; returns the models to go on with, or None to keep those in use.
    on_report : callable, optional
        Told after each commit what was heard, for those who want to look on.
    """

    def __init__(
        self,
        source: Source,
        outbox: AlertStore,
        *,
        identity: Identity,
        build_monitor: Callable[[StreamSpec], Monitor],
        settings: SourceSettings,
        wake: Callable[[], None] = lambda: None,
        new_models: Callable[[], Models | None] = lambda: None,
        on_report: Callable[[StreamReport], None] = lambda _: None,
    ) -> None:
        self.committer = Committer(outbox, wake)
        self._source, self._settings = source, settings
        self._identity, self._build_monitor, self._on_heard = identity, build_monitor, on_report
        self._new_models = new_models
        self._listener: PatientStream | None = None
        self._last_samples_s = 0.0  # monotonic, as the next two
        self._look_at_outbox_s = 0.0
        self._lost = False

    def run(self, stop: threading.Event) -> None:
        """Listen until the source ends or `stop` is set.

        Episodes that are open when it is stopped stay open in the outbox; the next run ends them
        unless it listens to the same recording, and so will meet their end.

        Raises
        ------
        SourceError
            If a recording cannot be read, or a live link cannot work as it is configured. Alerts
            of the samples before that are committed.
        DeliveryError
            If alerts are lost because they could not be committed to the very end.
        """
        self._last_samples_s = time.monotonic()
        try:
            if self._open(stop):
                self._listen(stop)
        finally:
            self._source.close()
            self.committer.close()

    def health(self) -> dict[str, object]:
        """Tell how the listening is doing; any thread."""
        listener = self._listener
        source = getattr(self._source, "health", None)
        return {
            "stream": listener.spec.stream_id if listener else None,
            "position_s": listener.position / listener.spec.rate_hz if listener else None,
            "silent_s": time.monotonic() - self._last_samples_s,
            "source_lost": self._lost,
            "source": source,
            "held_in_memory": self.committer.held,
            "clock_drift_ppm": listener.clock.drift_ppm if listener else None,
        }

    def _listen(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                block = self._source.read(_POLL_S)
            except EndOfStream:
                return self._finish()
            except SourceError as error:
                if self._is_final(error):
                    self._finish()
                    raise
                log.warning("the source is lost: %s", error)
                self._source.close()
                if not self._open(stop):
                    return None
                continue
            if block is not None and len(block):
                self._hear(block)
            self._look_around()
        return None

    def _open(self, stop: threading.Event) -> bool:
        """Open the source, a live one as often as it takes; False if stopped meanwhile."""
        wait_s = self._settings.retry_first_s
        while not stop.is_set():
            try:
                self._source.open()
            except SourceError as error:
                if self._is_final(error):
                    raise
                log.warning("the source does not open: %s; next try in %.1f s", error, wait_s)
            else:
                return True
            until_s = time.monotonic() + wait_s
            while (left_s := until_s - time.monotonic()) > 0 and not stop.is_set():
                stop.wait(min(left_s, _POLL_S))
                self._look_around()
            wait_s = min(2.0 * wait_s, self._settings.retry_max_s)
        return False

    def _is_final(self, error: SourceError) -> bool:
        return self._source.finite or error.reason not in _PASSING

    def _hear(self, block: SampleBlock) -> None:
        taken = self._source.stop_utc
        now = taken or datetime.now(UTC)
        listener = self._listener
        if listener is None or listener.spec != block.spec:
            self._finish()
            listener = self._listener = self._begin(block, now)
        elif self._source.start_utc is None and not self._source.finite:
            listener.observe(block, now, steady=taken is not None)
        self._last_samples_s, self._lost = time.monotonic(), False
        self._tell(listener.hear(block))

    def _begin(self, block: SampleBlock, now: datetime) -> PatientStream:
        """Meet a stream; its clock is what the source knows, or else when this block came."""
        log.info("listening to %s", block.spec.stream_id)
        self.committer.end_orphans(block.spec.stream_id, now)
        known = self._source.start_utc
        # A recording that knows no time began when it was opened; a link delivers what just was.
        here = block.start_index if self._source.finite else block.stop_index
        rate_hz = block.spec.rate_hz
        clock = StreamClock(rate_hz, known) if known else StreamClock.anchored(rate_hz, here, now)
        return PatientStream(block.spec, self._build_monitor(block.spec), clock, self._identity)

    def _finish(self) -> None:
        if self._listener is not None:
            self._tell(self._listener.finish())
            self._listener = None

    def _tell(self, heard: StreamReport) -> None:
        self.committer.commit(heard.alerts)
        self._on_heard(heard)

    def _look_around(self) -> None:
        """Do what is due whether or not samples came."""
        now_s = time.monotonic()
        silent_s = now_s - self._last_samples_s
        if not (self._source.finite or self._lost) and silent_s >= self._settings.timeout_s:
            self._lost = True
            log.warning("no samples for %.1f s", silent_s)
            if self._listener is None:
                self._listener = self._placeholder()
            self._tell(self._listener.source_lost())
        if (models := self._new_models()) is not None and self._listener is not None:
            log.info("other models from sample %d on: %s", self._listener.position, models.hashes)
            self._tell(self._listener.use(models))
        self.committer.retry()
        if self._listener is not None and now_s >= self._look_at_outbox_s:
            self._look_at_outbox_s = now_s + _PRESSURE_EVERY_S
            event = self.committer.pressure(self._listener.spec.stream_id, self._listener.position)
            if event is not None:
                self.committer.commit([self._listener.document(event)])

    def _placeholder(self) -> PatientStream:
        """Stand in for a stream that was never reached; named by the time, so it rings each run."""
        now = datetime.now(UTC)
        name = f"{self._identity.site}/{self._identity.device}/unreached/{now.isoformat()}"
        spec = StreamSpec(name, MIN_RATE_HZ, ("unknown",))
        monitor = self._build_monitor(spec)
        return PatientStream(spec, monitor, StreamClock(MIN_RATE_HZ, now), self._identity)
