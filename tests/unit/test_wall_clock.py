from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tocsin_agent.wall_clock import WallClock, is_set

NTP_S = datetime(2026, 3, 1, tzinfo=UTC).timestamp()


class Times:
    """A wall clock and a steady clock that a test moves."""

    def __init__(self, utc_s: float) -> None:
        self.utc_s, self.steady_s = utc_s, 100.0
        self.clock = WallClock(lambda: self.utc_s, lambda: self.steady_s)

    def pass_s(self, seconds: float, rate: float = 1.0) -> None:
        self.utc_s += seconds * rate
        self.steady_s += seconds


def test_a_clock_of_1970_is_not_set_until_it_is_and_the_step_is_noticed_once() -> None:
    times = Times(30.0)
    assert not times.clock.is_set
    times.pass_s(20.0)
    assert times.clock.step() is None
    times.utc_s = NTP_S
    assert times.clock.step() == pytest.approx(NTP_S - 50.0)
    assert times.clock.is_set
    assert times.clock.step() is None


@pytest.mark.parametrize("by_s", [-3600.0, -2.5, 2.5, 86_400.0])
def test_a_step_in_either_direction_is_noticed(by_s: float) -> None:
    times = Times(NTP_S)
    times.pass_s(0.25)
    times.utc_s += by_s
    times.pass_s(0.25)
    assert times.clock.step() == pytest.approx(by_s)


def test_a_clock_that_is_adjusted_slowly_is_not_set() -> None:
    times = Times(NTP_S)
    for _ in range(100):
        times.pass_s(100.0, 1.0005)  # 5 s in all
        assert times.clock.step() is None


def test_the_machines_own_clocks_agree() -> None:
    clock = WallClock()
    assert clock.step() is None
    assert clock.is_set


@pytest.mark.parametrize(("year", "expected"), [(1970, False), (2024, False), (2025, True)])
def test_a_time_before_this_software_is_of_a_clock_that_is_not_set(
    year: int, *, expected: bool
) -> None:
    assert is_set(datetime(year, 6, 1, tzinfo=UTC)) is expected
