"""The state of the connection to the broker, which any thread can read and wait for."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from tocsin_agent.delivery.faults import DELIVERY_FAILED, Fault
from tocsin_agent.delivery.session import UnresponsiveError
from tocsin_agent.errors import DeliveryError, DeliveryFault
from tocsin_agent.messages.health import BrokerState

log = logging.getLogger(__name__)

_STATE_OF_FAULT = {
    DeliveryFault.TLS: BrokerState.TLS,
    DeliveryFault.BROKER_REFUSED: BrokerState.REFUSED,
}

_TAKEN_OVER_S = 600.0
_SHORT_IN_A_ROW = 4
STEADY_S = 30.0
"""A connection that lasted so long was a good one."""


class BrokerStatus:
    """Set by the thread that drives the connection; read by any.

    Attributes
    ----------
    state : BrokerState
        The present state.
    last_error : str
        The last failure and what to do about it; empty while connected.
    reconnects : int
        Connections made after a failure.
    """

    def __init__(self) -> None:
        self.state = BrokerState.STOPPED
        self.last_error = ""
        self.reconnects = 0
        self._changed = threading.Condition()
        self._ended_s: list[float] = []

    def set(self, state: BrokerState) -> None:
        """Enter a state, and have those who wait look again."""
        with self._changed:
            self.state = state
            self._changed.notify_all()

    def online(self) -> None:
        """Enter ONLINE; after a failure this counts as a reconnection."""
        if self.last_error:
            self.reconnects += 1
            self.last_error = ""
        self.set(BrokerState.ONLINE)

    def failed(self, exc: DeliveryError, wait_s: float) -> None:
        """Enter the state that a failure means; log it unless it is the same as before."""
        if self.state is BrokerState.CONNECTING:
            self._ended_s.clear()  # the broker is not there, or refuses: another fault
        state = _STATE_OF_FAULT.get(exc.reason, BrokerState.UNREACHABLE)
        if isinstance(exc, UnresponsiveError):
            state = BrokerState.UNRESPONSIVE
        elif state is BrokerState.UNREACHABLE and self.state is not BrokerState.CONNECTING:
            state = BrokerState.LOST
        if str(exc) != self.last_error:
            log.warning("%s. Alerts wait in the outbox; next attempt in %.1f s", exc, wait_s)
        self.last_error = str(exc)
        self.set(state)

    def ended(self, lasted_s: float, *, taken_over: bool) -> None:
        """Note that an accepted connection was lost after so many seconds."""
        now_s = time.monotonic()
        if taken_over:  # the broker says so: one more of them is certain
            self._ended_s += [now_s] * (_SHORT_IN_A_ROW // 2)
        elif lasted_s < STEADY_S:
            self._ended_s.append(now_s)
        else:
            self._ended_s.clear()
        del self._ended_s[:-_SHORT_IN_A_ROW]

    def faults(self, now_s: float) -> list[Fault]:
        """Return that another client uses the id: each connection is accepted, and lost at once.

        Few brokers name that reason, and none does over MQTT 3.1.1.
        """
        recent = [at_s for at_s in self._ended_s if now_s - at_s < _TAKEN_OVER_S]
        if len(recent) < _SHORT_IN_A_ROW:
            return []
        return [
            Fault(
                DELIVERY_FAILED,
                "client_id",
                "the broker ends each connection soon after it has accepted it",
                "another client probably uses the id of this one; give every device an id of its "
                "own (mqtt.client_id, or site and device)",
            )
        ]

    def wait_for(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until a condition holds, checked at each change; False if the time is over."""
        with self._changed:
            return self._changed.wait_for(condition, timeout_s)
