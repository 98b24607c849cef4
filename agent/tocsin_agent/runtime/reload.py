"""SIGHUP: the configuration is read again, and applied as a whole or not at all.

What can change while alerts are monitored is a table here; a file that changes anything else, or
that is invalid, is refused as a whole: the running configuration goes on, `configuration_refused`
is raised until a later SIGHUP finds a file that applies.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, Self

import msgspec

from tocsin_agent.config.config import Config
from tocsin_agent.delivery.faults import Fault
from tocsin_agent.errors import ConfigError
from tocsin_agent.runtime.preflight import problems_of_delivery

log = logging.getLogger(__name__)

CONFIGURATION_REFUSED = "configuration_refused"
LIVE = (
    *("mqtt.", "fallback", "presence.", "escalation.", "receipts.", "signing.", "log."),
    *("source.timeout_s", "source.retry_first_s", "source.retry_max_s"),
)
"""Keys, or sections, that can change while the agent runs."""
_SUBJECT = "configuration"
_SHOWN = 6
_END_S = 30.0  # a patient that is being stopped needs so long


class Applied(Protocol):
    """The parts of an assembly that a new configuration reaches."""

    def use(self, config: Config) -> None: ...  # noqa: D102
    def raise_fault(self, fault: Fault, *, once: bool = False) -> None: ...  # noqa: D102
    def clear_fault(self, code: str, subject: str) -> None: ...  # noqa: D102


def changed_keys(old: Config, new: Config) -> list[str]:
    """Return the keys whose values differ."""
    before, after = (dict(_flat(msgspec.to_builtins(one))) for one in (old, new))
    return sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))


def needs_restart(keys: list[str]) -> list[str]:
    """Return those of some keys that cannot change while the agent runs."""
    return [key for key in keys if not key.startswith(LIVE)]


class OnRequest:
    """Does something in a thread of its own when asked to; a context manager.

    Parameters
    ----------
    work : callable
        What it does; an error is logged.
    """

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self._asked, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="tocsin-reload", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._asked.set()
        self._thread.join(_END_S)

    def request(self) -> None:
        """Ask for it; returns at once, also in a signal handler."""
        self._asked.set()

    def _run(self) -> None:
        while True:
            self._asked.wait()
            self._asked.clear()
            if self._ended.is_set():
                return
            try:
                self._work()
            except Exception:  # the running configuration goes on
                log.exception("reading the configuration again")


class Reload(OnRequest):
    """Reads and applies the configuration of one patient again when asked to.

    Parameters
    ----------
    config : Config
        The one that runs.
    load : callable
        Reads the file; raises `ConfigError`.
    target : Applied
        Where a new one is applied.
    on_applied : callable
        Called with the new one after that: for the log and the audit trail.
    """

    def __init__(
        self,
        config: Config,
        load: Callable[[], Config],
        target: Applied,
        on_applied: Callable[[Config], None] = lambda _: None,
    ) -> None:
        super().__init__(self.reload)
        self._config, self._load, self._target = config, load, target
        self._on_applied = on_applied

    def reload(self) -> bool:
        """Read and apply the file; return whether it applies."""
        try:
            new = self._load()
            keys = changed_keys(self._config, new)
            if fixed := needs_restart(keys):
                return self._refuse(f"{listed(fixed)} can change at a restart only", "restart")
            for key, message in problems_of_delivery(new):
                return self._refuse(f"{key}: {message}", "invalid")
        except ConfigError as error:
            return self._refuse(str(error), "invalid")
        accept([self._target])
        if keys:
            self._target.use(new)
            self._config = new
            self._on_applied(new)
        log.info("configuration read again: %s", listed(keys) or "nothing has changed")
        return True

    def _refuse(self, why: str, kind: str) -> bool:
        refuse([self._target], why, kind)
        return False


def refuse(targets: Sequence[Applied], why: str, kind: str) -> None:
    """Log why a configuration is not applied, and raise that it is not.

    Parameters
    ----------
    targets : sequence of Applied
        The patients.
    why : str
        For the log.
    kind : str
        ``restart`` or ``invalid``.
    """
    log.error("the configuration is not applied: %s; the running one goes on", why)
    reason = "a key needs a restart" if kind == "restart" else "the file is invalid"
    # The alert goes to receivers: what the file holds stays in the log.
    consequence = "the one before applies; the log of the device says why"
    for target in targets:
        target.raise_fault(Fault(CONFIGURATION_REFUSED, _SUBJECT, reason, consequence))


def accept(targets: Sequence[Applied]) -> None:
    """State that the last configuration applies."""
    for target in targets:
        target.clear_fault(CONFIGURATION_REFUSED, _SUBJECT)


def listed(keys: list[str]) -> str:
    """Return the first of some names, and how many more there are."""
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return ", ".join(keys[:_SHOWN]) + more


def _flat(tree: dict[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
