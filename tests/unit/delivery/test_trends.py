"""The table of trends: kept for its hours, sent once, read while an agent owns the file."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from support.factories import NOON, make_alert, make_trend
from tocsin_agent.delivery.outbox import Outbox
from tocsin_agent.delivery.trends import SENT_AGAIN, TrendStore, read_trends
from tocsin_agent.errors import DeliveryError
from tocsin_agent.messages.trend import decode_trend


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "o.db") as outbox:
        yield outbox


@pytest.fixture
def store(outbox: Outbox) -> TrendStore:
    assert outbox.trends is not None
    return outbox.trends


def test_what_is_kept_can_be_read_while_the_outbox_is_open(
    outbox: Outbox, store: TrendStore
) -> None:
    kept = [make_trend(n) for n in range(3)]
    store.append(kept)
    assert read_trends(outbox.path) == kept
    assert read_trends(outbox.path, NOON + timedelta(minutes=2)) == kept[2:]


def test_the_oldest_are_removed(outbox: Outbox, store: TrendStore) -> None:
    store.append([make_trend(n) for n in (0, 60, 72 * 60, 72 * 60 + 1)])
    assert [t.from_index for t in read_trends(outbox.path)] == [
        make_trend(n).from_index for n in (60, 72 * 60, 72 * 60 + 1)
    ]


def test_each_is_sent_once_in_order_and_the_last_again_after_a_broken_connection(
    store: TrendStore,
) -> None:
    store.append([make_trend(n) for n in range(8)])
    first = store.waiting(5)
    store.sent(first)
    rest = store.waiting(5)
    store.sent(rest)
    sent = [decode_trend(row.document) for row in first + rest]
    assert sent == [make_trend(n) for n in range(8)]
    assert not store.unread
    store.send_again()
    assert store.unread
    again = [decode_trend(row.document) for row in store.waiting(50)]
    assert again == sent[-SENT_AGAIN:]


def test_a_minute_that_comes_again_changes_nothing(outbox: Outbox, store: TrendStore) -> None:
    store.append([make_trend(0)])
    store.append([make_trend(0)])
    assert len(read_trends(outbox.path)) == 1


def test_what_the_disk_refuses_is_kept_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = Outbox(tmp_path / "o.db")
    store = outbox.trends
    assert store is not None
    with monkeypatch.context() as patch:
        patch.setattr(store._database, "_lock_fd", -1)
        store.append([make_trend(0)])
    store.append([make_trend(1)])
    outbox.close()
    assert [t.from_index for t in read_trends(tmp_path / "o.db")] == [
        make_trend(0).from_index,
        make_trend(1).from_index,
    ]


def test_alerts_and_trends_do_not_touch_each_other(outbox: Outbox, store: TrendStore) -> None:
    outbox.append([make_alert()])
    store.append([make_trend(0)])
    assert outbox.pending() == 1
    store.sent(store.waiting(1))
    assert outbox.pending() == 1


@pytest.mark.parametrize("content", [None, b"no database at all, but long enough to be read" * 9])
def test_a_file_that_is_no_outbox_is_refused_with_its_name(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "o.db"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DeliveryError, match=r"o\.db"):
        read_trends(path)
