"""The team's side: hears the topics, shows each alert once, ties an episode together.

`Feed` is pure and decides what a message is; `Receiver` keeps the connection that feeds it.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Self, TypeAlias

import msgspec

from tocsin_agent.errors import DeliveryError
from tocsin_agent.messages.alert import Alert, Audience, Key, Phase, decode_alert
from tocsin_agent.messages.lease import Lease, decode_lease
from tocsin_agent.messages.status import Status, decode_status
from tocsin_agent.messages.topics import Address, Branch, parse
from tocsin_agent.mqtt.connection import Connection, Message
from tocsin_agent.mqtt.settings import MqttSettings
from tocsin_agent.retry import Backoff

MAX_REMEMBERED = 10_000
_MAX_SHOWN_BYTES = 4096  # of a payload that is no message: a line of JSON is not for megabytes
_ALERT_BRANCHES = {
    Branch.ALERT: Audience.TEAM,
    Branch.TECHNICAL: Audience.TEAM,
    Branch.BEDSIDE: Audience.BEDSIDE,
}


@dataclass(frozen=True, slots=True)
class AlertSeen:
    """An alert that this receiver has not shown to this audience yet.

    Parameters
    ----------
    alert : Alert
        The document.
    audience : Audience
        Whose topic it came on.
    topic : str
        The topic.
    again : bool
        True if it was shown before, to the other audience: a handover to the team.
    missed_onset : bool
        True for an update or an end of an episode that began unseen.
    """

    alert: Alert
    audience: Audience
    topic: str
    again: bool = False
    missed_onset: bool = False


@dataclass(frozen=True, slots=True)
class StatusSeen:
    """A device came, went, or vanished."""

    status: Status
    address: Address
    topic: str
    retained: bool


@dataclass(frozen=True, slots=True)
class PresenceSeen:
    """A lease was taken, renewed by another, given back, or its holder vanished; None: cleared."""

    lease: Lease | None
    address: Address
    topic: str


@dataclass(frozen=True, slots=True)
class Malformed:
    """A payload that is not what its topic promises."""

    topic: str
    payload: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class ConnectionSeen:
    """The receiver's own connection: made, or lost and why."""

    connected: bool
    message: str


Item: TypeAlias = AlertSeen | StatusSeen | PresenceSeen | Malformed | ConnectionSeen


class Feed:
    """Turns messages into what a person should see. Pure; remembers a bounded number of alerts.

    Attributes
    ----------
    repeated : int
        Alerts that came again to an audience that had seen them, and were not shown.
    """

    def __init__(self, remember: int = MAX_REMEMBERED) -> None:
        self.repeated = 0
        self._remember = remember
        self._shown: OrderedDict[Key, set[Audience]] = OrderedDict()
        self._status: dict[str, str] = {}
        self._holders: dict[str, tuple[str, str]] = {}

    def take(self, message: Message) -> Item | None:
        """Return what is new in a message; None for a repetition or a topic of no interest."""
        address = parse(message.topic)
        if address is None:
            return None
        try:
            if address.branch in _ALERT_BRANCHES:
                return self._alert(message, _ALERT_BRANCHES[address.branch])
            if address.branch is Branch.STATUS:
                return self._take_status(message, address)
            if address.branch is Branch.PRESENCE:
                return self._presence(message, address)
        except (ValueError, OverflowError) as exc:  # msgspec's errors are ValueErrors
            return Malformed(message.topic, message.payload, str(exc))
        return None

    def _alert(self, message: Message, audience: Audience) -> AlertSeen | None:
        alert = decode_alert(message.payload)
        key = alert.key
        known = self._shown.get(key)
        if known is not None and audience in known:
            self.repeated += 1
            return None
        missed = alert.phase is not Phase.ONSET and (alert.alert_id, 1) not in self._shown
        self._shown[key] = (known or set()) | {audience}
        self._shown.move_to_end(key)
        while len(self._shown) > self._remember:
            self._shown.popitem(last=False)
        return AlertSeen(alert, audience, message.topic, known is not None, missed)

    def _take_status(self, message: Message, address: Address) -> StatusSeen | None:
        if not message.payload:
            self._status.pop(message.topic, None)
            return None
        status = decode_status(message.payload)
        if self._status.get(message.topic) == status.state:
            return None
        self._status[message.topic] = status.state
        return StatusSeen(status, address, message.topic, message.retain)

    def _presence(self, message: Message, address: Address) -> PresenceSeen | None:
        lease = decode_lease(message.payload) if message.payload else None
        now = (lease.id, lease.state) if lease is not None else ("", "")
        if self._holders.get(message.topic, ("", "")) == now:
            return None  # a renewal
        self._holders[message.topic] = now
        return PresenceSeen(lease, address, message.topic)


