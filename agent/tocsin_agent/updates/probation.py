"""Judges a version of the agent by how it works. Pure: time comes from outside."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from tocsin_agent.updates.slot_state import State, Trial

LEFT_AFTER_S = 120.0
"""A version that is tried has so long, beside `healthy_s`, to become healthy."""


class Condition(NamedTuple):
    """How the agent is, as far as a version is judged by it."""

    trouble: str
    """What stands still or is missing; empty if nothing."""
    online: frozenset[str]
    """Devices whose broker is reached."""
    sampling: frozenset[str]
    """Devices whose samples flow."""

    @classmethod
    def of(cls, trouble: str, health: bytes, device: str) -> Condition:
        """Read a health message: of one patient, or of several by device."""
        found: dict[str, Any] = msgspec.json.decode(health) or {}
        each: dict[str, Any] = {device: found} if "state" in found else found
        sampling = {
            name
            for name, one in each.items()
            if one and one.get("stream") not in {None, "unreached"} and not one.get("source_lost")
        }
        online = {name for name, one in each.items() if one and one.get("state") == "online"}
        return cls(trouble, frozenset(online), frozenset(sampling))

    def lacks(self, trial: Trial | None) -> str:
        """Return what the version does not do; of one that is tried, what the one before did."""
        if self.trouble:
            return self.trouble
        if trial is not None and (silent := set(trial.sampling) - self.sampling):
            return f"no samples of {min(silent)}, and there were before"
        if trial is not None and (away := set(trial.online) - self.online):
            return f"the broker of {min(away)} is not reached, and was before"
        return ""


class Verdict(StrEnum):
    """What is to be done about the version that runs."""

    WAIT = "wait"
    KEEP = "keep"  # it was healthy for long enough
    LEAVE = "leave"  # it is tried, and did not become healthy
    FOLLOW = "follow"  # another version is to run


class Probation:
    """Judges the version that runs.

    Parameters
    ----------
    running : str
        The version.
    healthy_s : float
        Without a fault for so long, it is kept.
    state : State
        As it was when this version started.
    now_s : float
        Monotonic time.
    left_after_s : float
        It is left if it is not kept within `healthy_s` and this.
    """

    def __init__(
        self,
        running: str,
        healthy_s: float,
        state: State,
        now_s: float,
        left_after_s: float = LEFT_AFTER_S,
    ) -> None:
        self.why = ""
        self._running, self._healthy_s = running, healthy_s
        self._until_s = now_s + healthy_s + left_after_s
        self._well_since_s = now_s
        # A trial that this start did not make, as the state could not be written: following it
        # would end the agent again and again.
        self._present = state.trial

    def judge(self, state: State, condition: Condition, now_s: float) -> Verdict:
        """Return what is to be done; `why` says why a version is left."""
        trial = state.trial
        if trial is not None and trial.slot != self._running:
            return Verdict.WAIT if trial == self._present else Verdict.FOLLOW
        if trial is None and state.running != self._running:
            return Verdict.WAIT  # started by hand, beside the service
        if lacks := condition.lacks(trial):
            self._well_since_s = now_s
        if now_s - self._well_since_s >= self._healthy_s:
            return Verdict.WAIT if state.healthy(self._running) == state else Verdict.KEEP
        if trial is not None and now_s > self._until_s:
            self.why = lacks or "it was not healthy for long enough"
            return Verdict.LEAVE
        return Verdict.WAIT
