"""Several receivers share the alerts of all devices: each alert goes to one of them."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.brokers import Mosquitto, quick
from support.factories import make_alert
from support.programs import PATIENCE_S
from tocsin_agent.delivery.outbox import Outbox
from tocsin_agent.delivery.publisher import Publisher
from tocsin_agent.messages.topics import alert_filters, shared
from tocsin_agent.team.feed import AlertSeen
from tocsin_agent.team.receiver import Receiver

pytestmark = pytest.mark.broker
ALERTS = 40


def received(receiver: Receiver) -> list[str]:
    items = receiver.poll(0.02)
    return [item.alert.alert_id for item in items if isinstance(item, AlertSeen)]


def test_each_alert_goes_to_one_receiver_of_a_group(tmp_path: Path, mosquitto: Mosquitto) -> None:
    filters = shared(alert_filters("team"), "archive")
    with ExitStack() as stack:
        receivers = [
            stack.enter_context(Receiver(quick(mosquitto.port), filters, client_id=name))
            for name in ("a", "b")
        ]
        for receiver in receivers:
            until_s = time.monotonic() + PATIENCE_S
            while not receiver.connected:
                receiver.poll(0.05)
                assert time.monotonic() < until_s
        outbox = stack.enter_context(Outbox(tmp_path / "o.db"))
        publisher = stack.enter_context(
            Publisher(outbox, quick(mosquitto.port), site="ward3", device="bed7")
        )
        sent = [make_alert(3600 * n) for n in range(1, ALERTS + 1)]
        outbox.append(sent)
        assert publisher.drained(PATIENCE_S)
        found: list[list[str]] = [[], []]
        until_s = time.monotonic() + PATIENCE_S
        while sum(map(len, found)) < ALERTS and time.monotonic() < until_s:
            for number, receiver in enumerate(receivers):
                found[number] += received(receiver)
        assert sorted(found[0] + found[1]) == sorted(alert.alert_id for alert in sent)
        assert min(map(len, found)) > 0
