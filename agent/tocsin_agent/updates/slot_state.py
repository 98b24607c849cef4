"""Which version of the agent is to run: the state, and what changes it. Pure.

A version that is tried is started once (again only after a power cut, three times at most) and is
kept when it has confirmed itself; otherwise the next start is that of the version in use before. A
version in use that does not become healthy gives way to the one before it, and that to the package.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tocsin_agent.errors import UpdateError, UpdateFault

PACKAGE = "package"
"""The version that is installed outside the slots."""
NAMES = ("a", "b")
MAX_TRIALS = 3
"""Starts of a version that is tried, each but the first after a power cut."""
MAX_STARTS = 3
"""Starts of a version in use, since the machine started and without becoming healthy."""
_MAX_EVENTS = 32
_MAX_TEXT = 2000


class Trial(msgspec.Struct, frozen=True):
    """A version that is tried.

    Attributes
    ----------
    slot : str
        `a`, `b` or `package`.
    release : int
        Of the version; 0 for the package.
    starts : int
        How often it was started.
    boot : str
        The boot of the machine in which it was started last.
    online, sampling : tuple of str
        Devices whose broker was reached, and whose samples flowed, before: they must again.
    """

    slot: str
    release: int = 0
    starts: int = 0
    boot: str = ""
    online: tuple[str, ...] = ()
    sampling: tuple[str, ...] = ()

    @property
    def spent(self) -> bool:
        """Whether it was started as often as it may be, power cuts or not."""
        return self.starts >= MAX_TRIALS


class State(msgspec.Struct, frozen=True):
    """Which version is to run.

    Attributes
    ----------
    confirmed, previous : str
        The version in use, and the one before it.
    trial : Trial or None
        The version that is tried.
    running : str
        The version that was started last.
    newest : int
        The highest release that was in use.
    package : str
        The version of the package when `confirmed` was chosen: another package takes precedence.
    starts, boot : int, str
        Starts of `confirmed` without becoming healthy, in this boot of the machine.
    left : str
        Why the last trial ended without confirmation; empty if it was confirmed.
    events : tuple of str
        What happened, for the audit trail: removed when it is there.
    """

    confirmed: str = PACKAGE
    previous: str = PACKAGE
    trial: Trial | None = None
    running: str = PACKAGE
    newest: int = 0
    package: str = ""
    starts: int = 0
    boot: str = ""
    left: str = ""
    events: tuple[str, ...] = ()

    @property
    def wanted(self) -> str:
        """The version that is to run now."""
        return self.trial.slot if self.trial is not None else self.confirmed

    def started(self, boot: str, package: str, unusable: Callable[[str], str]) -> tuple[State, str]:
        """Choose the version to start; return the state with this start, and the version.

        Parameters
        ----------
        boot : str
            Identifies this boot of the machine.
        package : str
            The version of the installed package.
        unusable : callable
            Returns why the version of a slot cannot be used; empty if it can.
        """
        state = self
        if state.package not in {"", package}:
            state = State(newest=state.newest, package=package, events=state.events)
            state = state.with_event(f"the package {package} was installed: it is used")
        if (trial := state.trial) is not None:
            if trial.starts and trial.boot == boot:
                why = "it ended before it was confirmed"
            elif trial.spent:
                why = f"it was started {trial.starts} times and never confirmed"
            else:
                why = unusable(trial.slot) if trial.slot != PACKAGE else ""
            if not why:
                trial = msgspec.structs.replace(trial, starts=trial.starts + 1, boot=boot)
                return msgspec.structs.replace(state, trial=trial, running=trial.slot), trial.slot
            state = state.without_trial(why)
        chain = list(dict.fromkeys((state.confirmed, state.previous, PACKAGE)))
        if len(chain) == 1:
            return msgspec.structs.replace(state, running=PACKAGE), PACKAGE
        starts = state.starts if state.boot == boot else 0
        name = PACKAGE
        for name in (*chain[starts // MAX_STARTS % len(chain) :], PACKAGE):
            why = unusable(name) if name != PACKAGE else ""
            if not why:
                break
            state = state.with_event(f"{name} cannot be used: {why}")
        return msgspec.structs.replace(state, starts=starts + 1, boot=boot, running=name), name

    def idle(self) -> str:
        """Return the slot that may be filled: neither in use, nor running, nor tried.

        Raises
        ------
        UpdateError
            `BUSY` if there is none.
        """
        if self.trial is not None:
            raise UpdateError(UpdateFault.BUSY, f"{self.trial.slot} is being tried: wait")
        free = [name for name in NAMES if name not in {self.confirmed, self.running}]
        if not free:
            raise UpdateError(UpdateFault.BUSY, "both slots are in use: wait a minute")
        return next((name for name in free if name != self.previous), free[0])

    def without_version(self, slot: str) -> State:
        """Return it before a slot is emptied."""
        return msgspec.structs.replace(
            self, previous=PACKAGE if self.previous == slot else self.previous
        )

    def trying(self, trial: Trial, package: str) -> State:
        """Return it with a version to be tried at the next start."""
        return msgspec.structs.replace(self, trial=trial, left="", package=package)

    def back(self) -> Trial:
        """Return the trial of the version before the one in use.

        Raises
        ------
        UpdateError
            `NOTHING` if there is none; `BUSY` during a trial.
        """
        if self.trial is not None:
            raise UpdateError(UpdateFault.BUSY, f"{self.trial.slot} is being tried: wait")
        if self.previous == self.confirmed:
            raise UpdateError(UpdateFault.NOTHING, "the package is in use, and nothing was before")
        return Trial(self.previous)

    def healthy(self, name: str) -> State:
        """Return it after the version that runs was healthy for long enough."""
        trial = self.trial
        if trial is not None and trial.slot == name:
            kept = msgspec.structs.replace(
                self,
                confirmed=name,
                previous=self.confirmed,
                trial=None,
                starts=0,
                left="",
                newest=max(self.newest, trial.release),
            )
            return kept.with_event(f"{name} (release {trial.release}) is kept")
        if trial is not None:
            return self  # another is to be started
        if self.confirmed != name:
            changed = msgspec.structs.replace(self, confirmed=name, previous=PACKAGE, starts=0)
            return changed.with_event(f"{self.confirmed} does not start: {name} is used")
        return msgspec.structs.replace(self, starts=0)

    def without_trial(self, why: str) -> State:
        """Return it after the trial failed."""
        if self.trial is None:
            return self
        why = why[:_MAX_TEXT]
        changed = msgspec.structs.replace(self, trial=None, left=why)
        return changed.with_event(f"{self.trial.slot} was left: {why}; back to {self.confirmed}")

    def with_event(self, text: str) -> State:
        """Return it with one more event; an equal one is kept once."""
        text = text[:_MAX_TEXT]
        others = tuple(event for event in self.events if event != text)
        return msgspec.structs.replace(self, events=(*others, text)[-_MAX_EVENTS:])

    def without_events(self, events: tuple[str, ...]) -> State:
        """Return it without events that are in the audit trail."""
        left = tuple(event for event in self.events if event not in events)
        return msgspec.structs.replace(self, events=left)
