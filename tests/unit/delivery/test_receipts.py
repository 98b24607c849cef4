"""Receipts that come before the broker's acknowledgement, and after a second copy was sent."""

from __future__ import annotations

import pytest

from tocsin_agent.delivery.receipts import MAX_CONFIRMED, AwaitedReceipts
from tocsin_agent.delivery.settings import ReceiptSettings
from tocsin_agent.messages.alert import Audience, Key, Priority
from tocsin_agent.messages.receipt import Received

TEAM, HIGH = Audience.TEAM, Priority.HIGH
KEY: Key = ("a", 1)


@pytest.fixture
def receipts() -> AwaitedReceipts:
    return AwaitedReceipts(ReceiptSettings(expected=True, wait_s=2.0))


def received(key: Key = KEY, audience: Audience = TEAM) -> list[Received]:
    return [Received(*key, audience)]


def test_an_alert_waits_for_its_receipt(receipts: AwaitedReceipts) -> None:
    assert receipts.published(KEY, HIGH, TEAM, 0.0)
    assert receipts.overtaken() == {KEY}
    assert receipts.confirm(received()) == [(KEY, TEAM)]
    assert receipts.overtaken() == set()


def test_a_receipt_before_the_acknowledgement_is_enough(receipts: AwaitedReceipts) -> None:
    assert receipts.confirm(received()) == []
    assert not receipts.published(KEY, HIGH, TEAM, 0.0)
    assert not receipts.dispatched(KEY, HIGH)


def test_a_copy_that_is_acknowledged_after_the_receipt_holds_nothing_back(
    receipts: AwaitedReceipts,
) -> None:
    """It was awaited for ever, and no later document of its episode was sent."""
    assert receipts.published(KEY, HIGH, TEAM, 0.0)
    receipts.confirm(received())  # of the first copy, while a second one is under way
    assert not receipts.published(KEY, HIGH, TEAM, 2.5)
    assert (receipts.overtaken(), len(receipts)) == (set(), 0)


def test_a_receipt_of_the_bedside_is_none_of_the_team(receipts: AwaitedReceipts) -> None:
    receipts.confirm(received(audience=Audience.BEDSIDE))
    assert receipts.published(KEY, HIGH, TEAM, 0.0)


def test_a_bounded_number_of_receipts_is_remembered(receipts: AwaitedReceipts) -> None:
    receipts.confirm(received())
    receipts.confirm([Received("b", n, TEAM) for n in range(1, MAX_CONFIRMED + 1)])
    assert receipts.published(KEY, HIGH, TEAM, 0.0), "the oldest is forgotten"
    assert not receipts.published(("b", MAX_CONFIRMED), HIGH, TEAM, 0.0)
