"""What the console knows of beds, and that it knows no more of them than it can hold."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from support.factories import make_alert, make_response
from support.wards import active_of
from tocsin_agent.messages.acknowledgement import Action
from tocsin_agent.messages.status import Status
from tocsin_agent.messages.topics import Address, Branch
from tocsin_agent.team.answers import answer
from tocsin_agent.team.console.hub import Browser, Hub
from tocsin_agent.team.console.store import Login
from tocsin_agent.team.feed import Item, ResponseSeen, StatusSeen

LATE = "bed-too-many"


def status_of(device: str) -> StatusSeen:
    status = Status(state="online", site="ward3", device=device)
    return StatusSeen(status, Address(Branch.STATUS, "ward3", device, ""), "t", retained=False)


@pytest.mark.parametrize("kind", ["status", "active"])
def test_a_bed_beyond_the_limit_costs_the_others_nothing(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("tocsin_agent.team.console.picture.MAX_BEDS", 2)
    hub, now = Hub("wall"), datetime.now(UTC)
    hub.join(Browser(Login("k", "u", "viewer", "en", "c", False, now, now), "en"))
    late: Item = status_of(LATE) if kind == "status" else active_of(LATE)
    hub.take([active_of("bed1"), active_of("bed2"), late, active_of("bed1")])
    assert hub.picture.devices() == [("ward3", "bed1"), ("ward3", "bed2")]
    assert hub.picture.left_out == 1


def test_an_answer_of_a_device_that_comes_late_is_passed_on_all_the_same() -> None:
    at = [datetime(2026, 11, 30, tzinfo=UTC)]
    hub, alert = Hub("wall", now=lambda: at[0]), make_alert()
    browser = Browser(Login("k", "u", "responder", "en", "c", False, at[0], at[0]), "en")
    hub.join(browser)
    hub.whole(browser)
    made = answer(
        "ward3", "bed7", alert.alert_id, who="u", role="team", action=Action.ACCEPT, at=at[0]
    )
    hub.sent(made, "ward3", "bed7")
    for _ in range(3):
        at[0] += timedelta(seconds=11.0)
        hub.tick()
    response = make_response(alert, made.message.id)
    where = Address(Branch.RESPONSE, "ward3", "bed7", alert.alert_id)
    hub.take([ResponseSeen(response, where, "t")])
    sent = [msgspec.json.decode(text) for text in browser._queue]
    outcomes = [one["outcome"] for one in sent if one["type"] == "answer"]
    assert outcomes == ["unanswered", "applied"]
