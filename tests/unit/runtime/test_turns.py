"""Patients are analysed one after the other, unless one of them takes too long."""

from __future__ import annotations

import threading
import time

import pytest

from tocsin_agent.runtime.turns import Turn, Turns

_PATIENCE_S = 60.0


def test_one_patient_is_analysed_at_a_time() -> None:
    turns, inside, most = Turns(_PATIENCE_S), 0, 0

    def analyse() -> None:
        nonlocal inside, most
        for _ in range(20):
            with Turn(turns):
                inside += 1
                most = max(most, inside)
                time.sleep(0.0005)  # others run meanwhile
                inside -= 1

    threads = [threading.Thread(target=analyse) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_PATIENCE_S)
    assert (inside, most) == (0, 1)


def test_a_patient_that_stands_still_is_not_waited_for() -> None:
    turns, standing, go_on = Turns(0.01), threading.Event(), threading.Event()

    def stand_still() -> None:
        with Turn(turns):
            standing.set()
            go_on.wait(_PATIENCE_S)

    thread = threading.Thread(target=stand_still)
    thread.start()
    try:
        assert standing.wait(_PATIENCE_S)
        for _ in range(3):
            with Turn(turns):  # hangs if the turn were not lost
                pass
    finally:
        go_on.set()
        thread.join(_PATIENCE_S)


def test_the_turn_is_given_back_after_an_error() -> None:
    turns = Turns(_PATIENCE_S)
    with pytest.raises(ZeroDivisionError), Turn(turns):
        raise ZeroDivisionError
    began_s = time.monotonic()
    with Turn(turns):
        assert time.monotonic() - began_s < _PATIENCE_S / 2
