"""The same generated examples every time."""

from __future__ import annotations

from hypothesis import HealthCheck, settings


def fixed(examples: int) -> settings:
    """Return settings that give the same examples every time."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
