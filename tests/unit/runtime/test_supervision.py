"""Supervision: the watchdog is fed while all turns, and what stands still is started again."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.service_manager import Manager
from tocsin_agent.messages.alert import ClockState
from tocsin_agent.messages.health import AgentHealth, ModelHealth
from tocsin_agent.runtime.supervision import (
    STALLED_VARIABLE,
    Pulse,
    ServiceManager,
    Supervisor,
    source_is_followed,
    stalled_before,
    standing_still,
)


@pytest.fixture(params=["file", "abstract"])
def manager(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Manager]:
    name = str(tmp_path / "n") if request.param == "file" else f"@tocsin-{tmp_path}"[:100]
    with Manager(name) as opened:
        yield opened


def supervisor(
    manager: Manager, *pulses: Pulse, followed: bool = True
) -> tuple[Supervisor, list[str]]:
    replaced = list[str]()
    made = Supervisor(
        ServiceManager(manager.environ),
        lambda: list(pulses),
        followed=lambda: followed,
        replace=replaced.append,
        look_s=10.0,
    )
    return made, replaced


def pulse(ago_s: float, most_s: float = 5.0, what: str = "monitoring") -> Pulse:
    return Pulse(what, lambda: time.monotonic() - ago_s, most_s)


def test_the_watchdog_is_fed_while_all_turns(manager: Manager) -> None:
    made, replaced = supervisor(manager, pulse(0.0), pulse(1.0, what="delivery"))
    made.look()
    assert manager.received() == ["READY=1", "WATCHDOG=1"]
    assert replaced == []


@pytest.mark.parametrize("what", ["monitoring", "delivery"])
def test_what_stands_still_is_started_again_and_not_fed(manager: Manager, what: str) -> None:
    other = "delivery" if what == "monitoring" else "monitoring"
    made, replaced = supervisor(manager, pulse(0.0, what=other), pulse(9.0, what=what))
    made.look()
    assert replaced == [what]
    assert manager.received() == [f"STATUS={what} stands still"]


def test_without_samples_and_without_source_lost_it_is_not_fed(manager: Manager) -> None:
    made, replaced = supervisor(manager, pulse(0.0), followed=False)
    made.look()
    assert manager.received() == []
    assert replaced == []


def test_a_process_that_was_stopped_as_a_whole_looks_again_first(manager: Manager) -> None:
    made, replaced = supervisor(manager, pulse(100.0))
    made._looked_s -= 31.0
    made.look()
    assert replaced == []
    made.look()
    assert replaced == ["monitoring"]


def test_a_loop_that_has_ended_does_not_stand_still() -> None:
    assert standing_still([Pulse("monitoring", lambda: math.inf, 1.0)], time.monotonic()) is None


def test_without_a_service_manager_nothing_is_sent() -> None:
    ServiceManager({}).notify("READY=1")
    ServiceManager({"NOTIFY_SOCKET": "/none/at/all"}).notify("READY=1")


@pytest.mark.parametrize(
    ("silent_s", "lost", "live", "followed"),
    [
        (1.0, False, True, True),
        (60.0, True, True, True),
        (60.0, False, True, False),
        (60.0, False, False, True),
    ],
)
def test_the_source_is_followed_while_samples_flow_or_their_absence_is_raised(
    silent_s: float, lost: bool, live: bool, followed: bool
) -> None:
    health = AgentHealth(
        stream=None,
        position_s=None,
        silent_s=silent_s,
        source_lost=lost,
        source={} if live else None,
        held_in_memory=0,
        clock=ClockState.SYNCHRONISED,
        clock_drift_ppm=None,
        models=ModelHealth(in_use={}, refused=""),
    )
    assert source_is_followed(health, 1.5) is followed
    assert source_is_followed(None, 1.5)


def test_the_next_process_raises_what_stood_still_once() -> None:
    environ = {STALLED_VARIABLE: "monitoring"}
    fault = stalled_before(environ)
    assert fault is not None
    assert (fault.code, fault.subject) == ("monitor_stalled", "monitoring")
    assert stalled_before(environ) is None
