"""Holds a presence lease for a person: takes it, renews it, and releases it."""

from __future__ import annotations

import logging
import math
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
from tocsin_agent.signing.envelope import Signer

log = logging.getLogger(__name__)

_RENEWALS = 3  # renewed after this part of its length, so that two renewals may fail


class DeadMansSwitch:
    """Ends unless a person presses it again and again. Pure: time is passed in.

    Parameters
    ----------
    every_s : float, optional
        Longest time between two presses; unset: it never ends.
    now_s : float
        A monotonic time; the switch begins pressed.
    """

    def __init__(self, every_s: float | None, now_s: float) -> None:
        self._every_s = math.inf if every_s is None else every_s
        self._pressed_s = now_s

    def press(self, now_s: float) -> None:
        """Begin the time anew: a person has pressed it."""
        self._pressed_s = now_s

    def left_s(self, now_s: float) -> float:
        """Return the seconds that are left, 0 once it has ended."""
        return max(0.0, self._pressed_s + self._every_s - now_s)

    def asks(self, now_s: float) -> bool:
        """Return whether a person should be asked: in the last quarter, at most two minutes."""
        return self.left_s(now_s) <= min(self._every_s / 4.0, 120.0) < math.inf


class PresenceClient:
    """Holds a lease: takes it, renews it after a third of its length, releases it at the end.

    A context manager with a thread of its own. If the process dies, the broker publishes `gone`;
    if the network fails, the lease expires. A role has one holder: a later one replaces it. With
    `confirm_s` the lease ends unless `confirm` is called again and again: a computer that is on is
    nobody present.

    Reason for its size: what a lease states, and the connection that carries it.

    Parameters
    ----------
    mqtt : MqttSettings
        How to reach the broker.
    site, role, holder : str
        The site, the role, and the id of the person.
    lease_s : float
        Length of the lease in seconds.
    confirm_s : float, optional
        Longest time between two calls of `confirm`; then the lease is released, and the next
        call takes it again.
    signer : Signer, optional
        Signs the lease.

    Attributes
    ----------
    held : threading.Event
        Set while the broker has acknowledged the last renewal, and a person has confirmed.
    unconfirmed : bool
        True if the last lease that was published is a release, since nobody confirmed in time.
    released : bool
        True once the broker has acknowledged the release at the end.
    switch : DeadMansSwitch
        How long the last confirmation is good for, in `time.monotonic`.

    Raises
    ------
    DeliveryError
        On entering, if the broker cannot be reached or does not acknowledge.
    """

    def __init__(
        self,
        mqtt: MqttSettings,
        *,
        site: str,
        role: str,
        holder: str,
        lease_s: float = 60.0,
        confirm_s: float | None = None,
        signer: Signer | None = None,
    ) -> None:
        self.topic = presence_topic(site, role)
        self.held = threading.Event()
        self.released = self.unconfirmed = False
        self.switch = DeadMansSwitch(confirm_s, time.monotonic())
        self._mqtt, self._role, self._holder, self._lease_s = mqtt, role, holder, lease_s
        self._client_id, self._signer = f"tocsin-presence-{site}-{role}-{holder}", signer
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

    def confirm(self) -> None:
        """State that the person is present still, or again; any thread may call it."""
        self.switch.press(time.monotonic())
        connection = self._connection
        if connection is not None:
            connection.wake()

    def _message(self, state: LeaseState) -> bytes:
        length_s = min(self._lease_s, self.switch.left_s(time.monotonic()))
        return encode_lease(
            make_lease(self._role, self._holder, length_s, datetime.now(UTC), state)
        )

    def _publish(self, connection: Connection) -> None:
        """Publish the lease, or its release where nobody has confirmed in time."""
        confirmed = self.switch.left_s(time.monotonic()) > 0
        state = LeaseState.PRESENT if confirmed else LeaseState.RELEASED
        publish_retained(connection, self.topic, self._message(state))
        self.unconfirmed = not confirmed
        if confirmed:
            self.held.set()
        else:
            self.held.clear()

    def _take(self) -> Connection:
        will = Message(self.topic, self._message(LeaseState.GONE), retain=True)
        connection = Connection(self._mqtt, self._client_id, will=will, signer=self._signer)
        connection.open()
        try:
            self._publish(connection)
        except DeliveryError:
            connection.abort()
            raise
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
            left_s = self.switch.left_s(time.monotonic())
            wait_s = renew_at - time.monotonic()
            connection.step(min(wait_s, left_s) if left_s > 0 else wait_s)
            confirmed = self.switch.left_s(time.monotonic()) > 0
            if time.monotonic() >= renew_at or confirmed is not self.held.is_set():
                self._publish(connection)
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
