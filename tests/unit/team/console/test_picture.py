"""What the console knows of beds, and that it knows no more of them than it can hold."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from support.wards import active_of
from tocsin_agent.messages.status import Status
from tocsin_agent.messages.topics import Address, Branch
from tocsin_agent.team.console.hub import Browser, Hub
from tocsin_agent.team.console.store import Login
from tocsin_agent.team.feed import Item, StatusSeen

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
