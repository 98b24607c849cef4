"""The connection of a team's screen: subscribes, reconnects, and acknowledges what was shown."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from typing import Self

from tocsin_agent.errors import DeliveryError, DeliveryFault
from tocsin_agent.messages.additions import PROPERTY
from tocsin_agent.messages.receipt import MAX_RECEIPT_KEYS, Receipt, encode_receipt
from tocsin_agent.messages.topics import Topics, as_level
from tocsin_agent.mqtt.connection import Connection
from tocsin_agent.mqtt.events import Message
from tocsin_agent.mqtt.settings import MqttSettings
from tocsin_agent.retry import Backoff
from tocsin_agent.signing.envelope import Signer
from tocsin_agent.signing.keyring import KeyFile
from tocsin_agent.team.feed import AlertSeen, ConnectionSeen, Feed, Item
from tocsin_agent.team.origin import Origins
from tocsin_agent.team.shown import ShownAlerts

log = logging.getLogger(__name__)


class Receiver:
    """Keeps a connection and returns what is new; a context manager, used by one thread.

    A message is acknowledged at the `poll` after the one that returned it, when it has been shown.
    So is a receipt sent, to the device: the broker may lose an alert that it has acknowledged, and
    a device that waits for receipts sends it again (`receipts.expected` of its configuration).

    Reason for its size: what was returned, and what is owed to broker and devices for it.

    Parameters
    ----------
    mqtt : MqttSettings
        How to reach the broker.
    filters : list of str
        What to subscribe to, as made by `topics.watch_filters`.
    client_id : str
        Identifies the session at the broker.
    keep_session : bool
        True to receive, after a reconnection, what was published in between.
    receipts : bool
        Send receipts, under the user name at the broker, else under `client_id`.
    shown : ShownAlerts, optional
        What was shown before.
    signer : Signer, optional
        Signs what is sent.
    keys : KeyFile, optional
        Trusted keys: with them, who signed each message is verified.
    renewals : bool
        True to return each renewal of a lease too.

    Attributes
    ----------
    confirming : bool
        False while nobody can see what is returned: no receipt is sent for it, and a device that
        waits for one sends it again.
    """

    def __init__(
        self,
        mqtt: MqttSettings,
        filters: list[str],
        *,
        client_id: str,
        keep_session: bool = False,
        receipts: bool = False,
        shown: ShownAlerts | None = None,
        signer: Signer | None = None,
        keys: KeyFile | None = None,
        renewals: bool = False,
    ) -> None:
        self._mqtt, self._filters = mqtt, filters
        self._client_id, self._keep_session = client_id, keep_session
        self.confirming = True
        self._name = as_level(mqtt.username or client_id) if receipts else None
        self._receipts: set[int] = set()
        self._shown = shown if shown is not None else ShownAlerts()
        self._feed = Feed(self._shown, renewals=renewals)
        self._signer, self._origins = signer, Origins(keys)
        self._connection: Connection | None = None
        self._returned: list[Message] = []
        self._followed: set[str] = set()
        self._backoff = Backoff(mqtt.reconnect_min_s, mqtt.reconnect_max_s)
        self._retry_at_s = 0.0
        self._last_error = ""
        self._subscription: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
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
    def connected(self) -> bool:
        """True while the connection is up."""
        return self._connection is not None

    @property
    def subscribed(self) -> bool:
        """True once the broker has answered the subscription; it sends what is retained then."""
        return self._connection is not None and self._subscription is None

    @property
    def repeated(self) -> int:
        """Alerts that arrived again and were not returned again."""
        return self._feed.repeated

    def shown(self, item: Item) -> None:
        """Note that a person has seen an item, so that it is not returned after a restart."""
        if isinstance(item, AlertSeen):
            self._shown.keep(item.alert.key)

    def wake(self) -> None:
        """End the present or the next `poll` early; any thread may call it."""
        connection = self._connection
        if connection is not None:
            connection.wake()

    def follow(self, filters: set[str]) -> None:
        """Receive these topics too, in addition to the filters, and no others from now on.

        Raises
        ------
        DeliveryError
            If the connection is lost; they are subscribed to at the next one.
        """
        more, fewer = filters - self._followed, self._followed - filters
        self._followed = set(filters)
        if self._connection is None:
            return
        if more:
            self._connection.subscribe(sorted(more))
        if fewer:
            self._connection.unsubscribe(sorted(fewer))

    def send(
        self, topic: str, payload: bytes, *, retain: bool = False, signer: Signer | None = None
    ) -> None:
        """Publish a message, at QoS 1; signed by `signer` where it is given, else as all others.

        Raises
        ------
        DeliveryError
            If there is no connection, or it is lost: the message may not have been sent.
        """
        if self._connection is None:
            raise DeliveryError(
                DeliveryFault.BROKER_UNREACHABLE,
                self._last_error or "there is no connection to the broker yet",
            )
        self._connection.publish(topic, payload, retain=retain, signer=signer)

    def poll(self, timeout_s: float) -> list[Item]:
        """Return what is new within the time, connecting again where needed; never raises.

        The reason of a failure is returned once, not at each attempt.
        """
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
        connection = self._connection
        if connection is None:
            connection, items = self._connect()
            timeout_s = 0.0
        else:
            items = []
        self._acknowledge(connection)
        events = connection.step(timeout_s)
        if self._subscription in events.subscribed:
            self._subscription = None
        for ack in events.acks:
            if ack.mid in self._receipts and ack.refusal:
                self._name = None
                log.warning(
                    "broker %s refuses receipts (%s): allow this user to write "
                    "tocsin/v1/+/+/receipt/%s",
                    connection.where,
                    ack.refusal,
                    as_level(self._mqtt.username or self._client_id),
                )
            self._receipts.discard(ack.mid)
        for message in events.messages:
            self._returned.append(message)
            item = self._feed.take(
                message.topic,
                message.payload,
                retained=message.retain,
                additions=message.user.get(PROPERTY, ""),
                origin=self._origins.of(message),
            )
            if item is not None:
                items.append(item)
        return items

    def _connect(self) -> tuple[Connection, list[Item]]:
        connection = Connection(
            self._mqtt, self._client_id, keep_session=self._keep_session, signer=self._signer
        )
        connection.open()
        self._connection = connection
        self._subscription = connection.subscribe([*self._filters, *sorted(self._followed)])
        self._last_error = ""
        self._backoff.reset()
        return connection, [ConnectionSeen(True, f"connected to {connection.where}")]

    def _lost(self, exc: DeliveryError) -> list[Item]:
        if self._connection is not None:
            self._connection.abort()
            self._connection = None
        self._returned.clear()
        self._receipts.clear()
        self._feed.received.clear()  # not shown yet, or the device sends it again
        self._retry_at_s = time.monotonic() + self._backoff.next_s()
        if str(exc) == self._last_error:
            return []
        self._last_error = str(exc)
        return [ConnectionSeen(False, str(exc))]

    def _acknowledge(self, connection: Connection) -> None:
        self._send_receipts(connection)
        returned, self._returned = self._returned, []
        for message in returned:
            connection.acknowledge(message)

    def _send_receipts(self, connection: Connection) -> None:
        received, self._feed.received = self._feed.received, {}
        if self._name is None or not self.confirming:
            return
        for (site, device), keys in received.items():
            topic, ordered = Topics(site, device).receipt(self._name), sorted(keys)
            for first in range(0, len(ordered), MAX_RECEIPT_KEYS):
                some = tuple(ordered[first : first + MAX_RECEIPT_KEYS])
                receipt = Receipt(receiver=self._name, at=datetime.now(UTC), received=some)
                self._receipts.add(connection.publish(topic, encode_receipt(receipt)))
