"""Waits double up to a limit, and are spread so that devices do not reconnect together."""

from __future__ import annotations

import pytest

from tocsin_agent.retry import Backoff


def test_waits_double_up_to_the_limit_and_begin_again_after_a_success() -> None:
    backoff = Backoff(0.5, 3.0, jitter=0.0)
    assert [backoff.next_s() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    backoff.reset()
    assert backoff.next_s() == 0.5


@pytest.mark.parametrize("jitter", [0.2, 1.0])
def test_each_wait_is_shortened_by_a_random_share_at_most(jitter: float) -> None:
    waits = [Backoff(10.0, 10.0, jitter=jitter).next_s() for _ in range(200)]
    assert all(10.0 * (1.0 - jitter) <= wait <= 10.0 for wait in waits)
    assert len(set(waits)) > 1
