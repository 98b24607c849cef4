"""What is sent over one connection, step by step, on a connection that the test scripts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar, cast

import pytest

from support.factories import NOON, make_alert, make_episode, make_strip
from tocsin_agent.delivery.outbox import Outbox
from tocsin_agent.delivery.presence import PresenceLedger
from tocsin_agent.delivery.receipts import AwaitedReceipts
from tocsin_agent.delivery.session import DeliveryMemory, DeliverySession, UnresponsiveError
from tocsin_agent.delivery.settings import PresenceSettings, ReceiptSettings
from tocsin_agent.errors import DeliveryError
from tocsin_agent.messages.alert import Alert, Audience, Key, Priority, decode_alert
from tocsin_agent.messages.lease import encode_lease, make_lease
from tocsin_agent.messages.receipt import Receipt, Received, encode_receipt
from tocsin_agent.messages.topics import Branch, Topics, parse
from tocsin_agent.mqtt.connection import Connection
from tocsin_agent.mqtt.events import Ack, Events, Message
from tocsin_agent.mqtt.settings import MqttSettings
from tocsin_agent.signing.guard import Guard
from tocsin_agent.signing.settings import SigningSettings


class ScriptedConnection:
    """Records what is published, and reports the events that the test gives it."""

    where = "scripted:1"
    alive = True
    receive_maximum = 65_535
    restrictions: ClassVar[dict[str, tuple[str, str]]] = {}
    max_packet_bytes = 268_435_455

    def __init__(self, settings: MqttSettings) -> None:
        self.settings = settings
        self.published: dict[int, tuple[str, bytes]] = {}
        self.next = Events(woken=True)
        self.timeout_s = -1.0
        self.unsubscribed: list[list[str]] = []
        self.acknowledged = 0

    def subscribe(self, _filters: list[str]) -> int:
        return 1000

    def publish(self, topic: str, payload: bytes, **_: object) -> int:
        self.published[len(self.published) + 1] = (topic, payload)
        return len(self.published)

    def unsubscribe(self, filters: list[str]) -> None:
        self.unsubscribed.append(filters)

    def acknowledge(self, message: Message) -> None:
        self.acknowledged += message.mid >= 0

    def step(self, timeout_s: float) -> Events:
        self.timeout_s = timeout_s
        events, self.next = self.next, Events(woken=True)
        return events

    def alerts(self) -> dict[int, str]:
        """Give the topics of the alerts that were published, by message id."""
        return {
            mid: topic
            for mid, (topic, _) in self.published.items()
            if (address := parse(topic)) is not None
            and address.branch in {Branch.ALERT, Branch.BEDSIDE}
        }


class Bench:
    """A session on a scripted connection, with clocks that stand until they are moved."""

    def __init__(
        self, outbox: Outbox, receipts: ReceiptSettings | None = None, **settings: object
    ) -> None:
        self.now = NOON
        self.monotonic_s = 1000.0
        self.outbox = outbox
        self.connection = ScriptedConnection(MqttSettings(**settings))  # type: ignore[arg-type]
        self.memory = DeliveryMemory(receipts=AwaitedReceipts(receipts))
        self.ledger = PresenceLedger(PresenceSettings(settle_s=0.0))
        self.begin()

    def begin(self) -> None:
        self.delivery = DeliverySession(
            cast("Connection", self.connection),
            self.outbox,
            self.ledger,
            Topics("ward3", "bed7"),
            memory=self.memory,
            utc=self.utc,
            monotonic=lambda: self.monotonic_s,
        )
        self.delivery.begin(b"{}", b"{}")

    def utc(self) -> datetime:
        return self.now

    def turn(self, *acked: int, subscribed: bool = False, lease: bytes | None = None) -> None:
        events = Events(
            [], [Ack(mid, "") for mid in acked], [1000] if subscribed else [], woken=True
        )
        if lease is not None:
            events.messages.append(Message("tocsin/v1/ward3/presence/cardiologist", lease))
        self.connection.next = events
        self.delivery.turn()


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "o.db") as opened:
        yield opened


LEASE = encode_lease(make_lease("cardiologist", "dr-k", 60, NOON))
STATUS_MID = 1


def test_nothing_is_sent_before_a_retained_lease_can_have_arrived(outbox: Outbox) -> None:
    outbox.append([make_alert()])
    bench = Bench(outbox)
    bench.turn()
    bench.turn(subscribed=True)
    bench.turn(lease=LEASE)
    assert bench.connection.alerts() == {}
    bench.turn(STATUS_MID)
    assert list(bench.connection.alerts().values()) == ["tocsin/v1/ward3/bed7/bedside/high"]


def test_a_subscription_that_is_not_answered_keeps_it_from_settling(outbox: Outbox) -> None:
    outbox.append([make_alert()])
    bench = Bench(outbox)
    bench.turn(STATUS_MID)
    assert not bench.delivery.settled
    assert bench.connection.alerts() == {}


def test_an_alert_is_sent_once_and_leaves_the_outbox_when_acknowledged(outbox: Outbox) -> None:
    outbox.append([make_alert(1), make_alert(2)])
    bench = Bench(outbox)
    bench.turn(STATUS_MID, subscribed=True)
    first, second = bench.connection.alerts()
    for _ in range(3):
        bench.turn()
    assert len(bench.connection.alerts()) == 2
    assert outbox.pending() == 2
    bench.turn(second)
    assert [row.key[0] for row in outbox.waiting(9)] == [make_alert(1).alert_id]
    bench.turn(first)
    assert outbox.pending() == 0
    assert bench.memory.delivered == 2


def test_no_more_are_unacknowledged_than_the_window_allows(outbox: Outbox) -> None:
    outbox.append([make_alert(n) for n in range(10)])
    bench = Bench(outbox, inflight=3)
    bench.turn(STATUS_MID, subscribed=True)
    assert len(bench.connection.alerts()) == 3
    bench.turn(*list(bench.connection.alerts())[:2])
    assert len(bench.connection.alerts()) == 5


def test_the_recipient_is_decided_when_an_alert_is_sent(outbox: Outbox) -> None:
    bench = Bench(outbox)
    bench.turn(STATUS_MID, subscribed=True, lease=LEASE)
    outbox.append([make_alert(1)])
    bench.now = NOON + timedelta(seconds=60)
    bench.turn()
    assert list(bench.connection.alerts().values()) == ["tocsin/v1/ward3/bed7/alert/high"]


def test_an_acknowledgement_after_the_end_of_the_lease_causes_a_hand_over(outbox: Outbox) -> None:
    outbox.append([make_alert(1)])
    bench = Bench(outbox)
    bench.turn(STATUS_MID, subscribed=True, lease=LEASE)
    (bedside,) = bench.connection.alerts()
    bench.now = NOON + timedelta(seconds=61)
    bench.turn()
    bench.turn(bedside)
    assert [topic.split("/")[4] for topic in bench.connection.alerts().values()] == [
        "bedside",
        "alert",
    ]
    handed = decode_alert(list(bench.connection.published.values())[-1][1])
    assert handed.presence is not None
    assert handed.presence.handover
    assert handed.presence.reason == "expired"


def test_after_three_lost_connections_an_alert_is_sent_without_its_strip(outbox: Outbox) -> None:
    outbox.append([make_alert(strip=make_strip())])
    bench = Bench(outbox)
    strips = []
    for _ in range(4):
        bench.connection.published.clear()
        bench.begin()
        bench.turn(STATUS_MID, subscribed=True)
        (mid,) = bench.connection.alerts()
        strips.append(decode_alert(bench.connection.published[mid][1]).strip is not None)
        bench.delivery.end()
        bench.ledger.disconnected()
    assert strips == [True, True, True, False]


def test_a_refused_alert_waits_and_the_next_is_sent(outbox: Outbox) -> None:
    outbox.append([make_alert(1), make_alert(2)])
    bench = Bench(outbox, inflight=1)
    bench.turn(STATUS_MID, subscribed=True)
    (first,) = bench.connection.alerts()
    bench.connection.next = Events([], [Ack(first, "Not authorized")], [])
    bench.delivery.turn()
    assert len(bench.connection.alerts()) == 2
    assert outbox.pending() == 2


def test_a_document_that_cannot_be_read_is_discarded_and_delays_nothing(outbox: Outbox) -> None:
    outbox.append([make_alert(1), make_alert(2)])
    outbox._database._db.execute("UPDATE alert SET document = x'00' WHERE created = 1")
    bench = Bench(outbox)
    bench.turn(STATUS_MID, subscribed=True)
    assert len(bench.connection.alerts()) == 1
    assert outbox.pending() == 1


def test_a_document_of_another_version_is_sent(outbox: Outbox) -> None:
    outbox.append([make_alert(1)])
    outbox._database._db.execute(
        """UPDATE alert SET checksum = NULL, document = CAST('{"of":"tomorrow"}' AS BLOB)"""
    )
    bench = Bench(outbox)
    bench.turn(STATUS_MID, subscribed=True)
    assert b'"of":"tomorrow"' in list(bench.connection.published.values())[-1][1]


def test_a_broker_that_acknowledges_nothing_is_an_error_after_the_timeout(outbox: Outbox) -> None:
    outbox.append([make_alert(1), make_alert(2)])
    bench = Bench(outbox, ack_timeout_s=10.0)
    bench.turn(STATUS_MID, subscribed=True)
    first, second = bench.connection.alerts()
    bench.monotonic_s += 9.0
    bench.turn(first)
    bench.monotonic_s += 10.0
    bench.turn()
    bench.monotonic_s += 0.1
    with pytest.raises(UnresponsiveError, match=r"acknowledged none for 10\.1 s"):
        bench.turn()
    assert second in bench.connection.alerts()


def test_a_broker_that_does_not_answer_the_subscription_is_an_error(outbox: Outbox) -> None:
    bench = Bench(outbox, ack_timeout_s=10.0)
    bench.monotonic_s += 10.1
    with pytest.raises(UnresponsiveError, match="acknowledged none"):
        bench.turn()


def test_an_expiry_is_noticed_at_its_time_without_a_message(outbox: Outbox) -> None:
    bench = Bench(outbox)
    bench.turn(STATUS_MID, subscribed=True, lease=LEASE)
    bench.turn()
    assert bench.connection.timeout_s == 0.5
    bench.now = NOON + timedelta(seconds=59.8)
    bench.turn()
    assert 0.2 <= bench.connection.timeout_s < 0.21


def refuse(bench: Bench, *mids: int) -> None:
    bench.connection.next = Events([], [Ack(mid, "Not authorized") for mid in mids], [], woken=True)
    bench.delivery.turn()


def test_row_10_a_refused_alert_is_sent_again_after_growing_pauses(outbox: Outbox) -> None:
    outbox.append([make_alert(1)])
    bench = Bench(outbox)
    bench.turn(STATUS_MID, subscribed=True)
    for number, pause_s in enumerate((1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0), 1):
        refuse(bench, list(bench.connection.alerts())[-1])
        bench.monotonic_s += pause_s - 0.1
        bench.turn()
        assert len(bench.connection.alerts()) == number
        bench.monotonic_s += 0.2
        bench.turn()
        assert len(bench.connection.alerts()) == number + 1


def test_row_10_one_alert_at_a_time_tries_a_refused_topic(
    outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    low = make_alert(99, priority=Priority.LOW)
    outbox.append([make_alert(n) for n in range(10)])
    bench = Bench(outbox, inflight=5)
    bench.turn(STATUS_MID, subscribed=True)
    refuse(bench, *bench.connection.alerts())
    assert len(bench.connection.alerts()) == 5
    outbox.append([low])
    bench.turn()
    assert list(bench.connection.alerts().values())[-1].endswith("low"), "others are not blocked"
    bench.turn(list(bench.connection.alerts())[-1])
    for _ in range(3):
        bench.monotonic_s += 61.0
        bench.turn()
        tried = list(bench.connection.alerts())[-1]
        bench.turn()
        assert list(bench.connection.alerts())[-1] == tried
        refuse(bench, tried)
    assert len([text for text in caplog.messages if "refuses" in text]) == 1
    (fault,) = bench.memory.refusals.faults()
    assert "alert/high (Not authorized)" in fault.text
    bench.monotonic_s += 61.0
    bench.turn()
    before = len(bench.connection.alerts())
    bench.turn(list(bench.connection.alerts())[-1])  # the broker accepts it
    assert bench.memory.refusals.faults() == []
    bench.turn()
    assert len(bench.connection.alerts()) >= before + 3


@pytest.mark.parametrize("refusal", ["refused", "unacknowledged"])
def test_row_12_no_later_document_overtakes_an_earlier_one(outbox: Outbox, refusal: str) -> None:
    onset, update, end = make_episode()
    outbox.append([onset, update, end, make_alert(7)])
    bench = Bench(outbox)
    bench.turn(STATUS_MID, subscribed=True)

    def sent() -> list[tuple[str, int]]:
        published = bench.connection.published
        return [decode_alert(published[mid][1]).key for mid in bench.connection.alerts()]

    assert sent() == [onset.key, make_alert(7).key]
    first = next(iter(bench.connection.alerts()))
    if refusal == "refused":
        refuse(bench, first)
    bench.turn()
    assert sent() == [onset.key, make_alert(7).key]
    bench.monotonic_s += 1.1
    bench.turn()
    bench.turn(list(bench.connection.alerts())[-1] if refusal == "refused" else first)
    bench.turn()
    assert update.key in sent()
    assert end.key not in sent()


def test_row_12_an_alert_with_a_strip_that_is_too_large_goes_without_it(outbox: Outbox) -> None:
    """The limit is not stated by the broker: it is learnt from one refusal."""
    first, second = make_alert(1, strip=make_strip()), make_alert(2, strip=make_strip())
    outbox.append([first])
    bench = Bench(outbox)
    bench.turn(STATUS_MID, subscribed=True)
    refuse(bench, list(bench.connection.alerts())[-1])
    bench.turn()
    small = list(bench.connection.alerts())[-1]
    assert decode_alert(bench.connection.published[small][1]).strip is None
    bench.turn(small)
    assert outbox.pending() == 0
    outbox.append([second])
    bench.turn()
    assert decode_alert(bench.connection.published[max(bench.connection.alerts())][1]).strip is None


def receipt(bench: Bench, alert: Alert, audience: Audience = Audience.TEAM, **more: str) -> None:
    document = Receipt(receiver="team-1", at=NOON, received=(Received(*alert.key, audience),))
    topic = Topics("ward3", "bed7").receipt(more.get("topic", "team-1"))
    bench.connection.next = Events([Message(topic, encode_receipt(document))], woken=True)
    bench.delivery.turn()


def test_row_11_an_alert_of_high_priority_is_delivered_with_a_receipt_only(outbox: Outbox) -> None:
    high, low = make_alert(1), make_alert(2, priority=Priority.LOW)
    outbox.append([high, low])
    bench = Bench(outbox, receipts=ReceiptSettings(expected=True, wait_s=5.0))
    bench.turn(STATUS_MID, subscribed=True)
    bench.turn(*bench.connection.alerts())
    assert [row.key for row in outbox.waiting(9)] == [high.key]
    times = [len(bench.connection.alerts())]
    for pause_s in (4.9, 0.2, 9.7, 0.4):
        bench.monotonic_s += pause_s
        bench.turn()
        bench.turn(list(bench.connection.alerts())[-1])
        times.append(len(bench.connection.alerts()))
    assert times == [2, 2, 3, 3, 4]
    receipt(bench, high, Audience.BEDSIDE)
    receipt(bench, high, topic="team-2")
    receipt(bench, low)
    assert outbox.pending() == 1, "not what names another audience, receiver or alert"
    receipt(bench, high)
    assert outbox.pending() == 0
    assert len(bench.memory.receipts) == 0


def test_row_15_a_backlog_goes_out_gravest_first_and_is_recorded_in_batches(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    low = [make_alert(n, priority=Priority.LOW) for n in range(300)]
    high = [make_alert(n) for n in range(300, 330)]
    outbox.append([*low, *high])
    bench, recorded = Bench(outbox, inflight=50), list[int]()
    mark = outbox.mark_delivered

    def count(marks: Sequence[tuple[Key, Audience]]) -> None:
        recorded.append(len(marks))
        mark(marks)

    monkeypatch.setattr(outbox, "mark_delivered", count)
    bench.turn(STATUS_MID, subscribed=True)
    for acked in range(256):  # one acknowledgement at a time, while the clock stands
        bench.turn(list(bench.connection.alerts())[acked])
    topics = list(bench.connection.alerts().values())
    assert [topic.rsplit("/")[-1] for topic in topics] == ["high"] * 30 + ["low"] * 276
    assert recorded == [64] * 4


def test_row_11_receipts_without_a_signature_are_named(
    outbox: Outbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "people.toml").touch()
    alert = make_alert(1)
    outbox.append([alert])
    bench = Bench(outbox, receipts=ReceiptSettings(expected=True, wait_s=1.0))
    people = SigningSettings(people_file=str(tmp_path / "people.toml"))
    bench.memory.guard = Guard.from_settings(people)
    bench.turn(STATUS_MID, subscribed=True)
    for _ in range(5):
        bench.turn(list(bench.connection.alerts())[-1])
        receipt(bench, alert)
        bench.monotonic_s += 61.0
        bench.turn()
    assert outbox.pending() == 1
    (fault,) = bench.memory.receipts.faults()
    assert "--sign-with" in fault.text
    assert "a receipt of team-1 does not count" in caplog.text


def test_row_11_what_is_due_and_cannot_be_sent_keeps_nobody_awake(outbox: Outbox) -> None:
    outbox.append([make_alert(1)])
    bench = Bench(outbox, receipts=ReceiptSettings(expected=True, wait_s=1.0))
    bench.turn(STATUS_MID, subscribed=True)
    bench.turn(*bench.connection.alerts())
    outbox.mark_delivered([(make_alert(1).key, Audience.TEAM)])
    bench.monotonic_s += 5.0
    for _ in range(3):
        bench.connection.next = Events()
        bench.delivery.turn()
    assert bench.connection.timeout_s > 0


def test_row_11_receipts_can_be_given_up_while_alerts_wait_for_one(outbox: Outbox) -> None:
    onset, end = make_episode(updates=0)
    outbox.append([onset, end])
    bench = Bench(outbox, receipts=ReceiptSettings(expected=True, wait_s=5.0))
    bench.turn(STATUS_MID, subscribed=True)
    bench.turn(*bench.connection.alerts())
    assert outbox.pending() == 2
    bench.memory.receipts.use(ReceiptSettings())
    for _ in range(4):
        bench.turn(*bench.connection.alerts())
    assert outbox.pending() == 0
    assert len(bench.memory.receipts) == 0


def test_row_11_an_outbox_full_of_what_nobody_confirms_takes_alerts_again_with_a_receipt(
    tmp_path: Path,
) -> None:
    with Outbox(tmp_path / "full.db", max_pending=3) as full:
        full.append([make_alert(n) for n in range(3)])
        bench = Bench(full, receipts=ReceiptSettings(expected=True, wait_s=5.0))
        bench.turn(STATUS_MID, subscribed=True)
        bench.turn(*bench.connection.alerts())
        with pytest.raises(DeliveryError, match="start a receiver where receipts are expected"):
            full.append([make_alert(3)])
        assert full.hold([make_alert(3)]) == []
        bench.turn()
        assert len(bench.connection.alerts()) == 4, "what memory holds is sent"
        receipt(bench, make_alert(0))
        assert full.append([make_alert(3)]) == 1
        assert full.pending() == 3


def test_row_11_nobody_confirms_is_a_fault() -> None:
    receipts = AwaitedReceipts(ReceiptSettings(expected=True))
    key = make_alert(1).key
    for _ in range(3):
        receipts.published(key, Priority.HIGH, Audience.TEAM, 0.0)
    assert receipts.faults() == []
    receipts.published(key, Priority.HIGH, Audience.TEAM, 0.0)
    assert [fault.subject for fault in receipts.faults()] == ["receipts"]
    assert receipts.confirm([Received(*key, Audience.TEAM)]) == [(key, Audience.TEAM)]
    assert receipts.faults() == []


def test_row_8_a_flood_closes_what_it_comes_by(outbox: Outbox) -> None:
    bench = Bench(outbox)
    bench.turn(STATUS_MID, subscribed=True, lease=LEASE)
    assert bench.ledger.view(NOON).attended
    topic = "tocsin/v1/ward3/presence/cardiologist"
    bench.connection.next = Events([Message(topic, LEASE, mid=n) for n in range(1000)])
    bench.delivery.turn()
    assert bench.connection.unsubscribed == [[topic]]
    assert bench.connection.acknowledged == 1001
    assert not bench.ledger.view(NOON).attended, "who is present is not known: to the team"
    assert [fault.subject for fault in bench.delivery.faults()] == ["flood_presence"]
    bench.monotonic_s += 31.0
    bench.turn()
    assert bench.delivery.faults() == []
    bench.turn(lease=LEASE)
    bench.monotonic_s += 1.1
    bench.turn()
    assert bench.ledger.view(NOON).attended
