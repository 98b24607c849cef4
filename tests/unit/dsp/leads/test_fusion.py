"""Beats of several leads told as one patient's."""

from __future__ import annotations

import numpy as np
import pytest

from tocsin_dsp.beats.beats import CORE, SHAPE, Followed
from tocsin_dsp.beats.rr import FEATURES as RHYTHM
from tocsin_dsp.conditioning.quality import HOP, Hop, LeadState
from tocsin_dsp.leads.fusion import APART, BACK, SURE, WAIT, Fusion, Seen

RR = 200
LAG = 91
CALM = [1000 + k * RR for k in range(10)]
LAST = CALM[-1]


def beat(
    r: int,
    lead: int = 0,
    like: float = 1.0,
    strength: float = 1.0,
    lag: int = LAG,
    *,
    share: float = 1.0,
) -> Seen:
    """Give a beat as a lead's observer would, with no more than fusion looks at."""
    shapes, core = np.zeros((2, SHAPE)), np.zeros((2, CORE.stop - CORE.start))
    rhythm = (0.0,) * len(RHYTHM)
    context = (None, 1.0, True, shapes, core, rhythm)
    return Seen(lead, Followed(r, r + lag, strength, *context, like, share, 1.0, 1.0))


def hop(stop: int, *states: LeadState) -> Hop:
    return Hop(stop, states, tuple(1.0 for _ in states))


def play(fusion: Fusion, beats: list[Seen], until: int, used: int = 0) -> list[Seen]:
    """Give beats to it as they are decided, and let time pass to the end."""
    told: list[Seen] = []
    for given in sorted(beats, key=lambda b: (b.beat.decided, b.lead)):
        told += fusion.pass_time(given.beat.decided)
        told += fusion.take(given, used)
    return told + fusion.pass_time(until)


def told_of(
    first: list[Seen], *others: list[Seen], leads: int = 2, until: int = 1 << 20
) -> list[tuple[int, int]]:
    """Give R peak and lead of what is told after ten calm beats that all leads saw."""
    calm = [beat(r, lead) for r in CALM for lead in range(leads)]
    every = [*calm, *first, *(b for beats in others for b in beats)]
    told = play(Fusion(leads), every, until)
    assert [b.beat.decided for b in told] == sorted(b.beat.decided for b in told)
    assert [b.beat.r_index for b in told[: len(CALM)]] == CALM
    return [(b.beat.r_index, b.lead) for b in told[len(CALM) :]]


def test_one_lead_is_told_as_it_is() -> None:
    odd = [beat(r, like=-0.4, strength=0.2) for r in (LAST + 100, LAST + 160, LAST + 900)]
    calm = [beat(r) for r in CALM]
    assert play(Fusion(1), calm + odd, 1 << 20) == calm + odd


def test_a_beat_goes_with_what_other_leads_have_seen_of_it() -> None:
    early, late, odd = LAST + RR, LAST + 2 * RR, LAST + 3 * RR
    first = [beat(early), beat(late), beat(odd, like=-0.4)]
    second = [beat(early - 4, 1), beat(late + 4, 1), beat(odd + 4, 1, like=-0.4)]
    calm = [beat(r, lead) for r in CALM for lead in range(2)]
    told = play(Fusion(2), [*calm, *first, *second], 1 << 20)[len(CALM) :]
    seen = [[other.r_index for other in b.others] for b in told]
    assert seen == [[early - 4], [], [odd + 4]]  # only what is unlike its usual waits
    assert [b.beat.decided - b.beat.r_index for b in told] == [LAG, LAG, LAG + 4]


def test_one_beat_of_another_lead_goes_with_one_beat() -> None:
    first = [beat(LAST + RR), beat(LAST + RR + 52)]
    second = [beat(LAST + RR + 20, 1)]
    calm = [beat(r, lead) for r in CALM for lead in range(2)]
    told = play(Fusion(2), [*calm, *first, *second], 1 << 20)[len(CALM) :]
    assert [b.beat.r_index for b in told] == [b.beat.r_index for b in first]
    assert [len(b.others) for b in told] == [0, 0]  # seen after the first, nearer to it


