"""The steps of an update of the agent: check, unpack, compare, try, keep or go back.

| step | if it fails | if the power is cut |
|---|---|---|
| check signatures, expiry, machine, release | refused | nothing has changed |
| unpack into the idle slot | refused, the slot is emptied | the slot is not used |
| compare with the version in use | refused, the slot is emptied | the slot is not used |
| note that it is to be tried | refused | before: nothing; after: it is tried at the next start |
| the new one starts | the old one starts again | tried again, three times at most |
| healthy for long enough: kept | the old one starts again | the old one, or tried again |
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from tocsin_agent import __version__
from tocsin_agent.config.config import Config
from tocsin_agent.delivery.database import OUTBOX_FORMAT
from tocsin_agent.errors import DeliveryError, UpdateError, UpdateFault
from tocsin_agent.runtime.inquiry import inquire
from tocsin_agent.runtime.launch import command_of, package_command
from tocsin_agent.runtime.shadow import Shadow, discard, record, run
from tocsin_agent.updates import bundle as bundles
from tocsin_agent.updates.comparison import Comparison
from tocsin_agent.updates.manifest import Manifest
from tocsin_agent.updates.probation import LEFT_AFTER_S, Condition
from tocsin_agent.updates.slot_state import PACKAGE, Trial
from tocsin_agent.updates.slots import Slots, remove

_RESERVE_BYTES = 64 * 1024 * 1024
"""Disk space that an update leaves for the outbox."""
_START_S = 90.0


class Allowed(NamedTuple):
    """What a person has allowed beyond the rules."""

    older: bool = False
    """A release older than one that was in use."""
    one_way: bool = False
    """A version whose outbox the one in use cannot read."""
    differences: bool = False
    """Alarms of high priority that are missed, late or of another priority in the comparison."""
    offline: bool = False
    """No agent runs: nothing is recorded, and the next start tries it."""


class AgentUpdate:
    """Updates the agent of a configuration.

    Parameters
    ----------
    configs : sequence of Config
        One a patient; the first has the section `update`.
    file : Path
        The configuration.
    asked : Path
        The outbox beside which the running agent can be asked.
    outboxes : sequence of Path
        One a patient.
    say : callable
        Called with each step, in words.
    """

    def __init__(
        self,
        configs: Sequence[Config],
        file: Path,
        asked: Path,
        outboxes: Sequence[Path],
        say: Callable[[str], None],
    ) -> None:
        self.settings = configs[0].update
        self.slots = Slots(Path(self.settings.folder or ""))
        self._configs, self._file, self._say = configs, file, say
        self._asked, self._outboxes = asked, outboxes
        self._keys = [Path(key) for key in self.settings.keys]

    def check(self, file: IO[bytes], allowed: Allowed) -> Manifest:
        """Check whether a bundle would be accepted, before anything is written.

        Raises
        ------
        UpdateError
            With the reason.
        """
        manifest = bundles.verify(file, self._keys, self.settings.threshold, bundles.now_utc())
        state = self.slots.state()
        if manifest.release < state.newest and not allowed.older:
            raise UpdateError(
                UpdateFault.OLDER,
                f"{manifest.name}, and release {state.newest} was in use here: --older accepts it",
            )
        release, outbox_format = self._of(state.confirmed)
        if release < manifest.least_release:
            raise UpdateError(
                UpdateFault.UNFIT,
                f"{manifest.name} can follow release {manifest.least_release} and later, and here "
                f"is {release}: install one between first",
            )
        if manifest.outbox_format > outbox_format and not allowed.one_way:
            raise UpdateError(
                UpdateFault.NO_WAY_BACK,
                f"{manifest.name} writes an outbox (format {manifest.outbox_format}) that the "
                f"version in use cannot read (format {outbox_format}): if it fails, that version "
                "would keep alerts in memory only; --one-way accepts it",
            )
        self._check_space(manifest)
        return manifest

    def run(self, file: IO[bytes], allowed: Allowed) -> Manifest:
        """Update the agent; returns when the new version is kept.

        Parameters
        ----------
        file : file
            The bundle.
        allowed : Allowed
            What a person has allowed.

        Raises
        ------
        UpdateError
            With the reason: the version in use stays, or is in use again.
        """
        with self.slots.updating():
            discard(self.slots.folder)
            manifest = self.check(file, allowed)
            self._say(f"{manifest.name}: signed, and fit for this gateway")
            before = None
            if allowed.offline:
                self._check_none_runs()
            else:
                before = self.condition()
            with self.slots.filling() as (slot, folder):
                bundles.unpack(file, manifest, folder)
            self._say(f"unpacked into slot {slot}: {manifest.unpacked_bytes >> 20} MB")
            try:
                self._compare(slot, manifest, allowed)
            except UpdateError:
                remove(self.slots.path(slot))
                raise
            except OSError as error:  # the samples take up to some MB
                remove(self.slots.path(slot))
                raise UpdateError(
                    UpdateFault.UNWRITABLE,
                    f"{manifest.name} could not be compared ({error.strerror}): the agent in use "
                    "stays",
                ) from error
            self.attempt(Trial(slot, manifest.release), before)
            return manifest

    def back(self) -> str:
        """Go back to the version before the one in use; return its slot.

        Raises
        ------
        UpdateError
            `NOTHING`, `NO_WAY_BACK`, `NOT_CONFIRMED` or another reason.
        """
        with self.slots.updating():
            state = self.slots.state()
            trial = state.back()
            _, present = self._of(state.confirmed)
            release, known = self._of(trial.slot)
            if known < present:
                raise UpdateError(
                    UpdateFault.NO_WAY_BACK,
                    f"{trial.slot} cannot read the outbox that the version in use writes "
                    f"(format {present}): install a newer one instead",
                )
            self.attempt(msgspec.structs.replace(trial, release=release), self.condition())
            return trial.slot

    def _check_none_runs(self) -> None:
        """Raise `BUSY` if an agent runs: it would end at once, and nothing be asked of the next."""
        try:
            inquire(self._asked)
        except DeliveryError:
            return
        raise UpdateError(UpdateFault.BUSY, "an agent runs here: leave out --offline")

    def condition(self) -> Condition:
        """Return how the running agent is.

        Raises
        ------
        UpdateError
            `NOT_RUNNING`.
        """
        try:
            answer = inquire(self._asked)
        except DeliveryError as error:
            raise UpdateError(
                UpdateFault.NOT_RUNNING,
                f"{error}: start it, or use --offline (the next start tries the new version)",
            ) from error
        device = self._configs[0].device
        return Condition.of(answer.why, msgspec.json.encode(answer.health), device)

    def attempt(self, trial: Trial, before: Condition | None) -> None:
        """Have a version tried, and wait until it is kept or left.

        Parameters
        ----------
        trial : Trial
            The version.
        before : Condition or None
            How the agent is now: the new one must do the same. None if none runs: then this
            returns at once.

        Raises
        ------
        UpdateError
            `NOT_CONFIRMED` if it was left.
        """
        if before is not None:
            trial = msgspec.structs.replace(
                trial, online=tuple(sorted(before.online)), sampling=tuple(sorted(before.sampling))
            )
        self.slots.change(lambda state: state.trying(trial, __version__))
        if before is None:
            self._say(f"slot {trial.slot} is tried at the next start")
            return
        self._say(f"the running agent ends, and slot {trial.slot} is tried")
        until_s = time.monotonic() + _START_S + self.settings.healthy_s + LEFT_AFTER_S
        while time.monotonic() < until_s:
            time.sleep(0.2)
            state = self.slots.state()
            if state.trial is None and state.confirmed == trial.slot:
                return
            if state.trial is None:
                raise UpdateError(
                    UpdateFault.NOT_CONFIRMED,
                    f"slot {trial.slot} was left: {state.left}; {state.confirmed} is in use again",
                )
        raise UpdateError(
            UpdateFault.NOT_CONFIRMED,
            f"slot {trial.slot} has neither confirmed itself nor been left: ask `tocsin health` "
            "and the log; restarting the service goes back to the version before",
        )

    def _compare(self, slot: str, manifest: Manifest, allowed: Allowed) -> None:
        new = command_of(self.slots, slot, ())
        run(new, ("config", "check", "--file-only", str(self._file)))
        readings = {}
        if not allowed.offline and self.settings.shadow_s > 0:
            self._say(f"recording {self.settings.shadow_s:g} s of the running agent's samples")
            devices = [config.device for config in self._configs]
            outboxes = dict(zip(devices, self._outboxes, strict=True))
            readings = record(outboxes, self.settings.shadow_s)
        used = self.slots.state().confirmed
        old = package_command(()) if used == PACKAGE else command_of(self.slots, used, ())
        with Shadow(self._configs, readings, self.slots.folder) as shadow:
            found = shadow.compare(old, new)
        text = _in_words(found, sorted(readings))
        self.slots.change(lambda state: state.with_event(f"{slot} is {manifest.name}; {text}"))
        self._say(text)
        if found.refusals and not allowed.differences:
            raise UpdateError(
                UpdateFault.DIFFERENT,
                f"{manifest.name} is not used: {'; '.join(found.refusals)}. "
                "--accept-differences accepts it",
            )

    def _of(self, slot: str) -> tuple[int, int]:
        """Return release and format of the outbox of a version."""
        if slot == PACKAGE:
            return 0, OUTBOX_FORMAT
        manifest = bundles.verify_unpacked(
            self.slots.path(slot), self._keys, self.settings.threshold
        )
        return manifest.release, manifest.outbox_format

    def _check_space(self, manifest: Manifest) -> None:
        folder = next(p for p in (self.slots.folder, *self.slots.folder.parents) if p.exists())
        found = os.statvfs(folder)
        free, needed = found.f_bavail * found.f_frsize, manifest.unpacked_bytes + _RESERVE_BYTES
        # What the idle slot holds now is removed before.
        idle = self.slots.path(self.slots.state().idle())
        free += sum(path.stat().st_size for path in idle.rglob("*") if path.is_file())
        if free < needed:
            raise UpdateError(
                UpdateFault.UNWRITABLE,
                f"{folder} has {free >> 20} MB free, and {needed >> 20} MB are needed",
            )


def _in_words(found: Comparison, devices: Sequence[str]) -> str:
    """Return the result of a comparison, for a person and for the audit trail."""
    of = ", ".join(devices) or "no patient"
    what = f"compared on samples of {of} and a scripted patient, {found.beats} beats, "
    what += f"{found.alarms} alarms: "
    return what + ("; ".join(found.differences) or "no difference")
