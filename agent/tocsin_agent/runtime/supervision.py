"""Supervision: the service manager is fed only while monitoring and delivery turn.

The agent's loop and the publisher's thread each state when they turned last. A thread of its own
looks at both every second, and feeds the watchdog of systemd (`sd_notify`, WatchdogSec) while they
turn and samples flow or `source_lost` is raised. A thread that stands still cannot be ended in
Python: the process is replaced by a new one of itself, which raises `monitor_stalled`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, Self

from tocsin_agent.delivery.faults import Fault
from tocsin_agent.messages.health import AgentHealth
from tocsin_agent.runtime.launch import start_again

log = logging.getLogger(__name__)

MONITOR_STALLED = "monitor_stalled"
STALLED_VARIABLE = "_TOCSIN_STALLED"
"""Carries what stood still from a process to the one that replaces it."""
_LOOK_S = 1.0
_OWN_PAUSE = 3.0  # looks
_SOURCE_GRACE_S = 10.0


class ServiceManager:
    """Talks to systemd by `NOTIFY_SOCKET`; without one, it does nothing.

    Parameters
    ----------
    environ : mapping
        The environment.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        name = environ.get("NOTIFY_SOCKET", "")
        self._address = f"\0{name[1:]}" if name.startswith("@") else name

    def notify(self, state: str) -> None:
        """Send a state such as `READY=1`; never raises, never waits."""
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.setblocking(False)
            out.sendto(state.encode(), self._address)


class Pulse(NamedTuple):
    """When a thread turned last, how long it may take, and what it does; times are monotonic."""

    what: str
    turned_s: Callable[[], float]
    most_s: float


def standing_still(pulses: list[Pulse], now_s: float) -> Pulse | None:
    """Return the first thread that has not turned within its time."""
    return next((pulse for pulse in pulses if now_s - pulse.turned_s() > pulse.most_s), None)


def source_is_followed(health: AgentHealth | None, timeout_s: float) -> bool:
    """Return whether samples flow, or their absence is raised; True before there is an agent."""
    if health is None or health.source_lost or health.source is None:
        return True  # a recording is read as fast as it can be
    return health.silent_s <= timeout_s + _SOURCE_GRACE_S


class Supervisor:
    """Feeds the service manager, and replaces a process whose threads stand still.

    A context manager with a thread of its own.

    Parameters
    ----------
    manager : ServiceManager
        Is fed.
    pulses : callable
        Returns the threads that must turn.
    followed : callable
        Returns whether samples flow, or their absence is raised.
    replace : callable
        Called with what stands still; replaces the process.
    restart : callable, optional
        Called before that; True if it has started what stands still again alone.
    look_s : float
        Time between two looks.

    Attributes
    ----------
    handing_over : bool
        Set before the end of a process that becomes another version of the agent.
    """

    def __init__(
        self,
        manager: ServiceManager,
        pulses: Callable[[], list[Pulse]],
        *,
        followed: Callable[[], bool] = lambda: True,
        replace: Callable[[str], None],
        restart: Callable[[str], bool] = lambda _: False,
        look_s: float = _LOOK_S,
    ) -> None:
        self.handing_over = False
        self._manager, self._pulses = manager, pulses
        self._followed, self._replace, self._restart = followed, replace, restart
        self._look_s = look_s
        self._looked_s = time.monotonic()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tocsin-supervisor", daemon=True)

    def __enter__(self) -> Self:
        self._looked_s = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        if not self.handing_over:  # the process goes on, as another version
            self._manager.notify("STOPPING=1")
        self._thread.join(2 * self._look_s + 1.0)

    def trouble(self) -> str:
        """Return what stands still or is missing now, for `tocsin health`; empty if nothing."""
        stalled = standing_still(self._pulses(), time.monotonic())
        if stalled is not None:
            return f"{stalled.what} stands still"
        return "" if self._followed() else "no samples, and source_lost is not raised"

    def look(self) -> None:
        """Feed the manager if all turns; replace the process if something stands still."""
        now_s, before_s = time.monotonic(), self._looked_s
        self._looked_s = now_s
        if now_s - before_s > _OWN_PAUSE * self._look_s:
            return  # the whole process stood still, as one that is stopped: look again
        stalled = standing_still(self._pulses(), now_s)
        if stalled is not None and self._restart(stalled.what):
            return
        if stalled is not None:
            stood_s = now_s - stalled.turned_s()
            log.critical(
                "%s stands still for %.0f s: tocsin is started again", stalled.what, stood_s
            )
            self._manager.notify(f"STATUS={stalled.what} stands still")
            self._replace(stalled.what)
        elif self._followed():
            self._manager.notify("READY=1\nWATCHDOG=1")
        else:
            log.error("no samples, and source_lost is not raised: the watchdog is not fed")

    def _run(self) -> None:
        while not self._stopping.wait(self._look_s):
            try:
                self.look()
            except Exception:  # it must go on looking
                log.exception("supervision: unexpected")


def replace_process(what: str) -> None:
    """Replace this process by a new one, which raises what stood still in this one."""
    start_again(os.environ, **{STALLED_VARIABLE: what})


def stalled_before(environ: dict[str, str] | os._Environ[str]) -> Fault | None:
    """Return that the process before this one stood still; removes the variable that says so."""
    what = environ.pop(STALLED_VARIABLE, None)
    if what is None:
        return None
    return Fault(
        MONITOR_STALLED,
        what,
        f"{what} stood still",
        "tocsin was started again; between, nobody was monitored",
    )