def test_a_beat_goes_with_three_other_leads_at_most() -> None:
    calm = [beat(r, lead) for r in CALM for lead in range(12)]
    told = play(Fusion(12), calm + [beat(LAST + RR - lead, lead) for lead in range(12)], 1 << 20)
    assert [b.r_index for b in told[-1].others] == [LAST + RR - lead for lead in (1, 2, 3)]


def test_what_a_bad_lead_saw_does_not_go_with_a_beat() -> None:
    fusion = Fusion(2)
    play(fusion, [beat(r, lead) for r in CALM for lead in range(2)], LAST + LAG)
    fusion.hear(hop(LAST + LAG + HOP, LeadState.GOOD, LeadState.NOISY), 0)
    told = play(fusion, [beat(LAST + RR), beat(LAST + RR, 1)], 1 << 20)
    assert [b.others for b in told] == [()]


def test_what_never_agreed_with_the_lead_in_use_proves_nothing() -> None:
    """In complete heart block a lead may show P waves as plainly as another its slow QRS."""
    slow = [beat(LAST + 500 * k) for k in range(1, 20)]
    p_waves = [beat(LAST + 130 + 187 * k, 1) for k in range(50)]
    told = told_of(slow, p_waves)
    of_p_waves = [r for r, lead in told if lead == 1]
    assert len(of_p_waves) <= 4  # until it is clear that the leads have parted
    assert [r for r, lead in told if lead == 0] == [b.beat.r_index for b in slow]


def test_what_was_missed_is_told_no_sooner_than_it_could_be_known() -> None:
    """The other lead becomes good again after the time at which its beat would have been told."""
    fusion = Fusion(2)
    play(fusion, [beat(r, lead) for r in CALM for lead in range(2)], LAST + LAG)
    fusion.hear(hop(LAST + LAG, LeadState.GOOD, LeadState.NOISY), 0)
    assert play(fusion, [beat(LAST + RR, 1)], LAST + RR + SURE + 300) == []
    good_at = LAST + RR + SURE + 310
    fusion.hear(hop(good_at, LeadState.GOOD, LeadState.GOOD), 0)
    (told,) = fusion.pass_time(good_at + 1)
    assert (told.lead, told.beat.r_index, told.beat.decided) == (1, LAST + RR, good_at)


def test_a_lead_that_parted_cannot_prove_another_silent() -> None:
    fusion = Fusion(2)
    play(fusion, [beat(r, lead) for r in CALM for lead in range(2)], LAST + LAG)
    assert fusion.proves(1, beat(LAST + RR, 1).beat, 0)
    assert not fusion.proves(1, beat(LAST + RR, 1, like=0.2).beat, 0)
    slow = [beat(LAST + 500 * k) for k in range(1, 6)]
    p_waves = [beat(LAST + 130 + 187 * k, 1) for k in range(14)]
    play(fusion, slow + p_waves, LAST + 2600 + LAG)
    assert not fusion.proves(1, p_waves[-1].beat, 0)


def test_what_all_leads_see_is_told_once_as_the_lead_in_use_saw_it() -> None:
    assert told_of([beat(LAST + RR)], [beat(LAST + RR + 20, 1)]) == [(LAST + RR, 0)]


def test_an_odd_beat_of_one_lead_alone_is_real_and_waits_for_no_longer_than_it_must() -> None:
    assert told_of([beat(LAST + 120, like=-0.4)], until=LAST + 120 + WAIT - 1) == []
    assert told_of([beat(LAST + 120, like=-0.4)], until=LAST + 120 + WAIT) == [(LAST + 120, 0)]


def test_an_odd_beat_that_another_lead_confirms_waits_no_longer() -> None:
    confirmed = beat(LAST + 130, 1, like=-0.4)
    told = told_of([beat(LAST + 120, like=-0.4)], [confirmed], until=confirmed.beat.decided)
    assert told == [(LAST + 120, 0)]


def test_a_p_wave_beside_what_another_lead_plainly_sees_is_no_beat() -> None:
    p_wave, seen = beat(LAST + 155, like=-0.4), beat(LAST + RR, 1)
    assert told_of([p_wave, beat(LAST + RR + 10)], [seen]) == [(LAST + RR + 10, 0)]


