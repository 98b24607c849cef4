"""What a program can tell apart about an error."""

from __future__ import annotations

from tocsin_agent.errors import SourceError, SourceFault


def test_a_lost_connection_can_return_without_a_change_of_the_configuration() -> None:
    assert {fault for fault in SourceFault if fault.transient} == {
        SourceFault.LOST,
        SourceFault.UNREACHABLE,
    }


def test_a_port_that_vanishes_after_it_worked_can_return() -> None:
    after = {fault for fault in SourceFault if fault.transient_after_connection}
    before = {fault for fault in SourceFault if fault.transient}
    assert after - before == {SourceFault.NOT_FOUND}


def test_nothing_can_be_fetched_unless_the_error_says_so() -> None:
    assert not SourceError(SourceFault.NOT_FOUND, "no such file").fetchable
