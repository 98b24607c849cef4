"""Holds a presence lease for a person: takes it, renews it, and releases it."""

from __future__ import annotations

import logging
import threading
import time
from datetime import UTC, datetime
from typing import Self

from tocsin_agent.errors import DeliveryError
from tocsin_agent.messages.lease import LeaseState, encode_lease, make_lease
from tocsin_agent.messages.topics import presence_topic
from tocsin_agent.mqtt.connection import Connection, publish_retained
from tocsin_agent.mqtt.events import Message
from tocsin_agent.mqtt.settings import MqttSettings
from tocsin_agent.retry import Backoff

log = logging.getLogger(__name__)

_RENEWALS = 3  # renewed after this part of its length, so that two renewals may fail


class PresenceClient:
    """Holds a lease: takes it, renews it after a third of its length, releases it at the end.

    A context manager with a thread of its own. If the process dies, the broker publishes `gone`;
    if the network fails, the lease expires. A role has one holder: a later one replaces it.

    Parameters
    ----------
    mqtt : MqttSettings
        How to reach the broker.
    site, role, holder : str
        The site, the role, and the id of the person.
    lease_s : float
        Length of the lease in seconds.

    Attributes
    ----------
    held : threading.Event
        Set while the broker has acknowledged the last renewal.
    released : bool
        True once the broker has acknowledged the release.

    Raises
    ------
    DeliveryError
        On entering, if the broker cannot be reached or does not acknowledge.
    """

    def __init__(
        self, mqtt: MqttSettings, *, site: str, role: str, holder: str, lease_s: float = 60.0
    ) -> None:
        self.topic = presence_topic(site, role)
        self.held = threading.Event()
        self.released = False
        self._mqtt, self._role, self._holder, self._lease_s = mqtt, role, holder, lease_s
        self._client_id = f"tocsin-presence-{site}-{role}-{holder}"
        self._stopping = threading.Event()
        self._connection: Connection | None = None
        self._thread = threading.Thread(target=self._run, name="tocsin-presence", daemon=True)

    def __enter__(self) -> Self:
        self._connection = self._take()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        connection = self._connection
        if connection is not None:
            connection.wake()
        self._thread.join(self._mqtt.connect_timeout_s + 2 * self._mqtt.ack_timeout_s)

    def _message(self, state: LeaseState) -> bytes:
        return encode_lease(
            make_lease(self._role, self._holder, self._lease_s, datetime.now(UTC), state)
        )

    def _take(self) -> Connection:
        will = Message(self.topic, self._message(LeaseState.GONE), retain=True)
        connection = Connection(self._mqtt, self._client_id, will=will)
        connection.open()
        try:
            publish_retained(connection, self.topic, self._message(LeaseState.PRESENT))
        except DeliveryError:
            connection.abort()
            raise
        self.held.set()
        return connection

    def _run(self) -> None:
        backoff = Backoff(self._mqtt.reconnect_min_s, self._mqtt.reconnect_max_s)
        while not self._stopping.is_set():
            try:
                if self._connection is None:
                    self._connection = self._take()
                self._hold(self._connection)
                backoff.reset()
            except DeliveryError as exc:
                self.held.clear()
                log.warning("%s; the lease expires unless it can be renewed", exc)
                if self._connection is not None:
                    self._connection.abort()
                    self._connection = None
                self._stopping.wait(backoff.next_s())
        if self._connection is not None:
            self._release(self._connection)

    def _hold(self, connection: Connection) -> None:
        renew_at = time.monotonic() + self._lease_s / _RENEWALS
        while not self._stopping.is_set():
            connection.step(renew_at - time.monotonic())
            if time.monotonic() >= renew_at:
                publish_retained(connection, self.topic, self._message(LeaseState.PRESENT))
                renew_at = time.monotonic() + self._lease_s / _RENEWALS

    def _release(self, connection: Connection) -> None:
        try:
            publish_retained(connection, self.topic, self._message(LeaseState.RELEASED))
            self.released = True
            connection.close()
        except DeliveryError as exc:
            log.warning("the lease could not be released and expires by itself: %s", exc)
            connection.abort()
        self.held.clear()
