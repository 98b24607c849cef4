"""What the console keeps: bounded by age and by size, the newest stays."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from support.factories import make_alert, make_strip, make_trend
from tocsin_agent.team.console.store import Happened, Kept, Store

NOW = datetime.now(UTC)
OLD = NOW - timedelta(days=31)
MAX_BYTES = 1_000_000
EVERY = 40  # writes between two looks at age and size


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr("tocsin_agent.team.console.store.PRUNE_EVERY", EVERY)
    store = Store(tmp_path / "console.db", timedelta(days=30), MAX_BYTES)
    yield store
    store.close()


def kept(number: int, at: datetime, strip_s: float = 0.1) -> Kept:
    alert = make_alert(3600 * number, strip=make_strip(strip_s), onset_at=at)
    return Kept(alert, at, "team", "")


def ids(store: Store) -> list[str]:
    documents = store.keys()
    return [alert_id for alert_id, _ in documents]


def write(store: Store, times: int, number: int = 1_000_000) -> None:
    """Write so often that the store has looked at age and size once more."""
    for _ in range(times):
        store.keep([kept(number, NOW)])


def test_what_is_too_old_is_removed(store: Store) -> None:
    trend = make_trend()
    old_trend = msgspec.structs.replace(trend, to_at=NOW - timedelta(hours=74))
    new_trend = msgspec.structs.replace(trend, from_index=1, to_at=NOW)
    write(store, 1)  # the first write looks, too
    old, new = kept(1, OLD), kept(2, NOW)
    store.keep(
        [old, new],
        [Happened(OLD, "", "", old.alert.alert_id, "onset"), Happened(NOW, "", "", "n", "onset")],
        [old_trend, new_trend],
    )
    assert len(ids(store)) == 3
    write(store, EVERY)
    assert old.alert.alert_id not in ids(store)
    assert new.alert.alert_id in ids(store)
    assert [event.alert_id for event in store.events()] == ["n"]
    assert store.trends("ward3", "bed7", NOW - timedelta(days=9)) == [new_trend]


def test_a_store_that_is_full_removes_the_oldest(store: Store, tmp_path: Path) -> None:
    count = 6 * EVERY
    for number in range(count):
        store.keep([kept(number, NOW - timedelta(hours=1) + timedelta(seconds=number), 25.0)])
    numbers = {kept(number, NOW).alert.alert_id: number for number in range(count)}
    left = sorted(numbers[alert_id] for alert_id in ids(store))
    assert left == list(range(left[0], count)), "what is left is the newest, without a gap"
    assert 0 < left[0] < count
    assert (tmp_path / "console.db").stat().st_size < 2.5 * MAX_BYTES
