"""What happens between the outbox and the broker while one connection lasts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeAlias

import msgspec

from tocsin_agent.delivery import audit
from tocsin_agent.delivery.answering import Answering
from tocsin_agent.delivery.echo import DROPPED, Echo
from tocsin_agent.delivery.faults import DELIVERY_FAILED, Fault
from tocsin_agent.delivery.in_flight import InFlight, Sent
from tocsin_agent.delivery.inbox import OWN, Inbox
from tocsin_agent.delivery.packet import make_packet
from tocsin_agent.delivery.presence import PresenceLedger
from tocsin_agent.delivery.receipts import AwaitedReceipts
from tocsin_agent.delivery.refusals import Refusals
from tocsin_agent.delivery.rows import Waiting
from tocsin_agent.delivery.store import AlertQueue
from tocsin_agent.errors import DeliveryError, DeliveryFault
from tocsin_agent.log_fields import with_fields
from tocsin_agent.messages.alert import Audience, Key, Kind, PresenceView, Priority
from tocsin_agent.messages.printable import clean
from tocsin_agent.messages.receipt import decode_receipt
from tocsin_agent.messages.response import Outcome, Response, encode_response
from tocsin_agent.messages.topics import (
    CONTEXT,
    Address,
    Branch,
    Topics,
    parse,
    presence_topic,
)
from tocsin_agent.mqtt.connection import Connection
from tocsin_agent.mqtt.events import Ack, Events, Message
from tocsin_agent.signing.guard import Guard
from tocsin_agent.signing.keyring import id_of

log = logging.getLogger(__name__)

OnContext: TypeAlias = Callable[[bytes], Response]
"""Takes the payload of a context message and returns the answer."""

_RESETTLE_S = 1.0  # for retained leases to arrive, after a flood
_RECORD_S = 0.05  # acknowledgements are recorded together, at most so late
_RECORD_AT_ONCE = 64
_MANY = 8
_POLL_S = 0.5  # the queue is read at least this often, even without a call of `wake`
_IDLE_S = 1.0  # with nothing open and nothing under way
_SETTLE_POLL_S = 0.05
_LOSSES_BEFORE_SLIM = 3


class UnresponsiveError(DeliveryError):
    """The broker accepts messages and acknowledges none."""


@dataclass(slots=True)
class DeliveryMemory:
    """What must outlive a connection, and the counts.

    Parameters
    ----------
    on_context : callable, optional
        Gets the payload of each context message; what it returns is published.
    on_renewed : callable, optional
        Gets each answer to a request for a certificate.
    guard : Guard, optional
        Judges the signatures of people; without it they need none.
    on_delivered : callable
        Called with the key of each alert that the broker has acknowledged.
    unrecorded : dict
        Acknowledged by the broker, but the disk could not record it yet: not sent again.
    dispatched : set
        Sent to the team by the chain, and not recorded as delivered to it yet.
    refusals : Refusals
        What the broker refuses.
    receipts : AwaitedReceipts
        What the broker has and no receiver has confirmed.
    losses : dict
        How many connections broke while the alert was unacknowledged.
    delivered, handed_over : int
        Counts since the start.
    last_failure : str
        The last failure of the disk that was logged; the same is not logged again.
    """

    on_context: OnContext | None = None
    guard: Guard | None = None
    on_delivered: Callable[[Key], None] = lambda _: None
    on_renewed: Callable[[bytes], None] | None = None
    unrecorded: dict[Key, Audience] = field(default_factory=dict)
    dispatched: set[Key] = field(default_factory=set)
    refusals: Refusals = field(default_factory=Refusals)
    receipts: AwaitedReceipts = field(default_factory=AwaitedReceipts)
    losses: dict[Key, int] = field(default_factory=dict)
    delivered: int = 0
    handed_over: int = 0
    last_failure: str = ""

    def log_failure(self, what: str, exc: DeliveryError) -> None:
        """Log what the disk could not do, once until it changes."""
        if str(exc) != self.last_failure:
            self.last_failure = str(exc)
            log.error("%s: %s", what, exc)


@dataclass(slots=True)
class _Settling:
    """What the broker must answer before it is known whether somebody is present."""

    began_s: float
    subscription: int | None = None
    barrier: int | None = None


class DeliverySession:
    """Sends waiting alerts over one open connection and records what the broker acknowledges.

    No alert is sent before the session has *settled*: the presence topics are subscribed, and the
    broker has acknowledged a message that was sent after that, so that a retained lease has had
    time to arrive. Otherwise each reconnection would alert the team although somebody is present.

    Reason for its size: acknowledgements, presence and sending share what is under way.

    Parameters
    ----------
    connection : Connection
        Open.
    queue : AlertQueue
        What to send.
    ledger : PresenceLedger
        Gets the leases that arrive; decides at each alert who receives it.
    topics : Topics
        The device's.
    memory : DeliveryMemory
        Kept by the owner from one connection to the next.
    answering : Answering, optional
        Takes answers to alerts and escalates; without it, alerts are sent once.
    utc : callable
        Returns aware UTC.
    monotonic : callable
        Returns seconds on a clock that is never set.
    """

    def __init__(
        self,
        connection: Connection,
        queue: AlertQueue,
        ledger: PresenceLedger,
        topics: Topics,
        *,
        memory: DeliveryMemory,
        answering: Answering | None = None,
        utc: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settled = False
        self._connection, self._queue, self._ledger = connection, queue, ledger
        self._topics, self._memory = topics, memory
        self._answering = answering
        self._utc, self._monotonic = utc, monotonic
        settings = connection.settings
        self._in_flight = InFlight(min(settings.inflight, connection.receive_maximum), monotonic)
        self._attended: bool | None = None
        self._settling = _Settling(monotonic())
        self._inbox = Inbox(connection, self._filters())
        self._echo: Echo | None = None
        self._presence_known_at_s: float | None = None
        self._record_at_s: float | None = None
        self._look_at_s = self._escalate_at_s = 0.0
        self._look = True  # something may be sent that could not be sent before
        memory.refusals.connected()

    def _filters(self) -> dict[Branch, list[str]]:
        site, roles = self._topics.site, self._ledger.settings.roles
        answering, memory = self._answering, self._memory
        return {
            Branch.PRESENCE: [presence_topic(site, role) for role in roles],
            Branch.ACK: [answering.filter] if answering is not None else [],
            Branch.CONTEXT: [self._topics.context] if memory.on_context is not None else [],
            Branch.RECEIPT: [self._topics.receipts] if memory.receipts.expected else [],
            Branch.IDENTITY: [self._topics.renewed] if memory.on_renewed is not None else [],
            **({branch: self._topics.own(branch) for branch in OWN} if self._plain else {}),
        }

    @property
    def _plain(self) -> bool:
        """Whether the protocol has no refusals: MQTT 3.1.1."""
        return self._connection.settings.version == "3.1.1"

    def begin(self, status: bytes, info: bytes) -> None:
        """Subscribe to leases and answers, then publish that the device is online."""
        if self._plain:
            patience_s = self._connection.settings.ack_timeout_s
            self._echo = Echo((self._topics.status, status), self._monotonic(), patience_s)
        self._settling.subscription = self._inbox.open()
        self._settling.barrier = self._connection.publish(self._topics.status, status, retain=True)
        self._connection.publish(self._topics.info, info, retain=True)

    def turn(self, most_s: float = _IDLE_S) -> bool:
        """Wait for the next event, process it, and send what may be sent.

        Parameters
        ----------
        most_s : float
            How long to wait at most.

        Returns
        -------
        bool
            True if alerts were recorded as delivered.

        Raises
        ------
        DeliveryError
            If the connection is lost; `UnresponsiveError` if the broker stopped acknowledging.
        """
        events = self._connection.step(max(0.0, min(most_s, self._timeout_s())))
        self._look = self._look or events.woken or bool(events.acks)
        self._receive(events)
        self._take_in()  # before a document that is delivered may be removed
        for ack in events.acks:
            self._acknowledged(ack)
        self._take_echo()
        recorded = self._record()
        if self.settled or self._try_to_settle():
            self._follow_presence()
            self._send()
            if self._answering is not None:
                self._answering.publish_active(self._utc())
        if self._answering is not None and (recorded or self._record_at_s is None):
            self._answering.desk.save()
        self._check_overdue()
        return recorded

    def faults(self) -> list[Fault]:
        """Return what does not work on this connection."""
        found = self._inbox.faults() + self._connection_faults()
        return found + (self._echo.faults() if self._echo is not None else [])

    def _connection_faults(self) -> list[Fault]:
        return [
            Fault(DELIVERY_FAILED, f"broker_{name}", f"the broker {why}", what)
            for name, (why, what) in self._connection.restrictions.items()
        ]

    def _receive(self, events: Events) -> None:
        now_s = self._monotonic()
        if self._settling.subscription in events.subscribed:
            self._settling.subscription = None
        for message in self._inbox.sift(events.messages, now_s):
            address = parse(message.topic)
            if address is not None and address.branch in OWN:
                if self._echo is not None:
                    self._echo.arrived(message.topic, message.payload)
            elif address is not None and address.branch is Branch.IDENTITY:
                if self._memory.on_renewed is not None:  # judged by the certificate in it
                    self._memory.on_renewed(message.payload)
            elif address is not None and not self._refuses(message, address):
                self._apply(message, address)
            self._connection.acknowledge(message)
        self._reopen(now_s)

    def _apply(self, message: Message, address: Address) -> None:
        """Apply a lease, an answer, a context or a receipt."""
        branch = address.branch
        if branch is Branch.PRESENCE:
            self._ledger.feed(address.leaf, message.payload)
        elif branch is Branch.ACK and self._answering is not None:
            self._take_in()  # the alert that is answered may have been committed just now
            self._answering.take(address.leaf, message, self._utc())
        elif branch is Branch.CONTEXT and self._memory.on_context is not None:
            answer = encode_response(self._memory.on_context(message.payload))
            self._connection.publish(self._topics.response(CONTEXT), answer)
        elif branch is Branch.RECEIPT:
            self._confirm(address.leaf, message.payload)

    def _refuses(self, message: Message, address: Address) -> bool:
        """Refuse a message of a person without an acceptable signature, and answer why."""
        guard = self._memory.guard
        if guard is None:
            return False
        now = self._utc()
        why = guard.refusal(message.topic, message.payload, message.user, address, now)
        if not why:
            return False
        log.warning("refused on %s: %s", clean(message.topic, 200), clean(why, 200))
        if address.branch is Branch.RECEIPT:
            self._memory.receipts.refused()
            log.warning(
                "a receipt of %s does not count, and its alerts are sent again: start that "
                "receiver with --sign-with and its key, or with --no-receipts",
                clean(address.leaf, 64),
            )
        leaf = CONTEXT if address.branch is Branch.CONTEXT else address.leaf
        if self._answering is not None and message.payload:
            where = f"{clean(message.topic, 200)}: {clean(why, 200)}"
            self._answering.desk.refused(clean(leaf, 64), where, now)
        if leaf and address.branch in {Branch.ACK, Branch.CONTEXT} and message.payload:
            refused = Response(
                id=id_of(message.payload),
                alert_id=leaf,
                outcome=Outcome.SIGNATURE_REFUSED,
                text=f"Refused: {clean(why, 200)}.",
                at=now,
            )
            self._connection.publish(self._topics.response(leaf), encode_response(refused))
            if message.retain and address.branch is Branch.ACK:
                self._connection.publish(message.topic, b"", retain=True)
        return True

    def _confirm(self, receiver: str, payload: bytes) -> None:
        """Take a receipt: what it names is delivered."""
        try:
            receipt = decode_receipt(payload)
            if receipt.receiver != receiver:
                raise ValueError(f"it names the receiver {receipt.receiver!r}")  # noqa: TRY301
        except (ValueError, OverflowError, RecursionError) as exc:
            log.warning("a receipt of %s is not read: %s", clean(receiver, 64), clean(str(exc)))
            return
        confirmed = self._memory.receipts.confirm(receipt.received)
        self._memory.unrecorded.update(confirmed)
        self._look = self._look or bool(confirmed)

    def _reopen(self, now_s: float) -> None:
        """Keep to what the inbox reads: without leases nobody is known to be present."""
        if Branch.PRESENCE in self._inbox.closed:
            self._presence_known_at_s = None
            self._ledger.disconnected()
        if Branch.PRESENCE in self._inbox.reopen(now_s):
            self._presence_known_at_s = now_s + max(self._ledger.settings.settle_s, _RESETTLE_S)
        known_at_s = self._presence_known_at_s
        if known_at_s is not None and now_s >= known_at_s:
            self._presence_known_at_s = None
            self._ledger.connected()

    def stopped(self) -> None:
        """Publish on `active` that nothing is monitored any more."""
        if self._answering is not None and self.settled:
            self._answering.publish_active(self._utc(), stopped=True)

    def _take_in(self) -> None:
        if self._answering is not None:
            now = self._utc()
            self._answering.step(self._ledger.view(now) if self.settled else None, now)

    def end(self) -> None:
        """Note which alerts were unacknowledged when the connection broke."""
        losses = self._memory.losses
        for key in self._in_flight.keys:
            losses[key] = losses.get(key, 0) + 1

    # -- acknowledgements ---------------------------------------------------------------------

    def _acknowledged(self, ack: Ack) -> None:
        now = self._utc()
        if self._answering is not None and (one := self._answering.acknowledged(ack, now)):
            self._in_flight.progress()
            key = (one.alert_id, one.sequence)
            if (
                one.level == Audience.TEAM
                and not ack.refusal
                and not self._memory.receipts.dispatched(key, one.priority)
            ):
                self._memory.dispatched.add(key)  # not to be handed over any more
        sent = self._in_flight.acknowledge(ack.mid)
        if ack.mid == self._settling.barrier:
            self._settling.barrier = None
        refusals, topic = self._memory.refusals, sent.topic if sent is not None else ack.topic
        if ack.refusal:
            if sent is None or not sent.strip:
                refusals.message(topic, ack.refusal, self._connection.where)
            if sent is not None:
                refusals.alert(
                    sent.key, sent.topic, sent.size, strip=sent.strip, now_s=self._monotonic()
                )
            return
        if sent is None or self._echo is None:
            refusals.accepted(topic, sent.key if sent is not None else None)
        if sent is not None and (
            self._echo is None or self._echo.acknowledged(sent, ack, self._monotonic())
        ):
            self._accepted(sent, ack, now)

    def _take_echo(self) -> None:
        """Accept what has come back; what has not is refused, and tried without its strip first."""
        if self._echo is None:
            return
        refusals, now_s = self._memory.refusals, self._monotonic()
        back, dropped = self._echo.take(now_s)
        for sent, ack in back:
            refusals.accepted(sent.topic, sent.key)
            self._accepted(sent, ack, self._utc())
        for sent in dropped:
            if not sent.strip:
                refusals.message(sent.topic, DROPPED, self._connection.where)
            refusals.alert(sent.key, sent.topic, sent.size, strip=sent.strip, now_s=now_s)
        self._look = self._look or bool(back or dropped)

    def _accepted(self, sent: Sent, ack: Ack, now: datetime) -> None:
        """Note that the broker has an alert; it is delivered now, or once a receipt comes."""
        memory, now_s = self._memory, self._monotonic()
        memory.losses.pop(sent.key, None)
        memory.on_delivered(sent.key)
        if not memory.receipts.published(sent.key, sent.priority, sent.audience, now_s):
            memory.unrecorded[sent.key] = sent.audience
        if self._answering is not None:
            self._answering.desk.delivered(sent.key, sent.audience, now)
            if ack.no_subscriber and sent.audience is Audience.BEDSIDE:
                self._answering.desk.no_subscriber(sent.key[0], now)

    def _record(self) -> bool:
        memory = self._memory
        if not (memory.unrecorded or memory.dispatched) or not self._record_due():
            return False
        to_team = dict.fromkeys(memory.dispatched, Audience.TEAM)
        try:
            self._queue.mark_delivered([*memory.unrecorded.items(), *to_team.items()])
        except DeliveryError as exc:
            memory.log_failure("delivered alerts cannot be recorded yet", exc)
            return False
        if Audience.BEDSIDE in memory.unrecorded.values() and not self._attended:
            # The lease ended before this acknowledgement came: hand over again.
            self._attended = None
        memory.delivered += len(memory.unrecorded)
        memory.unrecorded.clear()
        memory.dispatched.clear()
        memory.last_failure = ""
        return True

    def _record_due(self) -> bool:
        """Return whether to record now: not at each acknowledgement while others follow."""
        now_s, memory = self._monotonic(), self._memory
        if self._record_at_s is None:
            self._record_at_s = now_s + _RECORD_S
        waits = len(memory.unrecorded) < _RECORD_AT_ONCE and now_s < self._record_at_s
        if waits and len(self._in_flight.keys) >= _MANY:
            return False
        self._record_at_s = None
        return True

    def _check_overdue(self) -> None:
        since_s = None if self.settled else self._settling.began_s
        if since_s is None and self._answering is not None:
            since_s = self._answering.waiting_since_s
        silent_s = self._in_flight.silent_s(since_s)
        if silent_s > self._connection.settings.ack_timeout_s:
            raise UnresponsiveError(
                DeliveryFault.BROKER_UNREACHABLE,
                f"broker {self._connection.where} accepts messages but has acknowledged none for "
                f"{silent_s:.1f} s: check its load and its disk, or raise mqtt.ack_timeout_s",
            )

    # -- presence -----------------------------------------------------------------------------

    def _try_to_settle(self) -> bool:
        settling = self._settling
        answered = settling.subscription is None and settling.barrier is None
        answered = answered and (self._echo is None or self._echo.settled(self._monotonic()))
        waited_s = self._monotonic() - settling.began_s
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
                self._queue.cancel_hand_over()
                log.info(
                    "present: %s %s; alerts go to the bedside", view.role, clean(view.id or "")
                )
            else:
                rows = self._queue.hand_over()
                self._memory.handed_over += rows
                log.info("absent (%s); alerts go to the team, %d handed over", view.reason, rows)
        except DeliveryError as exc:
            # Tried again in the next turn; new alerts are sent meanwhile.
            self._memory.log_failure("open episodes cannot be handed over yet", exc)
            return
        self._attended, self._look = view.attended, True

    # -- sending ------------------------------------------------------------------------------

    def _send(self) -> None:
        now_s = self._monotonic()
        waiting_for = self._answering.unacknowledged if self._answering is not None else 0
        room = self._in_flight.room - waiting_for
        if room <= 0:
            return
        memory, view = self._memory, self._ledger.view(self._utc())
        if self._look or now_s >= self._look_at_s:
            self._look, self._look_at_s = False, now_s + _POLL_S
            exclude = self._in_flight.keys | memory.unrecorded.keys()
            unsure = self._echo.keys if self._echo is not None else set()
            exclude |= memory.refusals.waiting(now_s) | unsure
            exclude |= memory.receipts.not_due(view.audience, now_s)
            rows = self._queue.waiting(
                room,
                exclude=exclude,
                after=self._in_flight.keys
                | unsure
                | memory.refusals.keys()
                | memory.receipts.overtaken(),
                without=self._blocked(view.audience, now_s),
            )
            if self._send_rows(rows):
                self._look = True
            if not self._connection.alive:
                return
        self._escalate()

    def _send_rows(self, rows: Sequence[Waiting]) -> int:
        """Send alerts, and before those of lower priority what the chain lacks; return how many."""
        escalated, sent = self._answering is None, 0
        for row in rows:
            now = self._utc()
            if not escalated and row.priority is not Priority.HIGH:
                self._escalate(below_rank=row.priority.rank)
                escalated = True
            view = self._ledger.view(now)
            topic = self._topics.alert(view.audience, row.kind, row.priority)
            if row.handover and view.attended:
                continue  # somebody has just become present: the next turn takes it back
            if self._memory.refusals.blocks(topic, self._monotonic()):
                continue
            self._publish(row, view, now)
            sent += 1
            if not self._connection.alive:
                break
        return sent

    def _blocked(self, audience: Audience, now_s: float) -> set[tuple[Kind, Priority]]:
        """Return what would go to topics on which the broker refuses messages."""
        refusals, topics = self._memory.refusals, self._topics
        if not refusals.any_topic:
            return set()
        return {
            (kind, priority)
            for kind in Kind
            for priority in Priority
            if refusals.blocks(topics.alert(audience, kind, priority), now_s)
        }

    def _escalate(self, below_rank: int = len(Priority)) -> None:
        """Send what levels of the chain lack, before alerts of a lower priority are sent."""
        now_s = self._monotonic()
        if self._look and now_s < self._escalate_at_s:
            return  # alerts of the outbox flow
        self._escalate_at_s = now_s + _RECORD_S
        if self._answering is not None:
            self._answering.send(
                self._in_flight.room,
                self._utc(),
                below_rank=below_rank,
                at_broker=self._memory.receipts.episodes(),
                largest=self._memory.refusals.largest_bytes,
            )

    def _publish(self, row: Waiting, view: PresenceView, now: datetime) -> None:
        if row.handover:
            view = msgspec.structs.replace(view, handover=True)
        losses = self._memory.losses.get(row.key, 0)
        if self._answering is not None:
            self._answering.desk.take_ahead(row.key, row.document, row.committed_at, now)
        try:
            # Decoded as a dict, not as an Alert: one of an older version must be sent too.
            document = msgspec.json.decode(row.document, type=dict[str, object])
            document |= {"published_at": now, "presence": view}
            escalation = self._answering.desk.view(row.key[0]) if self._answering else None
            if escalation is not None:
                document["escalation"] = escalation
            # A broker may drop the connection over a packet that is too large for it.
            refusals = self._memory.refusals
            slim = losses >= _LOSSES_BEFORE_SLIM or refusals.slim(row.key)
            largest = refusals.largest_bytes
            packet = make_packet(document, self._connection, slim=slim, largest=largest)
        except (msgspec.DecodeError, TypeError) as exc:
            log.error("alert %s/%d cannot be read from the outbox: %s", *row.key, exc)  # noqa: TRY400
            self._queue.discard(row.key)
            return
        topic = self._topics.alert(view.audience, row.kind, row.priority)
        mid = self._connection.publish(topic, packet.payload, user=packet.user)
        refusals.trying(topic)
        if self._echo is not None:
            self._echo.published(mid, topic, packet.payload)
        self._in_flight.add(
            mid,
            Sent(
                row.key,
                view.audience,
                self._monotonic(),
                row.priority,
                topic,
                packet.size,
                packet.strip,
            ),
        )
        if self._answering is not None:
            self._answering.desk.note(audit.SENT, *row.key, view.audience, now)
        log.info(
            "alert %s/%d -> %s (presence: %s)",
            *row.key,
            topic,
            view.reason,
            extra=with_fields(alert_id=row.key[0], sequence=row.key[1], priority=row.priority),
        )

    def _timeout_s(self) -> float:
        """Return how long nothing can become due but by an event."""
        now = self._utc()
        timeout_s = _IDLE_S if self._idle() else _POLL_S
        if self._look and self._in_flight.room > 0 and self.settled:
            timeout_s = 0.0
        now_s = self._monotonic()
        for at_s in (self._record_at_s, self._memory.receipts.next_due_s(now_s)):
            if at_s is not None:
                timeout_s = min(timeout_s, at_s - now_s)
        expiry = self._ledger.next_expiry(now)
        if expiry is not None:
            timeout_s = min(timeout_s, (expiry - now).total_seconds() + 0.001)
        if not self.settled:
            settles_at_s = self._settling.began_s + self._ledger.settings.settle_s
            left_s = settles_at_s - self._monotonic()
            timeout_s = min(timeout_s, left_s if left_s > 0 else _SETTLE_POLL_S)
        return timeout_s

    def _idle(self) -> bool:
        """Return whether no alert is open, under way, refused or to be recorded."""
        memory = self._memory
        waits = memory.unrecorded or memory.dispatched or memory.refusals.keys()
        if waits or self._in_flight.keys or self._echo is not None:
            return False
        return self._answering is not None and not self._answering.desk.busy
