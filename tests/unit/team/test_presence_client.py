"""The dead man's switch of a lease."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from tocsin_agent.team.presence_client import DeadMansSwitch


def test_it_ends_unless_it_is_pressed_again() -> None:
    switch = DeadMansSwitch(1200.0, 0.0)
    assert switch.left_s(1199.0) == 1.0
    assert switch.left_s(1200.0) == 0.0
    switch.press(1100.0)
    assert switch.left_s(1200.0) == 1100.0
    assert switch.left_s(5000.0) == 0.0
    switch.press(5000.0)  # the person is back
    assert switch.left_s(5000.0) == 1200.0


def test_it_asks_two_minutes_before_it_ends_and_from_then_on() -> None:
    switch = DeadMansSwitch(1200.0, 0.0)
    assert [switch.asks(t) for t in (0.0, 1079.0, 1080.0, 1200.0, 9999.0)] == [
        False, False, True, True, True,
    ]  # fmt: skip
    assert DeadMansSwitch(8.0, 0.0).asks(6.0)


def test_without_a_time_it_never_ends() -> None:
    switch = DeadMansSwitch(None, 0.0)
    assert switch.left_s(1e9) == math.inf
    assert not switch.asks(1e9)


@given(st.lists(st.floats(0.0, 500.0), max_size=20), st.floats(1.0, 300.0))
def test_it_holds_exactly_where_the_last_press_is_recent(steps: list[float], every: float) -> None:
    now, switch = 0.0, DeadMansSwitch(every, 0.0)
    for step in steps:
        now += step
        assert (switch.left_s(now) > 0) is (step < every)
        switch.press(now)
