"""Starts the version of the agent that is to run, and follows when another one is to.

::

    service manager ──▶ package: tocsin run ──exec──▶ slot a or b: tocsin run
                              ▲                              │ another is to run, or it stood still
                              └────────────exec──────────────┘

The package chooses, after it has checked every file of the slot against the signed manifest. The
process stays the same, so the service manager sees one service. A version that is tried keeps
itself once it was healthy for long enough, and otherwise gives its place back.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Self

from tocsin_agent import __version__
from tocsin_agent.errors import MissingExtraError, UpdateError
from tocsin_agent.updates.probation import Condition, Probation, Verdict
from tocsin_agent.updates.settings import UpdateSettings
from tocsin_agent.updates.slot_state import PACKAGE, State
from tocsin_agent.updates.slots import Slots

log = logging.getLogger(__name__)

SLOT_VARIABLE = "_TOCSIN_SLOT"
LAUNCHER_VARIABLE = "_TOCSIN_LAUNCHER"
TRIED_VARIABLE = "_TOCSIN_TRIED"
_LOOK_S = 1.0
_STOP_S = 30.0
_UNWRITABLE_S = 30.0
_SITE = "site"
_START = """
import json, os, sys, traceback
sys.path.insert(0, sys.argv.pop(1))
sys.argv[0] = "tocsin"
try:
    from tocsin_agent.cli import main
    main()
except BaseException as error:
    code = error.code if isinstance(error, SystemExit) else 1
    if os.environ.pop("_TOCSIN_TRIED", None) is None or code in (None, 0, 130):
        raise
    if not isinstance(error, SystemExit):
        traceback.print_exc()
    print(f"tocsin: this version ends with exit code {code}: it is left", file=sys.stderr)
    command = json.loads(os.environ.pop("_TOCSIN_LAUNCHER"))
    os.environ.pop("_TOCSIN_SLOT")
    os.execv(command[0], command)
"""
"""Runs in the version of a slot. One that is tried and fails gives its place back, without the
service manager, which starts nothing again after a wrong command line or configuration."""


def command_of(slots: Slots, slot: str, arguments: Sequence[str]) -> list[str]:
    """Return the command line of `tocsin` in the version of a slot.

    No other package, variable or compiled file is used than those of the slot: `-I` and `-S` leave
    out all other folders, `-B` writes nothing.
    """
    site = str(slots.path(slot) / _SITE)
    return [sys.executable, "-I", "-S", "-B", "-c", _START, site, *arguments]


def package_command(arguments: Sequence[str]) -> list[str]:
    """Return the command line of `tocsin` in the version that runs this code."""
    return [sys.executable, "-m", "tocsin_agent", *arguments]


def boot_id() -> str:
    """Return what identifies this boot of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"


def launch(settings: UpdateSettings, environ: MutableMapping[str, str]) -> str:
    """Become the version that is to run; returns if that is the one that calls.

    Parameters
    ----------
    settings : UpdateSettings
        Without a folder, the package runs.
    environ : mapping
        The environment, which says whether this process has been launched already.

    Returns
    -------
    str
        The version that runs: `a`, `b` or `package`.
    """
    if settings.folder is None:
        return PACKAGE
    if (running := environ.get(SLOT_VARIABLE)) is not None:
        return running
    slots = Slots(Path(settings.folder))
    slot = slots.next_start(boot_id(), __version__, lambda name: unusable(slots, name, settings))
    if slot == PACKAGE:
        return PACKAGE
    log.info("starting the version in slot %s", slot)
    environ[SLOT_VARIABLE] = slot
    if slots.state().trial is not None:
        environ[TRIED_VARIABLE] = "1"
    environ[LAUNCHER_VARIABLE] = json.dumps([sys.executable, *sys.orig_argv[1:]])
    command = command_of(slots, slot, sys.argv[1:])
    try:
        os.execve(command[0], command, environ)  # noqa: S606
    except OSError:
        log.exception("%s cannot be started: the package is used", slot)
        return PACKAGE


