"""Alerts made before the clock was set, and what follows once it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from support.factories import NOON, make_alert
from tocsin_agent.messages.alert import ClockState, Phase
from tocsin_agent.runtime.corrections import MAX_KEPT, Corrections

EPOCH = datetime(1970, 1, 1, 0, 1, tzinfo=UTC)
STEP_S = (NOON - EPOCH).total_seconds()
UNSET = msgspec.structs.replace(
    make_alert(onset_at=EPOCH), clock=ClockState.UNSYNCHRONISED, sequence=3, phase=Phase.UPDATE
)


def test_an_open_alert_gets_an_update_with_right_times() -> None:
    corrections = Corrections()
    corrections.note([UNSET])
    (right,) = corrections.after(STEP_S)
    assert (right.alert_id, right.sequence, right.phase) == (UNSET.alert_id, 4, Phase.UPDATE)
    assert (right.onset_at, right.detected_at) == (NOON, NOON + timedelta(seconds=2))
    assert right.clock is ClockState.CORRECTED


def test_one_that_ended_before_the_clock_was_set_keeps_its_end_and_is_corrected_once() -> None:
    corrections = Corrections()
    corrections.note([msgspec.structs.replace(UNSET, phase=Phase.END)])
    (right,) = corrections.after(STEP_S)
    assert (right.phase, right.onset_at) == (Phase.END, NOON)
    assert corrections.after(60.0) == []


def test_one_that_ended_under_a_clock_that_was_set_is_left_alone() -> None:
    corrections = Corrections()
    corrections.note([make_alert(), make_alert(sequence=2, phase=Phase.END)])
    assert corrections.after(60.0) == []


@pytest.mark.parametrize("step_s", [-7200.0, 3600.0])
def test_an_open_alert_moves_with_a_later_step(step_s: float) -> None:
    corrections = Corrections()
    corrections.note([make_alert()])
    (right,) = corrections.after(step_s)
    assert right.onset_at == NOON + timedelta(seconds=step_s)
    assert right.clock is ClockState.CORRECTED


def test_an_onset_of_an_earlier_run_that_was_right_is_kept() -> None:
    corrections = Corrections()
    corrections.note([msgspec.structs.replace(UNSET, onset_at=NOON)])
    (right,) = corrections.after(STEP_S)
    assert right.onset_at == NOON
    assert right.detected_at == NOON + timedelta(seconds=2)


def test_a_clock_set_to_another_time_before_this_software_leaves_the_alert_as_it_is() -> None:
    corrections = Corrections()
    corrections.note([UNSET])
    (still,) = corrections.after(3600.0)
    assert still.clock is ClockState.UNSYNCHRONISED


def test_the_oldest_are_forgotten() -> None:
    corrections = Corrections()
    corrections.note(make_alert(index) for index in range(MAX_KEPT + 5))
    assert len(corrections.after(60.0)) == MAX_KEPT
