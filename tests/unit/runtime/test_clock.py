from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from tocsin_agent.runtime.clock import StreamClock

START = datetime(2024, 2, 28, 23, 59, 59, tzinfo=UTC)


def seconds(clock: StreamClock, index: int) -> float:
    return (clock.utc(index) - START).total_seconds()


def test_without_observations_an_index_is_its_nominal_time() -> None:
    clock = StreamClock(360.0, START)
    assert clock.utc(0) == START
    assert clock.utc(360 * 86_400) == START + timedelta(days=1)
    assert clock.utc(-180) == START - timedelta(seconds=0.5)
    assert clock.utc(0).tzinfo is UTC


def test_start_must_be_aware_and_is_converted() -> None:
    with pytest.raises(ValueError, match="time zone"):
        StreamClock(360.0, START.replace(tzinfo=None))
    local = START.astimezone(timezone(timedelta(hours=5)))
    assert StreamClock(360.0, local).utc(0) == START


@pytest.mark.parametrize("drift_ppm", [-100.0, 0.0, 80.0])
def test_drift_is_followed_through_jitter(drift_ppm: float) -> None:
    rng = np.random.default_rng(1)
    clock = StreamClock(250.0, START)
    for second in range(1, 3600):
        true_s = second * (1 + drift_ppm * 1e-6)
        clock.observe(second * 250, START + timedelta(seconds=true_s + rng.uniform(-0.05, 0.05)))
    true_s = 3600 * (1 + drift_ppm * 1e-6)
    assert seconds(clock, 3600 * 250) == pytest.approx(true_s, abs=0.01)
    assert clock.drift_ppm == pytest.approx(drift_ppm, abs=60)
    assert clock.steps == 0


def test_a_stall_does_not_move_the_clock() -> None:
    clock = StreamClock(250.0, START)
    for second in range(1, 120):
        late_s = 20.0 if 60 <= second < 85 else 0.0
        clock.observe(second * 250, START + timedelta(seconds=second + late_s))
    assert seconds(clock, 120 * 250) == pytest.approx(120.0, abs=1e-6)
    assert clock.steps == 0


def test_a_lasting_step_is_taken_and_counted() -> None:
    clock = StreamClock(250.0, START)
    for second in range(1, 120):
        step_s = 3600.0 if second >= 60 else 0.0
        clock.observe(second * 250, START + timedelta(seconds=second + step_s))
    assert seconds(clock, 120 * 250) == pytest.approx(3720.0, abs=1e-3)
    assert clock.steps == 1


def test_time_never_runs_backwards_for_growing_indices() -> None:
    rng = np.random.default_rng(2)
    clock = StreamClock(250.0, START)
    last = clock.utc(0)
    for block in range(1, 4000):
        clock.observe(block * 50, START + timedelta(seconds=block * 0.2 + rng.exponential(0.05)))
        now = clock.utc(block * 50)
        assert now > last
        last = now


def test_an_impossible_drift_is_bounded() -> None:
    clock = StreamClock(250.0, START)
    for second in range(1, 2000):
        clock.observe(second * 250, START + timedelta(seconds=second * 1.01))
    assert abs(clock.drift_ppm) <= 500.0
