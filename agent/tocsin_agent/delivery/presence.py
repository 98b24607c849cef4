"""Whether a cardiologist is present: a lease, and any doubt about it means absent."""

from __future__ import annotations

import logging
import threading
import time
from datetime import UTC, datetime
from types import TracebackType
from typing import NamedTuple, Self

from tocsin_agent.delivery.settings import PresenceSettings
from tocsin_agent.errors import DeliveryError, DeliveryFault
from tocsin_agent.messages.alert import Audience, PresenceView
from tocsin_agent.messages.lease import Lease, LeaseState, decode_lease, encode_lease, make_lease
from tocsin_agent.messages.topics import presence_topic
from tocsin_agent.mqtt.connection import Connection, Message
from tocsin_agent.mqtt.settings import MqttSettings
from tocsin_agent.retry import Backoff

log = logging.getLogger(__name__)

_RENEWALS = 3  # a lease is renewed when this part of it has passed: two renewals may fail


class _Entry(NamedTuple):
    """The last word of a role: a lease, or the reason why it is none."""

    lease: Lease | None
    reason: str


# What to report where nobody is present: the reason that someone should look at comes first.
_TELLING = ("malformed", "expired", "released", "none")


class PresenceLedger:
    """What the leases seen so far amount to. Pure: it is fed, and asked with a time.

    Parameters
    ----------
    settings : PresenceSettings
        Which roles count and what a lease may be.
    """

    def __init__(self, settings: PresenceSettings | None = None) -> None:
        self.settings = settings or PresenceSettings()
        self._entries: dict[str, _Entry] = {}
        self._connected = False

    def connected(self) -> None:
        """Note that what the broker retains has arrived: from here on no lease means none."""
        self._connected = True

    def disconnected(self) -> None:
        """Note that the broker is out of reach: nothing is known, so nobody counts as present."""
        self._connected = False
        self._entries.clear()

    def feed(self, role: str, payload: bytes) -> None:
        """Take in the payload of a role's presence topic; empty clears it."""
        if role not in self.settings.roles:
            return
        if not payload:
            self._entries.pop(role, None)
            return
        self._entries[role] = self._read(role, payload)

    def _read(self, role: str, payload: bytes) -> _Entry:
        try:
            lease = decode_lease(payload)
        except (ValueError, OverflowError) as exc:  # msgspec's errors are ValueErrors
            return _malformed(role, str(exc))
        if lease.role != role:
            return _malformed(role, f"it names the role {lease.role!r}")
        if lease.state is not LeaseState.PRESENT:
            return _Entry(lease, "released")
        length_s = (lease.expires_at - lease.issued_at).total_seconds()
        if not 0 < length_s <= self.settings.max_lease_s:
            return _malformed(
                role, f"it lasts {length_s:g} s, at most {self.settings.max_lease_s:g} s allowed"
            )
        return _Entry(lease, "lease")

    def view(self, now: datetime) -> PresenceView:
        """Decide who an alert goes to at this moment.

        Parameters
        ----------
        now : datetime
            Aware UTC.

        Returns
        -------
        PresenceView
            `attended` only under a live lease of a role that counts.
        """
        if not self._connected:
            return PresenceView(attended=False, audience=Audience.TEAM, reason="unknown")
        worst = PresenceView(attended=False, audience=Audience.TEAM, reason="none")
        for role in self.settings.roles:
            entry = self._entries.get(role)
            if entry is None:
                continue
            reason = self._reason(entry, now)
            holder = entry.lease.id if entry.lease is not None else None
            if reason == "lease":
                return PresenceView(True, Audience.BEDSIDE, reason, role, holder)
            if _TELLING.index(reason) < _TELLING.index(worst.reason):
                worst = PresenceView(False, Audience.TEAM, reason, role, holder)
        return worst

    def _reason(self, entry: _Entry, now: datetime) -> str:
        if entry.reason != "lease" or entry.lease is None:
            return entry.reason
        # Looked at every time, not at arrival only: the device's clock may step back.
        if (entry.lease.issued_at - now).total_seconds() > self.settings.max_skew_s:
            return "malformed"
        return "lease" if now < entry.lease.expires_at else "expired"

    def next_expiry(self, now: datetime) -> datetime | None:
        """Return when the first live lease runs out, so that somebody looks then."""
        ends = [
            entry.lease.expires_at
            for entry in self._entries.values()
            if entry.lease is not None and self._reason(entry, now) == "lease"
        ]
        return min(ends, default=None)


def _malformed(role: str, why: str) -> _Entry:
    log.warning("the presence of %s is malformed and counts as absent: %s", role, why)
    return _Entry(None, "malformed")


class PresenceClient:
    """Holds a lease for someone: takes it, renews it at a third of its length, gives it back.

    A context manager with a thread of its own. If the process dies, the broker says `gone`; if
    the network does, the lease runs out. One holder a role: who comes later replaces the other.

    Parameters
    ----------
    mqtt : MqttSettings
        How to reach the broker.
    site, role, holder : str
        Where, as what, and who.
    lease_s : float
        Length of the lease in seconds.

    Attributes
    ----------
    held : threading.Event
        Set while the lease is known to be renewed.
    released : bool
        True once the broker has acknowledged that it was given back.

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

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
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
            say(connection, self.topic, self._message(LeaseState.PRESENT))
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
                log.warning("%s; the lease runs out unless it can be renewed", exc)
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
                say(connection, self.topic, self._message(LeaseState.PRESENT))
                renew_at = time.monotonic() + self._lease_s / _RENEWALS

    def _release(self, connection: Connection) -> None:
        try:
            say(connection, self.topic, self._message(LeaseState.RELEASED))
            self.released = True
            connection.close()
        except DeliveryError as exc:
            log.warning("the lease could not be given back and runs out by itself: %s", exc)
            connection.abort()
        self.held.clear()


def say(connection: Connection, topic: str, payload: bytes) -> None:
    """Publish a retained message and wait for its acknowledgement.

    Raises
    ------
    DeliveryError
        If the broker refuses it, or does not answer in time.
    """
    mid = connection.publish(topic, payload, retain=True)
    deadline = time.monotonic() + connection.settings.ack_timeout_s
    while time.monotonic() < deadline:
        for ack in connection.step(deadline - time.monotonic()).acks:
            if ack.mid == mid and ack.refusal:
                raise DeliveryError(
                    DeliveryFault.BROKER_REFUSED,
                    f"broker {connection.where} refuses {topic} ({ack.refusal}): check its access list",
                )
            if ack.mid == mid:
                return
    raise DeliveryError(
        DeliveryFault.BROKER_UNREACHABLE,
        f"broker {connection.where} did not acknowledge within {connection.settings.ack_timeout_s:g} s",
    )
