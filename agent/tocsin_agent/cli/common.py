"""What several commands need: an address, a log, a clean stop, an alert on one line."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import FrameType
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tocsin_agent.messages.alert import Alert
    from tocsin_agent.monitor.patient import PatientMonitor
    from tocsin_agent.monitor.rhythm.limits import Limits
    from tocsin_agent.sources.base import Source
    from tocsin_agent.sources.settings import SourceSettings
    from tocsin_dsp.signal import StreamSpec
    from tocsin_models import Models

_STOPPING = (signal.SIGTERM, signal.SIGINT)
_COLOURS = {"high": "red", "medium": "yellow", "low": "cyan"}


def log_to_stderr(level: str) -> None:
    """Write the program's own messages to stderr, with UTC, as a service manager keeps them."""
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    formatter.default_time_format = "%Y-%m-%dT%H:%M:%S"
    formatter.default_msec_format = "%s.%03dZ"
    formatter.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


@contextmanager
def stopped_by_signals() -> Iterator[tuple[threading.Event, list[int]]]:
    """Turn SIGTERM and SIGINT into an event; a second one leaves at once.

    Everything that rang is committed by then, so leaving at once loses nothing: what the broker
    has not acknowledged is sent after the next start.

    Yields
    ------
    tuple of Event and list of int
        Set when a signal came, and the signals that came.
    """
    stop, came = threading.Event(), list[int]()

    def on_signal(number: int, _: FrameType | None) -> None:
        if came:
            os._exit(128 + number)
        came.append(number)
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in _STOPPING}
    try:
        yield stop, came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def asked_by_sighup(ask: Callable[[], None]) -> Iterator[None]:
    """Have SIGHUP ask for something."""
    before = signal.signal(signal.SIGHUP, lambda *_: ask())
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def source_from(settings: SourceSettings) -> Source:
    """Return the source that a configuration describes: paced, or behind a queue if it is live."""
    from tocsin_agent.retry import Backoff
    from tocsin_agent.sources.files.table import TableOptions
    from tocsin_agent.sources.opening import open_source
    from tocsin_agent.sources.pacing import PacedSource
    from tocsin_agent.sources.queued import QueuedSource

    source = open_source(
        settings.uri,
        block_s=settings.block_s,
        leads=settings.leads or None,
        table=TableOptions(
            rate_hz=settings.rate_hz,
            unit=settings.unit,
            gain=settings.gain,
            baseline=settings.baseline,
        ),
    )
    if not source.finite:
        return QueuedSource(
            source,
            settings.queue_s,
            backoff=Backoff(settings.retry_first_s, settings.retry_max_s),
        )
    return source if settings.speed == "max" else PacedSource(source, settings.speed)


def monitor_builder(
    limits: Limits, models: Models | Callable[[], Models]
) -> Callable[[StreamSpec], PatientMonitor]:
    """Return what makes the monitor of a stream, with the models that there are then."""
    from tocsin_agent.monitor.patient import PatientMonitor

    return lambda spec: PatientMonitor(spec, limits, models() if callable(models) else models)


def alert_line(alert: Alert, rate_hz: float) -> str:
    """Return an alert as a person reads it on a terminal: when, how grave, what."""
    from tocsin_agent.messages.alert import Phase

    at_s = alert.onset_index / rate_hz
    took_s = (alert.detected_index - alert.onset_index) / rate_hz
    name = alert.code.replace("_", " ")
    mark = click.style(f"{alert.priority:<6}", fg=_COLOURS[alert.priority], bold=True)
    if alert.phase is Phase.ONSET:
        return f"{_clock(at_s)}  {mark}  {alert.text}  ({name}, rang after {took_s:.1f} s)"
    faint = click.style(f"{alert.phase}: {alert.text}", dim=True)
    return f"{_clock(at_s + took_s)}  {mark}  {faint}  ({name} since {_clock(at_s)})"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60.0)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:04.1f}"


def made() -> dict[str, str]:
    """Say how and when a result came about: the command line and the time."""
    stamp = datetime.now(UTC).isoformat(timespec="seconds")
    return {"command": " ".join(["tocsin", *sys.argv[1:]]), "generated_at": stamp}