def test_what_another_lead_sees_at_the_same_instant_still_contradicts() -> None:
    p_wave, first, second = beat(LAST + 150, like=-0.4), beat(LAST + RR), beat(LAST + RR, 1)
    assert told_of([p_wave, first], [second]) == [(LAST + RR, 0)]


def test_what_follows_a_beat_that_waits_is_told_after_it() -> None:
    odd, after = beat(LAST + 120, like=-0.4), beat(LAST + 170)
    until = LAST + 120 + WAIT
    assert after.beat.decided < until
    assert told_of([odd, after], until=until) == [(LAST + 120, 0), (LAST + 170, 0)]


@pytest.mark.parametrize(
    "other",
    [
        beat(LAST + RR, 1, like=0.4),  # unlike its usual too
        beat(LAST + RR, 1, strength=0.3),  # faint
        beat(LAST + RR, 1, lag=262),  # in doubt itself
        beat(LAST + 155 + APART + 1, 1),  # there is room for both
    ],
)
def test_only_a_plain_beat_close_by_contradicts(other: Seen) -> None:
    assert (LAST + 155, 0) in told_of([beat(LAST + 155, like=-0.4)], [other])


def test_a_usual_beat_is_contradicted_by_none() -> None:
    assert told_of([beat(LAST + 155, like=0.8)], [beat(LAST + RR, 1)])[0] == (LAST + 155, 0)


def test_what_ends_a_silence_does_not_wait() -> None:
    late = LAST + 600
    assert told_of([beat(late, like=-0.4)], until=late + LAG) == [(late, 0)]


def test_a_beat_that_the_lead_in_use_missed_is_told_before_the_next() -> None:
    after = LAST + 2 * RR
    told = told_of([beat(after)], [beat(LAST + RR, 1), beat(after, 1)], until=after + LAG)
    assert told == [(LAST + RR, 1), (after, 0)]


def test_a_beat_that_was_missed_is_told_in_time_where_none_follows() -> None:
    due = LAST + int(1.2 * RR) + SURE
    assert told_of([], [beat(LAST + RR, 1)], until=due - 1) == []
    assert told_of([], [beat(LAST + RR, 1)], until=due) == [(LAST + RR, 1)]


def test_when_it_is_told_does_not_depend_on_when_time_is_let_pass() -> None:
    seen = [beat(r, lead) for r in CALM for lead in (0, 1)] + [beat(LAST + RR, 1)]
    end = LAST + 4 * RR
    slowly, quickly = Fusion(2), Fusion(2)
    one = play(slowly, seen, 0)
    for now in range(LAST + RR, end):
        one += slowly.pass_time(now)
    other = play(quickly, seen, end)
    decided = [(b.beat.r_index, b.beat.decided, b.missed) for b in other]
    assert decided == [(b.beat.r_index, b.beat.decided, b.missed) for b in one]
    assert decided[-1] == (LAST + RR, LAST + int(1.2 * RR) + SURE, True)


def test_what_is_not_plain_fills_no_gap() -> None:
    told = told_of([beat(LAST + 2 * RR)], [beat(LAST + RR, 1, like=0.4)])
    assert told == [(LAST + 2 * RR, 0)]


