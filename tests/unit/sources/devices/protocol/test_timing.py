"""A day with a crystal off by 200 ppm: the times of samples stay within 5 ms."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from tocsin_agent.runtime.clock import StreamClock
from tocsin_agent.sources.devices.protocol.timing import LinkClock, unwrap

DAY_S = 86_400
SETTLED_S = 60.0
BLOCK_S = 0.4
RATE_HZ = 250.0


@pytest.mark.parametrize(("two_way", "drift"), [(True, 200e-6), (False, -200e-6)])
def test_times_of_samples_hold_for_a_day(two_way: bool, drift: float) -> None:
    rng = np.random.default_rng(3)
    blocks = int(DAY_S / BLOCK_S)
    # A second of the device is 1 + drift seconds; each packet is late by 2 ms and up to much more.
    true_s = 1000.0 + np.arange(1, blocks + 1) * BLOCK_S * (1 + drift)
    delay_s = 0.002 * two_way + rng.exponential(0.01, blocks)
    device_us = (np.arange(1, blocks + 1) * BLOCK_S * 1e6).astype(np.int64) + 4_000_000_000
    there_s, back_s = rng.exponential(0.004, (2, DAY_S + 100)) + 0.001
    link, epoch = LinkClock(), datetime(2026, 3, 1, tzinfo=UTC)
    clock: StreamClock | None = None
    worst_s, asked_s = 0.0, 1000.0
    for k in range(blocks):
        now_s = float(true_s[k] + delay_s[k])
        if two_way and now_s - asked_s >= 1.0:
            n = int(now_s - 1000.0)
            at_s = now_s + float(there_s[n])
            answered_us = round((at_s - 1000.0) / (1 + drift) * 1e6) + 4_000_000_000
            link.observe(answered_us, now_s + (there_s[n] + back_s[n]) / 2, there_s[n] + back_s[n])
            asked_s = now_s
        link.observe(int(device_us[k]), now_s)
        taken_s = link.gateway_s(int(device_us[k]))
        assert taken_s is not None
        utc = epoch + timedelta(seconds=taken_s)
        index = round((k + 1) * BLOCK_S * RATE_HZ)
        if clock is None:
            clock = StreamClock.anchored(RATE_HZ, index, utc)
        clock.observe(index, utc, exact=True)
        error_s = (clock.utc(index) - epoch).total_seconds() - float(true_s[k])
        if true_s[k] - 1000.0 > SETTLED_S:
            worst_s = max(worst_s, abs(error_s))
    assert worst_s < 0.005
    assert link.drift_ppm == pytest.approx(drift * 1e6, abs=20)


def test_a_clock_that_stands_still_is_not_used() -> None:
    link = LinkClock()
    for k in range(100):
        link.observe(0, float(k))
    assert link.gateway_s(0) is None


def test_unwrap_takes_the_nearest() -> None:
    assert unwrap(5, 2**32 - 5) == 2**32 + 5
    assert unwrap(2**32 - 5, 2**32 + 5) == 2**32 - 5
    assert unwrap(7, 7) == 7
