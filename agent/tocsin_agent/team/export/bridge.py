"""From the broker to another system, for ever: what arrives is committed, then sent."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from tocsin_agent.errors import ExportError, ExportFault
from tocsin_agent.messages.alert import Alert
from tocsin_agent.messages.printable import clean
from tocsin_agent.messages.response import Response
from tocsin_agent.messages.trend import Trend
from tocsin_agent.retry import Backoff
from tocsin_agent.team.export.queue import Document, Item, Queue
from tocsin_agent.team.feed import (
    AlertSeen,
    ConnectionSeen,
    Malformed,
    ResponseSeen,
    TrendSeen,
)
from tocsin_agent.team.feed import Item as Seen
from tocsin_agent.team.receiver import Receiver

log = logging.getLogger(__name__)

_POLL_S = 0.2
_IDLE_S = 5.0
_FAILURES, _ROUNDS = 3, 3
Send: TypeAlias = Callable[[Document, Item], None]
"""Sends a document; raises `ExportError`."""


class Stop(Protocol):
    """What tells a loop to end."""

    def is_set(self) -> bool:
        """Return whether it is to end."""


@dataclass
class _Trouble:
    """How often a document failed, and how often others were taken in between."""

    failures: int = 0
    rounds: int = 0
    at_success: int = -1


class Drain:
    """Sends what a queue holds, in a thread of its own.

    What the other side refuses is set aside, and the others go on. Every other fault is tried again
    after growing pauses: a document that fails three times lets others go first, and one that fails
    in three rounds between which others were taken is set aside, too. In an outage none is.

    Reason for its size: the thread, and what is known of documents that fail.

    Parameters
    ----------
    queue : Queue
    send : callable
        Sends one document.
    min_s, max_s : float
        The first and the longest pause.
    """

    def __init__(
        self, queue: Queue, send: Send, *, min_s: float = 1.0, max_s: float = 60.0
    ) -> None:
        self._queue, self._send = queue, send
        self._backoff = Backoff(min_s, max_s)
        self._wake, self._stop = threading.Event(), threading.Event()
        self._said = ""
        self._successes = 0
        self._troubles: dict[str, _Trouble] = {}
        self._postponed: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="export", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Say that something waits."""
        self._wake.set()

    def stop(self, timeout_s: float) -> None:
        """End after the document that is being sent."""
        self._stop.set()
        self._wake.set()
        self._thread.join(timeout_s)

    @property
    def alive(self) -> bool:
        """False once the thread has ended."""
        return self._thread.is_alive()

    def step(self) -> float:
        """Send one document; return for how many seconds to pause, negative if none waits."""
        item = self._queue.next(self._postponed)
        if item is None:
            idle = not self._postponed
            self._postponed.clear()
            return -1.0 if idle else 0.0
        try:
            self._one(item)
        except ExportError as exc:
            if exc.reason is ExportFault.REFUSED:
                self._set_aside(item, str(exc))
                return 0.0
            if str(exc) != self._said:
                self._said = str(exc)
                log.warning("%s: tried again", exc)
            if exc.reason is not ExportFault.NOT_PERMITTED:
                self._failed(item, str(exc))
            return self._backoff.next_s()
        return 0.0

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            try:
                pause_s = self.step()
            except ExportError as exc:  # the queue
                log.error("%s: tried again", exc)  # noqa: TRY400
                pause_s = self._backoff.next_s()
            if pause_s < 0:
                self._wake.wait(_IDLE_S)
            else:
                self._stop.wait(pause_s)

    def _one(self, item: Item) -> None:
        try:
            self._send(item.decoded(), item)
        except ExportError:
            raise
        except Exception as exc:
            raise ExportError(ExportFault.REFUSED, f"cannot be converted: {exc!r}") from exc
        self._queue.sent(item)
        self._successes += 1
        self._postponed.clear()
        self._troubles.pop(item.group, None)
        if self._said:
            self._said = ""
            log.info("what is exported is taken again")
        self._backoff.reset()

    def _failed(self, item: Item, reason: str) -> None:
        trouble = self._troubles.setdefault(item.group, _Trouble())
        trouble.failures += 1
        if trouble.failures < _FAILURES:
            return
        trouble.failures = 0
        self._postponed.add(item.group)
        if self._successes > trouble.at_success:
            trouble.at_success = self._successes
            trouble.rounds += 1
        if trouble.rounds >= _ROUNDS:
            self._set_aside(item, reason)

    def _set_aside(self, item: Item, reason: str) -> None:
        reason = clean(reason, 500)
        self._queue.refused(item, reason)
        self._troubles.pop(item.group, None)
        log.error("%s is set aside: %s", clean(item.key), reason)


def follow(receivers: Sequence[Receiver], queue: Queue, drain: Drain, stop: Stop) -> None:
    """Commit what arrives until stopped.

    A message is acknowledged to the broker when it is committed: what this program loses, the
    broker sends again.

    Raises
    ------
    ExportError
        If the queue cannot be written: the broker keeps what was not committed.
    """
    while not stop.is_set():
        for receiver in receivers:
            documents = list[Alert | Trend | Response]()
            for seen in receiver.poll(_POLL_S):
                documents += _document(seen)
            if documents and queue.put(documents):
                drain.wake()
        if not drain.alive:
            raise RuntimeError("the thread that sends has ended")


def _document(seen: Seen) -> list[Alert | Trend | Response]:
    match seen:
        case AlertSeen(origin=origin) if origin is not None and not origin.genuine:
            log.error("an alert is not exported, its origin is not proven: %s", origin.reason)
        case AlertSeen():
            return [seen.alert]
        case TrendSeen():
            return [seen.trend]
        case ResponseSeen():
            return [seen.response]
        case Malformed():
            log.error("%s: not exported: %s", clean(seen.topic), clean(seen.reason, 200))
        case ConnectionSeen():
            log.info("%s", seen.message)
        case _:
            pass
    return []
