"""The publisher: sends what the outbox holds, for as long as it takes, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Self

from tocsin_agent.delivery.answer_store import AnswerStore
from tocsin_agent.delivery.answering import Vitals
from tocsin_agent.delivery.desk import AnswerDesk
from tocsin_agent.delivery.escalation import Escalation
from tocsin_agent.delivery.faults import Fault
from tocsin_agent.delivery.presence import PresenceLedger
from tocsin_agent.delivery.sender import Delivery, Sender
from tocsin_agent.delivery.session import OnContext
from tocsin_agent.delivery.settings import EscalationSettings, ReceiptSettings
from tocsin_agent.delivery.store import AlertQueue
from tocsin_agent.messages.alert import Key
from tocsin_agent.messages.health import AgentHealth, BrokerState, DeliveryHealth
from tocsin_agent.messages.info import Info
from tocsin_agent.messages.topics import Topics
from tocsin_agent.mqtt.settings import MqttSettings
from tocsin_agent.signing.envelope import Signer
from tocsin_agent.signing.guard import Guard

_CONNECTING_S = 0.5


class Publisher:
    """Sends what a queue holds; what the agent calls, while a `Sender` works in a thread.

    Reason for its size: the agent starts, stops, wakes and asks it; the work is in `Sender`.

    Parameters
    ----------
    queue : AlertQueue
        What to send. A producer commits to it and calls `wake`.
    mqtt : MqttSettings
        How to reach the broker.
    site, device : str
        Topic levels.
    presence : PresenceLedger, optional
        Gets the leases of the site; decides at each alert between team and bedside.
    info : Info, optional
        What the device runs, published retained.
    agent_health : callable, optional
        Returns the agent's part of the health message; called in the publisher's thread.
    answers : AnswerStore, optional
        Keeps the states of the alerts; without it, nobody can answer them and none is repeated.
    escalation : EscalationSettings, optional
        The chain and its times.
    vitals : callable, optional
        Returns what the agent adds to the open alerts; called in the publisher's thread.
    on_context : callable, optional
        Gets the payload of each context message, and returns the answer to publish; called in the
        publisher's thread.
    on_renewed : callable, optional
        Gets each answer to a request for a certificate; called in the publisher's thread.
    notices : callable
        Returns what else health states.
    signer : Signer, optional
        Signs all that is published.
    guard : Guard, optional
        Judges the signatures of people; without it they need none.
    on_delivered : callable, optional
        Called with the key of each alert that the broker has acknowledged; in its thread.
    receipts : ReceiptSettings, optional
        Whether receivers confirm alerts of high priority.
    fallback : MqttSettings, optional
        A second broker, used while the first cannot be reached.
    utc : callable, optional
        Returns aware UTC; for tests.

    Raises
    ------
    ValueError
        If site or device is not a valid topic level.
    """

    def __init__(
        self,
        queue: AlertQueue,
        mqtt: MqttSettings,
        *,
        site: str,
        device: str,
        presence: PresenceLedger | None = None,
        info: Info | None = None,
        agent_health: Callable[[], AgentHealth | None] = lambda: None,
        answers: AnswerStore | None = None,
        escalation: EscalationSettings | None = None,
        vitals: Callable[[], Vitals] = Vitals,
        on_context: OnContext | None = None,
        on_renewed: Callable[[bytes], None] | None = None,
        notices: Callable[[], tuple[str, ...]] = tuple,
        signer: Signer | None = None,
        guard: Guard | None = None,
        on_delivered: Callable[[Key], None] = lambda _: None,
        receipts: ReceiptSettings | None = None,
        fallback: MqttSettings | None = None,
        utc: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        escalation = escalation or EscalationSettings()
        self._sender = Sender(
            queue,
            mqtt,
            Topics(site, device),
            presence or PresenceLedger(),
            agent_health=agent_health,
            desk=AnswerDesk(answers, Escalation(escalation)) if answers is not None else None,
            vitals=vitals,
            active_s=escalation.active_s,
            on_context=on_context,
            on_renewed=on_renewed,
            notices=notices,
            signer=signer,
            guard=guard,
            on_delivered=on_delivered,
            receipts=receipts,
            fallback=fallback,
            utc=utc,
        )
        self._sender.info = info
        self._longest_turn_s = _longest_turn_s(mqtt)
        self._thread: threading.Thread | None = None

    @property
    def state(self) -> BrokerState:
        """The state of the connection to the broker."""
        return self._sender.status.state

    @property
    def last_error(self) -> str:
        """The last failure and what to do about it; empty while connected."""
        return self._sender.status.last_error

    @property
    def turned_s(self) -> float:
        """Monotonic time at which its thread turned last."""
        return self._sender.turned_s

    def start(self) -> None:
        """Start the thread; it connects, and tries again until `stop` is called."""
        if self._thread is not None:
            raise RuntimeError("the publisher is running already")
        self._thread = self._sender.start()

    def stop(self, drain_s: float = 5.0) -> bool:
        """Send what waits for at most `drain_s`, publish `stopped`, and end the thread.

        Returns
        -------
        bool
            True if nothing is left; the rest is sent after the next start.
        """
        if self._thread is not None:
            self._sender.stop(drain_s)
            # What waits is committed: an attempt to connect need not be waited for. The service
            # manager would kill the process (TimeoutStopSec), and the thread ends with it.
            more_s = self._longest_turn_s if self._sender.connected else _CONNECTING_S
            self._thread.join(drain_s + more_s)
            self._thread = None
        return self._sender.nothing_waits()

    def use(self, settings: Delivery) -> None:
        """Connect again with other settings; any thread."""
        self._longest_turn_s = _longest_turn_s(settings.mqtt)
        self._sender.use(settings)

    def describe(self, info: Info) -> None:
        """Replace the info message, now and for every later connection; any thread."""
        self._sender.info = info
        self._sender.wake()

    def wake(self) -> None:
        """Have the queue read now, after a commit; any thread, never blocks."""
        self._sender.wake()

    def live(self, topic: str, payload: bytes) -> None:
        """Send a message at QoS 0 now, or never: only while connected; any thread."""
        self._sender.live(topic, payload)

    def drained(self, timeout_s: float) -> bool:
        """Wait until the broker has acknowledged everything; False if the time is over."""
        self._sender.wake()
        return self._sender.status.wait_for(self._sender.nothing_waits, timeout_s)

    def reached(self, state: BrokerState, timeout_s: float) -> bool:
        """Wait until the connection is in a state; False if the time is over."""
        return self._sender.status.wait_for(lambda: self.state is state, timeout_s)

    def health(self) -> DeliveryHealth:
        """Return how delivery is doing."""
        return self._sender.health()

    def faults(self) -> list[Fault]:
        """Return what does not work in delivering alerts."""
        return self._sender.faults()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _longest_turn_s(mqtt: MqttSettings) -> float:
    """Return how long a turn may take: an attempt to connect and an acknowledgement."""
    return mqtt.connect_timeout_s + mqtt.ack_timeout_s + 5.0