class Receiver:
    """Keeps a connection and hands out what is new; a context manager, used by one thread.

    A message is acknowledged at the `poll` after the one that returned it, when it has been shown.

    Parameters
    ----------
    mqtt : MqttSettings
        How to reach the broker.
    filters : list of str
        What to subscribe to, as made by `topics.watch_filters`.
    client_id : str
        Identifies the session at the broker.
    keep_session : bool
        True to receive after a reconnection what came in between.
    """

    def __init__(
        self, mqtt: MqttSettings, filters: list[str], *, client_id: str, keep_session: bool = False
    ) -> None:
        self.connected = False
        self._mqtt, self._filters = mqtt, filters
        self._client_id, self._keep_session = client_id, keep_session
        self._feed = Feed()
        self._connection: Connection | None = None
        self._handed_out: list[Message] = []
        self._backoff = Backoff(mqtt.reconnect_min_s, mqtt.reconnect_max_s)
        self._retry_at_s = 0.0
        self._last_trouble = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            if exc_type is None:
                self._acknowledge(connection)
            connection.close()
        except DeliveryError:
            connection.abort()

    @property
    def repeated(self) -> int:
        """Alerts that came again, and were not handed out again."""
        return self._feed.repeated

    def poll(self, timeout_s: float) -> list[Item]:
        """Wait for what is new, at most so long. Never raises for a broker that is away."""
        if self._connection is None:
            wait_s = self._retry_at_s - time.monotonic()
            if wait_s > 0:
                time.sleep(min(wait_s, timeout_s))
                return []
        try:
            return self._poll(timeout_s)
        except DeliveryError as exc:
            return self._lost(exc)

    def _poll(self, timeout_s: float) -> list[Item]:
        items: list[Item] = []
        if self._connection is None:
            items.append(self._connect())
            timeout_s = 0.0
        connection = self._connection
        assert connection is not None  # noqa: S101  # _connect raises otherwise
        self._acknowledge(connection)
        for message in connection.step(timeout_s).messages:
            self._handed_out.append(message)
            item = self._feed.take(message)
            if item is not None:
                items.append(item)
        return items

    def _connect(self) -> ConnectionSeen:
        connection = Connection(self._mqtt, self._client_id, keep_session=self._keep_session)
        connection.open()
        self._connection = connection
        connection.subscribe(self._filters)
        self.connected = True
        self._last_trouble = ""
        self._backoff.reset()
        return ConnectionSeen(True, f"connected to {connection.where}")

    def _lost(self, exc: DeliveryError) -> list[Item]:
        if self._connection is not None:
            self._connection.abort()
            self._connection = None
        self.connected = False
        self._handed_out.clear()
        self._retry_at_s = time.monotonic() + self._backoff.next_s()
        if str(exc) == self._last_trouble:
            return []
        self._last_trouble = str(exc)
        return [ConnectionSeen(False, str(exc))]

    def _acknowledge(self, connection: Connection) -> None:
        handed_out, self._handed_out = self._handed_out, []
        for message in handed_out:
            connection.acknowledge(message)


def to_json(item: Item, received_at: datetime) -> str:
    """Write an item as one line of JSON for a machine.

    Parameters
    ----------
    item : Item
        What was received.
    received_at : datetime
        Aware UTC.
    """
    record: dict[str, object] = {"received_at": received_at}
    match item:
        case AlertSeen():
            record |= {"type": "alert", "topic": item.topic, "again": item.again}
            record["alert"] = item.alert
        case StatusSeen():
            record |= {"type": "status", "topic": item.topic, "status": item.status}
        case PresenceSeen():
            record |= {"type": "presence", "topic": item.topic, "lease": item.lease}
        case Malformed():
            text = item.payload[:_MAX_SHOWN_BYTES].decode("utf-8", "replace")
            record |= {"type": "malformed", "topic": item.topic, "reason": item.reason}
            record |= {"payload": text, "bytes": len(item.payload)}
        case ConnectionSeen():
            record |= {"type": "connection", "connected": item.connected, "message": item.message}
    return msgspec.json.encode(record).decode()
