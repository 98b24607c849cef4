"""A stop ends within the service's stop time, whatever the broker does, and loses nothing."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.brokers import quick, until
from support.factories import make_alert
from tocsin_agent.delivery.outbox import Outbox
from tocsin_agent.delivery.publisher import Publisher
from tocsin_agent.messages.health import BrokerState

SLOW_S = 110.0


@contextlib.contextmanager
def black_hole(kind: str) -> Iterator[int]:
    """Listen, and answer nothing: neither to SYN (a full backlog) nor to CONNECT."""
    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0 if kind == "drops" else 16)
        for _ in range(4 if kind == "drops" else 0):
            waiting = opened.enter_context(socket.socket())
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.mark.parametrize("kind", ["drops", "accepts and says nothing"])
def test_case_18_a_stop_does_not_wait_for_a_broker_that_answers_nothing(
    tmp_path: Path, kind: str
) -> None:
    with black_hole(kind) as port, Outbox(tmp_path / "o.db") as outbox:
        mqtt = quick(port, connect_timeout_s=SLOW_S, ack_timeout_s=SLOW_S)
        publisher = Publisher(outbox, mqtt, site="ward3", device="bed7", answers=outbox.answers)
        outbox.append([make_alert()])
        publisher.start()
        until(lambda: publisher.state is BrokerState.CONNECTING)
        began_s = time.monotonic()
        assert not publisher.stop(drain_s=1.0)
        took_s = time.monotonic() - began_s
        assert took_s < SLOW_S / 2, "the attempt to connect lasts longer"
        assert outbox.pending() == 1
    with Outbox(tmp_path / "o.db") as again:
        assert [row.key for row in again.waiting(9)] == [make_alert().key]
