"""The loop that carries the outbox to the broker: connect, deliver, wait, again.

::

    CONNECTING ──▶ SETTLING ──▶ ONLINE ──▶ (stop) STOPPED
        ▲             │            │
        │             ▼            ▼
        └── waits ◀── UNREACHABLE · TLS · REFUSED · LOST · UNRESPONSIVE

An alert leaves the outbox when the broker has acknowledged it, and for no other reason. Alerts are
given to a connection only while it is up, so that none waits in two places.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from tocsin_agent.delivery.answering import Answering, Vitals
from tocsin_agent.delivery.broker_status import STEADY_S, BrokerStatus
from tocsin_agent.delivery.brokers import Brokers
from tocsin_agent.delivery.desk import AnswerDesk
from tocsin_agent.delivery.escalation import Escalation
from tocsin_agent.delivery.faults import PEOPLE_UNREADABLE, Fault
from tocsin_agent.delivery.presence import PresenceLedger
from tocsin_agent.delivery.receipts import AwaitedReceipts
from tocsin_agent.delivery.session import DeliveryMemory, DeliverySession, OnContext
from tocsin_agent.delivery.settings import EscalationSettings, PresenceSettings, ReceiptSettings
from tocsin_agent.delivery.store import AlertQueue
from tocsin_agent.errors import DeliveryError, DeliveryFault
from tocsin_agent.log_fields import about
from tocsin_agent.messages.alert import Key
from tocsin_agent.messages.health import AgentHealth, BrokerState, DeliveryHealth, encode_health
from tocsin_agent.messages.info import Info, encode_info
from tocsin_agent.messages.status import Status, encode_status
from tocsin_agent.messages.topics import Topics
from tocsin_agent.mqtt.connection import Connection
from tocsin_agent.mqtt.events import Message
from tocsin_agent.mqtt.settings import MqttSettings
from tocsin_agent.retry import Backoff
from tocsin_agent.signing.envelope import Signer
from tocsin_agent.signing.guard import Guard

log = logging.getLogger(__name__)

_FAULTS_S = 1.0
_STOPPED_STATUS_S = 1.0
_TRENDS_AT_ONCE = 50
_MAX_LIVE = 64  # messages of the live ECG; with more, the oldest are left out
_STOPPING_RETRY_S = 0.5
_DESK_S = 0.5  # without a connection, escalation goes on at least this often


class Delivery(NamedTuple):
    """What a running sender can be given anew; it connects again with it."""

    mqtt: MqttSettings
    presence: PresenceSettings
    escalation: EscalationSettings
    signer: Signer | None
    guard: Guard | None
    fallback: MqttSettings | None = None
    receipts: ReceiptSettings | None = None


class _RenewedError(Exception):
    """Other settings are to be used: connect again."""


class Sender:
    """Connects to the broker, delivers, and connects again; `run` is the body of a thread.

    Reason for its size: it is the one place that knows queue, connection and answers.

    Parameters
    ----------
    queue : AlertQueue
        What to send.
    mqtt : MqttSettings
        How to reach the broker.
    topics : Topics
        The device's.
    ledger : PresenceLedger
        Decides who receives an alert.
    agent_health : callable
        Returns the agent's part of the health message, if there is one.
    desk : AnswerDesk, optional
        The states of the alerts; without it, nobody can answer them.
    vitals : callable
        Returns what the agent adds to the open alerts.
    active_s : float
        Longest time between two messages on `active`.
    fallback : MqttSettings, optional
        A second broker, used while the first cannot be reached.
    receipts : ReceiptSettings, optional
        Whether receivers confirm alerts.
    on_context : callable, optional
        Gets the payload of each context message; what it returns is published.
    on_renewed : callable, optional
        Gets each answer to a request for a certificate.
    notices : callable
        Returns what else health states.
    signer : Signer, optional
        Signs all that is published.
    guard : Guard, optional
        Judges the signatures of people.
    on_delivered : callable, optional
        Called with the key of each alert that the broker has acknowledged.
    utc : callable
        Returns aware UTC.

    Attributes
    ----------
    status : BrokerStatus
        The state of the connection.
    turned_s : float
        Monotonic time at which the thread turned last.
    info : Info or None
        Published retained when a connection is made, and again when it is replaced.
    """

    def __init__(
        self,
        queue: AlertQueue,
        mqtt: MqttSettings,
        topics: Topics,
        ledger: PresenceLedger,
        *,
        agent_health: Callable[[], AgentHealth | None],
        on_context: OnContext | None = None,
        utc: Callable[[], datetime],
        desk: AnswerDesk | None = None,
        vitals: Callable[[], Vitals] = Vitals,
        active_s: float = 10.0,
        fallback: MqttSettings | None = None,
        signer: Signer | None = None,
        guard: Guard | None = None,
        on_delivered: Callable[[Key], None] = lambda _: None,
        receipts: ReceiptSettings | None = None,
        on_renewed: Callable[[bytes], None] | None = None,
        notices: Callable[[], tuple[str, ...]] = tuple,
    ) -> None:
        self.status = BrokerStatus()
        self.info: Info | None = None
        self._queue, self._mqtt, self._topics, self._ledger = queue, mqtt, topics, ledger
        self._brokers = _brokers(topics, mqtt, fallback)
        self._agent_health, self._utc = agent_health, utc
        self._desk, self._vitals, self._active_s = desk, vitals, active_s
        self._memory = DeliveryMemory(
            on_context, guard, on_delivered, on_renewed, receipts=AwaitedReceipts(receipts)
        )
        self._signer, self._notices = signer, notices
        self._live: deque[tuple[str, bytes]] = deque(maxlen=_MAX_LIVE)
        self._stopping = threading.Event()
        self._stop_at_s = 0.0
        self._connection: Connection | None = None
        self._session: DeliverySession | None = None
        self.turned_s = time.monotonic()
        self._next: Delivery | None = None
        self._faults: tuple[str, ...] = ()
        self._delivery_faults: list[Fault] = []
        self._faults_at_s = 0.0

    # -- for other threads --------------------------------------------------------------------

    def start(self) -> threading.Thread:
        """Start a thread that runs until `stop` is called."""
        self._stopping.clear()
        thread = threading.Thread(target=self._run, name="tocsin-publisher", daemon=True)
        thread.start()
        return thread

    def stop(self, drain_s: float) -> None:
        """Have the thread end when nothing waits any more, or after `drain_s`."""
        self._stop_at_s = time.monotonic() + drain_s
        self._stopping.set()
        self.wake()

    def wake(self) -> None:
        """Have the thread read the queue now."""
        connection = self._connection
        if connection is not None:
            connection.wake()

    def live(self, topic: str, payload: bytes) -> None:
        """Have the thread send a message at QoS 0 now; without a connection it is lost."""
        if self._connection is not None:
            self._live.append((topic, payload))
            self.wake()

    def use(self, settings: Delivery) -> None:
        """Have the thread connect again with other settings; any thread."""
        self._next = settings
        self.wake()

    @property
    def connected(self) -> bool:
        """True while there is a connection; False while one is attempted."""
        return self._connection is not None

    def nothing_waits(self) -> bool:
        """Return whether everything is delivered."""
        try:
            return self._queue.pending() == 0
        except DeliveryError:
            return False  # a disk that cannot be read must not end the thread

    def health(self) -> DeliveryHealth:
        """Return how delivery is doing."""
        now = self._utc()
        return DeliveryHealth(
            at=now,
            state=self.status.state,
            broker=f"{self._brokers.current.host}:{self._brokers.current.port}",
            pending=self._queue.pending(),
            delivered=self._memory.delivered,
            dropped=self._queue.dropped(),
            damaged=self._queue.damaged(),
            unconfirmed=len(self._memory.receipts),
            faults=self._fault_texts() + self._notices(),
            reconnects=self.status.reconnects,
            handed_over=self._memory.handed_over,
            presence=self._ledger.view(now),
            last_error=self.status.last_error,
        )

    def faults(self) -> list[Fault]:
        """Return what does not work in delivering alerts; any thread."""
        return self._delivery_faults

    def _look_for_faults(self) -> list[Fault]:
        memory, session = self._memory, self._session
        found = self.status.faults(time.monotonic())
        found += memory.refusals.faults() + memory.receipts.faults()
        if memory.guard is not None and memory.guard.failure():
            found.append(PEOPLE_UNREADABLE)
        return found + (session.faults() if session is not None else [])

    def _fault_texts(self) -> tuple[str, ...]:
        return tuple(fault.text for fault in [*self._queue.faults(), *self._delivery_faults])

    def _current_faults(self) -> tuple[str, ...]:
        """Return what does not work, looked at once a second; in the thread."""
        if (now_s := time.monotonic()) >= self._faults_at_s:
            self._faults_at_s = now_s + _FAULTS_S
            self._delivery_faults = self._look_for_faults()
            self._faults = self._fault_texts()
        return self._faults

    # -- the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        about(site=self._topics.site, device=self._topics.device)
        backoff = Backoff(self._mqtt.reconnect_min_s, self._mqtt.reconnect_max_s)
        while not self._over():
            self.turned_s = time.monotonic()
            self.status.set(BrokerState.CONNECTING)
            self._renew()
            try:
                self._converse(backoff)
            except _RenewedError:
                log.info("connecting again with the configuration that was read")
            except DeliveryError as exc:
                was_in_use = self.status.state is BrokerState.ONLINE
                if self._brokers.failed(was_in_use=was_in_use):
                    self._pause(exc, backoff)
                else:
                    self.status.failed(exc, 0.0)
            except Exception as exc:  # alerts must be sent: nothing may end this thread
                log.exception("publisher: unexpected")
                self._pause(DeliveryError(DeliveryFault.BROKER_UNREACHABLE, repr(exc)), backoff)
        self.status.set(BrokerState.STOPPED)

    def _renew(self) -> None:
        """Use the settings that were given since the last connection."""
        new, self._next = self._next, None
        if new is None:
            return
        self._mqtt, self._signer, self._memory.guard = new.mqtt, new.signer, new.guard
        self._brokers = _brokers(self._topics, new.mqtt, new.fallback)
        self._memory.receipts.use(new.receipts or ReceiptSettings())
        self._ledger.settings = new.presence
        self._active_s = new.escalation.active_s
        if self._desk is not None:
            self._desk.use(Escalation(new.escalation))

    def _over(self) -> bool:
        """Return whether to end: `stop` was called, and nothing waits or the time is over."""
        if not self._stopping.is_set():
            return False
        return time.monotonic() >= self._stop_at_s or self.nothing_waits()

    def _pause(self, exc: DeliveryError, backoff: Backoff) -> None:
        wait_s = backoff.next_s()
        self.status.failed(exc, wait_s)
        if self._stopping.is_set():
            time.sleep(min(wait_s, _STOPPING_RETRY_S))
            return
        until_s = time.monotonic() + wait_s
        while (left_s := until_s - time.monotonic()) > 0:
            self.turned_s = time.monotonic()
            self._current_faults()
            self._work_offline()
            if self._next is not None:
                return
            if self._stopping.wait(min(left_s, _DESK_S)):
                return

    def _work_offline(self) -> None:
        """Take in new alerts and let time pass for the open ones, without a connection."""
        if self._desk is None:
            return
        try:
            now = self._utc()
            self._desk.take_in(now, attended=False, steady_s=time.monotonic())
            self._desk.pass_time(now)
            self._desk.save()
        except DeliveryError as exc:
            log.warning("the open alerts cannot be followed now: %s", exc)

    def _converse(self, backoff: Backoff) -> None:
        """Make one connection, and deliver over it until it breaks or `stop` is called."""
        topics = self._topics
        will = Message(topics.status, _status(self._topics, "offline", self._utc()), retain=True)
        connection = Connection(
            self._brokers.current,
            f"tocsin-{topics.site}-{topics.device}",
            will=will,
            signer=self._signer,
        )
        connection.open()
        session = DeliverySession(
            connection,
            self._queue,
            self._ledger,
            topics,
            memory=self._memory,
            answering=self._answering(connection),
            utc=self._utc,
        )
        began_s = time.monotonic()
        try:
            self._connection, self._session = connection, session
            self.status.set(BrokerState.SETTLING)
            published = self.info
            session.begin(_status(self._topics, "online", self._utc()), _info(published))
            self._deliver(session, connection, published)
            if self._over():
                session.stopped()
                self._publish_last(connection, "stopped")
            else:
                self._publish_last(connection, "offline")  # here: it goes on at the first broker
        except DeliveryError as exc:
            if session.settled:
                taken_over = exc.reason is DeliveryFault.CLIENT_ID_TAKEN
                self.status.ended(time.monotonic() - began_s, taken_over=taken_over)
            raise
        finally:
            if time.monotonic() - began_s >= STEADY_S:
                backoff.reset()
            self._connection = self._session = None
            self._ledger.disconnected()
            session.end()
            connection.abort()
            self._live.clear()
            _keep_trends(self._queue)

    def _answering(self, connection: Connection) -> Answering | None:
        if self._desk is None:
            return None
        return Answering(
            connection,
            self._desk,
            self._topics,
            vitals=self._vitals,
            active_s=self._active_s,
            faults=self._current_faults,
            monotonic=time.monotonic,
        )

    def _deliver(
        self,
        session: DeliverySession,
        connection: Connection,
        published: Info | None,
    ) -> None:
        health_at_s = time.monotonic()
        shown: tuple[str, ...] = ()
        while not self._over() and not self._brokers.first_is_back():
            if self._next is not None:
                connection.close()  # without its will: the device is not offline
                raise _RenewedError
            self.turned_s = time.monotonic()
            wait_s = health_at_s - self.turned_s if self._mqtt.health_s > 0 else math.inf
            recorded = session.turn(wait_s if session.settled else math.inf)
            if session.settled and (faults := self._current_faults()) != shown:
                status = _status(self._topics, "online", self._utc(), faults)
                connection.publish(self._topics.status, status, retain=True)
                shown = faults
            if (info := self.info) is not published:
                connection.publish(self._topics.info, _info(info), retain=True)
                published = info
            if session.settled and self.status.state is BrokerState.SETTLING:
                log.info("online at broker %s", connection.where)
                self.status.online()
                self._brokers.connected()
            elif recorded:
                self.status.set(self.status.state)
            if session.settled:
                _send_trends(self._queue, connection, self._topics.trend)
                _send_live(self._live, connection)
            if self._mqtt.health_s > 0 and session.settled and time.monotonic() >= health_at_s:
                payload = encode_health(self.health(), self._agent_health())
                connection.publish(self._topics.health, payload, qos=0)
                health_at_s = time.monotonic() + self._mqtt.health_s

    def _publish_last(self, connection: Connection, state: str) -> None:
        mid = connection.publish(
            self._topics.status, _status(self._topics, state, self._utc()), retain=True
        )
        deadline_s = time.monotonic() + _STOPPED_STATUS_S
        while time.monotonic() < deadline_s:
            events = connection.step(deadline_s - time.monotonic())
            if any(ack.mid == mid for ack in events.acks):
                break
        else:
            log.warning(
                "broker %s has not acknowledged the status %r: if it does not have it, it will "
                "publish 'offline'",
                connection.where,
                state,
            )
        connection.close()  # a slow broker gets the status, and then that there is no will


def _brokers(topics: Topics, mqtt: MqttSettings, fallback: MqttSettings | None) -> Brokers:
    in_order = [mqtt] if fallback is None else [mqtt, fallback]
    return Brokers(in_order, f"tocsin-{topics.site}-{topics.device}")


def _status(topics: Topics, state: str, now: datetime, faults: tuple[str, ...] = ()) -> bytes:
    # The broker stores a will when the connection begins, so its `since` is that time.
    return encode_status(
        Status(state=state, since=now, site=topics.site, device=topics.device, faults=faults)
    )


def _info(info: Info | None) -> bytes:
    return b"{}" if info is None else encode_info(info)


def _send_trends(queue: AlertQueue, connection: Connection, topic: str) -> None:
    """Send some of the trends that wait, unless an alert does."""
    trends = queue.trends
    if trends is None or not trends.unread or queue.pending():
        return
    try:
        rows = trends.waiting(_TRENDS_AT_ONCE)
        trends.sent(rows)
    except DeliveryError as exc:
        log.warning("trends cannot be sent yet: %s", exc)
        return
    for row in rows:
        connection.publish(topic, row.document, qos=0, retain=True)


def _send_live(live: deque[tuple[str, bytes]], connection: Connection) -> None:
    """Send what is of this moment, for a screen."""
    while live:
        topic, payload = live.popleft()
        connection.publish(topic, payload, qos=0)


def _keep_trends(queue: AlertQueue) -> None:
    """Have the last trends sent again over the next connection: this one may have lost them."""
    if queue.trends is None:
        return
    try:
        queue.trends.send_again()
    except DeliveryError as exc:
        log.warning("the last trends are not sent again: %s", exc)
