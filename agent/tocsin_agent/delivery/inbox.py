"""Messages for the device: what is read, and how much. Alerts never wait behind them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence

from tocsin_agent.delivery.faults import DELIVERY_FAILED, Fault
from tocsin_agent.messages.topics import Branch, parse
from tocsin_agent.mqtt.connection import Connection
from tocsin_agent.mqtt.events import Message

log = logging.getLogger(__name__)

OWN = (Branch.ALERT, Branch.TECHNICAL, Branch.BEDSIDE, Branch.STATUS)
"""The device's own messages, read where MQTT 3.1.1 does not say what became of them."""
MAX_PER_S = {
    Branch.PRESENCE: 100,
    Branch.ACK: 300,
    Branch.CONTEXT: 50,
    Branch.RECEIPT: 3000,
    Branch.IDENTITY: 20,
    **dict.fromkeys(OWN, 3000),
}
"""Messages of each kind that are read within a second; a ward sends a hundredth of them."""
CLOSED_S = 30.0
_CONSEQUENCES = {
    Branch.PRESENCE: "leases are not read for 30 s, and all alerts go to the team",
    Branch.ACK: "answers are not read for 30 s, and alerts are repeated",
    Branch.CONTEXT: "the context of the patient is not read for 30 s",
    Branch.RECEIPT: "receipts are not read for 30 s, and alerts are sent again",
    Branch.IDENTITY: "certificates are not read for 30 s",
    **dict.fromkeys(OWN, "the device does not read its own messages for 30 s"),
}


class Inbox:
    """The subscriptions of one connection, with a limit on the messages that each may bring.

    A kind that brings more than `MAX_PER_S` is unsubscribed for `CLOSED_S`: what comes all the same
    is acknowledged and dropped.

    Parameters
    ----------
    connection : Connection
        Open.
    filters : mapping
        The topic filters of each kind.
    """

    def __init__(self, connection: Connection, filters: Mapping[Branch, Sequence[str]]) -> None:
        self._connection = connection
        self._filters = {branch: list(names) for branch, names in filters.items() if names}
        self._counts: Counter[Branch] = Counter()
        self._since_s = 0.0
        self._closed: dict[Branch, float] = {}

    def open(self) -> int | None:
        """Subscribe to everything; return the id of the subscription, if there is one."""
        names = [name for filters in self._filters.values() for name in filters]
        return self._connection.subscribe(names) if names else None

    def sift(self, messages: Sequence[Message], now_s: float) -> list[Message]:
        """Return what is to be processed, and acknowledge the rest.

        Of several leases on one topic that is the last.
        """
        if now_s - self._since_s >= 1.0:
            self._counts.clear()
            self._since_s = now_s
        kept: list[Message] = []
        leases: dict[str, Message] = {}
        for message in messages:
            address = parse(message.topic)
            if address is None or address.branch not in self._filters or self._full(address.branch):
                self._connection.acknowledge(message)
            elif address.branch is Branch.PRESENCE:
                if (earlier := leases.pop(message.topic, None)) is not None:
                    self._connection.acknowledge(earlier)
                leases[message.topic] = message
            else:
                kept.append(message)
        self._close_full(now_s)
        if Branch.PRESENCE in self._closed:
            for message in leases.values():
                self._connection.acknowledge(message)
            leases.clear()
        return [*leases.values(), *kept]

    def reopen(self, now_s: float) -> list[Branch]:
        """Subscribe again to what was closed long enough; return which kinds."""
        due = [branch for branch, until_s in self._closed.items() if until_s <= now_s]
        for branch in due:
            del self._closed[branch]
            self._connection.subscribe(self._filters[branch])
        return due

    @property
    def closed(self) -> set[Branch]:
        """The kinds that are not read now."""
        return set(self._closed)

    def faults(self) -> list[Fault]:
        """Return which kinds are not read now."""
        return [
            Fault(
                DELIVERY_FAILED,
                f"flood_{branch}",
                f"more than {MAX_PER_S[branch]} messages a second arrive on {branch}",
                f"{_CONSEQUENCES[branch]}; find who sends them",
            )
            for branch in self._closed
        ]

    def _full(self, branch: Branch) -> bool:
        self._counts[branch] += 1
        return branch in self._closed or self._counts[branch] > MAX_PER_S[branch]

    def _close_full(self, now_s: float) -> None:
        for branch, count in self._counts.items():
            if count > MAX_PER_S[branch] and branch not in self._closed:
                self._closed[branch] = now_s + CLOSED_S
                self._connection.unsubscribe(self._filters[branch])
                log.error(
                    "more than %d messages a second on %s: %s",
                    MAX_PER_S[branch],
                    branch,
                    _CONSEQUENCES[branch],
                )