def unusable(slots: Slots, slot: str, settings: UpdateSettings) -> str:
    """Return why the version of a slot cannot be used; empty if it can."""
    from tocsin_agent.updates.bundle import verify_unpacked  # noqa: PLC0415 - only with a slot

    try:
        keys = [Path(key) for key in settings.keys]
        verify_unpacked(slots.path(slot), keys, settings.threshold)
    except (UpdateError, MissingExtraError) as error:
        log.error("slot %s is not used: %s", slot, error)  # noqa: TRY400
        return str(error)
    return ""


def start_again(environ: Mapping[str, str], **more: str) -> None:
    """Replace this process by the one that chooses the version; files and sockets are closed."""
    for handler in logging.getLogger().handlers:
        handler.flush()
    own = [sys.executable, *sys.orig_argv[1:]]
    command = json.loads(environ[LAUNCHER_VARIABLE]) if LAUNCHER_VARIABLE in environ else own
    kept = {name: text for name, text in environ.items() if name not in _OURS}
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # until the next one listens
    os.execve(command[0], command, {**kept, **more})  # noqa: S606


_OURS = {SLOT_VARIABLE, LAUNCHER_VARIABLE, TRIED_VARIABLE}


class VersionWatch:
    """Follows the state of the slots: keeps the version that runs, or ends it for another one.

    A context manager with a thread of its own, which looks once a second.

    Parameters
    ----------
    slots : Slots
        Whose state it follows.
    running : str
        The version that runs.
    healthy_s : float
        Without a fault for so long, it is kept.
    condition : callable
        Returns how the agent is.
    stop : callable
        Ends the agent cleanly.
    record : callable
        Puts an event into the audit trail; False if it could not.

    Attributes
    ----------
    replaced : bool
        The agent was ended for another version.
    """

    def __init__(
        self,
        slots: Slots,
        running: str,
        healthy_s: float,
        *,
        condition: Callable[[], Condition],
        stop: Callable[[], None],
        record: Callable[[str], bool],
    ) -> None:
        self.replaced = False
        self._slots, self._running = slots, running
        self._condition, self._stop, self._record = condition, stop, record
        self._probation = Probation(running, healthy_s, slots.state(), time.monotonic())
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tocsin-version", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()

    def look(self) -> bool:
        """Do what is to be done; return whether another version is to run."""
        state = self._slots.state()
        done = tuple(event for event in state.events if self._record(event))
        if done:
            self._try_to_change(lambda state: state.without_events(done))
        verdict = self._probation.judge(state, self._condition(), time.monotonic())
        if verdict is Verdict.KEEP:
            self._slots.change(lambda state: state.healthy(self._running))
            os.environ.pop(TRIED_VARIABLE, None)
            log.info("the version in %s is healthy: it is kept", self._running)
        elif verdict is Verdict.LEAVE:
            why = self._probation.why
            log.error("the version in %s is left: %s", self._running, why)
            # Where that cannot be written, the next start takes it for ended, and leaves it too.
            self._try_to_change(lambda state: state.without_trial(why))
        return verdict in {Verdict.LEAVE, Verdict.FOLLOW}

    def _try_to_change(self, change: Callable[[State], State]) -> None:
        """Change the state; on a full disk, the version that runs is judged all the same."""
        try:
            self._slots.change(change)
        except UpdateError as error:
            log.error("%s", error)  # noqa: TRY400 - the disk

    def _run(self) -> None:
        pause_s = _LOOK_S
        while not self._ending.wait(pause_s):
            pause_s = _LOOK_S
            try:
                if self.look():
                    break
            except UpdateError as error:
                pause_s = _UNWRITABLE_S
                log.error("%s", error)  # noqa: TRY400 - the disk; looked at again
            except Exception:  # it must go on looking
                log.exception("watching the version: unexpected")
        else:
            return
        log.warning("another version of the agent is to run: this one ends")
        self.replaced = True
        self._stop()
        time.sleep(_STOP_S)
        log.critical("the agent does not end within %g s: it is replaced", _STOP_S)
        start_again(os.environ)
