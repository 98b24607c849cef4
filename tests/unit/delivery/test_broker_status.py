"""The state that a failure means, and who is woken by a change."""

from __future__ import annotations

import logging
import threading

import pytest

from support.programs import PATIENCE_S
from tocsin_agent.delivery.broker_status import BrokerStatus
from tocsin_agent.delivery.session import UnresponsiveError
from tocsin_agent.errors import DeliveryError, DeliveryFault
from tocsin_agent.messages.health import BrokerState

UNREACHABLE = DeliveryError(DeliveryFault.BROKER_UNREACHABLE, "no route")


@pytest.mark.parametrize(
    ("before", "error", "after"),
    [
        (BrokerState.CONNECTING, UNREACHABLE, BrokerState.UNREACHABLE),
        (BrokerState.SETTLING, UNREACHABLE, BrokerState.LOST),
        (BrokerState.ONLINE, UNREACHABLE, BrokerState.LOST),
        (BrokerState.CONNECTING, DeliveryError(DeliveryFault.TLS, "expired"), BrokerState.TLS),
        (
            BrokerState.CONNECTING,
            DeliveryError(DeliveryFault.BROKER_REFUSED, "not authorized"),
            BrokerState.REFUSED,
        ),
        (
            BrokerState.ONLINE,
            UnresponsiveError(DeliveryFault.BROKER_UNREACHABLE, "silent"),
            BrokerState.UNRESPONSIVE,
        ),
    ],
)
def test_a_failure_means_a_state(
    before: BrokerState, error: DeliveryError, after: BrokerState
) -> None:
    status = BrokerStatus()
    status.set(before)
    status.failed(error, 1.0)
    assert (status.state, status.last_error) == (after, str(error))


def test_the_same_failure_is_logged_once_and_a_connection_after_it_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    status = BrokerStatus()
    status.online()
    assert status.reconnects == 0
    for _ in range(3):
        status.failed(UNREACHABLE, 1.0)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    status.online()
    assert (status.reconnects, status.last_error) == (1, "")


def test_who_waits_is_woken_by_each_change() -> None:
    status = BrokerStatus()
    assert not status.wait_for(lambda: False, 0.0)
    reached: list[bool] = []

    def wait() -> None:
        reached.append(status.wait_for(lambda: status.state is BrokerState.ONLINE, PATIENCE_S))

    waiting = threading.Thread(target=wait)
    waiting.start()
    status.online()
    waiting.join(PATIENCE_S)
    assert reached == [True]
