"""What several commands use: a clean stop, the agent's user and outbox, an alert on one line."""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tocsin_agent.messages.alert import Alert

_USER, _FOLDER = "tocsin", Path("/var/lib/tocsin")  # as the package makes them
_STOPPING = (signal.SIGTERM, signal.SIGINT)
_COLOURS = {"high": "red", "medium": "yellow", "low": "cyan"}


class FiniteRange(click.FloatRange):
    """A range of numbers, without `nan` and `inf`, which `click` takes."""

    def convert(
        self, value: float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number, or fail with what is expected."""
        found = float(super().convert(value, param, ctx))
        if not math.isfinite(found):
            self.fail(f"{value} is no number", param, ctx)
        return found


@contextmanager
def stopped_by_signals() -> Iterator[tuple[threading.Event, list[int]]]:
    """Turn SIGTERM and SIGINT into an event; a second signal ends the process at once.

    That loses no alert: all are committed by then, and the next start publishes what the broker
    has not acknowledged.

    Yields
    ------
    tuple of Event and list of int
        Set by the first signal; the signals received.
    """
    stop, received = threading.Event(), list[int]()

    def on_signal(number: int, _: FrameType | None) -> None:
        if received:
            os._exit(128 + number)
        received.append(number)
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in _STOPPING}
    try:
        yield stop, received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def holding_sighup() -> Iterator[None]:
    """Have a SIGHUP wait for `on_sighup`; the default would end a process that starts or stops.

    A program that replaces this one (exec) inherits that, and what waits.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    main = threading.main_thread().ident
    assert main is not None  # noqa: S101 - it runs
    # Another thread took it, such as one of NumPy's: let it wait in the main one.
    before = signal.signal(signal.SIGHUP, lambda *_: signal.pthread_kill(main, signal.SIGHUP))
    try:
        yield
    finally:
        # Nobody is left for one that waits still, or that another thread takes just now.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def on_sighup(call: Callable[[], None]) -> Iterator[None]:
    """Call a function at each SIGHUP, and at one that waited (`holding_sighup`)."""
    before = signal.signal(signal.SIGHUP, lambda *_: call())
    mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGHUP, before)


def alert_line(alert: Alert, rate_hz: float) -> str:
    """Return an alert as one line for a terminal: time, priority, text, code."""
    from tocsin_agent.messages.alert import Phase

    at_s = alert.onset_index / rate_hz
    took_s = (alert.detected_index - alert.onset_index) / rate_hz
    name = alert.code.replace("_", " ")
    mark = click.style(f"{alert.priority:<6}", fg=_COLOURS[alert.priority], bold=True)
    if alert.phase is Phase.ONSET:
        return f"{_clock(at_s)}  {mark}  {alert.text}  ({name}, detected after {took_s:.1f} s)"
    faint = click.style(f"{alert.phase}: {alert.text}", dim=True)
    return f"{_clock(at_s + took_s)}  {mark}  {faint}  ({name} since {_clock(at_s)})"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60.0)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:04.1f}"


def made() -> dict[str, str]:
    """Return how and when a result was made: the command line and the time."""
    stamp = datetime.now(UTC).isoformat(timespec="seconds")
    return {"command": " ".join(["tocsin", *sys.argv[1:]]), "generated_at": stamp}


def agent_user() -> tuple[int, int] | None:
    """Return user and group of the agent, if this is root and the package is installed."""
    import pwd

    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(_USER)
    except KeyError:
        return None
    return entry.pw_uid, entry.pw_gid


def become_the_user(file: Path) -> None:
    """Go on with the agent's rights, if the package's configuration is used.

    Root may read and open everything, and its files would not be the agent's.
    """
    if (user := agent_user()) is None or file.parent != Path("/etc/tocsin"):
        return
    os.chdir(_FOLDER)
    os.initgroups(_USER, user[1])
    os.setgid(user[1])
    os.setuid(user[0])


def outbox_folder(outbox: Path) -> Path:
    """Return the folder that the path of an outbox starts from: the one in which an agent answers.

    The agent's working directory is that of its service; a command may be started elsewhere.
    """
    from tocsin_agent.runtime.inquiry import socket_of

    return next((f for f in (_FOLDER, Path()) if socket_of(f / outbox).exists()), Path())
