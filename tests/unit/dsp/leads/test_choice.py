"""The choice of the lead in use."""

from __future__ import annotations

from tocsin_dsp.conditioning.quality import HOP, Hop, LeadState
from tocsin_dsp.leads.choice import LEAVE_AFTER, RETURN_AFTER, SILENT, LeadChoice

GOOD, NOISY, FLAT = LeadState.GOOD, LeadState.NOISY, LeadState.FLAT


def used_after(choice: LeadChoice, *states: LeadState, times: int = 1, since: int = 0) -> list[int]:
    """Play half seconds with a beat in every lead; return the lead in use after each."""
    used = []
    for k in range(times):
        stop = (since + k + 1) * HOP
        for lead in range(len(states)):
            choice.observe_beat(lead, stop - HOP // 2, clear=True)
        choice.observe_quality(Hop(stop, states, tuple(1.0 for _ in states)))
        used.append(choice.used)
    return used


def test_the_first_lead_is_used_while_it_is_good() -> None:
    assert set(used_after(LeadChoice(3), GOOD, GOOD, GOOD, times=20)) == {0}


def test_a_lead_without_an_ecg_is_left_at_once_for_the_best() -> None:
    assert used_after(LeadChoice(3), FLAT, NOISY, GOOD) == [2]


def test_a_noisy_lead_is_left_only_for_a_good_one_and_not_at_once() -> None:
    assert set(used_after(LeadChoice(2), NOISY, NOISY, times=20)) == {0}
    assert used_after(LeadChoice(2), NOISY, GOOD, times=5) == [0] * (LEAVE_AFTER - 1) + [1, 1]


def test_the_preferred_lead_is_used_again_once_it_has_been_good() -> None:
    choice = LeadChoice(2)
    assert used_after(choice, FLAT, GOOD) == [1]
    again = used_after(choice, GOOD, GOOD, times=5, since=1)
    assert again == [1] * (RETURN_AFTER - 1) + [0, 0]


def test_a_silent_lead_is_left_after_two_clear_beats_of_another() -> None:
    choice = LeadChoice(2)
    choice.observe_beat(0, 1000, clear=True)
    choice.observe_beat(1, 1200, clear=True)
    choice.observe_beat(1, 1000 + SILENT, clear=True)
    assert choice.used == 0
    choice.observe_beat(1, 1000 + SILENT + 1, clear=True)
    assert choice.used == 1


def test_faint_beats_do_not_prove_a_lead_silent() -> None:
    choice = LeadChoice(2)
    choice.observe_beat(0, 1000, clear=True)
    for k in range(1, 10):
        choice.observe_beat(1, 1000 + k * 200, clear=False)
    assert choice.used == 0
