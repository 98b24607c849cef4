"""The state of the connection to the broker, which any thread can read and wait for."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from tocsin_agent.delivery.session import UnresponsiveError
from tocsin_agent.errors import DeliveryError, DeliveryFault
from tocsin_agent.messages.health import BrokerState

log = logging.getLogger(__name__)

_STATE_OF_FAULT = {
    DeliveryFault.TLS: BrokerState.TLS,
    DeliveryFault.BROKER_REFUSED: BrokerState.REFUSED,
}


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
        state = _STATE_OF_FAULT.get(exc.reason, BrokerState.UNREACHABLE)
        if isinstance(exc, UnresponsiveError):
            state = BrokerState.UNRESPONSIVE
        elif state is BrokerState.UNREACHABLE and self.state is not BrokerState.CONNECTING:
            state = BrokerState.LOST
        if str(exc) != self.last_error:
            log.warning("%s. Alerts wait in the outbox; next attempt in %.1f s", exc, wait_s)
        self.last_error = str(exc)
        self.set(state)

    def wait_for(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until a condition holds, checked at each change; False if the time is over."""
        with self._changed:
            return self._changed.wait_for(condition, timeout_s)
