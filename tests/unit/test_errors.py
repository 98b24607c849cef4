"""What a program can tell apart about an error."""

from __future__ import annotations

from tocsin_agent.errors import SourceError, SourceFault


def test_nothing_can_be_fetched_unless_the_error_says_so() -> None:
    assert not SourceError(SourceFault.NOT_FOUND, "no such file").fetchable
