"""When logins end: a page that is open keeps one, and a proxy that says nothing ends one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tocsin_agent.team.console.sessions import Sessions
from tocsin_agent.team.console.store import Store

MINUTE = timedelta(minutes=1)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "console.db", timedelta(days=30), 1_000_000)
    yield store
    store.close()


def test_a_wall_that_nobody_touches_stays_logged_in_and_a_closed_page_does_not(
    store: Store,
) -> None:
    clock = Clock()
    sessions = Sessions(store, timedelta(hours=12), timedelta(hours=2), clock)
    _, wall = sessions.begin("wall", "viewer", "en", by_proxy=False)
    _, closed = sessions.begin("closed", "viewer", "en", by_proxy=False)
    for _ in range(11 * 60):
        clock.now += MINUTE
        assert sessions.in_use(wall)
    assert not sessions.valid(closed)
    later = Sessions(store, timedelta(hours=12), timedelta(hours=2), clock)
    assert later.valid(wall), "after a restart, too"
    clock.now += timedelta(hours=1)
    assert not sessions.in_use(wall), "no login is longer than its length"


def test_a_proxy_must_confirm_a_login_in_time_and_in_its_role(store: Store) -> None:
    sessions = Sessions(store, timedelta(hours=12), timedelta(hours=2))
    _, login = sessions.begin("dr-k", "cardiologist", "en", by_proxy=True)
    assert not sessions.confirmed(login, 15.0, 100.0)
    sessions.confirm(login.key, "cardiologist", 100.0)
    assert sessions.confirmed(login, 15.0, 114.0)
    assert not sessions.confirmed(login, 15.0, 115.0)
    sessions.confirm(login.key, "viewer", 115.0)
    assert not sessions.confirmed(login, 15.0, 116.0)
