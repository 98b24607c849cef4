"""What happens between the outbox and the broker while one connection lasts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from tocsin_agent.delivery.presence import PresenceLedger
from tocsin_agent.delivery.store import AlertQueue, Waiting
from tocsin_agent.errors import DeliveryError, DeliveryFault
from tocsin_agent.messages.alert import Audience, Key, PresenceView
from tocsin_agent.messages.topics import Branch, Topics, parse, presence_topic
from tocsin_agent.mqtt.connection import Connection
from tocsin_agent.mqtt.events import Ack

log = logging.getLogger(__name__)

_POLL_S = 0.5  # the outbox is looked at this often even if nobody says so
_OVERHEAD_BYTES = 512  # what topic and headers may add to a payload
_REFUSED_RETRY_S = 30.0
_LOSSES_BEFORE_SLIM = 3


class UnresponsiveError(DeliveryError):
    """The broker takes messages and acknowledges none."""


@dataclass(slots=True)
class DeliveryMemory:
    """What must outlive a connection, and the counts.

    Parameters
    ----------
    unrecorded : dict
        Acknowledged by the broker, but the disk would not take the note yet: never sent again.
    held : dict
        Refused by the broker, until this monotonic time.
    losses : dict
        Connections that broke while the row was on its way.
    delivered, handed_over : int
        Counts since the start.
    complaint : str
        The last trouble with the disk that was logged: the same again is not.
    """

    unrecorded: dict[Key, Audience] = field(default_factory=dict)
    held: dict[Key, float] = field(default_factory=dict)
    losses: dict[Key, int] = field(default_factory=dict)
    delivered: int = 0
    handed_over: int = 0
    complaint: str = ""


class _InFlight(NamedTuple):
    key: Key
    audience: Audience
    sent_s: float  # monotonic


class DeliverySession:
    """Sends rows over one open link and records what the broker acknowledges.

    Nothing is sent before it has *settled*: the presence topics are subscribed, and the broker has
    acknowledged a message that was sent after that, so that a retained lease had its chance to
    arrive. Otherwise each reconnection would ring the team although somebody is present.

    Parameters
    ----------
    connection : Connection
        Open.
    outbox : AlertQueue
        Where the rows are.
    ledger : PresenceLedger
        Fed here; asked at each publish.
    topics : Topics
        The device's.
    memory : DeliveryMemory
        Kept by the owner from one connection to the next.
    utc : callable
        Returns aware UTC.
    """

    def __init__(
        self,
        connection: Connection,
        outbox: AlertQueue,
        ledger: PresenceLedger,
        topics: Topics,
        *,
        memory: DeliveryMemory,
        utc: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.settled = False
        self._connection, self._outbox, self._ledger = connection, outbox, ledger
        self._topics, self._memory, self._utc = topics, memory, utc
        self._window = min(connection.settings.inflight, connection.receive_maximum)
        self._max_bytes = min(
            connection.settings.max_payload_bytes, connection.max_packet_bytes - _OVERHEAD_BYTES
        )
        self._in_flight: dict[int, _InFlight] = {}
        self._attended: bool | None = None
        self._began_s = self._last_ack_s = time.monotonic()
        self._subscription: int | None = None
        self._barrier: int | None = None

    def begin(self, status: bytes, info: bytes) -> None:
        """Subscribe to the leases, then state that the device is online and what it is."""
        roles = self._ledger.settings.roles
        if roles:
            filters = [presence_topic(self._topics.site, role) for role in roles]
            self._subscription = self._connection.subscribe(filters)
        self._barrier = self._connection.publish(self._topics.status, status, retain=True)
        self._connection.publish(self._topics.info, info, retain=True)

    def turn(self) -> bool:
        """Wait for the next thing to happen and deal with it.

        Returns
        -------
        bool
            True if rows were recorded as delivered.

        Raises
        ------
        DeliveryError
            If the connection is lost; `UnresponsiveError` if the broker stopped acknowledging.
        """
        events = self._connection.step(self._timeout_s())
        for message in events.messages:
            address = parse(message.topic)
            if address is not None and address.branch is Branch.PRESENCE:
                self._ledger.feed(address.leaf, message.payload)
            self._connection.acknowledge(message)
        if self._subscription in events.subscribed:
            self._subscription = None
        for ack in events.acks:
            self._acknowledged(ack)
        recorded = self._record()
        if self.settled or self._try_to_settle():
            self._follow_presence()
            self._send()
        self._check_overdue()
        return recorded

    def end(self) -> None:
        """Remember over which rows the connection broke."""
        losses = self._memory.losses
        for row in self._in_flight.values():
            losses[row.key] = losses.get(row.key, 0) + 1
        self._in_flight.clear()

    # -- acknowledgements ---------------------------------------------------------------------

    def _acknowledged(self, ack: Ack) -> None:
        self._last_ack_s = time.monotonic()
        if ack.mid == self._barrier:
            self._barrier = None
        row = self._in_flight.pop(ack.mid, None)
        if ack.refusal:
            log.error(
                "broker %s refuses a message (%s): check its access list for %s/#",
                self._connection.where,
                ack.refusal,
                self._topics.base,
            )
        if row is None:
            return
        if ack.refusal:
            self._memory.held[row.key] = time.monotonic() + _REFUSED_RETRY_S
        else:
            self._memory.unrecorded[row.key] = row.audience

    def _record(self) -> bool:
        memory = self._memory
        if not memory.unrecorded:
            return False
        try:
            self._outbox.mark_delivered(memory.unrecorded.items())
        except DeliveryError as exc:
            self._complain("delivered alerts cannot be recorded yet", exc)
            return False
        if Audience.BEDSIDE in memory.unrecorded.values() and not self._attended:
            self._attended = None  # acknowledged after the lease ended: look again what is owed
        for key in memory.unrecorded:
            memory.losses.pop(key, None)
            memory.held.pop(key, None)
        memory.delivered += len(memory.unrecorded)
        memory.unrecorded.clear()
        memory.complaint = ""
        return True

    def _check_overdue(self) -> None:
        # Measured from the last sign of progress: a slow uplink is not a dead broker.
        waiting_since = [row.sent_s for row in self._in_flight.values()]
        if not self.settled:
            waiting_since.append(self._began_s)
        if not waiting_since:
            return
        silent_s = time.monotonic() - max(min(waiting_since), self._last_ack_s)
        if silent_s > self._connection.settings.ack_timeout_s:
            raise UnresponsiveError(
                DeliveryFault.BROKER_UNREACHABLE,
                f"broker {self._connection.where} accepts messages but has acknowledged none for "
                f"{silent_s:.1f} s: check its load and its disk, or raise mqtt.ack_timeout_s",
            )

    # -- presence -----------------------------------------------------------------------------

    def _try_to_settle(self) -> bool:
        answered = self._subscription is None and self._barrier is None
        waited_s = time.monotonic() - self._began_s
        if answered and waited_s >= self._ledger.settings.settle_s:
            self._ledger.connected()
            self.settled = True
        return self.settled

    def _follow_presence(self) -> None:
        view = self._ledger.view(self._utc())
        if view.attended is self._attended:
            return
        try:
            if view.attended:
                self._outbox.cancel_hand_over()
                log.info("present: %s %s; alerts go to the bedside", view.role, view.id)
            else:
                rows = self._outbox.hand_over()
                self._memory.handed_over += rows
                log.info("absent (%s); alerts go to the team, %d handed over", view.reason, rows)
        except DeliveryError as exc:
            # Tried again in the next turn. Meanwhile new alerts go out all the same.
            self._complain("open episodes cannot be handed over yet", exc)
            return
        self._attended = view.attended

    def _complain(self, what: str, exc: DeliveryError) -> None:
        if str(exc) != self._memory.complaint:
            self._memory.complaint = str(exc)
            log.error("%s: %s", what, exc)

    # -- sending ------------------------------------------------------------------------------

    def _send(self) -> None:
        now_s = time.monotonic()
        room = self._window - len(self._in_flight)
        if room <= 0:
            return
        memory = self._memory
        busy = {row.key for row in self._in_flight.values()} | memory.unrecorded.keys()
        busy |= {key for key, until_s in memory.held.items() if until_s > now_s}
        for row in self._outbox.waiting(room, exclude=busy):
            now = self._utc()
            view = self._ledger.view(now)
            if row.handover and view.attended:
                continue  # somebody came this very moment: taken back in the next turn
            self._publish(row, view, now)
            if not self._connection.alive:
                return

    def _publish(self, row: Waiting, view: PresenceView, now: datetime) -> None:
        if row.handover:
            view = msgspec.structs.replace(view, handover=True)
        try:
            payload = self._document(row, view, now)
        except (msgspec.DecodeError, TypeError) as exc:
            log.error("alert %s/%d cannot be read from the outbox: %s", *row.key, exc)  # noqa: TRY400
            self._outbox.discard(row.key)
            return
        topic = self._topics.alert(view.audience, row.kind, row.priority)
        mid = self._connection.publish(topic, payload)
        self._in_flight[mid] = _InFlight(row.key, view.audience, time.monotonic())
        log.info("alert %s/%d -> %s (presence: %s)", *row.key, topic, view.reason)

    def _document(self, row: Waiting, view: PresenceView, now: datetime) -> bytes:
        # As a dict, not as an Alert: what an older version committed must still go out.
        document = msgspec.json.decode(row.document, type=dict[str, object])
        document["published_at"] = now
        document["presence"] = view
        payload = msgspec.json.encode(document)
        losses = self._memory.losses.get(row.key, 0)
        if len(payload) > self._max_bytes or losses >= _LOSSES_BEFORE_SLIM:
            log.warning(
                "alert %s/%d (%d bytes, %d lost connections) goes without its strip",
                *row.key,
                len(payload),
                losses,
            )
            document["strip"] = None
            payload = msgspec.json.encode(document)
        return payload

    def _timeout_s(self) -> float:
        now, now_s = self._utc(), time.monotonic()
        timeout_s = _POLL_S
        expiry = self._ledger.next_expiry(now)
        if expiry is not None:
            timeout_s = min(timeout_s, (expiry - now).total_seconds() + 0.001)
        if not self.settled:
            left_s = self._began_s + self._ledger.settings.settle_s - now_s
            timeout_s = min(timeout_s, left_s if left_s > 0 else 0.05)
        return max(0.0, timeout_s)
