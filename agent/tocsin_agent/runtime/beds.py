"""What of another configuration of several patients changes: which begin, end, or begin again."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from tocsin_agent.config.config import Config
from tocsin_agent.config.several import common_outbox
from tocsin_agent.errors import ConfigError
from tocsin_agent.runtime.preflight import Problem, problems, problems_of_delivery
from tocsin_agent.runtime.reload import changed_keys, listed, needs_restart

PROCESS = ("model.", "metrics", "supervision.", "update.")
"""Keys, or sections, of the process: they change at its restart only."""


class NeedsRestartError(ConfigError):
    """A change that applies at a restart of the process only."""


class Plan(NamedTuple):
    """What is to be done with each patient; one that is in no list goes on undisturbed.

    Parameters
    ----------
    added : tuple of Config
        Begin to be monitored.
    removed : tuple of str
        The devices that are not monitored any more.
    restarted : tuple of Config
        Begin again, with what cannot change while a patient is monitored.
    changed : tuple of Config
        Only what can change while a patient is monitored does.
    retried : tuple of Config
        Begin again as before, since their source failed.
    """

    added: tuple[Config, ...] = ()
    removed: tuple[str, ...] = ()
    restarted: tuple[Config, ...] = ()
    changed: tuple[Config, ...] = ()
    retried: tuple[Config, ...] = ()

    def __str__(self) -> str:
        found = (
            ("added", [config.device for config in self.added]),
            ("removed", list(self.removed)),
            ("begun again", [one.device for one in (*self.restarted, *self.retried)]),
            ("changed", [config.device for config in self.changed]),
        )
        return "; ".join(f"{what}: {listed(names)}" for what, names in found if names)


def plan(running: Sequence[Config], new: Sequence[Config], failed: Collection[str] = ()) -> Plan:
    """Compare the configurations that run with others, and check those.

    Parameters
    ----------
    running : sequence of Config
        One a patient.
    new : sequence of Config
        What the file says now.
    failed : collection of str
        Devices that are not monitored any more, because their source failed. They begin again
        without a check: a source that still fails must not keep a file from the other patients.

    Raises
    ------
    NeedsRestartError
        If a key of the process changes.
    ConfigError
        If a patient that would begin could not.
    """
    _check_process(running, new)
    old = {config.device: config for config in running}
    added, restarted = list[Config](), list[Config]()
    changed, retried = list[Config](), list[Config]()
    for config in new:
        if (before := old.pop(config.device, None)) is None:
            added.append(config)
            continue
        keys = changed_keys(before, config)
        if needs_restart(keys):
            restarted.append(config)
        elif config.device in failed:
            retried.append(config)
        elif keys:
            changed.append(config)
    made = Plan(tuple(added), tuple(old), tuple(restarted), tuple(changed), tuple(retried))
    for device, problem in _problems(made):
        raise ConfigError(f"{device}: {problem.key}: {problem.message}")
    return made


def _check_process(running: Sequence[Config], new: Sequence[Config]) -> None:
    """Raise if the common sections change what is of the process; no patient has these alone."""
    if not running:
        return
    keys = [key for key in changed_keys(running[0], new[0]) if key.startswith(PROCESS)]
    if common_outbox(running) != common_outbox(new):  # the agent is asked beside it
        keys.append("outbox.path")
    if keys:
        raise NeedsRestartError(f"{listed(keys)} can change at a restart of tocsin only")


def _problems(made: Plan) -> Iterator[tuple[str, Problem]]:
    for config in (*made.added, *made.restarted):
        yield from ((config.device, problem) for problem in problems(config))
    for config in (*made.changed, *made.retried):
        yield from ((config.device, problem) for problem in problems_of_delivery(config))
