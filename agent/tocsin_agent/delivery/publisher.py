"""The publisher: carries the outbox to the broker, for as long as it takes.

::

    CONNECTING ──▶ SETTLING ──▶ ONLINE ──▶ (stop) STOPPED
        ▲             │            │
        │             ▼            ▼
        └── waits ◀── UNREACHABLE · TLS · REFUSED · LOST · UNRESPONSIVE

A row leaves the outbox when the broker has acknowledged it, and for no other reason. Rows are
handed to a connection only while it is up, so that nothing waits in two places.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import msgspec

from tocsin_agent.delivery.presence import PresenceLedger
from tocsin_agent.delivery.session import DeliveryMemory, DeliverySession, UnresponsiveError
from tocsin_agent.delivery.store import AlertQueue
from tocsin_agent.errors import DeliveryError, DeliveryFault
from tocsin_agent.messages.health import AgentHealth, BrokerState, DeliveryHealth, encode_health
from tocsin_agent.messages.info import Info
from tocsin_agent.messages.status import Status, encode_status
from tocsin_agent.messages.topics import Topics
from tocsin_agent.mqtt.connection import Connection
from tocsin_agent.mqtt.events import Message
from tocsin_agent.mqtt.settings import MqttSettings
from tocsin_agent.retry import Backoff

log = logging.getLogger(__name__)

_GOODBYE_S = 1.0
_STOPPING_RETRY_S = 0.5


_STATE_OF_FAULT = {
    DeliveryFault.TLS: BrokerState.TLS,
    DeliveryFault.BROKER_REFUSED: BrokerState.REFUSED,
}


class Publisher:
    """Sends what the outbox holds; owns one connection at a time and the thread that drives it.

    Parameters
    ----------
    outbox : AlertQueue
        What to send. Committing to it and calling `wake` is all that a producer does.
    mqtt : MqttSettings
        How to reach the broker.
    site, device : str
        Topic levels.
    presence : PresenceLedger, optional
        Fed with the leases of the site; decides at each publish between team and bedside.
    info : mapping, optional
        Published retained on `…/info`.
    extra_health : callable, optional
        Returns what the agent adds to its health message; called in the publisher's thread.
    utc : callable, optional
        Returns aware UTC; for tests.

    Attributes
    ----------
    last_error : str
        The last trouble with the broker and what to do about it; empty while there is none.

    Raises
    ------
    ValueError
        If site or device cannot be a topic level.
    """

    def __init__(
        self,
        outbox: AlertQueue,
        mqtt: MqttSettings,
        *,
        site: str,
        device: str,
        presence: PresenceLedger | None = None,
        info: Info | Mapping[str, Any] | None = None,
        extra_health: Callable[[], AgentHealth | Mapping[str, Any]] | None = None,
        utc: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.topics = Topics(site, device)
        self.last_error = ""
        self.reconnects = 0
        self._outbox, self._mqtt = outbox, mqtt
        self._ledger = presence or PresenceLedger()
        self._info = info or {}
        self._agent_health = extra_health
        self._utc = utc
        self._memory = DeliveryMemory()
        self._state = BrokerState.STOPPED
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._stop_at_s = 0.0
        self._connection: Connection | None = None
        self._thread: threading.Thread | None = None

    # -- for the agent ------------------------------------------------------------------------

    @property
    def state(self) -> BrokerState:
        """Where it stands with the broker."""
        return self._state

    def start(self) -> None:
        """Start the thread; it connects, and keeps trying for ever."""
        if self._thread is not None:
            raise RuntimeError("the publisher runs already")
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="tocsin-publisher", daemon=True)
        self._thread.start()

    def stop(self, drain_s: float = 5.0) -> bool:
        """Send what waits for at most `drain_s`, say `stopped`, and end the thread.

        Returns
        -------
        bool
            True if nothing is left in the outbox; the rest is sent after the next start.
        """
        thread = self._thread
        if thread is not None:
            self._stop_at_s = time.monotonic() + drain_s
            self._stopping.set()
            self.wake()
            thread.join(drain_s + self._mqtt.connect_timeout_s + self._mqtt.ack_timeout_s + 5.0)
            self._thread = None
        return self._nothing_waits()

    def describe(self, info: Info | Mapping[str, Any]) -> None:
        """Publish other information about the device, now and at every connection; any thread."""
        self._info = info
        self.wake()

    def wake(self) -> None:
        """Tell that the outbox has something new; any thread, never blocks."""
        connection = self._connection
        if connection is not None:
            connection.wake()

    def drained(self, timeout_s: float) -> bool:
        """Wait until the broker has acknowledged everything; False if it did not in time."""
        self.wake()
        with self._changed:
            return self._changed.wait_for(self._nothing_waits, timeout_s)

    def reached(self, state: BrokerState, timeout_s: float) -> bool:
        """Wait until it stands so with the broker; False if it did not in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._state is state, timeout_s)

    def health(self) -> DeliveryHealth:
        """Return how delivery is doing."""
        now = self._utc()
        return DeliveryHealth(
            at=now,
            state=self._state,
            pending=self._outbox.pending(),
            delivered=self._memory.delivered,
            dropped=self._outbox.dropped(),
            reconnects=self.reconnects,
            handed_over=self._memory.handed_over,
            presence=self._ledger.view(now),
            last_error=self.last_error,
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    # -- the thread: connect, converse, wait, again -------------------------------------------

    def _run(self) -> None:
        backoff = Backoff(self._mqtt.reconnect_min_s, self._mqtt.reconnect_max_s)
        while not self._over():
            self._set(BrokerState.CONNECTING)
            try:
                self._converse(backoff)
            except DeliveryError as exc:
                self._wait(exc, backoff)
            except Exception as exc:  # alerts must go out: nothing ends this thread
                log.exception("publisher: unexpected")
                self._wait(DeliveryError(DeliveryFault.BROKER_UNREACHABLE, repr(exc)), backoff)
        self._set(BrokerState.STOPPED)

    def _over(self) -> bool:
        """Tell whether to end: asked to, and either nothing is left or the time is up."""
        if not self._stopping.is_set():
            return False
        return time.monotonic() >= self._stop_at_s or self._nothing_waits()

    def _nothing_waits(self) -> bool:
        try:
            return self._outbox.pending() == 0
        except DeliveryError:
            return False  # a disk that cannot be read must not end the thread

    def _wait(self, exc: DeliveryError, backoff: Backoff) -> None:
        state = _STATE_OF_FAULT.get(exc.reason, BrokerState.UNREACHABLE)
        if isinstance(exc, UnresponsiveError):
            state = BrokerState.UNRESPONSIVE
        elif state is BrokerState.UNREACHABLE and self._state is not BrokerState.CONNECTING:
            state = BrokerState.LOST
        wait_s = backoff.next_s()
        if str(exc) != self.last_error:
            # The same trouble again and again is one line, not a disk full of them.
            log.warning("%s. Alerts wait in the outbox; next try in %.1f s", exc, wait_s)
        self.last_error = str(exc)
        self._set(state)
        if self._stopping.is_set():
            time.sleep(min(wait_s, _STOPPING_RETRY_S))
        else:
            self._stopping.wait(wait_s)

    def _set(self, state: BrokerState) -> None:
        with self._changed:
            self._state = state
            self._changed.notify_all()

    def _converse(self, backoff: Backoff) -> None:
        will = Message(self.topics.status, self._status("offline"), retain=True)
        connection = Connection(
            self._mqtt, f"tocsin-{self.topics.site}-{self.topics.device}", will=will
        )
        connection.open()
        delivery = DeliverySession(
            connection, self._outbox, self._ledger, self.topics, memory=self._memory, utc=self._utc
        )
        try:
            self._connection = connection
            self._set(BrokerState.SETTLING)
            stated = self._info
            delivery.begin(self._status("online"), msgspec.json.encode(stated))
            self._deliver(delivery, connection, backoff, stated)
            self._say_goodbye(connection)
        finally:
            self._connection = None
            self._ledger.disconnected()
            delivery.end()
            connection.abort()

    def _deliver(
        self,
        delivery: DeliverySession,
        connection: Connection,
        backoff: Backoff,
        stated: Info | Mapping[str, Any],
    ) -> None:
        health_at_s = time.monotonic()
        while not self._over():
            recorded = delivery.turn()
            if (info := self._info) is not stated:
                connection.publish(self.topics.info, msgspec.json.encode(info), retain=True)
                stated = info
            if delivery.settled and self._state is BrokerState.SETTLING:
                log.info("online at broker %s", connection.where)
                if self.last_error:
                    self.reconnects += 1
                    self.last_error = ""
                backoff.reset()
                self._set(BrokerState.ONLINE)
            elif recorded:
                self._set(self._state)
            if self._mqtt.health_s > 0 and delivery.settled and time.monotonic() >= health_at_s:
                connection.publish(self.topics.health, self._health_message(), qos=0)
                health_at_s = time.monotonic() + self._mqtt.health_s

    def _say_goodbye(self, connection: Connection) -> None:
        mid = connection.publish(self.topics.status, self._status("stopped"), retain=True)
        deadline_s = time.monotonic() + _GOODBYE_S
        while time.monotonic() < deadline_s:
            events = connection.step(deadline_s - time.monotonic())
            if any(ack.mid == mid for ack in events.acks):
                connection.close()
                return
        log.warning(
            "broker %s did not take the status 'stopped': it will say 'offline'", connection.where
        )

    def _status(self, state: str) -> bytes:
        # The broker stores a will when the connection begins, so `since` is that time.
        topics = self.topics
        return encode_status(
            Status(state=state, since=self._utc(), site=topics.site, device=topics.device)
        )

    def _health_message(self) -> bytes:
        return encode_health(self.health(), self._agent_health() if self._agent_health else None)
