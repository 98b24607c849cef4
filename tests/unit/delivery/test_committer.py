"""Alerts are committed, or held and sent from memory, or named in the log: never lost silently."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from support.factories import NOON, make_alert, make_episode
from tocsin_agent.delivery.committer import Committer
from tocsin_agent.delivery.memory import MemoryStore
from tocsin_agent.delivery.outbox import Outbox
from tocsin_agent.delivery.store import Pressure
from tocsin_agent.errors import DeliveryError, DeliveryFault
from tocsin_agent.messages.alert import Alert, Audience, Key, Phase, Priority


class FaultyStore(MemoryStore):
    """A store whose disk can be full, and whose broker can acknowledge while `close` waits."""

    def __init__(self, max_held: int) -> None:
        super().__init__(max_held=max_held)
        self.full = False
        self.pressed = False
        self.tries = 0
        self.acknowledged_later: set[Key] = set()

    def append(self, alerts: Sequence[Alert]) -> int:
        self.tries += 1
        if self.full:
            raise DeliveryError(DeliveryFault.OUTBOX_FULL, "disk full")
        return super().append(alerts)

    def unsent(self) -> set[Key]:
        unsent = super().unsent()
        self.acknowledge(*self.acknowledged_later)
        return unsent

    def acknowledge(self, *keys: Key) -> None:
        self.mark_delivered([(key, Audience.TEAM) for key in keys])

    def pressure(self) -> Pressure:
        return Pressure(self.pressed, 9, 10, 3)


class Bench:
    """A committer with a store, a clock that stands still, and a count of wake-ups."""

    def __init__(self, max_held: int = 100) -> None:
        self.store = FaultyStore(max_held)
        self.now_s = 0.0
        self.woken = 0
        self.committer = Committer(
            self.store, self._wake, monotonic=lambda: self.now_s, last_wait_s=0.1
        )

    def _wake(self) -> None:
        self.woken += 1


def test_each_commit_wakes_the_publisher_once() -> None:
    bench = Bench()
    bench.committer.commit([])
    assert (bench.store.tries, bench.woken) == (0, 0)
    bench.committer.commit([make_alert(1), make_alert(2)])
    assert (bench.store.tries, bench.woken, bench.committer.held) == (1, 1, 0)


def test_a_full_disk_holds_alerts_in_order_until_it_takes_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()
    alerts = [make_alert(n) for n in range(4)]
    bench.store.full = True
    bench.committer.commit(alerts[:2])
    bench.committer.commit(alerts[2:3])
    bench.committer.retry()
    assert bench.committer.held == 3
    assert [row.key for row in bench.store.waiting(9)] == [a.key for a in alerts[:3]], (
        "the publisher may send them all the same"
    )
    assert bench.store.tries == 1, "it is not asked more than once a second"
    assert [r.levelno for r in caplog.records] == [logging.ERROR], "said once, not at each try"

    bench.store.full = False
    bench.now_s = 1.0
    bench.committer.commit(alerts[3:])
    assert bench.store.alerts == alerts
    assert bench.committer.held == 0
    assert bench.woken > 0


def test_held_alerts_are_committed_again_after_a_second() -> None:
    bench = Bench()
    bench.store.full = True
    bench.committer.commit([make_alert(1)])
    bench.store.full = False
    bench.now_s = 0.99
    bench.committer.retry()
    assert bench.committer.held == 1
    bench.now_s = 1.0
    bench.committer.retry()
    assert (bench.committer.held, len(bench.store.alerts)) == (0, 1)


def test_beyond_the_limit_the_oldest_of_the_lowest_priority_is_given_up_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench(max_held=2)
    bench.store.full = True
    low_old = make_alert(1, code="couplet", priority=Priority.LOW)
    high_old = make_alert(2, priority=Priority.HIGH)
    low_new = make_alert(3, code="couplet", priority=Priority.LOW)
    bench.committer.commit([low_old, high_old])
    bench.committer.commit([low_new])
    lost = [r for r in caplog.records if r.levelno == logging.CRITICAL]
    assert len(lost) == 1
    assert low_old.alert_id in lost[0].getMessage()
    bench.store.full = False
    bench.committer.close()
    assert bench.store.alerts == [high_old, low_new]


def test_an_alert_lost_at_the_end_is_logged_and_an_error(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.store.full = True
    alert = make_alert(1)
    bench.committer.commit([alert])
    with pytest.raises(DeliveryError, match="disk full"):
        bench.committer.close()
    assert alert.alert_id in caplog.records[-1].getMessage()


def test_an_alert_that_the_broker_has_is_not_lost(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.store.full = True
    sent, last, lost = (make_alert(n) for n in range(3))
    bench.committer.commit([sent, last])
    bench.store.acknowledge(sent.key)
    bench.store.acknowledged_later = {last.key}
    bench.committer.close()
    assert caplog.records[-1].levelno == logging.WARNING
    assert "2 alerts were delivered" in caplog.records[-1].getMessage()

    bench.committer.commit([sent, lost])
    with pytest.raises(DeliveryError, match="disk full"):
        bench.committer.close()
    critical = [r.getMessage() for r in caplog.records if r.levelno == logging.CRITICAL]
    assert len(critical) == 1
    assert lost.alert_id in critical[0]


def test_pressure_is_measured_every_2_s() -> None:
    bench = Bench()
    assert bench.committer.pressure() == Pressure(False, 9, 10, 3)
    bench.store.pressed = True
    bench.now_s = 1.9
    assert bench.committer.pressure() == Pressure(False, 9, 10, 3)
    bench.now_s = 2.0
    assert bench.committer.pressure() == Pressure(True, 9, 10, 3)


def test_a_store_that_cannot_be_read_leaves_the_pressure_as_it_was() -> None:
    bench = Bench()
    bench.store.pressed = True
    measured = bench.committer.pressure()

    def unreadable() -> Pressure:
        raise DeliveryError(DeliveryFault.OUTBOX_UNWRITABLE, "no such disk")

    bench.store.pressure = unreadable  # type: ignore[method-assign]
    bench.now_s = 60.0
    assert bench.committer.pressure() == measured


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "outbox.db") as outbox:
        yield outbox


@pytest.mark.parametrize("delivered", [False, True])
@pytest.mark.parametrize("audience", list(Audience))
def test_episodes_of_an_earlier_stream_are_ended_once(
    outbox: Outbox, delivered: bool, audience: Audience
) -> None:
    still_open = list(make_episode(100, ended=False))
    closed = list(make_episode(200))
    outbox.append([*still_open, *closed])
    if delivered:
        outbox.mark_delivered((a.key, audience) for a in still_open + closed)
    before = outbox.pending()
    later = NOON + timedelta(hours=1)

    Committer(outbox, lambda: None).end_orphans("another stream", later)
    assert outbox.pending() == before + 1
    assert outbox.open_documents() == []
    documents = {row.key: row.document for row in outbox.waiting(100)}
    end = documents[(still_open[0].alert_id, 3)]
    assert b'"phase":"end"' in end
    assert b"Monitoring was restarted" in end

    Committer(outbox, lambda: None).end_orphans("another stream", later)
    assert outbox.pending() == before + 1


def test_episodes_of_the_same_recording_stay_open(outbox: Outbox) -> None:
    episode = list(make_episode(100))
    outbox.append(episode[:2])
    Committer(outbox, lambda: None).end_orphans(episode[0].stream, NOON)
    assert [alert.phase for alert in outbox.open_documents()] == [Phase.UPDATE]
    assert outbox.append(episode) == 1


def test_delivered_documents_of_ended_episodes_are_not_kept(outbox: Outbox) -> None:
    episode = list(make_episode(100))
    outbox.append(episode)
    outbox.mark_delivered((a.key, Audience.TEAM) for a in episode)
    assert outbox.pending() == 0
    assert outbox.open_documents() == []