def test_no_gap_is_filled_where_the_rhythm_has_none() -> None:
    told = told_of([beat(LAST + RR)], [beat(LAST + RR // 2, 1), beat(LAST + RR, 1)])
    assert told == [(LAST + RR, 0)]


def test_a_noisy_lead_corrects_nothing() -> None:
    fusion = Fusion(2)
    play(fusion, [beat(r, lead) for r in CALM for lead in (0, 1)], 0)
    fusion.hear(hop(LAST // HOP * HOP + HOP, LeadState.GOOD, LeadState.NOISY), 0)
    told = play(fusion, [beat(LAST + RR, 1), beat(LAST + 2 * RR)], 1 << 20)
    assert [(b.beat.r_index, b.lead) for b in told] == [(LAST + 2 * RR, 0)]


def test_of_several_leads_half_must_have_seen_what_was_missed() -> None:
    def told(*seen_by: int) -> list[tuple[int, int]]:
        missed = [beat(LAST + RR, lead) for lead in seen_by]
        return told_of([beat(LAST + 2 * RR)], missed, leads=5)

    assert told(3) == [(LAST + 2 * RR, 0)]
    assert told(2, 3) == [(LAST + RR, 2), (LAST + 2 * RR, 0)]


def test_a_change_tells_what_the_new_lead_saw_since_the_last_beat_and_lately() -> None:
    fusion = Fusion(2)
    play(fusion, [beat(r, lead) for r in CALM for lead in (0, 1)], 0)
    stop = LAST + 500
    fusion.hear(hop(stop, LeadState.NOISY, LeadState.NOISY), 0)  # so that no gap is filled
    play(fusion, [beat(LAST + RR, 1), beat(LAST + 2 * RR, 1)], 0)
    told = fusion.hear(hop(stop + HOP, LeadState.FLAT, LeadState.GOOD), 1)
    expected = [(LAST + RR, stop + HOP), (LAST + 2 * RR, stop + HOP)]
    assert [(b.beat.r_index, b.beat.decided) for b in told] == expected
    assert not any(b.missed for b in told)


def test_what_was_missed_long_ago_is_told_no_more() -> None:
    fusion = Fusion(2)
    play(fusion, [beat(r, lead) for r in CALM for lead in (0, 1)], 0)
    fusion.hear(hop(LAST + RR, LeadState.NOISY, LeadState.NOISY), 0)
    play(fusion, [beat(LAST + RR, 1)], 0)
    told = fusion.hear(hop(LAST + RR + BACK + 1, LeadState.FLAT, LeadState.GOOD), 1)
    assert told == []


def test_nothing_is_told_across_a_gap_in_the_samples() -> None:
    fusion = Fusion(2)
    play(fusion, [beat(r, lead) for r in CALM for lead in (0, 1)], 0)
    play(fusion, [beat(LAST + RR, 1), beat(LAST + 120, like=-0.4)], 0)
    fusion.skip()
    assert fusion.pass_time(1 << 20) == []


def silent_since(fusion: Fusion, seconds: float, *states: LeadState, used: int = 0) -> list[bool]:
    """Let half seconds pass after ten calm beats of both leads; tell when one lead is alone."""
    play(fusion, [beat(r, lead) for r in CALM for lead in range(2)], LAST + LAG)
    alone = []
    for k in range(int(2 * seconds)):
        at = LAST + LAG + k * HOP
        noise = [beat(r, used, like=0.1, share=0.03) for r in range(at, at + HOP, 63)]
        play(fusion, noise, at + HOP, used)
        fusion.hear(hop(at + HOP, *states), used)
        alone.append(fusion.alone_since(at + HOP) == LAST)
    return alone


def test_strange_beats_of_one_lead_while_another_is_silent_are_known_for_it() -> None:
    good = (LeadState.GOOD, LeadState.GOOD)
    assert silent_since(Fusion(2), 20.0, *good) == [False] * 3 + [True] * 37
    assert not any(silent_since(Fusion(2), 20.0, LeadState.GOOD, LeadState.NOISY))


@pytest.mark.parametrize(
    "seen",
    [
        beat(LAST + 1500, share=0.03),
        beat(LAST + 1500, like=-0.9, share=0.2),
        beat(LAST + 1500, 1, like=0.1, share=0.03),
    ],
)
def test_a_beat_like_others_or_any_of_the_other_lead_ends_it(seen: Seen) -> None:
    fusion = Fusion(2)
    assert silent_since(fusion, 5.0, LeadState.GOOD, LeadState.GOOD)[-1]
    play(fusion, [seen], LAST + 1500 + LAG)
    assert fusion.alone_since(LAST + 1600) is None


def test_a_lead_that_never_saw_the_same_beats_is_no_witness() -> None:
    fusion = Fusion(2)
    play(fusion, [beat(LAST - 100 - k * 137, 1) for k in range(12)], LAST)
    noise = [beat(LAST + 60 * k, like=0.1, share=0.03) for k in range(40)]
    play(fusion, noise, LAST + 3000)
    fusion.hear(hop(LAST + 3000, LeadState.GOOD, LeadState.GOOD), 0)
    assert fusion.alone_since(LAST + 3000) is None
